"""What the commands that are clients share: options, and a narrator that tells the person what they are waiting for."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pyrouter.client import Event

DEFAULT_SERVER = "ws://127.0.0.1:7400"

ServerOption = Annotated[
    str,
    typer.Option(metavar="URL", envvar="PYROUTER_SERVER", help="ws://HOST:PORT, wss://HOST:PORT or tcp://HOST:PORT."),
]
TokenOption = Annotated[
    str, typer.Option(metavar="T", envvar="PYROUTER_TOKEN", help="What `pyrouter token USER` printed.")
]


class Narrator:
    """Tells on standard error why nothing happens; once per reason, not per attempt."""

    def __init__(self) -> None:
        self._reason: str | None = None  # why there is no connection, as last told

    def __call__(self, event: "Event") -> None:
        """Takes an event of the client."""
        from pyrouter.client import Connected, Delayed, Disconnected

        match event:
            case Disconnected(reason=reason) if reason != self._reason:
                self._reason = reason
                _say(f"{reason}; trying again until it works (Ctrl-C to stop)")
            case Connected(server=server) if self._reason is not None:
                self._reason = None
                _say(f"connected to {server}")
            case Delayed(sent=sent, retry_s=retry_s):
                _say(f"not accepted yet: {sent.delay}; trying again in {retry_s:.1f} s")
            case _:
                pass


def conversation_bytes(text: str, hint: str = "CONVERSATION") -> bytes:
    """A conversation that somebody typed; a usage error if it is none."""
    try:
        conversation = bytes.fromhex(text)
    except ValueError:
        conversation = b""
    if len(conversation) != 16:
        raise typer.BadParameter("a conversation is 32 hexadecimal digits", param_hint=hint)
    return conversation


def printable(text: str) -> str:
    """The text on one line, whatever it holds: nothing in it can move the cursor or end the line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _say(text: str) -> None:
    print(f"pyrouter: {text}", file=sys.stderr, flush=True)
