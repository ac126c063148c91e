"""What the client raises.

Rule: the text says what happened and what to do, for people; `code` is the stable code of docs/wire.md, for programs.
A `SessionEnded` is final: the client has stopped and will not connect again by itself. All else concerns one call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pyrouter.errors import PyrouterError

if TYPE_CHECKING:
    from pyrouter.client.model import SkipReason

__all__ = [
    "OUTLIVED",
    "BadArgument",
    "BadUrl",
    "ClientClosed",
    "ClientError",
    "DevicesChanged",
    "NotConnected",
    "OutboxFull",
    "Refused",
    "Replaced",
    "SessionEnded",
    "SessionRefused",
    "Undeliverable",
]


# Codes of errors that end no connection, where they come without the id of a send and without a conversation.
OUTLIVED = frozenset(
    ["bad_conversation", "bad_field", "bad_id", "bad_user", "too_many", "unknown_frame", "unknown_user"]
)


class ClientError(PyrouterError):
    """Anything that the client raises on purpose."""


class BadUrl(ClientError, ValueError):
    """The server's address is not one that a client can connect to."""


class BadArgument(ClientError, ValueError):
    """An argument of a call is outside its limits. Nothing was sent or kept, and the session goes on."""


class NotConnected(ClientError, OSError):
    """A connection could not be made, or ended. The client handles it by connecting anew; it is seen in events only."""


class OutboxFull(ClientError):
    """So many sends are unanswered that another would grow memory past its bound. Wait for some of them."""


class ClientClosed(ClientError):
    """The client was closed before this happened. An unanswered send may or may not have been accepted."""


class Refused(ClientError):
    """The server refused one request; the same will be refused again.

    Attributes:
        code: stable code, see docs/wire.md.
        message: the server's words.
    """

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(f"{message} ({code})" if message else code)


class DevicesChanged(Refused):
    """A send was made for device lists that have changed since. Make it anew from `lists`; the id can stay.

    Attributes:
        lists: the current device list of each user concerned: name → (version, devices).
    """

    def __init__(self, code: str, message: str, lists: Mapping[str, tuple[int, tuple[int, ...]]]) -> None:
        self.lists = dict(lists)
        super().__init__(code, message)


class Undeliverable(ClientError):
    """The message was accepted, but will never reach the recipient.

    Attributes:
        reason: why, as the server told it.
    """

    def __init__(self, reason: SkipReason) -> None:
        self.reason = reason
        super().__init__(f"the message was accepted, but will never reach the recipient: {reason.name.lower()}")


class SessionEnded(ClientError):
    """The session is over for good; the client has stopped."""


class Replaced(SessionEnded):
    """Another receiving session of this device took over (the newest wins)."""

    def __init__(self) -> None:
        super().__init__(
            "another session of this device connected and receives its messages now; "
            "stop that one first, or give this program a device of its own"
        )


class SessionRefused(SessionEnded):
    """The server does not want this session, and would not want it again: for a bad token, for instance.

    Attributes:
        code: stable code, see docs/wire.md.
        message: the server's words.
    """

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(f"the server refused this session: {message or code} ({code})")
