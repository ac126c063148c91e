"""A third way to connect: JSON in text WebSocket messages, by the mapping of the protobuf library."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from google.protobuf import json_format
from websockets.protocol import State

from pyrouter.client.carriers import Carrier, Connect, Sink, _connect, _WebSocketCarrier
from pyrouter.wire import wire_pb2 as wire


class _JsonCarrier(_WebSocketCarrier):
    def write(self, payloads: Sequence[bytes]) -> None:
        if self._ws.state is not State.OPEN:
            return
        for payload in payloads:
            self._ws.send_text(json_format.MessageToJson(wire.ClientFrame.FromString(payload), indent=None).encode())
        self._flush()


class _Protobuf:
    """The sink that the client gave, with JSON turned into protobuf on the way."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.writable = sink.writable
        self.lost = sink.lost

    def frames(self, payloads: Sequence[bytes]) -> None:
        self._sink.frames([json_format.Parse(text, wire.ServerFrame()).SerializeToString() for text in payloads])


def connector(url: str) -> Connect:
    """As `pyrouter.client.carriers.connector`, for `ws://HOST:PORT`."""
    parts = urlsplit(url)

    async def connect(sink: Sink) -> Carrier:
        carrier = _JsonCarrier(_Protobuf(sink), f"{url}/v1")
        return await _connect(carrier, parts.hostname or "", parts.port or 0, None)

    return connect
