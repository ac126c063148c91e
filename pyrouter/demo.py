"""`make demo`: a server and two people who talk, one of them away for a while, the server killed in between.

It tells a story and holds itself to it: every tick that is shown was seen, and the exit status is 0 only if all came as
told. Everything happens in a directory and on a port of its own, and nothing is left behind.
"""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from rich.console import Console
from rich.text import Text

from pyrouter.client import Client, ClientError, Message, SentMessage, State

STORY_WITHIN_S = 60.0  # it takes a few seconds
TICKS = {
    State.PENDING: Text("◷ ", style="dim"),
    State.SENT: Text("✓ ", style="dim"),
    State.DELIVERED: Text("✓✓", style="dim"),
    State.READ: Text("✓✓", style="bold bright_blue"),
}

console = Console(highlight=False, soft_wrap=True)


class StoryError(Exception):
    """Something did not come as told."""


class Server:
    """The server of the story: one process at a time, always on the same directory and port."""

    def __init__(self, directory: Path) -> None:
        self._data = directory / "data"
        self._log = directory / "server.log"
        self._process: Process | None = None
        self.address = "127.0.0.1:0"

    async def start(self) -> None:
        """Starts it and waits for its ready line."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *_pyrouter("serve", "--data", self._data, "--listen", self.address), stdout=PIPE, stderr=log
            )
        assert self._process.stdout is not None
        line = (await self._process.stdout.readline()).decode().strip()
        found = re.search(r"127\.0\.0\.1:\d+", line)
        if not found:
            raise StoryError(f"the server did not start:\n{self._log.read_text()}")
        self.address = found[0]
        console.print(Text(f"   {line}", style="green"))

    async def kill(self) -> None:
        """SIGKILL: no time to flush, no word to anybody."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """SIGTERM, if it runs."""
        if self._process is not None:
            await self._end(signal.SIGTERM)

    async def token(self, user: str) -> str:
        """`pyrouter token USER`."""
        process = await asyncio.create_subprocess_exec(*_pyrouter("token", user, "--data", self._data), stdout=PIPE)
        output, _ = await process.communicate()
        return output.decode().strip()

    async def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        assert process is not None
        process.send_signal(how)
        await process.wait()


class Person:
    """Somebody with one device; it remembers what it has, as a device does, while it is away."""

    def __init__(self, name: str, style: str, token: str, server: Server) -> None:
        self.name = name
        self.got: list[Message] = []
        self._style = style
        self._token = token
        self._server = server
        self._client: Client | None = None
        self._cursors: dict[bytes, int] = {}

    @asynccontextmanager
    async def online(self) -> AsyncIterator[Client]:
        """Connected, while it lasts."""
        async with Client(f"ws://{self._server.address}", self._token, cursors=self._cursors) as client:
            self._client = client
            await client.connected()
            yield client
            self._cursors = client.cursors()
        self._client = None

    async def says(self, text: str, to: Person) -> SentMessage:
        """Sends a message; at first it is only here."""
        assert self._client is not None
        return await self._client.send(to.name, text.encode())

    async def takes(self, *texts: str, then_read: bool = True) -> None:
        """Gets exactly these messages, in this order, keeps them, and reads them."""
        assert self._client is not None
        messages = self._client.messages()
        for text in texts:
            message = await anext(messages)
            if message.body.decode() != text:
                raise StoryError(f"{self.name} got {message.body!r} where {text!r} was to come")
            self.got.append(message)
            await message.ack()
            console.print(Text.assemble("      ", (f"{self.name} has  ", self._style), text))
            if then_read:
                await message.read()

    async def sees(self, sent: SentMessage, state: State, text: str) -> None:
        """Waits for the ticks of a message, and shows them."""
        match state:
            case State.SENT:
                await sent.accepted()
            case State.DELIVERED:
                await sent.delivered()
            case State.READ:
                await sent.read()
            case State.PENDING:
                pass
        self.shows(sent, text, state)

    def shows(self, sent: SentMessage, text: str, state: State) -> None:
        """Shows a message as its sender sees it, which must be at `state` or further."""
        if sent.state < state:
            raise StoryError(f"{text!r} is {sent.state.name}, not {state.name}")
        console.print(Text.assemble("   ", TICKS[state], " ", (f"{self.name}: ", self._style), text))


async def story(directory: Path) -> None:
    """The whole of it."""
    server = Server(directory)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.stop)
        _tell("A server starts, in a directory of its own.")
        await server.start()
        ann = Person("ann", "bold magenta", await server.token("ann"), server)
        ben = Person("ben", "bold yellow", await server.token("ben"), server)
        await stack.enter_async_context(ann.online())
        async with ben.online():
            await both_are_there(ann, ben)
        waiting = await ben_is_away(ann, ben, server)
        async with ben.online():
            await ben_is_back(ann, ben, waiting)
    console.print()
    console.print("[bold green]Nothing was lost, nothing came twice, and the order held.[/]")


async def both_are_there(ann: Person, ben: Person) -> None:
    """A question and an answer, with all their ticks."""
    _tell("Ann and Ben are online. Ann writes; watch the ticks: sent, delivered, read.")
    question = "Are you at the harbour already?"
    asked = await ann.says(question, ben)
    ann.shows(asked, question, State.PENDING)
    await ann.sees(asked, State.SENT, question)
    await ben.takes(question, then_read=False)
    await ann.sees(asked, State.DELIVERED, question)
    await ben.got[-1].read()
    await ann.sees(asked, State.READ, question)
    answer = "Nearly. My battery is at 1 %."
    answered = await ben.says(answer, ann)
    await ann.takes(answer)
    await ben.sees(answered, State.READ, answer)


async def ben_is_away(ann: Person, ben: Person, server: Server) -> dict[str, SentMessage]:
    """What Ann writes meanwhile, and the server's death and return. Returns it."""
    _tell("Ben's phone dies. Ann does not know, and writes: one tick, the server keeps it.")
    waiting = {}
    for text in ("The boat is early!", "Pier 4, not 7."):
        waiting[text] = await ann.says(text, ben)
        await ann.sees(waiting[text], State.SENT, text)

    _tell("Now the server is killed: kill -9, without warning. Ann writes on: a clock, no tick.")
    await server.kill()
    text = "Hello? Is anybody there?"
    waiting[text] = await ann.says(text, ben)
    ann.shows(waiting[text], text, State.PENDING)
    if waiting[text].state != State.PENDING:
        raise StoryError("a message got its tick from a server that was dead")

    _tell("It is started again on the same directory. Ann's client connects by itself and gets its tick.")
    await server.start()
    await ann.sees(waiting[text], State.SENT, text)
    if any(sent.state != State.SENT for sent in waiting.values()):
        raise StoryError("a message was delivered to somebody who is away")
    return waiting


