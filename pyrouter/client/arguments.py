"""What a program may pass to the client, checked before anything is kept or sent.

The limits are those of docs/wire.md. An argument that the server would answer by ending the connection, or that
protobuf cannot hold, raises `BadArgument` in the call that passed it. So a frame that is kept for the next connection
can always be sent on it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from pyrouter.client.errors import BadArgument
from pyrouter.client.ids import CONVERSATION_BYTES, MAX_ID_BYTES

__all__ = [
    "MAX_LIST",
    "MAX_MEDIA",
    "check_body",
    "check_client_name",
    "check_conversation",
    "check_count",
    "check_id",
    "check_media",
    "check_token",
    "check_uint",
    "check_user",
    "check_version",
    "encoded",
]

MAX_USER_BYTES = 64
MAX_CLIENT_BYTES = 64
MAX_TOKEN_BYTES = 8192
MAX_LIST = 1024  # bodies, lists, devices of a list, authors
MAX_MEDIA = 16
MAX_MEDIA_BYTES = 64
MAX_VERSION_BYTES = 64


def check_user(user: str) -> None:
    """BadArgument: no user can have this name."""
    if not 0 < _text_bytes("a user name", user) <= MAX_USER_BYTES or _has_control(user):
        raise BadArgument(f"a user name has 1 to {MAX_USER_BYTES} bytes and no control characters, unlike {user!r}")


def check_conversation(conversation: bytes) -> None:
    """BadArgument: this cannot be a conversation."""
    if _size("a conversation", conversation) != CONVERSATION_BYTES:
        raise BadArgument(f"a conversation has {CONVERSATION_BYTES} bytes, this one has {len(conversation)}")


def check_id(id: bytes) -> None:
    """BadArgument: this cannot be a message's id."""
    if not 0 < _size("a message id", id) <= MAX_ID_BYTES:
        raise BadArgument(f"a message id has 1 to {MAX_ID_BYTES} bytes, this one has {len(id)}")


def check_version(version: bytes) -> None:
    """BadArgument: this cannot be a receipt version."""
    if _size("a receipt version", version) > MAX_VERSION_BYTES:
        raise BadArgument(f"a receipt version has at most {MAX_VERSION_BYTES} bytes, this one has {len(version)}")


def check_body(body: bytes) -> None:
    """BadArgument: it is not of bytes. How long it may be the server tells."""
    _size("a body", body)


def check_media(id: bytes) -> None:
    """BadArgument: this cannot be the id of a medium."""
    if not 0 < _size("a media id", id) <= MAX_MEDIA_BYTES:
        raise BadArgument(f"a media id has 1 to {MAX_MEDIA_BYTES} bytes, this one has {len(id)}")


def check_client_name(name: str) -> None:
    """BadArgument: a program cannot call itself that."""
    if _text_bytes("the program's name", name) > MAX_CLIENT_BYTES or _has_control(name):
        raise BadArgument(f"the program's name has at most {MAX_CLIENT_BYTES} bytes and no control characters")


def check_token(token: str) -> None:
    """BadArgument: no token is like this. The token is not in the error's text."""
    if _text_bytes("a token", token, shown=False) > MAX_TOKEN_BYTES:
        raise BadArgument(f"a token has at most {MAX_TOKEN_BYTES} bytes")


def check_uint(what: str, value: int, bits: int, *, least: int = 0) -> None:
    """BadArgument: not an integer from `least`, below 2 to the power of `bits`. `what` is its name in the error."""
    if not isinstance(value, int):
        raise BadArgument(f"{what} is an integer, not {value!r}")
    if not least <= value < 1 << bits:
        raise BadArgument(f"{what} is from {least}, below 2**{bits}; it was {value}")


def check_count(what: str, values: Collection[object], most: int) -> None:
    """BadArgument: more than `most` of them. `what` is their name in the error."""
    if len(values) > most:
        raise BadArgument(f"at most {most} {what}, not {len(values)}")


@contextmanager
def encoded(what: str) -> Iterator[None]:
    """Inside it a frame is put together: what protobuf cannot hold is a BadArgument about `what`."""
    try:
        yield
    except BadArgument:
        raise
    except (AttributeError, TypeError, ValueError) as error:
        raise BadArgument(f"{what} cannot be sent: {error}") from error


def _size(what: str, value: bytes) -> int:
    if not isinstance(value, bytes):
        raise BadArgument(f"{what} is of bytes, not {value!r}")
    return len(value)


def _text_bytes(what: str, text: str, *, shown: bool = True) -> int:
    if not isinstance(text, str):
        raise BadArgument(f"{what} is text, not {text!r}" if shown else f"{what} is text")
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise BadArgument(f"{what} is not valid Unicode" + (f": {text!r}" if shown else "")) from None


def _has_control(text: str) -> bool:
    return any(unicodedata.category(character) == "Cc" for character in text)
