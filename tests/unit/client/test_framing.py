"""Raw framing: any split of the bytes gives the same frames."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrouter.client.framing import FrameTooLarge, Unframer, frame


@given(st.lists(st.binary(max_size=300)), st.lists(st.integers(1, 40)))
def test_any_split_gives_the_same_frames(payloads: list[bytes], sizes: list[int]) -> None:
    stream, unframer, got = frame(payloads), Unframer(1000), []
    while stream:
        size = sizes.pop() if sizes else len(stream)
        got += unframer.feed(stream[:size])
        stream = stream[size:]
    assert got == payloads


def test_a_length_above_the_limit_is_refused_before_the_frame_is_read() -> None:
    with pytest.raises(FrameTooLarge):
        Unframer(1000).feed(b"\xe9\x07")


def test_a_length_that_never_ends_is_refused() -> None:
    with pytest.raises(FrameTooLarge):
        Unframer(1 << 30).feed(b"\xff" * 5)
