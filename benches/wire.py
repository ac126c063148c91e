"""A blocking raw connection, for what a row has to set up before it measures: groups, single messages.

It answers no pings and keeps no rules; docs/wire.md has those.
"""

from __future__ import annotations

import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from pyrouter.client.framing import frame
from pyrouter.wire import wire_pb2 as wire

MAGIC = b"PYRT\x01"
PATIENCE_S = 60.0


class Line:
    """One connection, identified."""

    def __init__(self, port: int, token: str, *, receive: bool = False) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self._file = self._socket.makefile("rb")
        self._socket.sendall(MAGIC)
        self.put(wire.ClientFrame(hello=wire.Hello(protocol=1, token=token, receive=receive)))
        self.expect("welcome")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._socket.close()

    def put(self, *frames: wire.ClientFrame) -> None:
        """Writes these frames, in one write."""
        self._socket.sendall(frame([each.SerializeToString() for each in frames]))

    def expect(self, kind: str) -> wire.ServerFrame:
        """The next frame of this kind; others are passed over, an error ends it.

        Raises:
            RuntimeError: the server said an error, or closed the connection.
        """
        while True:
            found = self._next()
            if found.WhichOneof("frame") == kind:
                return found
            if found.HasField("error"):
                raise RuntimeError(f"the server says {found.error.code}: {found.error.message}")

    def _next(self) -> wire.ServerFrame:
        length = shift = 0
        while True:
            byte = self._file.read(1)
            if not byte:
                raise RuntimeError("the server closed the connection")
            length |= (byte[0] & 0x7F) << shift
            shift += 7
            if byte[0] < 0x80:
                return wire.ServerFrame.FromString(self._file.read(length))


def read_users(path: Path) -> list[tuple[str, str]]:
    """Name and token of each line that `write_users` wrote."""
    lines = [line.split(" ", 1) for line in path.read_text().splitlines()]
    return [(name, token) for name, token in lines]


def make_group(port: int, users: Path, members: int) -> str:
    """Makes a group of the first `members` users of the file, the first of them its owner; its id in hexadecimal.

    They must exist: see `create_users`.
    """
    (_, token), *others = read_users(users)[:members]
    change = wire.GroupChange(created=wire.GroupCreated(members=[name for name, _ in others]))
    with Line(port, token) as line:
        line.put(wire.ClientFrame(manage=wire.Manage(id=b"group %d" % members, change=change)))
        return line.expect("accepted").accepted.conversation.hex()


def create_users(data: Path, prefix: str, count: int) -> None:
    """Makes users who have never connected, so that somebody can write to them; the server must not run."""
    from pyrouter.cold import ColdDatabase  # noqa: PLC0415 - the yardsticks alone need no pyrouter

    with ColdDatabase(data / "cold.db") as cold:
        for number in range(count):
            cold.create_user(f"{prefix}{number}")
