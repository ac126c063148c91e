"""The judgement: what all devices wrote down, together, must be what the invariants promise.

Every function returns the violations that it found, in words; none means that the invariant held.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pyrouter.client import device_conversation, direct_conversation

from . import journal

Device = tuple[str, int]


@dataclass
class Record:
    """One device's journal, sorted."""

    sent: dict[str, tuple[str, int]] = field(default_factory=dict)  # id → to, n
    accepted: dict[str, tuple[str, int]] = field(default_factory=dict)  # id → conversation, seq
    got: list[tuple[str, int, str, int, str, int]] = field(default_factory=list)  # as they came
    changes: dict[tuple[str, int], tuple[str, str]] = field(default_factory=dict)  # conversation, seq → came, went
    acks: list[tuple[str, int, int]] = field(default_factory=list)  # conversation, seq, time
    reads: list[tuple[str, int, int]] = field(default_factory=list)
    receipts: list[tuple[str, str, int, int, int]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def load(directory: Path) -> dict[Device, Record]:
    """All journals of a run."""
    records = {}
    for path in sorted(directory.glob("*.journal")):
        record = Record()
        for kind, *rest in journal.read(path):
            match kind:
                case "sent":
                    record.sent[rest[0]] = (rest[1], rest[2])
                case "accepted":
                    if record.accepted.setdefault(rest[0], (rest[1], rest[2])) != (rest[1], rest[2]):
                        record.wrong.append(
                            f"id {rest[0]} was accepted as {record.accepted[rest[0]]} and as {rest[1:]}"
                        )
                case "message":
                    record.got.append((rest[0], rest[1], rest[2], rest[3], rest[4], rest[5]))
                case "change":
                    record.changes[rest[0], rest[1]] = (rest[2], rest[3])
                case "ack":
                    record.acks.append((rest[0], rest[1], rest[2]))
                case "read":
                    record.reads.append((rest[0], rest[1], rest[2]))
                case "receipt":
                    record.receipts.append((rest[0], rest[1], rest[2], rest[3], rest[4]))
                case "refused":
                    record.wrong.append(f"send {rest[0]} was refused: {rest[1]}")
                case _:
                    record.wrong.append(" ".join(map(str, rest)))
        records[journal.owner(path)] = record
    return records


def members(to: str, sender: Device) -> tuple[str, set[str] | set[Device]]:
    """The conversation of a send, and who is in it: users, or two devices; of a group nobody is known.

    `to` is `user`, `user/device`, `#conversation` for a message in a group, or `!conversation` for a change of it.
    """
    if to[0] in "#!":
        return to[1:], set()
    if "/" in to:
        user, device = to.split("/")
        other = (user, int(device))
        return device_conversation(sender, other).hex(), {sender, other}
    return direct_conversation(sender[0], to).hex(), {sender[0], to}


def expected(records: dict[Device, Record]) -> dict[Device, dict[str, set[int]]]:
    """What each device must have got: conversation → seqs."""
    wanted: dict[Device, dict[str, set[int]]] = {device: defaultdict(set) for device in records}
    groups = _groups(records)
    for sender, record in records.items():
        for id, (conversation, seq) in record.accepted.items():
            to = record.sent[id][0]
            who = groups[conversation].around(seq) if to[0] in "#!" else members(to, sender)[1]
            for device in records:
                # A change of a group comes to the device that wanted it, too.
                if (device != sender or to[0] == "!") and (device in who or device[0] in who):
                    wanted[device][conversation].add(seq)
    return wanted


class Members:
    """Of a group, as its changes say."""

    def __init__(self, changes: Iterable[tuple[int, tuple[str, str]]]) -> None:
        self._seqs: list[int] = [0]
        self._states: list[frozenset[str]] = [frozenset()]
        for seq, (came, went) in sorted(changes):
            self._seqs.append(seq)
            self._states.append((self._states[-1] | set(filter(None, came.split(",")))) - set(went.split(",")))

    def around(self, seq: int) -> frozenset[str]:
        """Who gets the message: members just before it, and just after it."""
        return self._at(seq - 1) | self._at(seq)

    def _at(self, seq: int) -> frozenset[str]:
        return self._states[bisect_right(self._seqs, seq) - 1]


def _groups(records: dict[Device, Record]) -> defaultdict[str, Members]:
    changes: dict[str, dict[int, tuple[str, str]]] = defaultdict(dict)
    for record in records.values():
        for (conversation, seq), moved in record.changes.items():
            changes[conversation][seq] = moved
    return defaultdict(lambda: Members(()), {at: Members(known.items()) for at, known in changes.items()})


def judge(records: dict[Device, Record]) -> list[str]:
    """Everything that was violated."""
    checks = (_wire, _answered, _numbering, _delivery, _order, _folds, _receipts)
    return [violation for check in checks for violation in check(records)]


def _wire(records: dict[Device, Record]) -> Iterator[str]:
    for device, record in records.items():
        for text in record.wrong:
            yield f"{device}: {text}"


def _answered(records: dict[Device, Record]) -> Iterator[str]:
    for device, record in records.items():
        for id in record.sent.keys() - record.accepted.keys():
            yield f"{device}: send {id} was never answered"


def _numbering(records: dict[Device, Record]) -> Iterator[str]:
    """I2: gap-free from 1, never reused; I4: one id, one number."""
    numbers: dict[str, dict[int, tuple[Device, str]]] = defaultdict(dict)
    for device, record in records.items():
        for id, (conversation, seq) in record.accepted.items():
            if conversation != members(record.sent[id][0], device)[0]:
                yield f"{device}: send {id} was accepted into a foreign conversation {conversation}"
            if (other := numbers[conversation].get(seq)) is not None:
                yield f"seq {seq} of {conversation} was given to {other} and to {(device, id)} (I2)"
            numbers[conversation][seq] = (device, id)
    for conversation, given in numbers.items():
        if gaps := set(range(1, max(given) + 1)) - given.keys():
            yield f"{conversation} has no {_some(gaps)} of {max(given)} (I2)"
    for device, record in records.items():
        for conversation, seq, sender, its_device, id, _ in record.got:
            if (given_to := numbers[conversation].get(seq)) != ((sender, its_device), id):
                yield f"{device}: message {seq} of {conversation} is {id}, but {given_to} was accepted"


def _delivery(records: dict[Device, Record]) -> Iterator[str]:
    """I1 and I3: everything that was accepted came, in order, each once past the library."""
    wanted = expected(records)
    for device, record in records.items():
        last: dict[str, int] = defaultdict(int)
        seen: dict[str, set[int]] = defaultdict(set)
        for conversation, seq, *_ in record.got:
            if seq <= last[conversation]:
                again = "again" if seq in seen[conversation] else "late"
                yield f"{device}: message {seq} of {conversation} came {again}, after {last[conversation]} (I3)"
            last[conversation] = max(seq, last[conversation])
            seen[conversation].add(seq)
        for conversation in wanted[device].keys() | seen.keys():
            if lost := wanted[device][conversation] - seen[conversation]:
                yield f"{device}: {conversation} lost {_some(lost)} (I1)"
            if foreign := seen[conversation] - wanted[device][conversation]:
                yield f"{device}: {conversation} brought {_some(foreign)}, which nobody sent to it (I8)"


def _order(records: dict[Device, Record]) -> Iterator[str]:
    """What one device sent to one conversation is numbered in the order in which it was sent."""
    for device, record in records.items():
        last: dict[str, tuple[int, int]] = {}  # n, seq
        for id, (conversation, seq) in sorted(record.accepted.items(), key=lambda item: record.sent[item[0]][1]):
            n = record.sent[id][1]
            before = last.get(conversation, (0, 0))
            if seq < before[1]:
                yield f"{device}: message n={n} became {seq} of {conversation}, n={before[0]} before it {before[1]}"
            last[conversation] = (n, seq)


def _folds(records: dict[Device, Record]) -> Iterator[str]:
    """A change of a group is the same for everybody who sees it."""
    known: dict[tuple[str, int], tuple[str, str]] = {}
    for device, record in records.items():
        for at, moved in record.changes.items():
            if known.setdefault(at, moved) != moved:
                yield f"{device}: change {at[1]} of {at[0]} is {moved}, and {known[at]} for others"


def _receipts(records: dict[Device, Record]) -> Iterator[str]:
    """I7: receipts only grow, and claim nothing that was not acknowledged, or read, before."""
    claims: dict[tuple[str, str], list[tuple[int, int, int]]] = defaultdict(list)
    for device, record in records.items():
        last: dict[tuple[str, str], tuple[int, int]] = {}
        for conversation, user, delivered, read, time in record.receipts:
            before = last.get((conversation, user), (0, 0))
            if delivered < before[0] or read < before[1]:
                yield f"{device}: receipt of {user} in {conversation} went from {before} to {(delivered, read)} (I7)"
            last[conversation, user] = (delivered, read)
            claims[conversation, user].append((time, delivered, read))
    reached = {"delivered": _reached(records, "acks"), "read": _reached(records, "reads")}
    own, groups = _own(records), _groups(records)
    for (conversation, user), told in claims.items():
        for time, delivered, read in told:
            for claim, seq in (("delivered", delivered), ("read", read)):
                done = reached[claim].get((conversation, user), [])
                at = bisect_right(done, (time, 1 << 62))
                far = done[at - 1][1] if at else 0
                # What the user sent needs no ack of its own, and what was said while it was out of a group none at all.
                while far < seq and (
                    far + 1 in own[conversation, user]
                    or (conversation in groups and user not in groups[conversation].around(far + 1))
                ):
                    far += 1
                if seq > far:
                    yield f"{user} has {claim} only up to {far} of {conversation}, a receipt claims {seq} (I7)"


def _reached(records: dict[Device, Record], which: str) -> dict[tuple[str, str], list[tuple[int, int]]]:
    """By conversation and user: at which times the furthest of the user's devices came how far."""
    found: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for (user, _), record in records.items():
        entries: Iterable[tuple[str, int, int]] = getattr(record, which)
        for conversation, seq, time in entries:
            found[conversation, user].append((time, seq))
    for key, steps in found.items():
        furthest = 0
        found[key] = [(time, furthest := max(furthest, seq)) for time, seq in sorted(steps)]
    return found


def _own(records: dict[Device, Record]) -> dict[tuple[str, str], set[int]]:
    own: dict[tuple[str, str], set[int]] = defaultdict(set)
    for (user, _), record in records.items():
        for conversation, seq in record.accepted.values():
            own[conversation, user].add(seq)
    return own


def _some(seqs: set[int]) -> str:
    listed = sorted(seqs)
    return f"{len(listed)} seqs ({', '.join(map(str, listed[:5]))}{', …' if len(listed) > 5 else ''})"
