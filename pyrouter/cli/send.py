"""`pyrouter send`."""

import asyncio
from enum import StrEnum
from typing import Annotated

import typer

from pyrouter.cli.remote import DEFAULT_SERVER, Narrator, ServerOption, TokenOption, conversation_bytes


class Wait(StrEnum):
    """How far the message must come."""

    ACCEPTED = "accepted"
    DELIVERED = "delivered"
    READ = "read"


def send(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The message; sent as UTF-8.")],
    token: TokenOption,
    to: Annotated[str | None, typer.Option(metavar="USER", help="Who gets it: this user …")] = None,
    group: Annotated[
        str | None, typer.Option(metavar="CONVERSATION", help="… or this group, as `pyrouter group create` printed it.")
    ] = None,
    server: ServerOption = DEFAULT_SERVER,
    id: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Message id, at most 32 bytes: the same id again is the same message."),
    ] = None,
    wait: Annotated[Wait, typer.Option(help="How far the message must come.")] = Wait.ACCEPTED,
) -> None:
    """Send a message and wait until it came as far as wanted. Exit status 0 only if it did.

    To one user (--to) or one group (--group); `delivered` and `read` are then those of all members. Prints
    `accepted CONVERSATION SEQ`, then `delivered` and `read` as far as waited for. Without a connection it goes on
    trying. It does not take the user's own messages from a running `pyrouter listen`.
    """
    message_id = None if id is None else id.encode()
    if message_id is not None and not 0 < len(message_id) <= 32:
        raise typer.BadParameter("a message id has 1 to 32 bytes", param_hint="--id")
    if (to is None) == (group is None):
        raise typer.BadParameter("give either --to USER or --group CONVERSATION")
    target = conversation_bytes(group, "--group") if group is not None else to or ""
    asyncio.run(_send(server, token, target, text.encode(), message_id, wait))


async def _send(server: str, token: str, to: str | bytes, body: bytes, id: bytes | None, wait: Wait) -> None:
    from pyrouter.client import Client

    async with Client(server, token, receive=False, name="pyrouter send", on_event=Narrator()) as client:
        sent = await client.send(to, body, id=id)
        await sent.accepted()
        print(f"accepted {sent.conversation.hex()} {sent.seq}", flush=True)
        if wait != Wait.ACCEPTED:
            await sent.delivered()
            print("delivered", flush=True)
        if wait == Wait.READ:
            await sent.read()
            print("read", flush=True)
