"""Connections: what carries frames to a server and back. `ws://`, `wss://`, `tcp://`; the only sockets of the client.

A carrier knows framing and nothing of what a frame means. It calls its `Sink` from the event loop, with all frames that
one read brought; no task of its own, no queue of its own.
"""

from __future__ import annotations

import asyncio
import ssl as tls
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, cast
from urllib.parse import urlsplit

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from pyrouter.client.errors import BadUrl, NotConnected
from pyrouter.client.framing import MAGIC, FrameTooLarge, Unframer, frame

__all__ = ["MAX_FRAME_BYTES", "Carrier", "Connect", "Sink", "connector"]

MAX_FRAME_BYTES = 16 << 20  # longest frame that is taken from a server; above any limit of ours
CONNECT_WITHIN_S = 10.0
CLOSE_WITHIN_S = 2.0  # for the peer to take what was written and close
SUBPROTOCOL = Subprotocol("pyrouter.v1")
DEFAULT_PORT = 7400
WS_PATH = "/v1"


class Sink(Protocol):
    """Who gets what a carrier brings."""

    def frames(self, payloads: Sequence[bytes]) -> None:
        """Takes frames, in order."""

    def writable(self, on: bool) -> None:
        """Learns whether the carrier takes more without buffering it."""

    def lost(self, reason: str) -> None:
        """Learns that the connection ended; the last call, once."""


class Carrier(Protocol):
    """One connection."""

    def write(self, payloads: Sequence[bytes]) -> None:
        """Sends frames, in order."""

    def close(self) -> None:
        """Sends what was written, then ends the connection."""

    def abort(self) -> None:
        """Ends the connection now."""


# Makes a connection; NotConnected: could not.
Connect = Callable[[Sink], Awaitable[Carrier]]


