"""A whole router in plain Python: frames in, frames out. What the core would be if nobody had written it.

The rules are those of `reference.py`, the codec is protobuf's own (in C). Nothing is stored, so that this is what must
be done for each frame and nothing else.
"""

from __future__ import annotations

from collections import defaultdict

from benches.reference import Reference
from pyrouter.client.framing import Unframer, frame
from pyrouter.wire import wire_pb2 as wire

FRAME_BYTES = 1 << 20

Mailbox = tuple[str, int]


class Plain:
    """Devices are those that joined; all of them are online."""

    def __init__(self) -> None:
        self.rules = Reference()
        self.out: defaultdict[Mailbox, list[bytes]] = defaultdict(list)
        """Frames for each device, encoded, since they were taken last."""
        self._pending: list[tuple[Mailbox, wire.ServerFrame, bytes, int]] = []
        self._unframer = Unframer(FRAME_BYTES)

    def join(self, user: str, device: int = 1) -> None:
        """A device is there from now on."""
        self.rules.join(user, device)

    def feed(self, user: str, device: int, data: bytes) -> None:
        """Takes raw frames: sends are numbered, acks and receipts dealt with."""
        for payload in self._unframer.feed(data):
            got = wire.ClientFrame.FromString(payload)
            if got.HasField("send"):
                self._send(user, device, got.send)
            elif got.HasField("ack") and got.ack.conversation:
                self._ack(user, device, got.ack.conversation, got.ack.seq)

    def deliver(self) -> None:
        """What was numbered goes to its sender, and to all who are to get it: encoded once for all."""
        for mailbox, accepted, conversation, seq in self._pending:
            self.out[mailbox].append(accepted.SerializeToString())
            kept = self.rules.conversations[conversation]
            message = kept.messages[seq]
            encoded = wire.ServerFrame(
                message=wire.Message(
                    conversation=conversation, seq=seq, sender=message.sender, device=message.device, id=message.id,
                    time=1, body=message.body,
                )
            ).SerializeToString()  # fmt: skip
            for user, member in kept.members.items():
                for device in member.cursors:
                    if kept.lacks(user, device, message):
                        self.out[user, device].append(encoded)
        self._pending.clear()

    def take(self) -> dict[Mailbox, bytes]:
        """What is to be written to each device, in one piece."""
        written = {mailbox: frame(frames) for mailbox, frames in self.out.items()}
        self.out.clear()
        return written

    def _send(self, user: str, device: int, send: wire.Send) -> None:
        answer = self.rules.send(user, device, send.id, send.conversation or send.user, send.body)
        accepted = wire.Accepted(id=send.id, conversation=answer.conversation, seq=answer.seq, time=1)
        self._pending.append(((user, device), wire.ServerFrame(accepted=accepted), answer.conversation, answer.seq))

    def _ack(self, user: str, device: int, id: bytes, seq: int) -> None:
        authors = {
            message.sender
            for message in self.rules.conversations[id].messages.values()
            if message.seq <= seq and self.rules.conversations[id].lacks(user, device, message)
        }
        self.rules.ack(user, device, id, seq)
        receipt = wire.Receipt(conversation=id, user=user, delivered=seq, version=seq.to_bytes(8, "little"))
        encoded = wire.ServerFrame(receipt=receipt).SerializeToString()
        for author in authors - {user}:
            for other in self.rules.devices[author]:
                self.out[author, other].append(encoded)
