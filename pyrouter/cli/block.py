"""`pyrouter block`."""

import asyncio
from typing import Annotated

import typer

from pyrouter.cli.remote import DEFAULT_SERVER, Narrator, ServerOption, TokenOption, printable


def block(
    token: TokenOption,
    user: Annotated[str | None, typer.Argument(metavar="USER", help="Whom; without it, nothing is changed.")] = None,
    off: Annotated[bool, typer.Option("--off", help="Not any more.")] = False,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Take no direct messages from a user, and be added to no group by them. Prints all who are blocked, one a line.

    The blocked user is not told, and sees one tick for ever. With --off messages come again; those of the meantime
    never do.
    """
    if off and user is None:
        raise typer.BadParameter("say whom with --off")
    for name in asyncio.run(_block(server, token, user, off=off)):
        print(printable(name))


async def _block(server: str, token: str, user: str | None, *, off: bool) -> list[str]:
    from pyrouter.client import Client

    async with Client(server, token, receive=False, name="pyrouter block", on_event=Narrator()) as client:
        if user is None:
            return await client.blocked()
        return await (client.unblock(user) if off else client.block(user))