def connector(url: str, ssl: tls.SSLContext | None = None) -> Connect:
    """How to connect to `url`.

    Args:
        url: `ws://HOST:PORT[/PATH]`, `wss://…`, or `tcp://HOST:PORT`.
        ssl: for `wss://`, instead of the system's defaults.

    Raises:
        BadUrl: it is none of these.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise BadUrl(f"{url!r} is not an address of a server: {error}") from None
    if parts.scheme not in ("ws", "wss", "tcp") or not host:
        raise BadUrl(f"{url!r} is not an address of a server: give ws://HOST:PORT, wss://HOST:PORT or tcp://HOST:PORT")
    if parts.scheme == "tcp":
        if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
            raise BadUrl(f"{url!r} has more than a host and a port: give tcp://HOST:PORT")
        return lambda sink: _connect(_RawCarrier(sink), host, port or DEFAULT_PORT, None)
    secure = parts.scheme == "wss"
    if parts.path in ("", "/"):
        parts = parts._replace(path=WS_PATH)
    if not secure and port is None:
        parts = parts._replace(netloc=f"{parts.netloc}:{DEFAULT_PORT}")
    full_url = parts._replace(fragment="").geturl()
    context = (ssl or tls.create_default_context()) if secure else None

    async def connect(sink: Sink) -> Carrier:
        uri = parse_uri(full_url)
        return await _connect(_WebSocketCarrier(sink, full_url), uri.host, uri.port, context)

    return connect


async def _connect(carrier: _Carrier, host: str, port: int, ssl: tls.SSLContext | None) -> Carrier:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_WITHIN_S):
            await loop.create_connection(lambda: carrier, host, port, ssl=ssl)
            await carrier.opened
    except TimeoutError:
        carrier.abort()
        raise NotConnected(f"{host}:{port} did not answer within {CONNECT_WITHIN_S:g} s") from None
    except NotConnected:
        carrier.abort()
        raise
    except ConnectionRefusedError:
        raise NotConnected(f"{host}:{port} refused the connection: no server is listening there") from None
    except OSError as error:
        carrier.abort()
        raise NotConnected(f"cannot connect to {host}:{port}: {error.strerror or error}") from None
    except asyncio.CancelledError:
        carrier.abort()
        raise
    return carrier


class _Carrier(asyncio.Protocol, ABC):
    """What both have in common."""

    def __init__(self, sink: Sink) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sink = sink
        self._transport: asyncio.Transport | None = None
        self._reason = "the server closed the connection"
        self._give_up: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not derive from it

    def connection_lost(self, exc: Exception | None) -> None:
        if self._give_up is not None:
            self._give_up.cancel()
        if exc is not None:
            self._reason = str(exc)
        if not self.opened.done():
            self.opened.set_exception(NotConnected(self._reason))
        elif not self.opened.cancelled() and self.opened.exception() is None:
            self._sink.lost(self._reason)

    def pause_writing(self) -> None:
        self._sink.writable(False)

    def resume_writing(self) -> None:
        self._sink.writable(True)

    def close(self) -> None:
        """As `Carrier.close`."""
        if self._transport is not None:
            self._transport.close()
            self._abort_soon()

    def abort(self) -> None:
        """As `Carrier.abort`."""
        if self._transport is not None:
            self._transport.abort()
        if not self.opened.done():
            self.opened.cancel()

    @abstractmethod
    def write(self, payloads: Sequence[bytes]) -> None:
        """As `Carrier.write`."""

    def _send(self, data: bytes) -> None:
        # Between the end of a transport and the word of it, uvloop raises at a write.
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _abort_soon(self) -> None:
        if self._give_up is None and self._transport is not None:
            self._give_up = asyncio.get_running_loop().call_later(CLOSE_WITHIN_S, self._transport.abort)

    def _fail(self, reason: str) -> None:
        self._reason = reason
        if self._transport is not None:
            self._transport.abort()


class _RawCarrier(_Carrier):
    """`tcp://`: the magic, then length-delimited frames."""

    def __init__(self, sink: Sink) -> None:
        super().__init__(sink)
        self._unframer = Unframer(MAX_FRAME_BYTES)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self._transport is not None
        self._transport.write(MAGIC)
        if not self.opened.done():
            self.opened.set_result(None)

    def data_received(self, data: bytes) -> None:
        try:
            payloads = self._unframer.feed(data)
        except FrameTooLarge as error:
            self._fail(str(error))
            return
        if payloads:
            self._sink.frames(payloads)

    def write(self, payloads: Sequence[bytes]) -> None:
        """As `Carrier.write`."""
        self._send(frame(payloads))


class _WebSocketCarrier(_Carrier):
    """`ws://` and `wss://`: a binary message each. RFC 6455 is the `websockets` library's, driven without its tasks."""

    def __init__(self, sink: Sink, url: str) -> None:
        super().__init__(sink)
        self._ws = ClientProtocol(parse_uri(url), subprotocols=[SUBPROTOCOL], max_size=MAX_FRAME_BYTES)
        self._fragments: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._ws.send_request(self._ws.connect())
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._ws.receive_data(data)
        self._after_input()

    def eof_received(self) -> None:
        self._ws.receive_eof()
        self._after_input()

    def write(self, payloads: Sequence[bytes]) -> None:
        """As `Carrier.write`."""
        if self._ws.state is not State.OPEN:
            return  # closing; who is not told a frame arrived sends it again
        for payload in payloads:
            self._ws.send_binary(payload)
        self._flush()

    def close(self) -> None:
        """As `Carrier.close`."""
        if self._ws.state is State.OPEN:
            self._ws.send_close(1000)
            self._flush()
            self._abort_soon()
        else:
            super().close()

    def _after_input(self) -> None:
        payloads: list[bytes] = []
        for event in self._ws.events_received():
            if isinstance(event, Frame):
                self._on_frame(event, payloads)
            elif isinstance(event, Response) and not self.opened.done():
                if (problem := self._ws.handshake_exc) is None:
                    self.opened.set_result(None)
                else:
                    self.opened.set_exception(NotConnected(_why(problem)))
        self._flush()
        if payloads:
            self._sink.frames(payloads)

    def _on_frame(self, frame: Frame, payloads: list[bytes]) -> None:
        match frame.opcode:
            case Opcode.BINARY | Opcode.TEXT | Opcode.CONT:
                if frame.fin and not self._fragments:
                    payloads.append(bytes(frame.data))
                    return
                self._fragments.append(bytes(frame.data))
                if frame.fin:
                    payloads.append(b"".join(self._fragments))
                    self._fragments.clear()
            case Opcode.CLOSE:
                close = self._ws.close_rcvd
                if close is not None and close.reason:
                    self._reason += f": {close.reason}"
            case _:
                pass  # the library answers pings itself

    def _flush(self) -> None:
        output = self._ws.data_to_send()
        if data := b"".join(output):
            self._send(data)
        if output and not output[-1] and self._transport is not None:  # the library's word for the end of our output
            self._transport.close()
        if self._ws.close_expected():
            self._abort_soon()


def _why(problem: Exception) -> str:
    if isinstance(problem, InvalidStatus):
        body = bytes(problem.response.body or b"").decode(errors="replace").strip()
        status = f"{problem.response.status_code} {problem.response.reason_phrase}"
        return f"the server does not speak WebSocket here: {status}{': ' + body[:200] if body else ''}"
    return f"the server does not speak WebSocket here: {problem}"
