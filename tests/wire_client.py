"""A client for tests: one blocking socket over any carrier, with every byte in the test's hand.

It keeps no rules of the protocol (a test is to break them), answers no pings and acknowledges nothing by itself but
that it saw `accepted`. What it waits for has a deadline, so a test never sleeps and never hangs.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from typing import Literal, Self

from google.protobuf import json_format

from pyrouter.client.ids import direct_conversation
from pyrouter.wire import (
    Accepted,
    Ack,
    ClientFrame,
    Error,
    Hello,
    Message,
    Ping,
    Read,
    Receipt,
    Send,
    Seqs,
    ServerFrame,
    Skip,
    Welcome,
)

__all__ = ["CARRIERS", "MAGIC", "Carrier", "Wire", "direct_conversation", "varint", "websocket_frame"]

Carrier = Literal["raw", "ws", "json"]
CARRIERS: tuple[Carrier, ...] = ("raw", "ws", "json")
MAGIC = b"PYRT\x01"
DEADLINE_S = 30.0
READ_BYTES = 1 << 18
ACCEPTED_PER_ACK = 64

_TEXT, _BINARY, _CLOSE = 1, 2, 8
_HANDSHAKE = (
    b"GET /v1 HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


class Wire:
    """One connection.

    Args:
        port: of a server on this machine.
        carrier: how frames are framed.
        receive_bytes: of the socket's receive buffer, for a reader that stalls soon.
    """

    def __init__(self, port: int, carrier: Carrier = "raw", *, receive_bytes: int | None = None) -> None:
        self.carrier = carrier
        # What was passed over: the latest receipt of each user, and what some user will never have.
        self.receipts: dict[tuple[bytes, str], Receipt] = {}
        self.withheld: list[Skip] = []
        self.version = b""  # the last receipt version
        self.unconfirmed: list[Accepted] = []
        self.close_reason = ""  # of a WebSocket, once it is closed
        self._frames: deque[ServerFrame] = deque()
        self._buffer = bytearray()
        self._close_code: int | None = None
        self._socket = socket.socket()
        if receive_bytes is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self._socket.settimeout(DEADLINE_S)
        self._socket.connect(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def patience(self, seconds: float) -> None:
        """How long a call may take before it raises `TimeoutError`."""
        self._socket.settimeout(seconds)

    def close(self) -> None:
        """Closes the socket without ceremony."""
        self._socket.close()

    # Opening.

    def open(self) -> Self:
        """Everything before the first frame."""
        if self.carrier == "raw":
            self.put_bytes(MAGIC)
        else:
            self.put_bytes(_HANDSHAKE)
            while b"\r\n\r\n" not in self._buffer:
                self._read()
            head, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101"), head
            self._buffer = bytearray(rest)
        return self

    def join(self, token: str, *, receive: bool = True) -> Welcome:
        """The opening, hello and welcome."""
        self.open()
        self.put(ClientFrame(hello=Hello(protocol=1, token=token, receive=receive)))
        return self.welcome()

    # Writing.

    def put_bytes(self, data: bytes) -> None:
        """These bytes, as they are."""
        self._socket.sendall(data)

    def put_payload(self, payload: bytes) -> None:
        """One frame of whatever bytes."""
        self.put_bytes(self._framed(payload))

    def put(self, *frames: ClientFrame) -> None:
        """Frames, all in one write."""
        encode = _json if self.carrier == "json" else ClientFrame.SerializeToString
        self.put_bytes(b"".join(self._framed(encode(frame)) for frame in frames))

    def _framed(self, payload: bytes) -> bytes:
        if self.carrier == "raw":
            return varint(len(payload)) + payload
        return websocket_frame(_TEXT if self.carrier == "json" else _BINARY, payload)

    def send(self, to: str | bytes, body: bytes = b"x", *, id: bytes | None = None) -> bytes:
        """A send to a user or a conversation; its id."""
        id = os.urandom(8) if id is None else id
        target = Send(user=to) if isinstance(to, str) else Send(conversation=to)
        target.id, target.body = id, body
        self.put(ClientFrame(send=target))
        return id

    def ack(self, conversation: bytes, seq: int) -> None:
        """This device has everything up to `seq`."""
        self.put(ClientFrame(ack=Ack(conversation=conversation, seq=seq)))

    def read(self, conversation: bytes, seq: int) -> None:
        """The user has read up to `seq`."""
        self.put(ClientFrame(read=Read(conversation=conversation, seq=seq)))

    # Reading.

    def next(self) -> ServerFrame:
        """The next frame that is not the server's ping."""
        while not self._frames:
            assert self._close_code is None, f"closed with {self._close_code} instead of a frame"
            self._read()
            self._parse()
        return self._frames.popleft()

    def welcome(self) -> Welcome:
        """The next frame, a welcome."""
        return self._expect("welcome").welcome

    def accepted(self, *, confirm: bool = True) -> Accepted:
        """The next frame apart from receipts, an accepted; the server is told now and then that they were seen."""
        accepted = self._expect("accepted").accepted
        self.unconfirmed.append(accepted)
        if confirm and len(self.unconfirmed) >= ACCEPTED_PER_ACK:
            self.confirm()
        return accepted

    def confirm(self) -> None:
        """The `accepted` of these messages were seen."""
        messages = [Seqs(conversation=accepted.conversation, seqs=[accepted.seq]) for accepted in self.unconfirmed]
        self.unconfirmed.clear()
        self.put(ClientFrame(ack=Ack(accepted=messages)))

    def message(self) -> Message:
        """The next frame apart from receipts, a message."""
        return self._expect("message").message

    def skip(self) -> Skip:
        """The next frame apart from receipts, a skip of what was for this device."""
        return self._expect("skip").skip

    def error(self) -> Error:
        """The next frame apart from receipts, an error."""
        return self._expect("error").error

    def pong(self) -> None:
        """A ping and its answer: everything sent before is dealt with."""
        self.put(ClientFrame(ping=Ping(nonce=1)))
        self._expect("pong")

    def delivered(self, conversation: bytes, seq: int, to: str) -> None:
        """Waits for the receipt which says that a device of `to` has everything up to `seq`."""
        while (known := self.receipts.get((conversation, to))) is None or known.delivered < seq:
            frame = self.next()
            assert self.keep(frame), frame

    def ack_receipts(self) -> None:
        """This device keeps all receipts that it got; waits until the server has heard it."""
        self.put(ClientFrame(ack=Ack(receipts=self.version)))
        self.pong()

    def ended(self) -> int | None:
        """Reads to the end of the connection, with no more frames. The close code of a WebSocket."""
        while self._read_some():
            self._parse()
        assert not self._frames, list(self._frames)
        return self._close_code

    def everything(self) -> bytes:
        """All bytes to the end of the connection, as they are."""
        while self._read_some():
            pass
        return bytes(self._buffer)

    def _expect(self, kind: str) -> ServerFrame:
        while True:
            frame = self.next()
            if self.keep(frame):
                continue
            assert frame.WhichOneof("frame") == kind, frame
            return frame

    def keep(self, frame: ServerFrame) -> bool:
        """Keeps a frame that is about the cursors of others; whether it is one."""
        if frame.HasField("receipt"):
            self.receipts[frame.receipt.conversation, frame.receipt.user] = frame.receipt
            self.version = frame.receipt.version or self.version
            return True
        if frame.HasField("skip") and frame.skip.user:
            self.withheld.append(frame.skip)
            self.version = frame.skip.version or self.version
            return True
        if frame.HasField("receipts") and not frame.receipts.conversation:
            self.version = frame.receipts.version
            return True
        return False

    def _read(self) -> None:
        assert self._read_some(), f"the server closed the connection; unread: {bytes(self._buffer)!r}"

    def _read_some(self) -> bool:
        data = self._socket.recv(READ_BYTES)
        self._buffer += data
        return bool(data)

    def _parse(self) -> None:
        """Takes whole frames out of the buffer."""
        buffer, at = bytes(self._buffer), 0
        while (found := (_raw_frame if self.carrier == "raw" else _websocket_frame)(buffer, at)) is not None:
            opcode, start, at = found
            payload = buffer[start:at]
            if opcode == _CLOSE:
                self._close_code, self.close_reason = int.from_bytes(payload[:2], "big"), payload[2:].decode()
                self.put_bytes(websocket_frame(_CLOSE, payload[:2]))
            elif opcode in (_TEXT, _BINARY):
                assert opcode == (_TEXT if self.carrier == "json" else _BINARY)
                frame = _from_json(payload) if opcode == _TEXT else ServerFrame.FromString(payload)
                if frame.WhichOneof("frame") != "ping":
                    self._frames.append(frame)
        del self._buffer[:at]


