"""Receipts and their exceptions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pyrouter.client.model import SkipReason, State
from pyrouter.client.reach import SKIPS_KEPT, Reach


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30))), st.integers(1, 30))
def test_states_only_grow_whatever_order_receipts_come_in_i7(receipts: list[tuple[int, int]], seq: int) -> None:
    reach = Reach()
    last = State.SENT
    for delivered, read in receipts:
        reach.receipt(delivered, read)
        assert reach.state(seq) >= last
        last = reach.state(seq)
    assert (last == State.READ) == any(read >= seq for _, read in receipts)


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 5)), max_size=20))
def test_a_skipped_message_is_never_claimed_i7(skips: list[tuple[int, int]]) -> None:
    reach = Reach()
    for first, length in skips:
        reach.skip(first, first + length, SkipReason.EXPIRED)
    reach.receipt(1000, 1000)
    skipped = {seq for first, length in skips for seq in range(first, first + length + 1)}
    for seq in range(1, 70):
        assert (reach.state(seq) == State.SENT) == (seq in skipped)


def test_forgotten_skips_claim_nothing_and_memory_is_bounded() -> None:
    reach = Reach()
    for n in range(2 * SKIPS_KEPT):
        reach.skip(2 * n + 1, 2 * n + 1, SkipReason.EXPIRED)
    reach.receipt(10_000, 10_000)
    assert reach.state(1) == State.SENT
    assert reach.state(5000) == State.READ
    assert reach._skips is not None
    assert len(reach._skips) == SKIPS_KEPT
