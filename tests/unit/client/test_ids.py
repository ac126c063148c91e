"""Names that both sides compute."""

from __future__ import annotations

import hashlib

from pyrouter.client.ids import IdSource, device_conversation, direct_conversation


def test_a_direct_conversation_is_the_same_from_both_sides_and_as_documented() -> None:
    expected = hashlib.sha256(b"direct\0alice\0bob").digest()[:16]
    assert direct_conversation("alice", "bob") == direct_conversation("bob", "alice") == expected


def test_names_are_sorted_by_their_bytes() -> None:
    expected = hashlib.sha256(b"direct\0z\0\xc3\xa4").digest()[:16]
    assert direct_conversation("ä", "z") == expected


def test_a_device_conversation_is_the_same_from_both_sides_and_as_documented() -> None:
    expected = hashlib.sha256(b"device\0alice\0\0\0\0\2\0bob\0\0\0\0\1").digest()[:16]
    one, other = ("alice", 2), ("bob", 1)
    assert device_conversation(one, other) == device_conversation(other, one) == expected


def test_ids_are_twelve_bytes_and_differ() -> None:
    ids = IdSource()
    made = {ids.next() for _ in range(1000)} | {IdSource().next()}
    assert len(made) == 1001
    assert {len(id) for id in made} == {12}
