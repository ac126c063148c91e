"""Whatever a client gets wrong: an error that says what, the end of at most its own connection, and nothing lost (I10).

One server bears all of it. After each test two bystanders, connected from the beginning, still exchange a message.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from joserfc import jwt

from pyrouter.auth import LocalTokens
from pyrouter.wire import ClientFrame, DeviceRef, DevicesGet, Error, Hello, Ping, Retry, Send
from tests.server_process import ServerProcess
from tests.wire_client import (
    CARRIERS,
    MAGIC,
    Carrier,
    Wire,
    direct_conversation,
    varint,
    websocket_frame,
)

BODY, FRAME = 64 << 10, 256 << 10  # the limits of a server that was not told others
EXPIRED_S = 1_000_000_000  # a moment in 2001
TEXT, BINARY, CONTINUATION = 1, 2, 0
OLD_WEBSOCKET = (
    b"GET /v1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


@dataclass
class Bystanders:
    """Two users who have nothing to do with it."""

    sender: Wire
    receiver: Wire

    def exchange(self) -> None:
        id = self.sender.send("bystander 2", b"all is well")
        assert self.sender.accepted().id == id
        message = self.receiver.message()
        assert message.id == id
        self.receiver.ack(message.conversation, message.seq)
        self.sender.delivered(message.conversation, message.seq, "bystander 2")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path_factory.mktemp("bad-input"))
    server.start()
    yield server
    status, said = server.stop(), server.said()
    assert status == 0
    assert "Traceback" not in said
    assert "panicked" not in said


@pytest.fixture(scope="module")
def bystanders(server: ServerProcess) -> Iterator[Bystanders]:
    with Wire(server.port) as sender, Wire(server.port, "ws") as receiver:
        receiver.join(server.token("bystander 2"))
        sender.join(server.token("bystander 1"))
        yield Bystanders(sender, receiver)


@pytest.fixture(autouse=True)
def bystanders_notice_nothing(bystanders: Bystanders) -> Iterator[None]:
    yield
    bystanders.exchange()


@pytest.fixture(params=CARRIERS)
def wire(request: pytest.FixtureRequest, server: ServerProcess) -> Iterator[Wire]:
    """A connection that has said nothing yet."""
    with Wire(server.port, request.param) as wire:
        yield wire


@pytest.fixture
def ann(wire: Wire, server: ServerProcess) -> Wire:
    """The same, identified."""
    wire.join(server.token("ann"))
    return wire


def ends_with(wire: Wire, code: str, close: int, *words: str) -> Error:
    """The connection ends with this error, which has these words."""
    error = wire.error()
    assert error.code == code, error
    for word in words:
        assert word in error.message, error
    assert wire.ended() == (None if wire.carrier == "raw" else close)
    return error


def goes_on_with(wire: Wire, code: str, *words: str, id: bytes = b"") -> Error:
    """The connection goes on after this error."""
    error = wire.error()
    assert (error.code, error.id) == (code, id), error
    for word in words:
        assert word in error.message, error
    wire.pong()
    return error


class TestBytes:
    """Bytes that are no frame of their carrier."""

    @pytest.mark.parametrize("joined", [False, True], ids=["before hello", "in a session"])
    def test_a_frame_that_is_none(self, wire: Wire, server: ServerProcess, joined: bool) -> None:
        if joined:
            wire.join(server.token("ann"))
        else:
            wire.open()
        wire.put_payload(b'{"ping":' if wire.carrier == "json" else b"\x2a\x05\x08")
        ends_with(wire, "malformed", 4002)

    @pytest.mark.parametrize(
        ("payload", "word"),
        [
            (b'{"ping":{},"pong":{}}', "two frames"),
            (b"[]", ""),
            (b'"ping"', ""),
            (b'{"ping":' * 2000, ""),
        ],
    )
    def test_json_that_is_no_frame(self, server: ServerProcess, payload: bytes, word: str) -> None:
        with Wire(server.port, "json") as wire:
            wire.join(server.token("ann"))
            wire.put_payload(payload)
            ends_with(wire, "malformed", 4002, word)

    @pytest.mark.parametrize(
        ("payload", "words"),
        [
            (b'{"ping":{"nonce":"many"}}', ("nonce", "integer")),
            (b'{"ping":{"nonce":-1}}', ("nonce", "from 0")),
            (b'{"send":{"id":"!!!!","user":"bob"}}', ("id", "base64")),
        ],
    )
    def test_json_with_values_that_cannot_be(
        self, server: ServerProcess, payload: bytes, words: tuple[str, ...]
    ) -> None:
        with Wire(server.port, "json") as wire:
            wire.join(server.token("ann"))
            wire.put_payload(payload)
            goes_on_with(wire, "bad_field", *words)

    def test_a_frame_above_the_limit_is_refused_before_it_has_come(self, server: ServerProcess) -> None:
        with Wire(server.port) as wire:
            wire.join(server.token("ann"))
            wire.put_bytes(varint(FRAME + 1))
            ends_with(wire, "too_large", 1009, str(FRAME + 1), str(FRAME))

    @pytest.mark.parametrize("opcode", [TEXT, BINARY])
    def test_a_message_above_the_limit_is_refused_before_it_has_come(self, server: ServerProcess, opcode: int) -> None:
        with Wire(server.port, "json" if opcode == TEXT else "ws") as wire:
            wire.join(server.token("ann"))
            wire.put_bytes(bytes([0x80 | opcode, 0xFF]) + (FRAME + 1).to_bytes(8, "big") + bytes(4))
            assert wire.ended() == 1009

    def test_fragments_that_amount_to_too_much(self, server: ServerProcess) -> None:
        with Wire(server.port, "ws") as wire:
            wire.join(server.token("ann"))
            wire.put_bytes(websocket_frame(BINARY, bytes(FRAME // 2), first=0))
            wire.put_bytes(websocket_frame(CONTINUATION, bytes(FRAME // 2), first=0))
            wire.put_bytes(websocket_frame(CONTINUATION, b"x"))
            assert wire.ended() == 1009

    def test_a_frame_at_the_limit_is_read(self, ann: Wire) -> None:
        """It is a ping with a field that nobody knows, or with blanks, of the largest size."""
        if ann.carrier == "json":
            ann.put_payload(b'{"ping":{"nonce":7}}'.ljust(FRAME))
        else:
            ping = ClientFrame(ping=Ping(nonce=7)).SerializeToString()
            rest = FRAME - len(ping) - 5  # what is left beside a field's number (2 bytes) and length (3 bytes)
            ann.put_payload(ping + varint(99 << 3 | 2) + varint(rest) + bytes(rest))
        assert ann.next().pong.nonce == 7

    @pytest.mark.parametrize(
        ("data", "code"),
        [
            (websocket_frame(BINARY, b"x", masked=False), 1002),
            (websocket_frame(BINARY, b"x", first=0xC0), 1002),
            (websocket_frame(3, b"x"), 1002),
            (websocket_frame(9, bytes(126)), 1002),
            (websocket_frame(CONTINUATION, b"x"), 1002),
            (websocket_frame(8, b"x"), 1002),
            (websocket_frame(TEXT, b"\xff"), 1007),
        ],
        ids=["unmasked", "reserved bit", "reserved opcode", "long ping", "continuation", "close code", "not utf-8"],
    )
    def test_a_websocket_that_breaks_its_rules(self, server: ServerProcess, data: bytes, code: int) -> None:
        with Wire(server.port, "ws") as wire:
            wire.join(server.token("ann"))
            wire.put_bytes(data)
            assert wire.ended() == code

    def test_a_length_that_never_ends(self, server: ServerProcess) -> None:
        with Wire(server.port) as wire:
            wire.open()
            wire.put_bytes(b"\xff" * 6)
            ends_with(wire, "malformed", 4002, "length")

    def test_raw_frames_of_another_version(self, server: ServerProcess) -> None:
        with Wire(server.port) as wire:
            wire.put_bytes(MAGIC[:-1] + b"\x07")
            ends_with(wire, "version", 4002, "version 7", "version 1")

    @pytest.mark.parametrize(
        ("request_head", "status", "word"),
        [
            (b"GET /v1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n", b"400", b"Connection"),
            (
                OLD_WEBSOCKET,
                b"426",
                b"13",
            ),
            (b"GET /v1 HTTP/1.1\r\nHost: x\r\nX: " + bytes([120]) * (64 << 10), b"431", b"longer than"),
            (b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"404", b"Not Found"),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), b"400", b"Invalid HTTP"),
        ],
        ids=["no upgrade", "old websocket", "endless head", "elsewhere", "tls"],
    )
    def test_requests_that_open_nothing_are_answered_in_http(
        self, server: ServerProcess, request_head: bytes, status: bytes, word: bytes
    ) -> None:
        with Wire(server.port) as wire:
            wire.put_bytes(request_head)
            answer = wire.everything()
            assert answer.startswith(b"HTTP/1.1 " + status), answer
            assert word in answer


class TestHello:
    """A connection that does not get as far as a session."""

    def test_another_frame_first(self, wire: Wire) -> None:
        wire.open()
        wire.put(ClientFrame(ping=Ping()))
        ends_with(wire, "hello_expected", 4002, "hello")

    def test_hello_twice(self, ann: Wire, server: ServerProcess) -> None:
        ann.put(ClientFrame(hello=Hello(protocol=1, token=server.token("ann"))))
        ends_with(ann, "hello_twice", 4002, "once")

    def test_hello_twice_at_once(self, wire: Wire, server: ServerProcess) -> None:
        wire.open()
        hello = ClientFrame(hello=Hello(protocol=1, token=server.token("ann")))
        wire.put(hello, hello)
        wire.welcome()
        ends_with(wire, "hello_twice", 4002)

    @pytest.mark.parametrize("protocol", [0, 2, 2**32 - 1])
    def test_another_version(self, wire: Wire, server: ServerProcess, protocol: int) -> None:
        wire.open()
        wire.put(ClientFrame(hello=Hello(protocol=protocol, token=server.token("ann"))))
        ends_with(wire, "version", 4002, f"protocol 1, not {protocol}")

    @staticmethod
    def forged(server: ServerProcess, **claims: object) -> str:
        """A token under the server's own secret, of whatever content."""
        key = LocalTokens.open(server.data)._key
        return jwt.encode({"alg": "HS256"}, {"sub": "ann", "exp": 2**40, **claims}, key)

    @pytest.mark.parametrize(
        ("make", "code", "word"),
        [
            (lambda server: "", "bad_token", "malformed"),
            (lambda server: "not a token", "bad_token", "malformed"),
            (lambda server: server.token("ann")[:-5] + "AAAAA", "bad_token", "another key"),
            (lambda server: LocalTokens(bytes(32)).issue("ann", 1, 3_600_000), "bad_token", "another key"),
            (
                lambda server: jwt.encode(
                    {"alg": "HS512"}, {"sub": "ann", "exp": 2**40}, LocalTokens.open(server.data)._key, ["HS512"]
                ),
                "bad_token",
                "another key",
            ),
            (
                lambda server: (
                    ".".join(
                        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
                        for part in ({"alg": "none"}, {"sub": "ann", "exp": 2**40})
                    )
                    + "."
                ),
                "bad_token",
                "another key",
            ),
            (lambda server: TestHello.forged(server, exp=EXPIRED_S), "token_expired", "expired"),
            (lambda server: TestHello.forged(server, exp=None), "bad_token", "exp"),
            (lambda server: TestHello.forged(server, sub="x" * 65), "bad_token", "64 bytes"),
            (lambda server: TestHello.forged(server, sub="a\nb"), "bad_token", "control characters"),
            (lambda server: TestHello.forged(server, dev=0), "bad_token", "1 to 65535"),
            (lambda server: TestHello.forged(server, dev=65_536), "bad_token", "1 to 65535"),
        ],
        ids=[
            "none",
            "junk",
            "changed",
            "foreign secret",
            "other algorithm",
            "no algorithm",
            "expired",
            "no end",
            "long name",
            "control character",
            "device 0",
            "device 65536",
        ],
    )
    def test_a_token_that_is_not_good(
        self, wire: Wire, server: ServerProcess, make: Callable[[ServerProcess], str], code: str, word: str
    ) -> None:
        wire.open()
        token = make(server)
        wire.put(ClientFrame(hello=Hello(protocol=1, token=token)))
        error = ends_with(wire, code, 4001, word)
        assert error.retry == Retry.RETRY_NEVER
        assert not token or token not in error.message

    def test_a_token_that_is_too_long(self, wire: Wire) -> None:
        wire.open()
        wire.put(ClientFrame(hello=Hello(protocol=1, token="x" * 8193)))
        ends_with(wire, "bad_field", 4002, "8192 bytes")


