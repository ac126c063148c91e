"""What scenarios make of their marks."""

from collections import Counter
from types import SimpleNamespace
from typing import cast

import pytest

from pyrouter.bench.options import Options, fitted
from pyrouter.bench.result import Result
from pyrouter.bench.run import Bench, Mark, Used, between
from pyrouter.bench.scenarios.common import EVER, limit, result_of, steadiness


def bench(options: Options) -> Bench:
    return cast("Bench", SimpleNamespace(options=fitted(options), sizes=[10, 10], notes=[]))


def result(used: Used, *, compare_clients: bool = True) -> Result:
    times = {"accept.main": [(2_000_000, 5)]}
    return result_of(
        bench(Options("pair", pairs=10)),
        used,
        times,
        rss_bytes=1000,
        rss_bytes_per_connection=None,
        pairs=10,
        compare_clients=compare_clients,
    )


USED = Used(
    2.0,
    Counter(accepted=100, deliveries=300),
    500.0,
    1200.0,
    0.0,
    {"log_bytes_total": 25_000.0, "log_message_bytes_total": 24_000.0},
)


def test_figures_are_shares_of_what_was_used() -> None:
    told = result(USED)
    assert (told.messages_per_s, told.deliveries_per_s) == (50.0, 150.0)
    assert (told.server_cpu_us_per_message, told.server_cpu_us_per_delivery) == (12.0, 4.0)
    assert told.client_cpu_us_per_message == 5.0
    assert (told.log_bytes_per_message, told.log_bytes_per_body_byte) == (240.0, 1.5)
    assert told.log_other_bytes_per_message == 10.0
    assert told.accept_ms == {"p50": 2.0, "p99": 2.0, "p999": 2.0}
    assert told.delivery_ms is None
    assert told.connections == 20
    assert told.valid


def test_clients_that_use_more_than_the_server_make_a_run_invalid_where_somebody_is_busy() -> None:
    slow = USED._replace(client_us=1201.0)
    told = result(slow)
    assert not told.valid
    assert "what was measured is the clients" in told.notes[0]
    assert result(slow, compare_clients=False).valid
    assert result(slow._replace(server_us=None)).valid, "nothing is known of the server"


def test_nothing_done_is_no_division_by_zero() -> None:
    told = result(USED._replace(counts=Counter()))
    assert told.server_cpu_us_per_message is None
    assert told.log_bytes_per_message is None


def test_between_two_marks_is_what_grew() -> None:
    begin = Mark(10, Counter(accepted=5), 1_000, 2_000, 5_000, {"a": 1.0})
    end = Mark(1_000_000_010, Counter(accepted=8, done=2), 4_000, None, 8_000, {"a": 3.5, "b": 1.0})
    used = between(begin, end)
    assert (used.seconds, used.client_us, used.server_us, used.waited_us) == (1.0, 3.0, None, 3.0)
    assert (used.counts["accepted"], used.counts["done"]) == (3, 2)
    assert used.metrics == {"a": 2.5, "b": 1.0}


@pytest.mark.parametrize(("messages", "streams", "each"), [(None, 4, EVER), (100, 4, 25), (101, 4, 26), (1, 4, 1)])
def test_messages_are_shared_out(messages: int | None, streams: int, each: int) -> None:
    assert limit(bench(Options("pair", messages=messages)), streams) == each


def test_the_server_s_histograms_become_quantiles() -> None:
    metrics = {
        'loop_turn_seconds_bucket{le="0.001"}': 900.0,
        'loop_turn_seconds_bucket{le="0.002"}': 999.0,
        'loop_turn_seconds_bucket{le="0.016"}': 1000.0,
        'loop_turn_seconds_bucket{le="0.032"}': 1000.0,
        'loop_turn_seconds_bucket{le="+Inf"}': 1000.0,
        'loop_late_seconds_bucket{le="0.004"}': 3.0,
        'loop_paused_seconds_bucket{le="0.002"}': 3.0,
        'gc_collections_total{generation="0"}': 2.0,
    }
    told = steadiness(USED._replace(metrics=metrics, waited_us=1e6))
    assert told["loop_turn_ms"] == {"p50": 1.0, "p99": 2.0, "p999": 2.0}
    assert (told["longest_turn_ms"], told["longest_late_ms"], told["longest_pause_ms"]) == (16.0, 4.0, 2.0)
    assert told["gc_collections"] == {"generation 0": 2.0}
    assert told["waited_percent"] == 50.0


def test_a_server_that_does_not_tell_is_no_error() -> None:
    assert set(steadiness(USED._replace(metrics={}, waited_us=None)).values()) == {None}
