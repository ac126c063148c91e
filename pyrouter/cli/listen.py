"""`pyrouter listen`."""

import asyncio
import base64
import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from pyrouter.cli.remote import DEFAULT_SERVER, Narrator, ServerOption, TokenOption

if TYPE_CHECKING:
    from pyrouter.client import Message, Skipped


def listen(
    token: TokenOption,
    server: ServerOption = DEFAULT_SERVER,
    count: Annotated[int | None, typer.Option(metavar="N", min=1, help="Stop after N messages.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line instead of text.")] = False,
    ack: Annotated[bool, typer.Option("--ack/--no-ack", help="Whether the server may forget what was printed.")] = True,
    read: Annotated[bool, typer.Option("--read", help="Tell the senders that their messages were read.")] = False,
) -> None:
    """Print the user's messages as they come, one a line, oldest first; stop with Ctrl-C.

    With --json each line has conversation, seq, sender, device, id, time (ms since 1970), body (base64), text (where
    the body is UTF-8), and `to` for what another device of the user sent; conversation and id are hexadecimal. Messages
    that will never come are told on standard error. With --no-ack the messages stay on the server, which sends no more
    of them than its window of unacknowledged messages.
    """
    asyncio.run(_listen(server, token, count, as_json=as_json, ack=ack, read=read))


async def _listen(server: str, token: str, count: int | None, *, as_json: bool, ack: bool, read: bool) -> None:
    from pyrouter.client import Client, Message

    printed = 0
    async with Client(server, token, name="pyrouter listen", on_event=Narrator()) as client:
        async for item in client.incoming():
            if not isinstance(item, Message):
                print(f"pyrouter: {_told(item)}", file=sys.stderr, flush=True)
                continue
            print(_json(item) if as_json else _text(item), flush=True)
            if ack:
                await item.ack()
            if read and not item.to:
                await item.read()
            printed += 1
            if printed == count:
                return


def _json(message: "Message") -> str:
    fields: dict[str, str | int] = {
        "conversation": message.conversation.hex(),
        "seq": message.seq,
        "sender": message.sender,
        "device": message.device,
        "id": message.id.hex(),
        "time": message.time,
        "body": base64.b64encode(message.body).decode(),
    }
    if (text := _utf8(message.body)) is not None:
        fields["text"] = text
    if message.to:
        fields["to"] = message.to
    return json.dumps(fields, ensure_ascii=False)


def _text(message: "Message") -> str:
    """One line whatever the body holds: nothing in it can move the cursor or end the line."""
    who = f"{message.sender} to {message.to}" if message.to else message.sender
    text = _utf8(message.body)
    if text is None:
        return f"{who}: ({len(message.body)} bytes) {base64.b64encode(message.body).decode()}"
    return f"{who}: " + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _utf8(body: bytes) -> str | None:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def _told(skipped: "Skipped") -> str:
    one = skipped.first == skipped.last
    which = f"message {skipped.first}" if one else f"messages {skipped.first} to {skipped.last}"
    return f"{which} of {skipped.conversation.hex()} will never come: {skipped.reason.name.lower()}"
