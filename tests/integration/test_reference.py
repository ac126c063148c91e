"""The core beside the plain Python router of benches/reference.py: the same steps, the same answers.

Hypothesis drives both. The core runs in this process with its log, and is closed and opened anew now and then; the
reference forgets nothing. After each step every device that is online has got exactly what is in its queue, in order
and under the same numbers (I2, I3), and every author has been told exactly of what was delivered and read (I7).
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from benches.inprocess import Peer, World
from benches.reference import Accepted, Message, Reference, direct_id
from pyrouter.wire import wire_pb2 as wire

DEVICES = (("ann", 1), ("ann", 2), ("bob", 1), ("cem", 1), ("dot", 7))
USERS = ("ann", "bob", "cem", "dot")
PATIENCE_S = 1.0
"""When nothing came for so long, nothing will: receipts of groups are held back for a quarter of it."""
GROUPS = True

Key = tuple[str, int]
Cursor = tuple[bytes, str]


class Session:
    """What one device was told since it connected."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.messages: dict[bytes, list[Message]] = {}
        self.accepted: list[Accepted] = []
        self.refused: list[str] = []
        self.pongs = 0

    def take(self, told: dict[Cursor, tuple[int, int]]) -> None:
        """Reads what came; receipts go into `told`, as they outlive the session."""
        for frame in self.peer.frames():
            match frame.WhichOneof("frame"):
                case "message":
                    got = frame.message
                    change = got.change.WhichOneof("change") or "" if GROUPS else ""
                    message = Message(got.seq, got.sender, got.device, got.id, got.body, change)
                    self.messages.setdefault(got.conversation, []).append(message)
                case "accepted":
                    self.accepted.append(Accepted(frame.accepted.id, frame.accepted.conversation, frame.accepted.seq))
                case "receipt":
                    _merge(told, frame.receipt.conversation, frame.receipt)
                case "receipts":
                    for cursor in frame.receipts.cursors:
                        _merge(told, frame.receipts.conversation, cursor)
                case "error":
                    self.refused.append(frame.error.code)
                case "pong":
                    self.pongs += 1
                case kind:
                    assert kind in ("welcome", "group"), frame


def _merge(told: dict[Cursor, tuple[int, int]], conversation: bytes, cursor: wire.Receipt | wire.Cursor) -> None:
    delivered, read = told.get((conversation, cursor.user), (0, 0))
    told[conversation, cursor.user] = (max(delivered, cursor.delivered), max(read, cursor.read))


