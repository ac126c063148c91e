"""One process of clients. `python -m tests.torture.worker` with a `Job` as JSON in its only argument.

It obeys lines on standard input, and answers each with a line when it is done:
    gather   the groups are made; answered when they are
    go       the devices work: they send, take, acknowledge, read, drop their connections, go away and come back
    drain    nobody makes new messages or stays away; answered when every message that was made is answered
    finish   followed by what each device must get in the end; answered when it has that, and all of its own are read
The last two are answered with a list of what was waited for in vain.

It says `connected` first, when every device has been connected once. It ends when standard input does.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import defaultdict
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop

from pyrouter.client import (
    Accepted,
    Added,
    Change,
    Client,
    ClientClosed,
    Connected,
    Created,
    Device,
    Event,
    Message,
    Profile,
    Receipt,
    Rejected,
    Removed,
    SentMessage,
    Skipped,
    Undelivered,
    direct_conversation,
    group_conversation,
)
from pyrouter.client.backoff import Backoff
from pyrouter.client.carriers import Carrier, Connect, Sink, connector
from pyrouter.client.ids import MAX_ID_BYTES
from pyrouter.wire import wire_pb2 as wire

from . import journal, json_carrier

PATIENCE_S = 90.0  # for everything to settle


@dataclass
class Crowd:
    """A group. The first member's first device makes it, and all its changes."""

    members: list[str]  # who write there
    guests: list[str]  # who come and go, and only listen

    @property
    def id(self) -> bytes:
        """Of the change that makes it: so that everybody knows its conversation ahead."""
        return " ".join(self.members).encode()[:MAX_ID_BYTES]

    @property
    def conversation(self) -> bytes:
        return group_conversation(self.members[0], 1, self.id)


@dataclass
class Job:
    seed: int
    port: int
    directory: str
    devices: list[tuple[str, int, str, str]]  # user, device, token, carrier
    peers: list[str]  # whom to write to: `user` or `user/device`
    groups: list[Crowd]
    busy_s: float = 0.3  # a device makes a burst about this often

    @classmethod
    def load(cls, text: str) -> Job:
        fields = json.loads(text)
        return cls(**fields | {"groups": [Crowd(**crowd) for crowd in fields["groups"]]})

    def dump(self) -> str:
        return json.dumps(asdict(self))


class Witness:
    """Between a carrier and the client: sees every frame of one connection, and can cut it.

    Args:
        connect: the carrier's.
        log: where it writes down what must not be.
        harmless: codes of errors that may come.
    """

    def __init__(self, connect: Connect, log: journal.Journal, harmless: frozenset[str]) -> None:
        self._connect = connect
        self._log = log
        self._harmless = harmless
        self._carrier: Carrier | None = None

    def cut(self) -> None:
        if self._carrier is not None:
            self._carrier.abort()

    async def connect(self, sink: Sink) -> Carrier:
        self._carrier = carrier = await self._connect(_Watched(sink, self._log, self._harmless))
        return carrier


class _Watched:
    """A sink that holds one connection to the rules of the wire."""

    def __init__(self, sink: Sink, log: journal.Journal, harmless: frozenset[str]) -> None:
        self._sink = sink
        self._log = log
        self._harmless = harmless
        self._seqs: dict[bytes, int] = {}
        self._cursors: dict[tuple[bytes, str], tuple[int, int]] = {}
        self.writable = sink.writable
        self.lost = sink.lost

    def frames(self, payloads: Sequence[bytes]) -> None:
        for payload in payloads:
            frame = wire.ServerFrame.FromString(payload)
            match frame.WhichOneof("frame"):
                case "message":
                    self._message(frame.message)
                case "receipt":
                    self._cursor(frame.receipt.conversation, frame.receipt)
                case "receipts":
                    for cursor in frame.receipts.cursors:
                        self._cursor(frame.receipts.conversation, cursor)
                case "error" if frame.error.code not in self._harmless:
                    text = f"error {frame.error.code}: {frame.error.message} ({frame.error.conversation.hex()})"
                    self._log.write("wrong", text)
                case _:
                    pass
        self._sink.frames(payloads)

    def _message(self, message: wire.Message) -> None:
        last = self._seqs.get(message.conversation, 0)
        if message.seq <= last:
            text = f"{message.conversation.hex()}: {message.seq} after {last} on one connection (I3)"
            self._log.write("wrong", text)
        self._seqs[message.conversation] = message.seq

    def _cursor(self, conversation: bytes, told: wire.Receipt | wire.Cursor) -> None:
        key = (conversation, told.user)
        delivered, read = self._cursors.get(key, (0, 0))
        if (told.delivered and told.delivered < delivered) or (told.read and told.read < read):
            self._log.write("wrong", f"receipt of {told.user} went back on one connection (I7)")
        self._cursors[key] = (max(told.delivered, delivered), max(told.read, read))


