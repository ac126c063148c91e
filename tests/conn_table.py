"""A core for tests of the connection: the C table of docs/adr/0004 with Python behind it, scripted by the test.

It records what the connection tells it, and says what the test put into `writes`. Knows nothing of frames.
"""

import ctypes
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

OPEN, HTTP, CLOSED, FAILED = 0, 1, 2, -1
MORE, REQUESTS = 1, 2
CLOSE, ABORT, PAUSE, RESUME = 1, 2, 4, 8
NAME = b"pyrouter._core.api"

_u64, _int, _size, _ptr = ctypes.c_uint64, ctypes.c_int, ctypes.c_size_t, ctypes.c_void_p


class _Write(ctypes.Structure):
    _fields_ = [("user", _ptr), ("data", _ptr), ("len", _size), ("shared", _u64), ("flags", ctypes.c_uint32)]


_FUNCTIONS: dict[str, Any] = {
    "open": ctypes.CFUNCTYPE(_u64, _ptr, _ptr, _int),
    "data": ctypes.CFUNCTYPE(_int, _ptr, _u64, _ptr, _size),
    "lost": ctypes.CFUNCTYPE(None, _ptr, _u64),
    "writable": ctypes.CFUNCTYPE(None, _ptr, _u64, _int),
    "turn": ctypes.CFUNCTYPE(_int, _ptr),
    "next_write": ctypes.CFUNCTYPE(_int, _ptr, ctypes.POINTER(_Write)),
    "next_timer": ctypes.CFUNCTYPE(_u64, _ptr, ctypes.POINTER(_u64)),
    "http_prefix": ctypes.CFUNCTYPE(_int, _ptr, _u64, ctypes.POINTER(_ptr), ctypes.POINTER(_size)),
}


class _Api(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("size", ctypes.c_uint32), *_FUNCTIONS.items()]


_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype, _new_capsule.argtypes = ctypes.py_object, [_ptr, ctypes.c_char_p, _ptr]


def capsule_of(version: int = 1, size: int = ctypes.sizeof(_Api), name: bytes = NAME) -> tuple[object, _Api]:
    """A capsule with a table that says to be `version` and `size`; the table must outlive it."""
    api = _Api(version=version, size=size)
    return _new_capsule(ctypes.addressof(api), name, None), api


@dataclass
class Conn:
    """What the core was told about one connection."""

    id: int
    user: int
    local: bool
    received: bytearray = field(default_factory=bytearray)
    writable: list[bool] = field(default_factory=list)
    lost: bool = False


class Table:
    """Stands in for `pyrouter._core.Core`."""

    def __init__(self, wake_fd: int) -> None:
        self.wake_fd = wake_fd
        self.conns: dict[int, Conn] = {}
        self.writes: deque[tuple[int, bytes, int, int]] = deque()
        """Owed in the coming turn: connection, bytes, shared number, flags."""
        self.turns = 0
        self.on_data: Callable[[Conn, bytes], int] = lambda conn, data: OPEN
        self.on_turn: Callable[[], int] = lambda: 0
        self.timer: tuple[int, int] = (0, 0)
        """What `next_timer` says: the instant, and the delay in ms."""
        self.refusing = False
        self.waker: Callable[[], None] | None = None
        self.capsule, self._api = capsule_of()
        self._keep: list[Any] = []
        for name, kind in _FUNCTIONS.items():
            function = kind(getattr(self, f"_{name}"))
            self._keep.append(function)
            setattr(self._api, name, function)

    def attach(self, waker: Callable[[], None] | None) -> None:
        self.waker = waker

    def owe(self, conn: int, data: bytes = b"", flags: int = 0, shared: int = 0) -> None:
        """Have the next drain write `data`."""
        self.writes.append((conn, data, shared, flags))
        if self.waker is not None:
            self.waker()

    def _open(self, core: int, user: int, local: int) -> int:
        if self.refusing:
            return 0
        conn = Conn(len(self.conns) + 1, user, bool(local))
        self.conns[conn.id] = conn
        return conn.id

    def _data(self, core: int, conn: int, data: int, size: int) -> int:
        received = ctypes.string_at(data, size)
        ctypes.memset(data, 0, size)  # the core may write where it reads
        self.conns[conn].received += received
        return self.on_data(self.conns[conn], received)

    def _lost(self, core: int, conn: int) -> None:
        assert not self.conns[conn].lost, "lost twice"
        self.conns[conn].lost = True

    def _writable(self, core: int, conn: int, on: int) -> None:
        self.conns[conn].writable.append(bool(on))

    def _turn(self, core: int) -> int:
        self.turns += 1
        return self.on_turn()

    def _next_write(self, core: int, write: Any) -> int:
        while self.writes:
            conn, data, shared, flags = self.writes.popleft()
            if self.conns[conn].lost:
                continue
            self._data_alive = ctypes.create_string_buffer(data, len(data) or 1)
            out = write.contents
            out.user, out.data, out.len = self.conns[conn].user, ctypes.addressof(self._data_alive), len(data)
            out.shared, out.flags = shared, flags
            return 1
        return 0

    def _next_timer(self, core: int, delay: Any) -> int:
        at, delay.contents.value = self.timer
        return at

    def _http_prefix(self, core: int, conn: int, data: Any, size: Any) -> int:
        self._prefix_alive = bytes(self.conns[conn].received)
        data.contents.value = ctypes.cast(ctypes.c_char_p(self._prefix_alive), _ptr).value
        size.contents.value = len(self._prefix_alive)
        return 0
