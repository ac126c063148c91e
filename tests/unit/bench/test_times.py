"""Histograms added up, and the times within which a part of them lies."""

from pyrouter._core import Load
from pyrouter.bench.times import merge, quantile_ms, quantiles_ms


def test_equal_buckets_are_added_up() -> None:
    assert merge([[(1, 2), (5, 1)], [], [(5, 3), (7, 1)]]) == [(1, 2), (5, 4), (7, 1)]


def test_a_quantile_is_the_bucket_in_which_that_part_ends() -> None:
    buckets = [(1_000_000, 50), (2_000_000, 49), (3_000_000, 1)]
    assert quantile_ms(buckets, 0.5) == 1.0
    assert quantile_ms(buckets, 0.51) == 2.0
    assert quantile_ms(buckets, 0.99) == 2.0
    assert quantile_ms(buckets, 0.999) == 3.0
    assert quantile_ms(buckets, 1.0) == 3.0


def test_without_any_time_there_is_no_quantile() -> None:
    assert quantile_ms([], 0.5) is None
    assert quantiles_ms([]) is None


def test_the_three_that_are_told() -> None:
    assert quantiles_ms([(1_500_000, 1)]) == {"p50": 1.5, "p99": 1.5, "p999": 1.5}


def test_the_generator_s_histograms_are_empty_at_first() -> None:
    load = Load("127.0.0.1:1", host="h", tag=1, body=160)
    assert set(load.take_times()) == {"login"} | {
        f"{what}.{group}"
        for what in ("accept", "delivery", "catch_up", "done")
        for group in ("main", "aside", "others")
    }
    assert not any(load.take_times().values())