class Both(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.loop = asyncio.new_event_loop()
        self.world = self._open({})
        self.reference = Reference()
        self.sessions: dict[Key, Session] = {}
        self.told: dict[str, dict[Cursor, tuple[int, int]]] = {user: {} for user in USERS}
        self.sent: dict[Key, int] = dict.fromkeys(DEVICES, 0)
        self.groups: list[bytes] = []
        for key in DEVICES:
            self.reference.join(*key)
            self._connect(key)

    def _open(self, cold: dict[tuple[str, bytes], bytes]) -> World:
        return World(Path(self.directory.name), self.loop, cold, durability="none", segment_bytes=1 << 20)

    def teardown(self) -> None:
        self.world.close()
        self.loop.close()
        self.directory.cleanup()

    # The two sides.

    def _connect(self, key: Key) -> None:
        self.sessions[key] = Session(self.world.join(*key))
        self._pass()

    def _pass(self) -> None:
        """Everything that was said before is dealt with."""
        for session in self.sessions.values():
            session.pongs = 0
            session.peer.put(wire.ClientFrame(ping=wire.Ping(nonce=1)))
        self._until(lambda: self._taken() and all(session.pongs for session in self.sessions.values()))

    def _until(self, there: Callable[[], bool]) -> None:
        """Turns until it is so, or nothing has come for a while; then what follows says what is wrong."""
        end = time.monotonic() + PATIENCE_S

        def there_or_quiet() -> bool:
            nonlocal end
            came = any(session.peer.chunks for session in self.sessions.values())
            end = time.monotonic() + PATIENCE_S if came else end
            return there() or time.monotonic() > end

        self.world.run(there_or_quiet, 100 * PATIENCE_S)

    def _taken(self) -> bool:
        for (user, _), session in self.sessions.items():
            session.take(self.told[user])
        return True

    def _same(self) -> bool:
        self._taken()
        return all(self._expected(key) == session.messages for key, session in self.sessions.items())

    def _expected(self, key: Key) -> dict[bytes, list[Message]]:
        """What a session must have got: its queue, and before it what it has acknowledged since it connected."""
        acked = self.sessions[key].messages
        expected: dict[bytes, list[Message]] = {}
        for conversation, message in self.reference.queue(*key):
            expected.setdefault(conversation, []).append(message)
        for conversation, messages in acked.items():
            member = self.reference.conversations[conversation].members[key[0]]
            have = [message for message in messages if message.seq <= member.cursors[key[1]]]
            if have:
                expected[conversation] = have + expected.get(conversation, [])
        return expected

    def _id(self, key: Key) -> bytes:
        self.sent[key] += 1
        return b"%d" % self.sent[key]

    def _manage(self, key: Key, change: wire.GroupChange, id: bytes, group: bytes = b"") -> None:
        self.sessions[key].peer.put(wire.ClientFrame(manage=wire.Manage(id=id, conversation=group, change=change)))

    def _await(self, key: Key, expected: list[Accepted]) -> None:
        session = self.sessions[key]
        before = len(session.accepted)
        self._until(lambda: self._taken() and len(session.accepted) >= before + len(expected))
        assert session.accepted[before:] == expected, "numbered otherwise (I2)"

    def _online(self, data: st.DataObject) -> Key:
        return data.draw(st.sampled_from(sorted(self.sessions)))

    # What may happen.

    @precondition(lambda self: len(self.sessions) < len(DEVICES))
    @rule(data=st.data())
    def connect(self, data: st.DataObject) -> None:
        self._connect(data.draw(st.sampled_from([key for key in DEVICES if key not in self.sessions])))

    @precondition(lambda self: len(self.sessions) > 1)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self.sessions.pop(self._online(data)).peer.close()

    @rule(data=st.data(), to=st.sampled_from(USERS), count=st.integers(1, 20))
    def send(self, data: st.DataObject, to: str, count: int) -> None:
        key = self._online(data)
        ids = [self._id(key) for _ in range(count)]
        sends = [wire.ClientFrame(send=wire.Send(id=id, user=to, body=b"to " + id)) for id in ids]
        self.sessions[key].peer.put(*sends)
        self._await(key, [self.reference.send(*key, id, to, b"to " + id) for id in ids])

    @precondition(lambda self: any(session.accepted for session in self.sessions.values()))
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(key for key, session in self.sessions.items() if session.accepted)))
        answer = data.draw(st.sampled_from(self.sessions[key].accepted[-20:]))
        conversation = self.reference.conversations[answer.conversation]
        if conversation.group:
            return
        (other,) = [user for user in conversation.members if user != key[0]] or [key[0]]
        self.sessions[key].peer.put(wire.ClientFrame(send=wire.Send(id=answer.id, user=other, body=b"another")))
        self._await(key, [answer])

    @precondition(lambda self: any(session.messages for session in self.sessions.values()))
    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(key for key, session in self.sessions.items() if session.messages)))
        conversation = data.draw(st.sampled_from(sorted(self.sessions[key].messages)))
        message = data.draw(st.sampled_from(self.sessions[key].messages[conversation]))
        member = self.reference.conversations[conversation].members[key[0]]
        end = member.spans[-1][1]
        if end is not None and member.cursors[key[1]] >= end:
            return  # it has its last message of the group: from then on there is none for it
        ack = wire.Ack(conversation=conversation, seq=message.seq)
        self.sessions[key].peer.put(wire.ClientFrame(ack=ack))
        self.reference.ack(*key, conversation, message.seq)

    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        user, device = self._online(data)
        seen = [
            (conversation.id, member.delivered)
            for conversation in self.reference.conversations.values()
            if (member := conversation.members.get(user)) and member.present and member.delivered > member.read
        ]
        if not seen:
            return
        conversation, seq = data.draw(st.sampled_from(seen))
        read = wire.Read(conversation=conversation, seq=seq)
        if self.reference.conversations[conversation].group:
            authors = {sender for sender, number in self.authors(conversation) if number <= seq}
            read.authors.extend(sorted(authors - {user}))
        self.sessions[user, device].peer.put(wire.ClientFrame(read=read))
        self.reference.read(user, conversation, seq)

    @rule()
    def restart(self) -> None:
        """Of the core: everybody is away, and has to come back."""
        self._pass()
        keys = sorted(self.sessions)
        for key in keys:
            self.sessions.pop(key).peer.close()
        self.world.close()
        self.world = self._open(self.world.cold)
        for key in keys:
            self._connect(key)

    # Groups.

    @precondition(lambda self: GROUPS and len(self.groups) < 3)
    @rule(data=st.data(), members=st.sets(st.sampled_from(USERS), min_size=1))
    def create(self, data: st.DataObject, members: set[str]) -> None:
        key = self._online(data)
        id, others = self._id(key), sorted(members - {key[0]})
        self._manage(key, wire.GroupChange(created=wire.GroupCreated(members=others)), id)
        accepted = self.reference.create(*key, id, others)
        self._await(key, [accepted])
        self.groups.append(accepted.conversation)

    @precondition(lambda self: self.groups)
    @rule(data=st.data(), count=st.integers(1, 20))
    def post(self, data: st.DataObject, count: int) -> None:
        group = data.draw(st.sampled_from(self.groups))
        keys = [key for key in sorted(self.sessions) if self.reference.conversations[group].has(key[0])]
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        ids = [self._id(key) for _ in range(count)]
        sends = [wire.ClientFrame(send=wire.Send(id=id, conversation=group, body=b"all " + id)) for id in ids]
        self.sessions[key].peer.put(*sends)
        self._await(key, [self.reference.send(*key, id, group, b"all " + id) for id in ids])

    @precondition(lambda self: self.groups)
    @rule(data=st.data(), add=st.booleans(), names=st.sets(st.sampled_from(USERS), min_size=1))
    def change(self, data: st.DataObject, add: bool, names: set[str]) -> None:
        group = data.draw(st.sampled_from(self.groups))
        conversation = self.reference.conversations[group]
        keys = [key for key in sorted(self.sessions) if key[0] == conversation.owner]
        concerned = sorted(name for name in names - {conversation.owner} if conversation.has(name) != add)
        if not keys or not concerned:
            return
        key = data.draw(st.sampled_from(keys))
        id, users = self._id(key), wire.Users(users=concerned)
        self._manage(key, wire.GroupChange(added=users) if add else wire.GroupChange(removed=users), id, group)
        take = self.reference.add if add else self.reference.remove
        self._await(key, [take(*key, id, group, concerned)])

    # What must hold.

    @invariant()
    def each_device_gets_its_queue(self) -> None:
        self._until(self._same)
        self._pass()
        for key, session in self.sessions.items():
            assert session.messages == self._expected(key)
            assert session.refused == []

    @invariant()
    def each_author_is_told_what_was_delivered_and_read(self) -> None:
        authors = {user for user, _ in self.sessions}
        for user in authors:
            self._until(lambda user=user: self._taken() and not self._untold(user))  # type: ignore[misc]
            self._pass()
            assert self._untold(user) == []

    def _untold(self, author: str) -> list[str]:
        """What an author knows otherwise, of its messages since it came: who has them and who read them."""
        wrong = []
        for conversation in self.reference.conversations.values():
            if not conversation.has(author):
                continue  # who has left a group is told nothing more of it
            since = conversation.members[author].spans[-1][0]
            messages = [seq for sender, seq in self.authors(conversation.id) if sender == author and seq >= since]
            for name, member in conversation.members.items():
                mine = [seq for seq in messages if member.sees(seq)]
                told = self.told[author].get((conversation.id, name), (0, 0))
                for what, true, said in zip(("delivered", "read"), (member.delivered, member.read), told, strict=True):
                    if name != author and [seq <= true for seq in mine] != [seq <= said for seq in mine]:
                        wrong.append(f"{what} by {name}: told {said}, is {true}, of {author}'s {mine}")
        return wrong

    def authors(self, conversation: bytes) -> list[tuple[str, int]]:
        """Who wrote which message."""
        answers = self.reference.answers.items()
        return [(user, answer.seq) for (user, _, _), answer in answers if answer.conversation == conversation]


Both.TestCase.settings = settings(max_examples=25, stateful_step_count=30, report_multiple_bugs=False)
TestReference = Both.TestCase


@pytest.mark.parametrize(("a", "b"), [("ann", "bob"), ("ann", "ann")])
def test_ids_of_conversations_are_those_of_the_wire(a: str, b: str) -> None:
    from pyrouter.client.ids import direct_conversation

    assert direct_id(a, b) == direct_id(b, a) == direct_conversation(a, b)
