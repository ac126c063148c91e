"""What was asked of the server and is not answered yet, across connections.

Rules:
- the same question is asked once at a time; whoever asks it meanwhile gets the same answer;
- after a reconnect the open ones are asked again, in order;
- an answer names what it is about, or else belongs to the oldest question of its kind; so does an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from pyrouter.client import frames
from pyrouter.client.arguments import check_conversation, check_user
from pyrouter.client.audience import Audience
from pyrouter.client.errors import BadArgument, DevicesChanged, Refused
from pyrouter.client.group import GroupState
from pyrouter.client.model import DeviceList, Progress, SentMessage
from pyrouter.client.receipts import progress_from_wire
from pyrouter.wire import wire_pb2 as wire

__all__ = ["Answer", "Question", "Questions", "refusal_from_wire"]

# Errors about a conversation that answer no question but an ack or a read.
_NO_ANSWERS = frozenset(["ack_beyond_head"])
# Errors about a user, and about the list of whom one blocks.
_ABOUT_USERS = frozenset(["unknown_user", "bad_user", "too_many", "no_change", "forbidden", "bad_field"])


class Question(NamedTuple):
    """One question.

    Attributes:
        kind: and what answers it: `devices` (of `user`: a `DeviceList`), `group` (a `GroupState`), `groups` (the ids of
            the user's groups), `progress` (of the message `seq`: a `Progress`), `block`, `unblock` (`user`) and
            `blocked` (users).
        conversation, seq, user: as the kind needs.
    """

    kind: str
    conversation: bytes = b""
    seq: int = 0
    user: str = ""

    def encode(self) -> bytes:
        """As it is sent. BadArgument: it cannot be asked, or has a field that its kind does not know."""
        match self:
            case Question("devices", b"", 0, user):
                return frames.devices_get(user)
            case Question("group", conversation, 0, ""):
                check_conversation(conversation)
                return frames.group_get(conversation)
            case Question("groups", b"", 0, ""):
                return frames.group_get()
            case Question("progress", conversation, seq, ""):
                return frames.progress_get(conversation, seq)
            case Question("block" | "unblock", b"", 0, user):
                check_user(user)
                return frames.block(user, off=self.kind == "unblock")
            case Question("blocked", b"", 0, ""):
                return frames.block("", off=False)
            case _:
                raise BadArgument(f"{self!r} is no question")


Answer = DeviceList | GroupState | Progress | tuple[bytes, ...] | tuple[str, ...] | Refused


class Questions:
    """All of one device."""

    __slots__ = ("_answers", "_open", "_sought")

    def __init__(self) -> None:
        self._open: dict[Question, bytes] = {}  # in order, with their frames
        self._answers: list[tuple[Question, Answer]] = []
        self._sought: dict[Question, list[SentMessage]] = {}  # messages of which we asked who is to get them

    def __contains__(self, question: Question) -> bool:
        return question in self._open

    def frames(self) -> Iterator[bytes]:
        """Those of the open ones, in order."""
        return iter(self._open.values())

    def add(self, question: Question) -> bytes | None:
        """A question is asked: its frame, if it is to be sent. BadArgument: it cannot be asked, and is not kept."""
        frame = question.encode()
        if question in self._open:
            return None
        self._open[question] = frame
        return frame

    def seek(self, sent: SentMessage) -> Question | None:
        """Somebody waits for an accepted message to come further: what is to be asked about who is to get it."""
        if not isinstance(sent.reach, Audience) or sent.reach.users is not None:
            return None
        question = Question("progress", sent.conversation, sent.seq)
        self._sought.setdefault(question, []).append(sent)
        return question

    def take_answers(self) -> list[tuple[Question, Answer]]:
        """Questions that were answered since the last call."""
        answers = self._answers
        if answers:
            self._answers = []
        return answers

    def told(self, frame: wire.ServerFrame) -> None:
        """An answer came: devices, groups, progress or blocks."""
        match frame.WhichOneof("frame"):
            case "devices":
                told = frame.devices
                devices = DeviceList(told.user, told.version, tuple(told.devices))
                self.answer(Question("devices", user=told.user), devices)
            case "progress":
                question = Question("progress", frame.progress.conversation, frame.progress.seq)
                self.answer(question, progress_from_wire(frame.progress))
            case "groups":
                self._answer_oldest(("groups",), tuple(frame.groups.conversations))
            case "blocks":
                self._answer_oldest(("block", "unblock", "blocked"), tuple(frame.blocks.users))
            case _:
                pass

    def answer(self, question: Question, answer: Answer) -> None:
        """An answer to this question came, whether or not anybody had asked."""
        self._open.pop(question, None)
        for sent in self._sought.pop(question, ()):
            if isinstance(answer, Progress) and isinstance(sent.reach, Audience) and sent.reach.users is None:
                sent.reach.told(answer.cursors, sent.seq)
        self._answers.append((question, answer))

    def refused(self, error: wire.Error) -> bool:
        """An error came that names no message; true if it answers a question."""
        found: Question | None = None
        if error.code in _NO_ANSWERS:
            return False
        if error.code == "unknown_frame":  # a server that knows no groups
            found = self._oldest(lambda question: question.kind != "devices")
        elif error.code == "unknown_message":
            found = self._oldest(lambda question: question.kind == "progress")
        elif error.conversation:
            found = self._oldest(lambda question: question.conversation == error.conversation)
        elif error.code in _ABOUT_USERS:
            found = self._oldest(lambda question: bool(question.user))
        if found is None:
            return False
        self.answer(found, Refused(error.code, error.message))
        return True

    def _answer_oldest(self, kinds: Sequence[str], answer: Answer) -> None:
        if (question := self._oldest(lambda question: question.kind in kinds)) is not None:
            self.answer(question, answer)

    def _oldest(self, wanted: Callable[[Question], bool]) -> Question | None:
        return next(filter(wanted, self._open), None)


def refusal_from_wire(error: wire.Error) -> Refused:
    """What the server said no to, and why."""
    if error.retry == wire.RETRY_CHANGED:
        lists = {known.user: (known.version, tuple(known.devices)) for known in error.lists}
        return DevicesChanged(error.code, error.message, lists)
    return Refused(error.code, error.message)
