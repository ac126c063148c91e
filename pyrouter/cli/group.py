"""`pyrouter group …`: groups from the command line. One short session for each command."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from pyrouter.cli.remote import DEFAULT_SERVER, Narrator, ServerOption, TokenOption, conversation_bytes, printable

if TYPE_CHECKING:
    from pyrouter.client import Client, Group, GroupState, Who

T = TypeVar("T")


class May(StrEnum):
    """Whom a rule lets."""

    EVERYONE = "everyone"
    ADMINS = "admins"


app = typer.Typer(
    name="group",
    help="Make groups and manage them.",
    epilog="Send with `pyrouter send --group CONVERSATION`; `pyrouter listen` prints what happens to groups too.",
    no_args_is_help=True,
)

ConversationArgument = Annotated[
    str, typer.Argument(metavar="CONVERSATION", help="The group: 32 hexadecimal digits, as `create` printed them.")
]
UsersArgument = Annotated[list[str], typer.Argument(metavar="USER", help="Whom.")]
NameOption = Annotated[str | None, typer.Option("--name", metavar="TEXT", help="Name; at most 256 bytes.")]
DescriptionOption = Annotated[str | None, typer.Option(metavar="TEXT", help="Description; at most 4096 bytes.")]
PictureOption = Annotated[
    Path | None, typer.Option(metavar="FILE", exists=True, dir_okay=False, help="Picture; at most 32 KiB.")
]
PostOption = Annotated[May | None, typer.Option(help="Who may send messages.")]
AddOption = Annotated[May | None, typer.Option(help="Who may add members and invite.")]
EditOption = Annotated[May | None, typer.Option(help="Who may change the profile.")]


@app.command()
def create(
    *,
    members: Annotated[list[str] | None, typer.Argument(metavar="USER", help="The other members.")] = None,
    token: TokenOption,
    name: NameOption = None,
    description: DescriptionOption = None,
    picture: PictureOption = None,
    post: PostOption = None,
    add: AddOption = None,
    edit: EditOption = None,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Make a group with these members, and own it. Prints its CONVERSATION and nothing else.

    Unless told otherwise everyone may send messages, and admins add members and change the profile.
    """
    from pyrouter.client import Rules

    rules = Rules(**_rules(post, add, edit))
    image = picture.read_bytes() if picture else None

    async def make(client: "Client") -> "Group":
        return await client.create_group(members or (), name=name, description=description, picture=image, rules=rules)

    print(_run(server, token, make).conversation.hex())


