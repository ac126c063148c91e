"""Frames that are well-formed and cannot be obeyed: the session goes on."""

from __future__ import annotations

import pytest

from pyrouter.wire import ClientFrame, DeviceRef, DevicesGet, Send
from tests.integration.bad_input.expect import goes_on_with
from tests.server_process import ServerProcess
from tests.wire_client import Wire, direct_conversation

pytestmark = pytest.mark.slow  # together, and the loop of this process is not theirs

BODY = 64 << 10  # the longest that a server takes which was not told another limit


@pytest.mark.parametrize("payload", [b"", b"\xfa\x06\x03abc"], ids=["empty", "field 111"])
def test_unknown_frames(ann: Wire, payload: bytes) -> None:
    if ann.carrier == "json":
        payload = b'{"dance":{"with":["me"]}}' if payload else b"{}"
    ann.put_payload(payload)
    goes_on_with(ann, "unknown_frame")


def test_unknown_recipients(ann: Wire, server: ServerProcess) -> None:
    nobody = f"nobody of {ann.carrier}"
    id = ann.send(nobody)
    goes_on_with(ann, "unknown_user", f'no user "{nobody}"', id=id)
    ann.put(ClientFrame(send=Send(id=b"1", device=DeviceRef(user="bystander 1", device=77), body=b"x")))
    goes_on_with(ann, "unknown_user", "no device 77", id=b"1")
    ann.put(ClientFrame(devices_get=DevicesGet(user=nobody)))
    goes_on_with(ann, "unknown_user", f'no user "{nobody}"')
    id = ann.send(bytes(16))
    goes_on_with(ann, "unknown_conversation", id=id)
    server.token(nobody)
    ann.send(nobody)
    assert ann.accepted().seq == 1, "it exists from its first token on, and was not remembered as absent"


@pytest.mark.parametrize(
    ("send", "code", "word"),
    [
        (Send(id=b"1", user="x" * 65), "bad_user", "64 bytes"),
        (Send(id=b"1", user="a\x07"), "bad_user", "control"),
        (Send(id=b"1", user=""), "bad_user", ""),
        (Send(id=b"1", conversation=b"short"), "bad_conversation", "16 bytes"),
        (Send(id=b"1", body=b"x"), "bad_field", "no user, conversation or device"),
        (Send(user="ann"), "bad_id", "32 bytes"),
        (Send(id=bytes(33), user="ann"), "bad_id", "32 bytes"),
        (Send(id=b"1", user="ann", media=[b"m"] * 17), "bad_field", "16"),
        (Send(id=b"1", user="ann", media=[bytes(65)]), "bad_field", "64"),
    ],
)
def test_sends_with_fields_that_cannot_be(ann: Wire, send: Send, code: str, word: str) -> None:
    ann.put(ClientFrame(send=send))
    error = ann.error()
    assert error.code == code, error
    assert word in error.message, error
    ann.pong()


def test_bodies_at_the_limit_and_above(ann: Wire, server: ServerProcess) -> None:
    id = ann.send("ann", bytes(BODY + 1))
    goes_on_with(ann, "body_too_large", str(BODY + 1), str(BODY), id=id)
    user = f"reader of {ann.carrier}"
    with Wire(server.port, ann.carrier) as reader:
        reader.join(server.token(user))
        refused = ann.send(user, bytes(BODY + 1))
        goes_on_with(ann, "body_too_large", id=refused)
        ann.send(user, bytes(range(256)) * (BODY // 256))
        assert ann.accepted().seq == 1, "what is refused takes no number (I2)"
        assert reader.message().body == bytes(range(256)) * (BODY // 256)


def test_acks_beyond_the_head_and_in_foreign_conversations_change_nothing(ann: Wire, server: ServerProcess) -> None:
    """I8."""
    user = f"acker of {ann.carrier}"
    at, foreign = direct_conversation("ann", user), direct_conversation("bystander 1", "bystander 2")
    with Wire(server.port, ann.carrier) as bob:
        bob.join(server.token(user))
        ann.send(user)
        assert ann.accepted().seq == 1
        assert bob.message().seq == 1
        bob.ack(at, 2)
        assert goes_on_with(bob, "ack_beyond_head").conversation == at
        bob.read(at, 1)
        assert goes_on_with(bob, "ack_beyond_head", "Read").conversation == at
        told = set()
        for conversation in (foreign, bytes(16)):
            bob.ack(conversation, 1)
            told.add(goes_on_with(bob, "unknown_conversation").message)
            bob.read(conversation, 1)
            told.add(goes_on_with(bob, "unknown_conversation").message)
            id = bob.send(conversation)
            told.add(goes_on_with(bob, "unknown_conversation", id=id).message)
        assert len(told) == 1, "one cannot tell which conversations there are"
        bob.close()
    with Wire(server.port, ann.carrier) as bob:
        assert bob.join(server.token(user)).pending.messages == 1
        assert bob.message().seq == 1
        bob.ack(at, 1)
        ann.delivered(at, 1, user)


def test_repeated_ids_are_one_message_and_reused_ones_are_refused(wire: Wire, server: ServerProcess) -> None:
    """I4."""
    sender, reader, other = (f"{name} {wire.carrier}" for name in ("repeater", "of repeats", "of others"))
    server.token(other)
    wire.join(server.token(sender))
    with Wire(server.port) as bob:
        bob.join(server.token(reader))
        answers = []
        for body in (b"first", b"again"):
            wire.send(reader, body, id=b"once")
            answers.append(wire.accepted())
        with Wire(server.port, wire.carrier) as second:
            second.join(server.token(sender), receive=False)
            second.send(reader, b"from elsewhere", id=b"once")
            answers.append(second.accepted())
        assert answers[0] == answers[1] == answers[2]
        wire.send(other, b"x", id=b"once")
        goes_on_with(wire, "id_reused", id=b"once")
        wire.send(reader, b"second", id=b"another")
        assert wire.accepted().seq == 2
        assert [bob.message().body, bob.message().body] == [b"first", b"second"]