class Actor:
    """One device, its program, and its user's moods.

    What it remembers outlives its sessions, as on a real device: unanswered sends, cursors, receipts.
    """

    def __init__(self, job: Job, user: str, device: int, token: str, carrier: str) -> None:
        self.name = f"{user}/{device}"
        self._me = user, device
        self.connected = asyncio.Event()
        self.draining = asyncio.Event()
        self.waits_for = ""  # what is still to come, in words
        self._working = asyncio.Event()
        self._rng = random.Random(f"{job.seed} {self.name}")
        self._job = job
        self._token = token
        self._peers = [peer for peer in job.peers if not peer.startswith(f"{user}/")]
        self._peers += [
            f"#{crowd.conversation.hex()}" for crowd in job.groups if user in crowd.members for _ in range(9)
        ]
        self._crowds = {
            crowd.conversation: crowd for crowd in job.groups if (user, device) == (crowd.members[0], 1)
        }  # that this device makes
        self._here: dict[bytes, set[str]] = {at: set() for at in self._crowds}  # guests, as we wanted it last
        self._unmade = set(self._crowds)
        self._gathering = asyncio.Event()
        self._with_self = direct_conversation(user, user)
        self._log = journal.Journal(Path(job.directory) / journal.name(user, device))
        url = f"{'ws' if carrier == 'json' else carrier}://127.0.0.1:{job.port}"
        connect = json_carrier.connector(url) if carrier == "json" else connector(url)
        # Whoever has acknowledged that it is out acknowledges and reads in vain what it does again.
        guest = any(user in crowd.guests for crowd in job.groups)
        self._witness = Witness(connect, self._log, frozenset({"unknown_conversation"} if guest else ()))
        self._made = 0
        self._open: dict[bytes, tuple[str, bytes | Change]] = {}  # id → to, body: not answered, in order
        self._mine: dict[bytes, int] = {}  # conversation → highest seq of ours
        self._got: dict[bytes, int] = {}  # conversation → highest seq that came
        self._authors: dict[bytes, set[str]] = defaultdict(set)  # of what came
        self._reached: dict[tuple[bytes, str], tuple[int, int]] = {}  # how far the others got
        self._cursors: dict[bytes, int] = {}
        self._progress = asyncio.Event()

    def go(self) -> None:
        self._working.set()

    async def gathered(self) -> None:
        """The groups of this device are made."""
        self._gathering.set()
        while self._unmade:
            await self._next_progress()

    async def live(self) -> None:
        """Sessions, one after the other, until it is drained; the last one stays."""
        while True:
            async with self._session() as client:
                for id, (to, body) in list(self._open.items()):
                    await self._send(client, id, to, body)
                taking = asyncio.ensure_future(self._take(client))
                try:
                    await self._work(client)
                    self._catch_up(client)
                    if self.draining.is_set():
                        await taking
                finally:
                    taking.cancel()
                    await asyncio.wait([taking])
                self._catch_up(client)
                self._cursors = client.cursors()
            await _first(self.draining, self._rng.expovariate(2))  # away

    async def drained(self) -> None:
        """Every message that was made is answered."""
        while self._open:
            self.waits_for = f"{len(self._open)} messages are unanswered, the first is {next(iter(self._open)).hex()}"
            await self._next_progress()

    async def finished(self, wanted: dict[str, int]) -> None:
        """Everything came, up to `wanted` in each conversation; and the others have read everything of ours."""
        while True:
            missing = {key: seq for key, seq in wanted.items() if self._got.get(bytes.fromhex(key), 0) < seq}
            unread = {key.hex(): seq for key, seq in self._mine.items() if self._read_up_to(key) < seq}
            if not missing and not unread:
                return
            self.waits_for = f"lacks {missing}; unread by the others: {unread}"
            await self._next_progress()

    def _session(self) -> Client:
        return Client(
            "",
            self._token,
            cursors=self._cursors,
            on_event=self._on_event,
            connect=self._witness.connect,
            backoff=Backoff(0.05, 0.5, self._rng),
        )

    async def _work(self, client: Client) -> None:
        """Makes messages until it is time to go away, or to drain."""
        await self._gathering.wait()
        for at, crowd in self._crowds.items():
            if at in self._unmade and crowd.id not in self._open:
                await self._want(client, at, Created(tuple(crowd.members[1:])), crowd.id)
        await self._working.wait()
        bursts = int(self._rng.expovariate(0.03)) + 1
        for _ in range(bursts):
            await _first(self.draining, self._rng.expovariate(1 / self._job.busy_s))
            if self.draining.is_set():
                return
            if self._rng.random() < 0.05:
                self._witness.cut()
            if self._crowds and self._rng.random() < 0.3:
                at = self._rng.choice(list(self._crowds))
                await self._want(client, at, self._wish(at), self._rng.randbytes(12))
            to = self._rng.choice(self._peers)
            for _ in range(self._rng.choice((1, 1, 1, 2, 5, 20))):
                body = b"%d " % (self._made + 1) + self._rng.randbytes(self._rng.choice((0, 20, 160, 160, 2000)))
                await self._make(client, self._rng.randbytes(12), to, body)

    async def _make(self, client: Client, id: bytes, to: str, body: bytes | Change) -> None:
        self._made += 1
        self._open[id] = (to, body)
        self._log.write("sent", id.hex(), to, self._made)
        await self._send(client, id, to, body)

    async def _send(self, client: Client, id: bytes, to: str, body: bytes | Change) -> None:
        if isinstance(body, bytes):
            await client.send(_target(to), body, id=id)
            return
        at = b"" if isinstance(body, Created) else bytes.fromhex(to[1:])
        change = asyncio.ensure_future(client.manage(at, body, id=id))
        change.add_done_callback(_hear)  # the answer is an event, too
        await asyncio.sleep(0)  # it keeps its place

    async def _want(self, client: Client, at: bytes, change: Change, id: bytes) -> None:
        await self._make(client, id, f"!{at.hex()}", change)

    def _wish(self, at: bytes) -> Change:
        """A guest comes or goes; or the group has another name."""
        guest = self._rng.choice([None, *self._crowds[at].guests])
        if guest is None:
            return Profile(name=self._rng.randbytes(4))
        self._here[at] ^= {guest}
        return Added((guest,)) if guest in self._here[at] else Removed((guest,))

    async def _take(self, client: Client) -> None:
        async for item in client.incoming():
            if not isinstance(item, Message):
                continue  # written down as an event
            n = int(item.body.split(b" ", 1)[0]) if item.change is None else 0
            at = (item.conversation.hex(), item.seq)
            self._log.write("message", *at, item.sender, item.device, item.id.hex(), n)
            if item.change is not None:
                self._log.write("change", *at, *_moved(item.sender, item.change))
            self._authors[item.conversation].add(item.sender)
            self._got[item.conversation] = item.seq
            if self.draining.is_set() or self._rng.random() < 0.7:
                self._keep(client, item.conversation, item.seq, read=self._rng.random() < 0.5)
            if self._rng.random() < 0.02 and not self.draining.is_set():
                await asyncio.sleep(self._rng.random() / 5)  # a slow program
            self._progress.set()

    def _catch_up(self, client: Client) -> None:
        """Acknowledges and reads what was taken and left lying."""
        for conversation, seq in self._got.items():
            self._keep(client, conversation, seq, read=True)

    def _keep(self, client: Client, conversation: bytes, seq: int, *, read: bool) -> None:
        self._log.write("ack", conversation.hex(), seq, time.monotonic_ns())
        client.ack(conversation, seq)
        if read or self.draining.is_set():
            self._log.write("read", conversation.hex(), seq, time.monotonic_ns())
            client.read(conversation, seq, sorted(self._authors[conversation] - {self._me[0]}))

    def _read_up_to(self, conversation: bytes) -> int:
        if conversation == self._with_self:
            return self._mine[conversation]  # nobody else is there
        return max((read for (key, _), (_, read) in self._reached.items() if key == conversation), default=0)

    def _on_event(self, event: Event) -> None:
        match event:
            case Connected():
                self.connected.set()
            case Accepted(sent):
                self._unmade.discard(sent.conversation)
                if self._open.pop(sent.id, None) is not None:
                    self._log.write("accepted", sent.id.hex(), sent.conversation.hex(), sent.seq)
                    self._mine[sent.conversation] = max(sent.seq, self._mine.get(sent.conversation, 0))
            case Rejected(sent):
                self._open.pop(sent.id, None)
                self._log.write("refused", sent.id.hex(), str(sent.error))
            case Receipt(conversation, user, delivered, read):
                known = self._reached.get((conversation, user), (0, 0))
                reached = (max(delivered, known[0]), max(read, known[1]))
                self._reached[conversation, user] = reached
                self._log.write("receipt", conversation.hex(), user, *reached, time.monotonic_ns())
            case Skipped() | Undelivered():
                self._log.write("wrong", str(event))
            case _:
                pass
        self._progress.set()

    async def _next_progress(self) -> None:
        self._progress.clear()
        await self._progress.wait()


