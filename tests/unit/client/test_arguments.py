"""Arguments outside their limits: an error in the call, and nothing of it is kept or sent."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pyrouter.client import BadArgument, Created, Device, Invite, Invited, SessionRefused
from pyrouter.client.ids import direct_conversation
from pyrouter.client.protocol import Protocol
from pyrouter.client.questions import Question
from pyrouter.wire import wire_pb2 as wire

AT = direct_conversation("alice", "bob")
LONG = "x" * 65
SURROGATE = "\ud800"


def connected() -> Protocol:
    protocol = Protocol()
    connect(protocol)
    protocol.take_output()
    return protocol


def connect(protocol: Protocol) -> None:
    protocol.connect("secret")
    welcome = wire.Welcome(protocol=1, user="alice", device=1)
    protocol.receive(wire.ServerFrame(welcome=welcome).SerializeToString())


BAD: list[Callable[[Protocol], object]] = [
    *(lambda p, seq=seq: p.ask(Question("progress", AT, seq)) for seq in (0, -1, 1 << 64, 1.5, "1", None)),
    *(lambda p, at=at: p.ask(Question("progress", at, 1)) for at in (b"", b"short", bytes(17), "x" * 16, 7)),
    *(
        lambda p, kind=kind, user=user: p.ask(Question(kind, user=user))
        for kind in ("devices", "block", "unblock")
        for user in ("", LONG, "\u00fc" * 33, "a\nb", "a\x85", SURROGATE, b"bob", 5)
    ),
    lambda p: p.ask(Question("group")),
    lambda p: p.ask(Question("group", b"short")),
    lambda p: p.ask(Question("group", AT, 1)),
    lambda p: p.ask(Question("groups", AT)),
    lambda p: p.ask(Question("devices", AT, user="bob")),
    lambda p: p.ask(Question("blocked", user="bob")),
    lambda p: p.ask(Question("weather")),
    lambda p: p.read(b"short", 1),
    lambda p: p.read(AT, 0),
    lambda p: p.read(AT, 1 << 64),
    lambda p: p.read(AT, 1, [LONG]),
    lambda p: p.read(AT, 1, "bob"),
    lambda p: p.read(AT, 1, ["bob"] * 1025),
    lambda p: p.ack(b"short", 1),
    lambda p: p.ack(AT, -1),
    lambda p: p.ack(AT, 1),
    lambda p: p.send("", b"x"),
    lambda p: p.send(LONG, b"x"),
    lambda p: p.send(SURROGATE, b"x"),
    lambda p: p.send(b"short", b"x"),
    lambda p: p.send(Device("bob", 0), b"x"),
    lambda p: p.send(Device("bob", 1 << 32), b"x"),
    lambda p: p.send("bob", "text"),  # type: ignore[arg-type]
    lambda p: p.send("bob", b"x", id=b""),
    lambda p: p.send("bob", b"x", id=bytes(33)),
    lambda p: p.send("bob", b"x", media=[b""]),
    lambda p: p.send("bob", b"x", media=[b"m"] * 17),
    lambda p: p.send("bob", bodies={Device("bob", -1): b"x"}),
    lambda p: p.send("bob", b"x", bodies={Device("bob", 1): b"x"}),
    lambda p: p.send("bob", bodies={Device("bob", 1): b"x"}, lists={"bob": (-1, [1])}),
    lambda p: p.send("bob", bodies={Device("bob", 1): b"x"}, lists={"bob": (1, [1 << 32])}),
    lambda p: p.manage(b"short", Created()),
    lambda p: p.manage(b"", Invited(Invite(bytes(32), 0))),
    lambda p: p.manage(AT, Invited(Invite(bytes(32), -1))),
    lambda p: p.manage(AT, Invited(Invite(bytes(32), 1 << 64))),
    lambda p: p.manage(b"", Created((SURROGATE,))),
    lambda p: p.manage(AT, "left"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("bad", BAD)
def test_bad_argument_raises_and_leaves_nothing_behind(bad: Callable[[Protocol], object]) -> None:
    protocol, untouched = connected(), connected()
    with pytest.raises(BadArgument):
        bad(protocol)
    assert protocol.take_output() == []
    for each in (protocol, untouched):
        each.connection_lost()
        connect(each)
    assert protocol.take_output() == untouched.take_output()
    # Ids of the library are still confirmed: a rejected one of the program's own changes nothing.
    assert protocol._named == untouched._named


@pytest.mark.parametrize(
    "bad",
    [
        {"client": LONG},
        {"client": "a\nb"},
        {"client": SURROGATE},
        {"window_messages": -1},
        {"window_messages": 1 << 32},
        {"window_bytes": 1 << 32},
        {"receipts": b"v" * 65},
        {"receipts": 1},
        {"cursors": {b"short": 1}},
        {"cursors": {AT: -1}},
        {"cursors": {AT: 1 << 64}},
    ],
)
def test_bad_option_raises(bad: dict[str, object]) -> None:
    with pytest.raises(BadArgument):
        Protocol(**bad)  # type: ignore[arg-type]  # that is the point


def test_an_error_before_welcome_that_is_final_ends_the_session_whatever_it_is_about() -> None:
    protocol = Protocol()
    protocol.ask(Question("devices", user="bob"))
    protocol.connect("secret")
    protocol.receive(wire.ServerFrame(error=wire.Error(code="bad_field", message="no")).SerializeToString())
    assert protocol.questions.take_answers() == []
    end = protocol.connection_lost()
    assert isinstance(end, SessionRefused)
    assert end.code == "bad_field"


def test_an_unseen_message_answers_the_question_about_it_and_no_other() -> None:
    protocol = connected()
    group, progress = Question("group", AT), Question("progress", AT, 9)
    protocol.ask(group)
    protocol.ask(progress)
    error = wire.Error(code="unknown_message", message="no", conversation=AT)
    protocol.receive(wire.ServerFrame(error=error).SerializeToString())
    ((question, _),) = protocol.questions.take_answers()
    assert question == progress
