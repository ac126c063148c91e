"""`pyrouter listen`."""

import asyncio
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from pyrouter.cli.remote import DEFAULT_SERVER, Narrator, ServerOption, TokenOption

if TYPE_CHECKING:
    from pyrouter.client import Client, Message


def listen(
    token: TokenOption,
    server: ServerOption = DEFAULT_SERVER,
    count: Annotated[int | None, typer.Option(metavar="N", min=1, help="Stop after N messages.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line instead of text.")] = False,
    ack: Annotated[bool, typer.Option("--ack/--no-ack", help="Whether the server may forget what was printed.")] = True,
    read: Annotated[bool, typer.Option("--read", help="Tell the senders that their messages were read.")] = False,
) -> None:
    """Print the user's messages as they come, one a line, oldest first; stop with Ctrl-C.

    A group's messages begin with its name in brackets, and what happens to it is told in display. With --json each line
    has conversation, seq, sender, device, id, time (ms since 1970), body (base64), text (where the body is UTF-8), and
    `to` for what another device of the user sent; what happened to a group has `change` instead of a body, as
    docs/wire.md has it; conversation and id are hexadecimal. Messages that will never come are told on standard error.
    With --no-ack the messages stay on the server, which sends no more of them than its window of unacknowledged
    messages.
    """
    asyncio.run(_listen(server, token, count, as_json=as_json, ack=ack, read=read))


async def _listen(server: str, token: str, count: int | None, *, as_json: bool, ack: bool, read: bool) -> None:
    from pyrouter.cli import display
    from pyrouter.client import Client, Message

    printed = 0
    async with Client(server, token, name="pyrouter listen", on_event=Narrator()) as client:
        async for item in client.incoming():
            if not isinstance(item, Message):
                print(f"pyrouter: {display.skip_in_words(item)}", file=sys.stderr, flush=True)
                continue
            print(
                display.as_json(item) if as_json else display.as_text(item, await _group_name(client, item)), flush=True
            )
            if ack:
                await item.ack()
            if read and not item.to:
                await item.read()
            printed += 1
            if printed == count:
                return


async def _group_name(client: "Client", message: "Message") -> str | None:
    """What to call the group in which a message came."""
    from pyrouter.client import Refused

    if not message.group:
        return None
    state = client.group_state(message.conversation)
    if state is None:
        with suppress(Refused):  # a member no longer: these are the last messages
            state = (await client.group(message.conversation)).state
    return (state.name if state else "") or message.conversation.hex()[:8]
