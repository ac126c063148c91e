"""`pyrouter send`."""

import asyncio
from enum import StrEnum
from typing import Annotated

import typer

from pyrouter.cli.remote import DEFAULT_SERVER, Narrator, ServerOption, TokenOption


class Wait(StrEnum):
    """How far the message must come."""

    ACCEPTED = "accepted"
    DELIVERED = "delivered"
    READ = "read"


def send(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The message; sent as UTF-8.")],
    token: TokenOption,
    to: Annotated[str, typer.Option(metavar="USER", help="Who gets it.")],
    server: ServerOption = DEFAULT_SERVER,
    id: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Message id, at most 32 bytes: the same id again is the same message."),
    ] = None,
    wait: Annotated[Wait, typer.Option(help="How far the message must come.")] = Wait.ACCEPTED,
) -> None:
    """Send a message and wait until it came as far as wanted. Exit status 0 only if it did.

    Prints `accepted CONVERSATION SEQ`, then `delivered` and `read` as far as waited for. Without a connection it goes
    on trying. It does not take the user's own messages from a running `pyrouter listen`.
    """
    message_id = None if id is None else id.encode()
    if message_id is not None and not 0 < len(message_id) <= 32:
        raise typer.BadParameter("a message id has 1 to 32 bytes", param_hint="--id")
    asyncio.run(_send(server, token, to, text.encode(), message_id, wait))


async def _send(server: str, token: str, to: str, body: bytes, id: bytes | None, wait: Wait) -> None:
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