async def ben_is_back(ann: Person, ben: Person, waiting: dict[str, SentMessage]) -> None:
    """Everything comes, in order and once."""
    _tell("Ben finds a charger. Everything is there, in order, each message once; Ann sees it turn blue.")
    await ben.takes(*waiting)
    for text, sent in waiting.items():
        await ann.sees(sent, State.READ, text)
    farewell = "On my way. Keep me a seat."
    answered = await ben.says(farewell, ann)
    await ann.takes(farewell)
    await ben.sees(answered, State.READ, farewell)
    numbers = [message.seq for message in ben.got]
    if (numbers, answered.seq) != ([1, 3, 4, 5], 6):  # 2 and 6 are Ben's own
        raise StoryError(f"Ben's messages are numbered {numbers}, his last one {answered.seq}")


def main() -> int:
    """Tells the story; the exit status is 0 if it happened."""
    with tempfile.TemporaryDirectory(prefix="pyrouter-demo-") as directory:
        try:
            asyncio.run(asyncio.wait_for(story(Path(directory)), STORY_WITHIN_S))
        except (StoryError, ClientError, TimeoutError) as error:
            text = str(error) or f"it did not come to an end within {STORY_WITHIN_S:g} s"
            console.print(Text(f"The story did not happen: {text}", style="bold red"))
            log = Path(directory) / "server.log"
            if log.exists():
                console.print(Text(log.read_text(), style="dim"))
            return 1
    return 0


def _tell(text: str) -> None:
    console.print()
    console.print(Text(text, style="italic"))


def _pyrouter(*arguments: str | Path) -> list[str]:
    # -P: not what happens to lie in the current folder, which may be another version's source.
    return [sys.executable, "-P", "-m", "pyrouter", *map(str, arguments)]


if __name__ == "__main__":
    sys.exit(main())