def varint(value: int) -> bytes:
    """A raw frame's length."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def websocket_frame(opcode: int, payload: bytes, *, first: int = 0x80, masked: bool = True) -> bytes:
    """A client's frame. Its mask is zeros, so that its payload stands as it is.

    Args:
        opcode: of RFC 6455, 5.2.
        payload: at most 64 KiB or so.
        first: the bits beside the opcode: final, and three reserved ones.
        masked: as a client must.
    """
    mask_bit = 0x80 if masked else 0
    if len(payload) < 126:
        length = bytes([mask_bit | len(payload)])
    elif len(payload) < 1 << 16:
        length = bytes([mask_bit | 126]) + len(payload).to_bytes(2, "big")
    else:
        length = bytes([mask_bit | 127]) + len(payload).to_bytes(8, "big")
    return bytes([first | opcode]) + length + (bytes(4) if masked else b"") + payload


def _raw_frame(buffer: bytes, at: int) -> tuple[int, int, int] | None:
    """Opcode, start and end of the frame at `at`, if it is whole."""
    length = shift = 0
    while at < len(buffer):
        byte = buffer[at]
        at += 1
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return (_BINARY, at, at + length) if at + length <= len(buffer) else None
    return None


def _websocket_frame(buffer: bytes, at: int) -> tuple[int, int, int] | None:
    """The same for a server's WebSocket frame, which is not masked and not fragmented."""
    if len(buffer) < at + 2:
        return None
    first, length = buffer[at], buffer[at + 1]
    assert first & 0xF0 == 0x80
    start = at + 2
    if length >= 126:
        size = 2 if length == 126 else 8
        if len(buffer) < start + size:
            return None
        length = int.from_bytes(buffer[start : start + size], "big")
        start += size
    end = start + length
    return (first & 0x0F, start, end) if end <= len(buffer) else None


def _json(frame: ClientFrame) -> bytes:
    return json_format.MessageToJson(frame, indent=None).encode()


def _from_json(payload: bytes) -> ServerFrame:
    return json_format.Parse(payload, ServerFrame())