@app.command()
def show(
    conversation: ConversationArgument,
    token: TokenOption,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Print a group: its profile, rules, members in the order in which they came, and open invitations."""
    state = _of_group(server, token, conversation, lambda group: group.refresh())
    print(json.dumps(_as_json(state), ensure_ascii=False) if as_json else "\n".join(_as_text(state)))


@app.command("list")
def list_groups(token: TokenOption, server: ServerOption = DEFAULT_SERVER) -> None:
    """Print the user's groups, one a line: conversation, number of members, name."""

    async def all_states(client: "Client") -> "list[GroupState]":
        return [await (await client.group(conversation)).refresh() for conversation in await client.groups()]

    for state in _run(server, token, all_states):
        print(state.conversation.hex(), len(state.members), printable(state.name))


@app.command()
def add(
    conversation: ConversationArgument, users: UsersArgument, token: TokenOption, server: ServerOption = DEFAULT_SERVER
) -> None:
    """Make users members."""
    _of_group(server, token, conversation, lambda group: group.add(*users))


@app.command()
def remove(
    conversation: ConversationArgument, users: UsersArgument, token: TokenOption, server: ServerOption = DEFAULT_SERVER
) -> None:
    """Take members out. Admins and the owner may; the owner cannot be removed."""
    _of_group(server, token, conversation, lambda group: group.remove(*users))


@app.command()
def leave(conversation: ConversationArgument, token: TokenOption, server: ServerOption = DEFAULT_SERVER) -> None:
    """Leave a group. If its owner leaves, the admin who has been in it longest owns it, else the member."""
    _of_group(server, token, conversation, lambda group: group.leave())


@app.command()
def promote(
    conversation: ConversationArgument, users: UsersArgument, token: TokenOption, server: ServerOption = DEFAULT_SERVER
) -> None:
    """Make members admins."""
    _of_group(server, token, conversation, lambda group: group.promote(*users))


@app.command()
def demote(
    conversation: ConversationArgument, users: UsersArgument, token: TokenOption, server: ServerOption = DEFAULT_SERVER
) -> None:
    """Make admins members."""
    _of_group(server, token, conversation, lambda group: group.demote(*users))


@app.command()
def owner(
    conversation: ConversationArgument,
    user: Annotated[str, typer.Argument(metavar="USER", help="The new owner, a member.")],
    token: TokenOption,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Hand a group over. The old owner stays as an admin."""
    _of_group(server, token, conversation, lambda group: group.transfer(user))


@app.command()
def rules(
    conversation: ConversationArgument,
    token: TokenOption,
    post: PostOption = None,
    add: AddOption = None,
    edit: EditOption = None,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Change who may do what; what is not given stays."""
    new = _rules(post, add, edit)
    if not new:
        raise typer.BadParameter("give at least one of --post, --add, --edit")
    _of_group(server, token, conversation, lambda group: group.set_rules(**new))


@app.command()
def profile(
    conversation: ConversationArgument,
    token: TokenOption,
    name: NameOption = None,
    description: DescriptionOption = None,
    picture: PictureOption = None,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Change name, description or picture; what is not given stays, what is empty is taken away."""
    if name is None and description is None and picture is None:
        raise typer.BadParameter("give at least one of --name, --description, --picture")
    image = picture.read_bytes() if picture else None
    _of_group(
        server,
        token,
        conversation,
        lambda group: group.set_profile(name=name, description=description, picture=image),
    )


@app.command()
def invite(
    conversation: ConversationArgument,
    token: TokenOption,
    ttl: Annotated[
        str | None, typer.Option(metavar="TIME", help="How long it is good for: 7d, 12h, 15m. [default: until revoked]")
    ] = None,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Make an invitation. Prints a link and nothing else: whoever has it can `pyrouter group join` the group."""
    from pyrouter.units import Duration

    try:
        lasting = None if ttl is None else timedelta(milliseconds=int(Duration.parse(ttl)))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--ttl") from error
    print(_of_group(server, token, conversation, lambda group: group.invite(lasting)).link)


@app.command()
def revoke(
    conversation: ConversationArgument,
    invitation: Annotated[str, typer.Argument(metavar="LINK|HASH", help="The link, or its hash as `show` prints it.")],
    token: TokenOption,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Void an invitation: nobody gets in by it any more."""
    from pyrouter.client import Invitation

    try:
        known_as = Invitation.parse(invitation).hash if ":" in invitation else bytes.fromhex(invitation)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="LINK|HASH") from error
    _of_group(server, token, conversation, lambda group: group.revoke(known_as))


@app.command()
def join(
    link: Annotated[str, typer.Argument(metavar="LINK", help="As `pyrouter group invite` printed it.")],
    token: TokenOption,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Become a member by an invitation. Prints the group's CONVERSATION and nothing else."""
    from pyrouter.client import Invitation

    try:
        Invitation.parse(link)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="LINK") from error
    print(_run(server, token, lambda client: client.join_group(link)).conversation.hex())


@app.command()
def close(conversation: ConversationArgument, token: TokenOption, server: ServerOption = DEFAULT_SERVER) -> None:
    """End a group for everybody. Only its owner may."""
    _of_group(server, token, conversation, lambda group: group.close())


@app.command()
def progress(
    conversation: ConversationArgument,
    seq: Annotated[int, typer.Argument(metavar="SEQ", min=1, help="The message, as `send` printed it.")],
    token: TokenOption,
    server: ServerOption = DEFAULT_SERVER,
) -> None:
    """Print who is to get a message and how far it came with each: `sent`, `delivered`, `read`, or `never`."""
    told = _of_group(server, token, conversation, lambda group: group.progress(seq))
    for cursor in told.cursors:
        print(printable(cursor.user), "never" if cursor.skipped else cursor.state(seq).name.lower())


def _run(server: str, token: str, action: "Callable[[Client], Awaitable[T]]") -> T:
    async def session() -> T:
        from pyrouter.client import Client

        async with Client(server, token, receive=False, name="pyrouter group", on_event=Narrator()) as client:
            return await action(client)

    return asyncio.run(session())


def _of_group(server: str, token: str, conversation: str, action: "Callable[[Group], Awaitable[T]]") -> T:
    """Does something with one group."""
    id = conversation_bytes(conversation)

    async def act(client: "Client") -> T:
        from pyrouter.client import Group

        return await action(Group(client, id))

    return _run(server, token, act)


def _rules(post: May | None, add: May | None, edit: May | None) -> "dict[str, Who]":
    """Those that are given."""
    from pyrouter.client import Who

    given = {"post": post, "add": add, "edit": edit}
    return {rule: Who[may.name] for rule, may in given.items() if may is not None}


def _as_text(state: "GroupState") -> "list[str]":
    profile, rules = state.profile, state.rules
    lines = [f"conversation {state.conversation.hex()}"]
    lines += [f"name {printable(state.name)}"] if profile.name else []
    if profile.description:
        lines.append(f"description {printable(profile.description.decode(errors='replace'))}")
    lines += [f"picture {len(profile.picture)} bytes"] if profile.picture else []
    lines += [f"{rule} {getattr(rules, rule).name.lower()}" for rule in ("post", "add", "edit")]
    lines += [f"{member.role.name.lower()} {printable(member.user)}" for member in state.members]
    for invite in state.invites:
        when = datetime.fromtimestamp(invite.expires / 1000).astimezone() if invite.expires else None
        lines.append(f"invitation {invite.hash.hex()}" + (f" until {when:%Y-%m-%d %H:%M %Z}" if when else ""))
    return lines


def _as_json(state: "GroupState") -> "dict[str, Any]":
    """A snapshot as docs/wire.md has it, but with hexadecimal conversation and hashes, and names as text."""
    rules = {rule: getattr(state.rules, rule).name.lower() for rule in ("post", "add", "edit")}
    shown: dict[str, Any] = {
        "conversation": state.conversation.hex(),
        "seq": state.seq,
        "members": [{"user": member.user, "role": member.role.name.lower()} for member in state.members],
        "rules": rules,
        "invites": [{"hash": invite.hash.hex(), "expires": invite.expires} for invite in state.invites],
    }
    profile = {"name": state.profile.name, "description": state.profile.description}
    shown |= {part: value.decode(errors="replace") for part, value in profile.items() if value is not None}
    return shown
