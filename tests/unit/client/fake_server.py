"""A plain model of the server as one device sees it: an oracle for the client's state machine.

One device (`alice`, 1) is under test; the other users exist only as what the model makes them do. Frames travel through
two queues that the test moves by hand, so a connection can be cut with any frames of it lost. A crash forgets what was
not promised: sends that no `accepted` left for, and acks of the recent past. It never forgets a promise.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from pyrouter.client.ids import direct_conversation
from pyrouter.wire import wire_pb2 as wire

from .versions import Versions

ME = "alice"
WINDOW = 5  # unacknowledged messages
UNACCEPTED = 4
REPEATS = 6  # remembered ids: above it the oldest is forgotten


@dataclass
class Conversation:
    other: str
    log: list[wire.Message] = field(default_factory=list)  # message n at n - 1
    cursor: int = 0  # of the device under test
    kept_cursor: int = 0  # what a crash leaves of it
    floor: int = 0  # messages up to here have expired for the device under test
    delivered: int = 0  # cursors of the other user
    read: int = 0
    lost: list[tuple[int, int]] = field(default_factory=list)  # never reach the other user
    my_read: int = 0

    @property
    def id(self) -> bytes:
        return direct_conversation(ME, self.other)


class FakeServer:
    def __init__(self) -> None:
        self.conversations: dict[bytes, Conversation] = {}
        self.known: dict[bytes, wire.Accepted] = {}  # ids of the device that are remembered, oldest first
        self.unpromised: list[wire.Message] = []  # numbered, durable at the next `sync`
        self.full = False  # no room for new messages
        self.refusals = 0
        self.versions = Versions()
        self.receipt_version = 0
        self.receipts: list[tuple[int, wire.ServerFrame]] = []  # versioned, ascending
        self.to_client: deque[bytes] = deque()
        self.to_server: deque[bytes] = deque()
        self.connected = False
        self.greeted = False
        self.answers: set[tuple[bytes, int]] = set()  # conversation and seq of each `accepted` of this connection
        self.answered: set[tuple[bytes, int]] = set()  # and of every one
        self.confirmed: set[tuple[bytes, int]] = set()
        self.next: dict[bytes, int] = {}  # next seq to be sent on this connection

    # What the rest of the world does.

    def conversation(self, other: str) -> Conversation:
        return self.conversations.setdefault(direct_conversation(ME, other), Conversation(other))

    def other_sends(self, other: str, body: bytes) -> None:
        conversation = self.conversation(other)
        message = self._append(conversation, other, b"id", body)
        self.unpromised = [waiting for waiting in self.unpromised if waiting is not message]
        self.deliver()

    def other_acks(self, other: str, read: bool) -> None:
        """The other user takes everything that is durable."""
        conversation = self.conversation(other)
        if any(message.conversation == conversation.id for message in self.unpromised) or not conversation.log:
            return
        conversation.delivered = len(conversation.log)
        if read:
            conversation.read = conversation.delivered
        self._receipt(conversation)

    def expire_for_other(self, other: str) -> None:
        """What the other user did not take never will reach it: told before the cursor passes it."""
        conversation = self.conversation(other)
        first, last = conversation.delivered + 1, len(conversation.log)
        if first > last or any(message.conversation == conversation.id for message in self.unpromised):
            return
        conversation.lost.append((first, last))
        conversation.delivered = last
        frame = wire.ServerFrame()
        frame.skip.conversation = conversation.id
        setattr(frame.skip, "from", first)
        frame.skip.to, frame.skip.reason, frame.skip.user = last, wire.EXPIRED, other
        self._versioned(frame, frame.skip)
        self._receipt(conversation)

    def expire_for_me(self, other: str) -> None:
        conversation = self.conversation(other)
        if all(message.conversation != conversation.id for message in self.unpromised):
            conversation.floor = len(conversation.log)
        self.deliver()

    # Connections.

    def connect(self) -> None:
        self.connected = True
        self.greeted = False
        self.answers = set()
        self.next = {}

    def cut(self) -> None:
        """The connection ends; what was under way is lost."""
        self.connected = self.greeted = False
        self.to_client.clear()
        self.to_server.clear()

    def crash(self) -> None:
        """The connection ends, and everything that was not promised is gone."""
        self.cut()
        for message in reversed(self.unpromised):
            log = self.conversations[message.conversation].log
            assert log.pop() is message
            self.known.pop(message.id, None)
        self.unpromised.clear()
        for conversation in self.conversations.values():
            conversation.cursor = conversation.kept_cursor

    def sync(self) -> None:
        """Everything is durable: answers leave."""
        for conversation in self.conversations.values():
            conversation.kept_cursor = conversation.cursor
        waiting, self.unpromised = self.unpromised, []
        for message in waiting:
            if self.greeted:
                self._answer(message.id)

    def take(self) -> None:
        """Reads one frame."""
        frame = wire.ClientFrame.FromString(self.to_server.popleft())
        kind = frame.WhichOneof("frame")
        assert kind is not None
        assert (kind == "hello") != self.greeted, f"{kind} at the wrong time"
        getattr(self, f"_on_{kind}")(frame)

    def deliver(self) -> None:
        """Sends what the window takes."""
        if not self.greeted:
            return
        for conversation in self.conversations.values():
            if conversation.floor > max(self.next.get(conversation.id, 0) - 1, conversation.cursor):
                frame = wire.ServerFrame()
                frame.skip.conversation = conversation.id
                setattr(frame.skip, "from", max(self.next.get(conversation.id, 0), conversation.cursor + 1))
                frame.skip.to, frame.skip.reason = conversation.floor, wire.EXPIRED
                self._push(frame)
                self.next[conversation.id] = conversation.floor + 1
            seq = max(self.next.get(conversation.id, 0), conversation.cursor + 1)
            under_way = sum(message.sender != ME for message in conversation.log[conversation.cursor : seq - 1])
            while seq <= len(conversation.log) and under_way < WINDOW:
                message = conversation.log[seq - 1]
                if any(message is waiting for waiting in self.unpromised):
                    break
                if message.sender != ME:
                    self._push(wire.ServerFrame(message=message))
                    under_way += 1
                seq += 1
            self.next[conversation.id] = seq

    # Frames.

    def _on_hello(self, frame: wire.ClientFrame) -> None:
        assert frame.hello.protocol == 1
        self.greeted = True
        welcome = wire.Welcome(protocol=1, user=ME, device=1, server="model", receive=frame.hello.receive)
        welcome.receipts = frame.hello.receipts
        kept = self.versions.number(frame.hello.receipts)
        welcome.limits.unaccepted_messages = UNACCEPTED
        welcome.limits.repeats = REPEATS
        welcome.limits.frame_bytes = 1000
        self._push(wire.ServerFrame(welcome=welcome))
        for version, told in self.receipts:
            if version > kept:
                self._push(told)
        self.deliver()

    def _on_send(self, frame: wire.ClientFrame) -> None:
        send = frame.send
        if send.id in self.known:
            if all(waiting.id != send.id for waiting in self.unpromised):
                self._answer(send.id)
            return
        if self.full:
            self.refusals += 1
            error = wire.Error(code="storage_full", retry=wire.RETRY_AFTER, retry_ms=500, id=send.id)
            self._push(wire.ServerFrame(error=error))
            return
        if send.user == "nobody":
            self._push(wire.ServerFrame(error=wire.Error(code="unknown_user", id=send.id)))
            return
        assert len(self.unpromised) < UNACCEPTED, "the client outran the server's bound"
        conversation = self.conversation(send.user)
        message = self._append(conversation, ME, send.id, send.body)
        self.known[send.id] = wire.Accepted(id=send.id, conversation=conversation.id, seq=message.seq, time=1)
        if len(self.known) > REPEATS:
            del self.known[next(iter(self.known))]

    def _on_ack(self, frame: wire.ClientFrame) -> None:
        ack = frame.ack
        if ack.conversation:
            conversation = self.conversations[ack.conversation]
            assert ack.seq <= len(conversation.log)
            conversation.cursor = max(conversation.cursor, ack.seq)
            self.deliver()
        self.versions.number(ack.receipts)
        for of in ack.accepted:
            self.confirmed |= {(of.conversation, seq) for seq in of.seqs}
        assert self.confirmed <= self.answered
        for id in [id for id, known in self.known.items() if (known.conversation, known.seq) in self.confirmed]:
            del self.known[id]

    def _on_read(self, frame: wire.ClientFrame) -> None:
        conversation = self.conversations[frame.read.conversation]
        assert frame.read.seq <= conversation.cursor, "read before the server knows that we have it"
        conversation.my_read = max(conversation.my_read, frame.read.seq)

    def _on_pong(self, frame: wire.ClientFrame) -> None:
        pass

    def _on_ping(self, frame: wire.ClientFrame) -> None:
        self._push(wire.ServerFrame(pong=wire.Pong(nonce=frame.ping.nonce)))

    # Details.

    def _append(self, conversation: Conversation, sender: str, id: bytes, body: bytes) -> wire.Message:
        message = wire.Message(
            conversation=conversation.id,
            seq=len(conversation.log) + 1,
            sender=sender,
            device=1,
            id=id,
            time=1,
            body=body,
        )
        conversation.log.append(message)
        if sender != ME:
            # The model keeps numbering simple: what stands before a message of somebody else is durable with it.
            self.sync()
        else:
            self.unpromised.append(message)
        return message

    def _answer(self, id: bytes) -> None:
        if id not in self.known:
            return
        accepted = self.known[id]
        self.answers.add((accepted.conversation, accepted.seq))
        self.answered.add((accepted.conversation, accepted.seq))
        conversation = self.conversations[accepted.conversation]
        if conversation.other == ME:
            # One device of the recipient has it: the sender's.
            conversation.delivered = max(conversation.delivered, accepted.seq)
        self._push(wire.ServerFrame(accepted=accepted))

    def _receipt(self, conversation: Conversation) -> None:
        frame = wire.ServerFrame()
        frame.receipt.conversation, frame.receipt.user = conversation.id, conversation.other
        frame.receipt.delivered, frame.receipt.read = conversation.delivered, conversation.read
        self._versioned(frame, frame.receipt)

    def _versioned(self, frame: wire.ServerFrame, inner: wire.Receipt | wire.Skip) -> None:
        self.receipt_version += 1
        inner.version = self.versions.opaque(self.receipt_version)
        self.receipts.append((self.receipt_version, frame))
        if self.greeted:
            self._push(frame)

    def _push(self, frame: wire.ServerFrame) -> None:
        self.to_client.append(frame.SerializeToString())
