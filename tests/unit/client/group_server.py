"""A plain model of a server with one group and several devices: an oracle for what the clients make of a group.

Frames travel through queues that the test moves by hand, so a connection can be cut with any of them lost. A crash
forgets what was not promised. A device's own messages do not come back to it, changes do; a snapshot comes before the
first message to whoever cannot get there by folding. The rules of who may do what are in `group_rules`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from pyrouter.client.changes import Added, Closed, Created, Joined, Left, Removed
from pyrouter.client.group import GroupState
from pyrouter.client.group_wire import change_from_wire, change_to_wire
from pyrouter.wire import wire_pb2 as wire

from .group_rules import HASHES, SECRETS, Room
from .versions import Versions

GROUP = b"the group's id.."
WINDOW = 5
NEVER = 1 << 60


@dataclass
class Mailbox:
    """One device."""

    user: str
    device: int
    cursor: int = 0
    kept_cursor: int = 0  # what a crash leaves of it
    fresh: bool = True  # a snapshot is to come first, until something behind it is acknowledged
    known: dict[bytes, int] = field(default_factory=dict)  # ids → seqs


@dataclass
class Link:
    """One session of a device, over many connections."""

    box: Mailbox
    receive: bool
    to_client: deque[bytes] = field(default_factory=deque)
    to_server: deque[bytes] = field(default_factory=deque)
    connected: bool = False
    greeted: bool = False
    next: int = 0
    under_way: int = 0
    shown: int = 0  # on this connection the snapshot came before this message; 0: it did not

    def push(self, **member: object) -> None:
        self.to_client.append(wire.ServerFrame(**member).SerializeToString())  # type: ignore[arg-type]  # one member


class GroupServer:
    def __init__(self, links: list[tuple[str, int, bool]]) -> None:
        boxes = {(user, device): Mailbox(user, device) for user, device, _ in links}
        self.links = [Link(boxes[user, device], receive) for user, device, receive in links]
        self.boxes = list(boxes.values())
        self.log: list[wire.Message] = []
        self.states = [GroupState(GROUP)]  # at every seq
        self.durable = 0
        self.floor = 0
        self.room = Room()
        self.spans: dict[str, list[list[int]]] = {}  # user → from, to
        self.delivered: dict[str, int] = {}
        self.read: dict[tuple[str, str], int] = {}  # reader, author → seq
        self.lost: list[tuple[str, int, int]] = []  # user, from, to
        self.versions = Versions()
        self.version = 0
        self.told: list[tuple[int, wire.ServerFrame]] = []

    # The world.

    def sync(self) -> None:
        """Everything is durable: it is answered, and seen."""
        first, self.durable = self.durable + 1, len(self.log)
        for box in self.boxes:
            box.kept_cursor = box.cursor
        for message in self.log[first - 1 :]:
            self._move(message)
            for link in self.links:
                if link.greeted and message.id in link.box.known and self._is_own(link.box, message):
                    self._accept(link, message.seq)
        self.deliver()

    def cut(self, link: Link) -> None:
        link.connected = link.greeted = False
        link.to_client.clear()
        link.to_server.clear()

    def crash(self) -> None:
        """All connections end; what was not promised is gone."""
        for link in self.links:
            self.cut(link)
        del self.log[self.durable :], self.states[self.durable + 1 :]
        self.room = Room()
        for message in self.log:
            if message.HasField("change"):
                self.room.want(message.sender, change_from_wire(message.change))
        for box in self.boxes:
            box.cursor = box.kept_cursor
            box.known = {id: seq for id, seq in box.known.items() if seq <= self.durable}

    def expire(self) -> None:
        """Nothing so far is kept any longer for who does not have it."""
        self.floor = self.durable
        for user, spans in self.spans.items():
            for first, last in spans:
                missed = range(max(first, self.delivered.get(user, 0) + 1), min(last, self.floor) + 1)
                if missed:
                    self._lose(user, missed[0], missed[-1])
        for box in self.boxes:
            if any(box.cursor < last and first <= self.floor for first, last in self._spans(box)):
                self._refresh(box)
        self.deliver()

    def audience(self, seq: int) -> set[str]:
        """Who is to get a message."""
        author = self.log[seq - 1].sender
        return {user for user, spans in self.spans.items() for a, b in spans if a <= seq <= b and user != author}

    # Sessions.

    def take(self, link: Link) -> None:
        """Reads one frame."""
        frame = wire.ClientFrame.FromString(link.to_server.popleft())
        getattr(self, f"_on_{frame.WhichOneof('frame')}")(link, frame)

    def deliver(self) -> None:
        for link in self.links:
            if link.greeted and link.receive:
                self._serve(link)

    def _serve(self, link: Link) -> None:
        box = link.box
        for first, last in self._spans(box):
            seq = max(link.next, box.cursor + 1, first)
            if seq <= min(self.floor, last):
                skip = wire.Skip(conversation=GROUP, to=min(self.floor, last), reason=wire.EXPIRED)
                setattr(skip, "from", seq)
                link.push(skip=skip)
                link.next = seq = skip.to + 1
            while seq <= min(self.durable, last) and link.under_way < WINDOW:
                message = self.log[seq - 1]
                if message.HasField("change") or not self._is_own(box, message):
                    if box.fresh and not link.shown:
                        link.push(group=self.snapshot())
                        link.shown = seq
                    link.push(message=message)
                    link.under_way += 1
                seq += 1
                link.next = seq

    def _on_hello(self, link: Link, frame: wire.ClientFrame) -> None:
        link.greeted, link.next, link.under_way, link.shown = True, 0, 0, 0
        kept = frame.hello.receipts
        welcome = wire.Welcome(protocol=1, user=link.box.user, device=link.box.device, receipts=kept)
        welcome.receive = link.receive
        link.push(welcome=welcome)
        for version, told in self.told:
            if version > self.versions.number(kept):
                link.to_client.append(told.SerializeToString())
        self.deliver()

    def _on_send(self, link: Link, frame: wire.ClientFrame) -> None:
        send = frame.send
        if self._repeated(link, send.id):
            return
        if link.box.user not in self.room.order:
            link.push(error=wire.Error(code="unknown_conversation", id=send.id, conversation=GROUP))
            return
        self._append(link, wire.Message(id=send.id, body=send.body))

    def _on_manage(self, link: Link, frame: wire.ClientFrame) -> None:
        manage = frame.manage
        if self._repeated(link, manage.id):
            return
        wanted = change_from_wire(manage.change)
        if isinstance(wanted, Joined):
            wanted = Joined(HASHES[SECRETS.index(manage.change.joined.secret)])
        stored = self.room.want(link.box.user, wanted)
        if stored is None:
            link.push(error=wire.Error(code="forbidden", id=manage.id, conversation=GROUP))
            return
        self._append(link, wire.Message(id=manage.id, change=change_to_wire(stored)))

    def _on_group_get(self, link: Link, _frame: wire.ClientFrame) -> None:
        if link.box.user in self.states[self.durable]:
            link.push(group=self.snapshot())
        else:
            link.push(error=wire.Error(code="unknown_conversation", conversation=GROUP))

    def _on_progress_get(self, link: Link, frame: wire.ClientFrame) -> None:
        seq = frame.progress_get.seq
        if link.box.user not in self.states[self.durable] or seq > self.durable:
            link.push(error=wire.Error(code="unknown_conversation", conversation=GROUP))
            return
        progress = wire.Progress(conversation=GROUP, seq=seq)
        for user in sorted(self.audience(seq)):
            read = self.read.get((user, self.log[seq - 1].sender), 0)
            cursor = progress.cursors.add(user=user, delivered=self.delivered.get(user, 0), read=read)
            cursor.skipped = self.is_lost(user, seq)
        link.push(progress=progress)

    def _on_ack(self, link: Link, frame: wire.ClientFrame) -> None:
        ack, box = frame.ack, link.box
        if ack.conversation:
            link.under_way = 0  # roughly
            if 0 < link.shown <= ack.seq:
                box.fresh = False
            box.cursor = max(box.cursor, ack.seq)
            if box.cursor > self.delivered.get(box.user, 0):
                self.delivered[box.user] = box.cursor
                self._tell(box.user)
            self.deliver()
        self.versions.number(ack.receipts)
        confirmed = {seq for of in ack.accepted for seq in of.seqs}
        box.known = {id: seq for id, seq in box.known.items() if seq not in confirmed}

    def _on_read(self, link: Link, frame: wire.ClientFrame) -> None:
        assert frame.read.seq <= self.delivered.get(link.box.user, 0), "read before the server knows that we have it"
        assert frame.read.authors, "a read in a group names authors"
        for author in frame.read.authors:
            pair = link.box.user, author
            self.read[pair] = max(self.read.get(pair, 0), frame.read.seq)
        self._tell(link.box.user)

    def _on_ping(self, link: Link, frame: wire.ClientFrame) -> None:
        link.push(pong=wire.Pong(nonce=frame.ping.nonce))

    # Details.

    def snapshot(self) -> wire.Group:
        state = self.states[self.durable]
        group = wire.Group(conversation=GROUP, seq=state.seq, closed=state.closed)
        made = change_to_wire(Created((), state.profile, state.rules)).created
        group.profile.CopyFrom(made.profile)
        group.rules.CopyFrom(made.rules)
        for member in state.members:
            group.members.add(user=member.user, role=int(member.role))
        for invite in state.invites:
            group.invites.add(hash=invite.hash, expires=invite.expires)
        return group

    def is_lost(self, user: str, seq: int) -> bool:
        return any(who == user and a <= seq <= b for who, a, b in self.lost)

    def _spans(self, box: Mailbox) -> list[list[int]]:
        return self.spans.get(box.user, [])

    def _is_own(self, box: Mailbox, message: wire.Message) -> bool:
        return (message.sender, message.device) == (box.user, box.device)

    def _repeated(self, link: Link, id: bytes) -> bool:
        seq = link.box.known.get(id)
        if seq is not None and seq <= self.durable:
            self._accept(link, seq)
        return seq is not None

    def _append(self, link: Link, message: wire.Message) -> None:
        message.conversation, message.seq, message.time = GROUP, len(self.log) + 1, 1
        message.sender, message.device = link.box.user, link.box.device
        self.log.append(message)
        last = self.states[-1]
        self.states.append(self.room.state(GROUP, message.seq) if message.HasField("change") else last)
        link.box.known[message.id] = message.seq

    def _accept(self, link: Link, seq: int) -> None:
        message = self.log[seq - 1]
        link.push(accepted=wire.Accepted(id=message.id, conversation=GROUP, seq=seq, time=1))

    def _move(self, message: wire.Message) -> None:
        """Opens and closes spans."""
        if not message.HasField("change"):
            return
        seq, change = message.seq, change_from_wire(message.change)
        match change:
            case Created() | Added() | Joined():
                for user in [user for user, _ in self.states[seq].members if user not in self.states[seq - 1]]:
                    self.spans.setdefault(user, []).append([seq, NEVER])
                    for box in self.boxes:
                        if box.user == user:
                            self._refresh(box)
            case Removed() | Left() | Closed():
                for user in [user for user, _ in self.states[seq - 1].members if user not in self.states[seq]]:
                    self.spans[user][-1][1] = seq
            case _:
                pass

    def _refresh(self, box: Mailbox) -> None:
        box.fresh = True
        for link in self.links:
            if link.box is box:
                link.shown = 0

    def _lose(self, user: str, first: int, last: int) -> None:
        self.lost.append((user, first, last))
        skip = wire.Skip(conversation=GROUP, to=last, reason=wire.EXPIRED, user=user)
        setattr(skip, "from", first)
        self._versioned(wire.ServerFrame(skip=skip))
        self.delivered[user] = last
        self._tell(user)

    def _tell(self, user: str) -> None:
        """As of each author, who alone is told what was read of theirs."""
        receipts = wire.Receipts(conversation=GROUP)
        receipts.cursors.add(user=user, delivered=self.delivered.get(user, 0))
        self._versioned(wire.ServerFrame(receipts=receipts))
        for author in {author for reader, author in self.read if reader == user}:
            receipts = wire.Receipts(conversation=GROUP)
            receipts.cursors.add(user=user, read=self.read[user, author])
            self._versioned(wire.ServerFrame(receipts=receipts), only=author)

    def _versioned(self, frame: wire.ServerFrame, only: str = "") -> None:
        self.version += 1
        inner = frame.receipts if frame.HasField("receipts") else frame.skip
        inner.version = self.versions.opaque(self.version)
        if not only:
            self.told.append((self.version, frame))
        for link in self.links:
            if link.greeted and only in ("", link.box.user):
                link.to_client.append(frame.SerializeToString())
