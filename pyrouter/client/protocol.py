"""One device's side of the wire as a state machine without I/O: frames in, frames and events out.

It lives as long as the client does, across many connections. Whoever drives it
- calls `connect(token)` when a connection is there, `receive(payload)` for each frame that came, `connection_lost()`
  when it has gone, and `poll()` at `deadline()`;
- after any call writes what `take_output()` gives, looks at `events()` and `questions.take_answers()`;
- drops the connection when `broken` says why.

Rules: `outbox.py` (sending), `inbox.py` (receiving), `receipts.py`, `reads.py`, `book.py` (groups), `questions.py`,
`liveness.py`, and here
- hello first, nothing else before welcome;
- acknowledgements leave after `ACK_EVERY` messages or `ACK_DELAY_S`, at once when no other message is waiting to be
  acknowledged; which answers and receipts we saw rides along, or leaves by itself after `CONFIRM_EVERY` or
  `CONFIRM_DELAY_S`;
- what the server calls final (`replaced`, an error that closes with retry `never`) ends the client;
- an argument is checked (`arguments.py`) before anything is kept: what is kept is sent again on every connection.

It must never know sockets, tasks, or what a body means. Time comes from the `clock` that it is given, in seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from google.protobuf.message import DecodeError

from pyrouter.client import frames
from pyrouter.client.arguments import check_conversation, check_id, check_uint, check_version
from pyrouter.client.book import Book
from pyrouter.client.changes import Change
from pyrouter.client.errors import OUTLIVED, BadArgument, Refused, Replaced, SessionEnded, SessionRefused
from pyrouter.client.group_wire import change_from_wire, state_from_wire
from pyrouter.client.ids import IdSource
from pyrouter.client.inbox import Inbox
from pyrouter.client.liveness import Liveness
from pyrouter.client.model import (
    Accepted,
    Connected,
    Delayed,
    Device,
    Event,
    Limits,
    Message,
    Owner,
    Receipt,
    Refreshed,
    Rejected,
    SentMessage,
    Skipped,
    Target,
    Trouble,
    Undelivered,
)
from pyrouter.client.outbox import DEFAULT_BYTES, DEFAULT_MESSAGES, Outbox
from pyrouter.client.questions import Question, Questions, refusal_from_wire
from pyrouter.client.reads import AUTHORS, Reads
from pyrouter.client.receipts import Receipts, reason_from_wire
from pyrouter.wire import wire_pb2 as wire

__all__ = ["PROTOCOL_VERSION", "Protocol"]

PROTOCOL_VERSION = 1
ACK_EVERY = 16  # messages
ACK_DELAY_S = 0.1
CONFIRM_EVERY = 64  # answers to sends, or receipts; an ack may name 256 answers
CONFIRM_DELAY_S = 1.0
HOLD_AT_LEAST_S = 0.1  # before a send is repeated that the server could not take


class Protocol:
    """One device's session.

    Args:
        receive: whether this session takes the device's messages; one such session per device, the newest wins.
        client: name and version of the program, for the operator; at most 64 bytes.
        window_messages, window_bytes: unacknowledged messages that this client takes at most; 0: the server's default.
        cursors: conversation → seq that this device already has, from `cursors` of an earlier run.
        receipts: last receipt version that this program keeps from an earlier run; empty: what the server remembers.
        owner: given to every message, for its `async` methods.
        clock: seconds, never backwards.
        ids: where message ids come from.

    Raises:
        BadArgument: one of them cannot be.
    """

    def __init__(
        self,
        *,
        receive: bool = True,
        client: str = "pyrouter.client",
        window_messages: int = 0,
        window_bytes: int = 0,
        cursors: Mapping[bytes, int] | None = None,
        receipts: bytes = b"",
        owner: Owner | None = None,
        clock: Callable[[], float] = time.monotonic,
        ids: IdSource | None = None,
    ) -> None:
        check_version(receipts)
        self.user = ""  # who we are, from welcome
        self.device = 0
        self.limits = Limits()
        self.ready = False  # welcome came on this connection
        self.broken: str | None = None  # why the connection must be dropped
        self.reconnect_s: float | None = None  # how long the server asked to stay away; None: it said nothing
        self.inbox = Inbox(cursors)
        self.outbox = Outbox()
        self.receipts = Receipts(receipts)
        self.book = Book()
        self.questions = Questions()
        self._hello = frames.hello(PROTOCOL_VERSION, client, (window_messages, window_bytes), receive=receive)
        self._receive = receive
        self._owner = owner
        self._clock = clock
        self._ids = ids or IdSource()
        # The program chose an id, and so may choose it again: the server is to remember as many ids as it does.
        self._named = False
        self._output: list[bytes] = []
        self._events: list[Event] = []
        self._connected = self.left = False
        self._liveness = Liveness()
        self._confirm_due: float | None = None
        self._acks = 0  # messages acknowledged since the server was told
        self._ack_due: float | None = None
        self._reads = Reads()
        self._final: SessionEnded | None = None
        self._last_word: wire.Error | None = None  # an error that nothing followed yet
        fields = wire.ServerFrame.DESCRIPTOR.oneofs_by_name["frame"].fields
        self._handlers: dict[str, Callable[[wire.ServerFrame], None]]
        self._handlers = {field.name: getattr(self, f"_on_{field.name}") for field in fields}

    # The connection.

    def connect(self, token: str) -> None:
        """A connection is there: says hello."""
        self._output.clear()
        self._connected = True
        self.ready = False
        self.broken = None
        self.reconnect_s = None
        self._final = None
        self._last_word = None
        self._liveness.connected(self._clock())
        self._hello.token = token
        self._hello.receipts = self.receipts.version
        self._output.append(wire.ClientFrame(hello=self._hello).SerializeToString())
        self._hello.token = ""

    def connection_lost(self) -> SessionEnded | None:
        """The connection has gone. Returns why the client must end; None: connect anew, see `reconnect_s`."""
        self._connected = self.ready = False
        self._output.clear()
        self._confirm_due = self._ack_due = None
        self.inbox.connection_lost()
        self.outbox.connection_lost()
        self._reads.connection_lost(self._clock())
        if self._final is None and (word := self._last_word) is not None:
            if word.retry == wire.RETRY_NEVER:
                self._final = SessionRefused(word.code, word.message)
            elif word.retry_ms:
                self.reconnect_s = word.retry_ms / 1000
        return self._final

    def receive(self, payload: bytes) -> None:
        """One frame came."""
        try:
            frame = wire.ServerFrame.FromString(payload)
        except DecodeError:
            self.broken = "the server sent a frame that cannot be read"
            return
        self._liveness.heard(self._clock())
        kind = frame.WhichOneof("frame")
        if kind is None:
            return  # of a later version
        if not self.ready and kind not in ("welcome", "error", "ping", "pong", "replaced", "goodbye"):
            self.broken = f"the server sent {kind} before welcome"
            return
        self._last_word = None
        self._handlers[kind](frame)

    def take_output(self) -> list[bytes]:
        """Frames to be written, in order; each is one payload without framing."""
        output = self._output
        if output:
            self._output = []
        return output

    def events(self) -> list[Event]:
        """What happened since the last call, in order."""
        events = self._events
        if events:
            self._events = []
        return events

    def deadline(self) -> float | None:
        """When `poll` wants to be called, by the clock."""
        if not self._connected:
            return None
        if not self.ready:
            return self._liveness.deadline()
        times = (self._liveness.deadline(), self._ack_due, self._confirm_due, self.outbox.held_until())
        return min(at for at in times if at is not None)

    def poll(self) -> None:
        """Does what time has made due."""
        if not self._connected:
            return
        now = self._clock()
        self.broken = self.broken or self._liveness.overdue(now)
        if not self.ready:
            return
        if (until := self.outbox.held_until()) is not None and until <= now:
            self.outbox.release(now)
            self._depart()
        if any(due is not None and due <= now for due in (self._ack_due, self._confirm_due)):
            self.flush()
        if self._liveness.wants_ping(now):
            self._output.append(frames.ping(1))

    # Requests.

    def send(
        self,
        to: Target,
        body: bytes = b"",
        *,
        id: bytes | None = None,
        media: Sequence[bytes] = (),
        bodies: Mapping[Device, bytes] | None = None,
        lists: Mapping[str, tuple[int, Sequence[int]]] | None = None,
    ) -> SentMessage:
        """Makes a message. It leaves as soon as it may, and again after a reconnect, until it is answered.

        Args:
            to: user, conversation, or device.
            body: one body for all …
            id: 1 to 32 bytes, to repeat a message of an earlier run; None: a fresh one. Once a program has chosen an
                id, nothing is confirmed any more: the server then remembers its last `limits.repeats` ids.
            media: ids of media that the body refers to.
            bodies: … or one per device, with
            lists: the device lists that they were made for: user → (version, devices).

        Raises:
            OutboxFull: too many are unanswered.
            BadArgument: the id is one of them, or an argument is not as above.
        """
        own = self._id(id)
        frame = frames.send(own, to, body, media, bodies, lists)
        self._named |= id is not None
        return self._post(own, to, frame)

    def manage(self, conversation: bytes, change: Change, *, id: bytes | None = None) -> SentMessage:
        """Wants a change of a group; it is numbered, kept and repeated like a message.

        Args:
            conversation: the group; empty with `Created`.
            change: what is to happen.
            id: as in `send`.

        Raises:
            OutboxFull, BadArgument: as `send`.
        """
        own = self._id(id)
        frame = frames.manage(own, conversation, change)
        self._named |= id is not None
        return self._post(own, conversation, frame, change)

    def ack(self, conversation: bytes, seq: int) -> None:
        """Tells that this device keeps every message of the conversation up to `seq`. BadArgument: it never came."""
        check_conversation(conversation)
        check_uint("a message's seq", seq, 64)
        if not self.inbox.ack(conversation, seq):
            return
        self._acks += 1
        if self._acks >= ACK_EVERY or not self.inbox.unacked:
            self.flush()
        elif self._ack_due is None:
            self._ack_due = self._clock() + ACK_DELAY_S

    def read(self, conversation: bytes, seq: int, authors: Sequence[str] = ()) -> None:
        """The user has read the conversation up to `seq`: of these authors, or of the other user.

        To be called after `ack`: the server takes no read of what this device has not acknowledged. BadArgument: an
        argument cannot be.
        """
        frames.check_read(conversation, seq, authors)
        if self.inbox.must_know(conversation):
            self.flush()
        if (known := self.book.read(conversation, seq)) is not None:
            authors = list(dict.fromkeys(author for author in (*authors, *known) if author != self.user))[:AUTHORS]
            if not authors:
                return  # nobody would be told
        self._reads.add(conversation, seq, authors, self._clock())
        if self.ready:
            self._output.append(frames.read(conversation, seq, authors))

    def ask(self, question: Question) -> None:
        """Asks something; `questions.take_answers` has what comes. BadArgument: it cannot be asked."""
        if (frame := self.questions.add(question)) is not None and self.ready:
            self._output.append(frame)

    def seek(self, sent: SentMessage) -> None:
        """Somebody waits for an accepted message to come further: asks who is to get it, where that is not known."""
        if (question := self.questions.seek(sent)) is not None:
            self.ask(question)

    def leave(self) -> None:
        """Tells the server the rest, and pings it: with the pong (`left`) it has handled every frame of ours."""
        self.flush()
        self._output.extend([frames.ping(frames.LAST)] if self.ready else [])

    def flush(self) -> None:
        """Tells the server all that it was not told yet about what we have."""
        if not self.ready:
            return
        first, *others = [wire.Ack(conversation=id, seq=seq) for id, seq in self.inbox.take_dirty()] or [wire.Ack()]
        if self._receive and (version := self.receipts.to_tell()):
            first.receipts = version
        if not self._named:
            first.accepted.extend(frames.seqs(self.outbox.unconfirmed))
        self.outbox.unconfirmed.clear()
        if first.ByteSize():
            self._output.extend(wire.ClientFrame(ack=ack).SerializeToString() for ack in (first, *others))
        self._acks = 0
        self._ack_due = self._confirm_due = None

    def give_up(self) -> list[SentMessage]:
        """Forgets all unanswered sends; returns them."""
        return self.outbox.clear()

    def cursors(self) -> dict[bytes, int]:
        """What this device has of each conversation: to be kept, and given to the next run."""
        return dict(self.inbox.cursors())

    # Frames.

    def _on_welcome(self, frame: wire.ServerFrame) -> None:
        welcome = frame.welcome
        self.user, self.device = welcome.user, welcome.device
        self.book.welcomed(self.user, self.device)
        told = welcome.limits
        self.limits = limits = Limits(**{name: getattr(told, name) for name in Limits.__dataclass_fields__})
        windows = [limit for limit in (limits.unaccepted_messages, limits.repeats - 1) if limit > 0]
        self.outbox.max_messages = min(windows, default=DEFAULT_MESSAGES)
        self.outbox.max_bytes = limits.unaccepted_bytes or DEFAULT_BYTES
        self.ready = True
        self._liveness.welcomed()
        pending = (welcome.pending.messages, welcome.pending.conversations)
        self._events.append(Connected(self.user, self.device, welcome.server, welcome.time, limits, *pending))
        self.receipts.welcomed(self.user, welcome.receipts)
        for conversation, _ in self._reads:
            self.inbox.must_know(conversation)
        self.flush()
        self._output.extend(read for _, read in self._reads)
        self._output.extend(self.questions.frames())
        self.outbox.release(self._clock())
        self._depart()

    def _on_accepted(self, frame: wire.ServerFrame) -> None:
        accepted = frame.accepted
        self.outbox.unconfirmed.append((accepted.conversation, accepted.seq))
        sent = self.outbox.answered(accepted.id)
        if sent is not None:
            sent.conversation, sent.seq, sent.time = accepted.conversation, accepted.seq, accepted.time
            sent.delay = None
            self.receipts.accepted(sent)
            if self._receive:  # only a receiving session hears of the rest
                self.book.own(sent)
            self._events.append(Accepted(sent))
        self._depart()
        self._confirm_later(len(self.outbox.unconfirmed))

    def _on_message(self, frame: wire.ServerFrame) -> None:
        got = frame.message
        conversation, seq = got.conversation, got.seq
        if not self.inbox.message(conversation, seq):
            self._acknowledge_repeat()
            return
        change = change_from_wire(got.change) if got.HasField("change") else None
        if self.book.message(got, change):
            self.ask(Question("group", conversation))
        came = (conversation, seq, got.sender, got.device, got.id, got.time, got.body, tuple(got.media), got.to)
        self._events.append(Message(*came, change, conversation in self.book, self._owner))

    def _on_receipt(self, frame: wire.ServerFrame) -> None:
        moved = self.receipts.receipt(frame.receipt, group=frame.receipt.conversation in self.book)
        self._keep(moved)

    def _on_receipts(self, frame: wire.ServerFrame) -> None:
        self._keep(*self.receipts.receipts(frame.receipts))

    def _on_skip(self, frame: wire.ServerFrame) -> None:
        skip = frame.skip
        if skip.user:
            self._keep(self.receipts.skip(skip))
            return
        first, last, reason = getattr(skip, "from"), skip.to, reason_from_wire(skip.reason)
        if self.inbox.skip(skip.conversation, last):
            self.book.skipped(skip.conversation, last)
            self._events.append(Skipped(skip.conversation, first, last, reason))
        self._acknowledge_repeat()

    def _on_error(self, frame: wire.ServerFrame) -> None:
        error = frame.error
        if error.retry == wire.RETRY_RECONNECT:
            self._last_word = error
            self.broken = f"{error.message} ({error.code})"
        elif not self.ready:  # then every error ends the connection, and answers no question
            self._last_word = error
            self._events.append(Trouble(error.code, error.message, error.conversation))
        elif not error.id:
            if not self.questions.refused(error):
                # What concerns a conversation, the connection outlives: it must not look like the reason of its end.
                self._last_word = None if error.conversation or error.code in OUTLIVED else error
                self._events.append(Trouble(error.code, error.message, error.conversation))
        elif error.retry == wire.RETRY_AFTER:
            wait_s = max(error.retry_ms / 1000, HOLD_AT_LEAST_S)
            if (sent := self.outbox.hold(error.id, self._clock() + wait_s)) is not None:
                sent.delay = Refused(error.code, error.message)
                self._events.append(Delayed(sent, wait_s))
        else:
            self._reject(error.id, refusal_from_wire(error))
        self._depart()

    def _on_ping(self, frame: wire.ServerFrame) -> None:
        self._output.append(frames.pong(frame.ping.nonce))

    def _on_pong(self, frame: wire.ServerFrame) -> None:
        self.left = self.left or frame.pong.nonce == frames.LAST

    def _on_replaced(self, _frame: wire.ServerFrame) -> None:
        self._final = Replaced()

    def _on_goodbye(self, frame: wire.ServerFrame) -> None:
        self.reconnect_s = frame.goodbye.reconnect_ms / 1000

    def _on_group(self, frame: wire.ServerFrame) -> None:
        state = state_from_wire(frame.group)
        state, news = self.book.snapshot(state)
        if news:
            self._events.append(Refreshed(state))
        self.questions.answer(Question("group", state.conversation), state)

    def _on_answer(self, frame: wire.ServerFrame) -> None:
        self.questions.told(frame)

    _on_devices = _on_groups = _on_progress = _on_blocks = _on_answer

    # Details.

    def _depart(self) -> None:
        if not self.ready:
            return
        if self.outbox.stuck_on_confirmation():
            self.flush()
        limit = self.limits.frame_bytes
        for sent in self.outbox.departures():
            if limit and len(sent.frame) > limit:  # the server would close the connection over it
                why = f"the message takes {len(sent.frame)} bytes, the server's limit is {limit}"
                self._reject(sent.id, Refused("too_large", why))
            else:
                self._output.append(sent.frame)

    def _reject(self, id: bytes, error: Refused) -> None:
        if (sent := self.outbox.answered(id)) is not None:
            sent.error = error
            self._events.append(Rejected(sent))

    def _id(self, chosen: bytes | None) -> bytes:
        if chosen is None:
            return self._ids.next()
        check_id(chosen)
        if chosen in self.outbox:
            raise BadArgument(f"a message with the id {chosen.hex()} is already on its way")
        return chosen

    def _post(self, id: bytes, to: Target, frame: bytes, change: Change | None = None) -> SentMessage:
        sent = SentMessage(id, to, frame, self._owner, change)
        self.outbox.add(sent)
        self._depart()
        return sent

    def _keep(self, *news: Receipt | Undelivered | None) -> None:
        self._events.extend(moved for moved in news if moved is not None)
        if self._receive and self.receipts.new:
            self._confirm_later(self.receipts.new)

    def _confirm_later(self, count: int) -> None:
        if count >= CONFIRM_EVERY:
            self.flush()
        elif count and self._confirm_due is None:
            self._confirm_due = self._clock() + CONFIRM_DELAY_S

    def _acknowledge_repeat(self) -> None:
        if self.inbox.dirty and self._ack_due is None:
            self._ack_due = self._clock() + ACK_DELAY_S
