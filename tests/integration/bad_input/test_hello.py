"""Connections that do not get as far as a session, or not as far as its end."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator

import pytest
from joserfc import jwt

from pyrouter.auth import LocalTokens
from pyrouter.wire import ClientFrame, Hello, Ping, Retry
from tests.integration.bad_input.expect import ends_with
from tests.server_process import ServerProcess
from tests.wire_client import CARRIERS, Carrier, Wire, varint

pytestmark = pytest.mark.slow  # together, and the loop of this process is not theirs

EXPIRED_S = 1_000_000_000  # a moment in 2001


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
            if carrier == "raw":
                error = ends_with(wire, "hello_timeout", 4002, "hello")
                assert error.retry == Retry.RETRY_RECONNECT
            else:  # protobuf or JSON: the first frame would have told
                assert (wire.ended(), wire.close_reason) == (4002, "hello_timeout")

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