class TestFrames:
    """Frames that are well-formed and cannot be obeyed: the session goes on."""

    @pytest.mark.parametrize("payload", [b"", b"\xfa\x06\x03abc"], ids=["empty", "field 111"])
    def test_unknown_frames(self, ann: Wire, payload: bytes) -> None:
        if ann.carrier == "json":
            payload = b'{"dance":{"with":["me"]}}' if payload else b"{}"
        ann.put_payload(payload)
        goes_on_with(ann, "unknown_frame")

    def test_unknown_recipients(self, ann: Wire, server: ServerProcess) -> None:
        nobody = f"nobody of {ann.carrier}"
        id = ann.send(nobody)
        goes_on_with(ann, "unknown_user", f'no user "{nobody}"', id=id)
        ann.put(ClientFrame(send=Send(id=b"1", device=DeviceRef(user="bystander 1", device=77), body=b"x")))
        goes_on_with(ann, "unknown_user", "no device 77", id=b"1")
        ann.put(ClientFrame(devices_get=DevicesGet(user=nobody)))
        goes_on_with(ann, "unknown_user", f'no user "{nobody}"')
        id = ann.send(bytes(16))
        goes_on_with(ann, "unknown_conversation", id=id)
        server.token(nobody)
        ann.send(nobody)
        assert ann.accepted().seq == 1, "it exists from its first token on, and was not remembered as absent"

    @pytest.mark.parametrize(
        ("send", "code", "word"),
        [
            (Send(id=b"1", user="x" * 65), "bad_user", "64 bytes"),
            (Send(id=b"1", user="a\x07"), "bad_user", "control"),
            (Send(id=b"1", user=""), "bad_user", ""),
            (Send(id=b"1", conversation=b"short"), "bad_conversation", "16 bytes"),
            (Send(id=b"1", body=b"x"), "bad_field", "no user, conversation or device"),
            (Send(user="ann"), "bad_id", "32 bytes"),
            (Send(id=bytes(33), user="ann"), "bad_id", "32 bytes"),
            (Send(id=b"1", user="ann", media=[b"m"] * 17), "bad_field", "16"),
            (Send(id=b"1", user="ann", media=[bytes(65)]), "bad_field", "64"),
        ],
    )
    def test_sends_with_fields_that_cannot_be(self, ann: Wire, send: Send, code: str, word: str) -> None:
        ann.put(ClientFrame(send=send))
        error = ann.error()
        assert error.code == code, error
        assert word in error.message, error
        ann.pong()

    def test_bodies_at_the_limit_and_above(self, ann: Wire, server: ServerProcess) -> None:
        id = ann.send("ann", bytes(BODY + 1))
        goes_on_with(ann, "body_too_large", str(BODY + 1), str(BODY), id=id)
        user = f"reader of {ann.carrier}"
        with Wire(server.port, ann.carrier) as reader:
            reader.join(server.token(user))
            refused = ann.send(user, bytes(BODY + 1))
            goes_on_with(ann, "body_too_large", id=refused)
            ann.send(user, bytes(range(256)) * (BODY // 256))
            assert ann.accepted().seq == 1, "what is refused takes no number (I2)"
            assert reader.message().body == bytes(range(256)) * (BODY // 256)

    def test_acks_beyond_the_head_and_in_foreign_conversations_change_nothing(
        self, ann: Wire, server: ServerProcess
    ) -> None:
        """I8."""
        user = f"acker of {ann.carrier}"
        at, foreign = direct_conversation("ann", user), direct_conversation("bystander 1", "bystander 2")
        with Wire(server.port, ann.carrier) as bob:
            bob.join(server.token(user))
            ann.send(user)
            assert ann.accepted().seq == 1
            assert bob.message().seq == 1
            bob.ack(at, 2)
            assert goes_on_with(bob, "ack_beyond_head").conversation == at
            bob.read(at, 1)
            assert goes_on_with(bob, "ack_beyond_head", "Read").conversation == at
            told = set()
            for conversation in (foreign, bytes(16)):
                bob.ack(conversation, 1)
                told.add(goes_on_with(bob, "unknown_conversation").message)
                bob.read(conversation, 1)
                told.add(goes_on_with(bob, "unknown_conversation").message)
                id = bob.send(conversation)
                told.add(goes_on_with(bob, "unknown_conversation", id=id).message)
            assert len(told) == 1, "one cannot tell which conversations there are"
            bob.close()
        with Wire(server.port, ann.carrier) as bob:
            assert bob.join(server.token(user)).pending.messages == 1
            assert bob.message().seq == 1
            bob.ack(at, 1)
            ann.delivered(at, 1, user)

    def test_repeated_ids_are_one_message_and_reused_ones_are_refused(self, wire: Wire, server: ServerProcess) -> None:
        """I4."""
        sender, reader, other = (f"{name} {wire.carrier}" for name in ("repeater", "of repeats", "of others"))
        server.token(other)
        wire.join(server.token(sender))
        with Wire(server.port) as bob:
            bob.join(server.token(reader))
            answers = []
            for body in (b"first", b"again"):
                wire.send(reader, body, id=b"once")
                answers.append(wire.accepted())
            with Wire(server.port, wire.carrier) as second:
                second.join(server.token(sender), receive=False)
                second.send(reader, b"from elsewhere", id=b"once")
                answers.append(second.accepted())
            assert answers[0] == answers[1] == answers[2]
            wire.send(other, b"x", id=b"once")
            goes_on_with(wire, "id_reused", id=b"once")
            wire.send(reader, b"second", id=b"another")
            assert wire.accepted().seq == 2
            assert [bob.message().body, bob.message().body] == [b"first", b"second"]


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that waits less long for a hello."""
    server = ServerProcess(tmp_path_factory.mktemp("hasty"), '[limits]\nhello = "300ms"\n')
    server.start()
    yield server
    assert server.stop() == 0


class TestTimes:
    """What ends by itself."""

    @pytest.mark.parametrize("carrier", CARRIERS)
    def test_never_a_hello(self, hasty: ServerProcess, carrier: Carrier) -> None:
        with Wire(hasty.port, carrier) as wire:
            wire.open()
            # What the client's first frame tells, JSON or not, is not known: it is told in protobuf.
            wire.carrier = "ws" if carrier == "json" else carrier
            error = ends_with(wire, "hello_timeout", 4002, "hello")
            assert error.retry == Retry.RETRY_RECONNECT

    @pytest.mark.parametrize("said", [b"", b"PYR", b"GET /v1 HT", b"GET /v1 HTTP/1.1\r\nHost: x\r\n"])
    def test_never_a_carrier(self, hasty: ServerProcess, said: bytes) -> None:
        with Wire(hasty.port) as wire:
            wire.put_bytes(said)
            assert wire.everything() == b""

    def test_half_a_hello(self, hasty: ServerProcess) -> None:
        with Wire(hasty.port) as wire:
            wire.open()
            wire.put_bytes(varint(20) + b"\x0a\x12\x08")
            ends_with(wire, "hello_timeout", 4002)

    def test_a_token_that_ends_in_the_middle_of_a_session(self, wire: Wire, server: ServerProcess) -> None:
        server.token("mayfly")
        token = LocalTokens.open(server.data).issue("mayfly", 1, 2000)
        wire.join(token)
        ends_with(wire, "token_expired", 4001, "expired")
