"""What is neither raw frames nor a WebSocket: plain HTTP, on the same port and the same loop.

`application` is an ASGI application (health, readiness, metrics, one page); an embedder can mount it anywhere.
`HttpHandoff` takes a socket over from the core: it gives it uvicorn's protocol and what was already read.

uvicorn's protocol class is internal to uvicorn: pyproject.toml pins its minor version, tests/unit/test_http.py holds us
to what we use. It bounds neither the head of a request nor the time for it, so that is done here (I6).
"""

from __future__ import annotations

import asyncio
import html
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from pyrouter.metrics import CONTENT_TYPE, Measured, exposition

__all__ = ["HttpHandoff", "Status", "application"]

HEAD_BYTES = 16 << 10  # longest request line and headers together
HEAD_S = 10.0  # longest time for them
KEEP_ALIVE_S = 15
CONCURRENT = 1024  # connections; above it: 503

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>pyrouter</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem}}
code{{background:#8882;padding:.1em .3em;border-radius:.2em}}</style>
<h1>pyrouter {version}</h1>
<p>This is a message router. It stores each message durably, pushes it at once to whoever is connected, keeps it until
the recipient has it, and then forgets it.</p>
<p>Clients connect here with a WebSocket at <code>/v1</code> or with raw TCP frames, and a token:</p>
<pre><code>pyrouter token alice
pyrouter listen --server ws://{host} --token TOKEN</code></pre>
<p>For operators: <a href="healthz">healthz</a> · <a href="readyz">readyz</a> · <a href="metrics">metrics</a></p>
</html>
"""


class Status(Measured, Protocol):
    """What the pages need to know of a router."""

    @property
    def failure(self) -> str | None:
        """Why the router refuses everything, if it does."""

    @property
    def unready(self) -> str | None:
        """Why no new client should be sent here now, if so: failed, stopping, or out of something."""


def application(status: Status) -> Starlette:
    """The ASGI application: `/healthz`, `/readyz`, `/metrics` and `/`.

    `/healthz` is 200 while the router works and 503 once it has failed (restart it then); `/readyz` is 200 while new
    clients are welcome. Both say why not in one line.
    """

    def one_line(reason: str | None) -> Response:
        return PlainTextResponse(f"{reason or 'ok'}\n", 503 if reason else 200, {"cache-control": "no-store"})

    async def healthz(_: Request) -> Response:
        return one_line(status.failure)

    async def readyz(_: Request) -> Response:
        return one_line(status.unready)

    async def metrics(_: Request) -> Response:
        return Response(exposition(status), headers={"content-type": CONTENT_TYPE})

    async def page(request: Request) -> Response:
        host = html.escape(request.headers.get("host", "127.0.0.1:7400"))
        return HTMLResponse(_PAGE.format(version=html.escape(status.info["version"]), host=host))

    routes = {"/healthz": healthz, "/readyz": readyz, "/metrics": metrics, "/": page}
    return Starlette(routes=[Route(path, endpoint) for path, endpoint in routes.items()])


class HttpHandoff:
    """Gives sockets whose first bytes are HTTP to an ASGI application. Callable as a driver's `on_http`."""

    def __init__(self, app: ASGIApp) -> None:
        self._config = Config(
            app,
            http=_BoundedHttp,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            limit_concurrency=CONCURRENT,
            server_header=False,
        )
        self._config.load()
        self._state = ServerState()
        self._state.default_headers = self._config.encoded_headers

    @property
    def connections(self) -> int:
        """Sockets that are HTTP's now."""
        return len(self._state.connections)

    def __call__(self, transport: asyncio.Transport, prefix: bytes) -> None:
        """Takes `transport` over; `prefix` is everything that was read from it."""
        protocol = _BoundedHttp(self._config, self._state, {})
        # A transport reads for a buffered protocol in another way: it has to begin anew to notice the change.
        transport.pause_reading()
        transport.set_write_buffer_limits()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        transport.resume_reading()
        protocol.data_received(prefix)

    async def close(self) -> None:
        """Lets requests that are being answered finish, and closes the rest."""
        for protocol in list(self._state.connections):
            protocol.shutdown()
        if self._state.tasks:
            await asyncio.wait(set(self._state.tasks), timeout=HEAD_S)
        for protocol in list(self._state.connections):
            protocol.transport.abort()


class _BoundedHttp(HttpToolsProtocol):
    """uvicorn's protocol with a bound on the size of a request's head and on the time for it."""

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any]) -> None:
        super().__init__(config, server_state, app_state)
        self._head_bytes: int | None = 0  # of the head that is arriving; None between a head's end and the next begin
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_done()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feeds the parser in pieces, so that a head cannot grow past its bound between two looks."""
        for start in range(0, len(data), HEAD_BYTES):
            if self.transport.is_closing():
                return
            piece = data[start : start + HEAD_BYTES]
            if self._head_bytes is not None:
                self._head_bytes += len(piece)
                if self._head_bytes > 2 * HEAD_BYTES:
                    self._too_large()
                    return
            super().data_received(piece)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._head_bytes is None:
            self._expect_head()

    def on_headers_complete(self) -> None:
        self._head_done()
        super().on_headers_complete()

    def _expect_head(self) -> None:
        self._head_bytes = 0
        self._deadline = self.loop.call_later(HEAD_S, self.transport.close)

    def _head_done(self) -> None:
        self._head_bytes = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_large(self) -> None:
        body = b"The head of the request is too large.\n"
        self.transport.write(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-type: text/plain\r\n"
            b"content-length: %d\r\n\r\n%s" % (len(body), body)
        )
        self.transport.close()
