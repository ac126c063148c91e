"""What follows from a mistake: an error that says what, and at most the end of its own connection (I10)."""

from __future__ import annotations

from pyrouter.wire import Error
from tests.wire_client import Wire


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
