"""Bytes that are no frame of their carrier, or no carrier."""

from __future__ import annotations

import pytest

from pyrouter.wire import ClientFrame, Ping
from tests.integration.bad_input.expect import ends_with, goes_on_with
from tests.server_process import ServerProcess
from tests.wire_client import MAGIC, Carrier, Wire, varint, websocket_frame

pytestmark = pytest.mark.slow  # together, and the loop of this process is not theirs

FRAME = 256 << 10  # the largest that a server takes which was not told another limit
TEXT, BINARY, CONTINUATION = 1, 2, 0
OLD_WEBSOCKET = (
    b"GET /v1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


@pytest.mark.parametrize("joined", [False, True], ids=["before hello", "in a session"])
def test_a_frame_that_is_none(wire: Wire, server: ServerProcess, joined: bool) -> None:
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
def test_json_that_is_no_frame(server: ServerProcess, payload: bytes, word: str) -> None:
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
def test_json_with_values_that_cannot_be(server: ServerProcess, payload: bytes, words: tuple[str, ...]) -> None:
    with Wire(server.port, "json") as wire:
        wire.join(server.token("ann"))
        wire.put_payload(payload)
        goes_on_with(wire, "bad_field", *words)


def test_a_frame_above_the_limit_is_refused_before_it_has_come(server: ServerProcess) -> None:
    with Wire(server.port) as wire:
        wire.join(server.token("ann"))
        wire.put_bytes(varint(FRAME + 1))
        ends_with(wire, "too_large", 1009, str(FRAME + 1), str(FRAME))


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_above_the_limit_is_refused_before_it_has_come(server: ServerProcess, opcode: int) -> None:
    with Wire(server.port, "json" if opcode == TEXT else "ws") as wire:
        wire.join(server.token("ann"))
        wire.put_bytes(bytes([0x80 | opcode, 0xFF]) + (FRAME + 1).to_bytes(8, "big") + bytes(4))
        ends_with(wire, "too_large", 1009, str(FRAME + 1), str(FRAME))
        assert wire.close_reason == "too_large"


def test_fragments_that_amount_to_too_much(server: ServerProcess) -> None:
    with Wire(server.port, "ws") as wire:
        wire.join(server.token("ann"))
        wire.put_bytes(websocket_frame(BINARY, bytes(FRAME // 2), first=0))
        wire.put_bytes(websocket_frame(CONTINUATION, bytes(FRAME // 2), first=0))
        wire.put_bytes(websocket_frame(CONTINUATION, b"x"))
        ends_with(wire, "too_large", 1009, str(FRAME + 1), str(FRAME))


def ping_of(carrier: Carrier, size: int) -> bytes:
    """A ping with blanks, or with a field that nobody knows, of so many bytes."""
    if carrier == "json":
        return b'{"ping":{"nonce":7}}'.ljust(size)
    ping = ClientFrame(ping=Ping(nonce=7)).SerializeToString()
    rest = size - len(ping) - 5  # what is left beside a field's number (2 bytes) and length (3 bytes)
    return ping + varint(99 << 3 | 2) + varint(rest) + bytes(rest)


@pytest.mark.parametrize("size", [FRAME - 1, FRAME])
def test_a_frame_at_the_limit_or_below_is_read(ann: Wire, size: int) -> None:
    ann.put_payload(ping_of(ann.carrier, size))
    assert ann.next().pong.nonce == 7


@pytest.mark.parametrize("size", [FRAME + 1, 4 * FRAME])
def test_a_whole_frame_above_the_limit_is_refused_with_an_error_that_arrives(ann: Wire, size: int) -> None:
    """What is on its way when the connection is closed must not take the error with it."""
    ann.put_payload(ping_of(ann.carrier, size))
    ends_with(ann, "too_large", 1009, str(size), str(FRAME))


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
def test_a_websocket_that_breaks_its_rules(server: ServerProcess, data: bytes, code: int) -> None:
    with Wire(server.port, "ws") as wire:
        wire.join(server.token("ann"))
        wire.put_bytes(data)
        assert wire.ended() == code


def test_a_length_that_never_ends(server: ServerProcess) -> None:
    with Wire(server.port) as wire:
        wire.open()
        wire.put_bytes(b"\xff" * 6)
        ends_with(wire, "malformed", 4002, "length")


def test_raw_frames_of_another_version(server: ServerProcess) -> None:
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
    server: ServerProcess, request_head: bytes, status: bytes, word: bytes
) -> None:
    with Wire(server.port) as wire:
        wire.put_bytes(request_head)
        answer = wire.everything()
        assert answer.startswith(b"HTTP/1.1 " + status), answer
        assert word in answer