async def main(job: Job) -> None:
    actors = [Actor(job, *device) for device in job.devices]
    orders = await _standard_input()
    async with asyncio.TaskGroup() as group:
        lives = [group.create_task(actor.live()) for actor in actors]
        await asyncio.gather(*(actor.connected.wait() for actor in actors))
        _say("connected")
        while order := (await orders.readline()).decode():
            word, _, rest = order.strip().partition(" ")
            match word:
                case "gather":
                    await asyncio.gather(*(actor.gathered() for actor in actors))
                    _say(word)
                case "go":
                    for actor in actors:
                        actor.go()
                    _say(word)
                case "drain":
                    for actor in actors:
                        actor.draining.set()
                    vain = await _all({actor: actor.drained() for actor in actors})
                    _say(f"{word} {vain}")
                case "finish":
                    wanted = json.loads(rest)
                    vain = await _all({actor: actor.finished(wanted[actor.name]) for actor in actors})
                    _say(f"{word} {vain}")
                case _:
                    raise ValueError(order)
        for life in lives:
            life.cancel()


async def _all(actors: Mapping[Actor, Coroutine[None, None, None]]) -> str:
    """Waits for all of them; tells as JSON whom it waited for in vain, and for what."""
    waits = {asyncio.ensure_future(wait): actor for actor, wait in actors.items()}
    _, vain = await asyncio.wait(waits, timeout=PATIENCE_S)
    for task in vain:
        task.cancel()
    return json.dumps([f"{waits[task].name}: {waits[task].waits_for}" for task in vain])


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def _moved(sender: str, change: Change) -> tuple[str, str]:
    """Who came and who went by a change."""
    match change:
        case Created(members):
            return ",".join((sender, *members)), ""
        case Added(users):
            return ",".join(users), ""
        case Removed(users):
            return "", ",".join(users)
        case _:
            return "", ""


def _hear(change: asyncio.Future[SentMessage]) -> None:
    """The session may have ended before the answer: it is repeated in the next one."""
    if not change.cancelled() and not isinstance(change.exception(), ClientClosed | None):
        change.result()


def _target(to: str) -> str | bytes | Device:
    if to.startswith("#"):
        return bytes.fromhex(to[1:])
    user, slash, device = to.partition("/")
    return Device(user, int(device)) if slash else user


async def _first(event: asyncio.Event, seconds: float) -> None:
    """Waits for the event, at most so long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def _standard_input() -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=1 << 26)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


if __name__ == "__main__":
    uvloop.run(main(Job.load(sys.argv[1])))
