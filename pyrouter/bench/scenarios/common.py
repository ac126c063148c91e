"""What all scenarios make of their marks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from pyrouter import __version__
from pyrouter.bench.result import Detail, Result
from pyrouter.bench.run import Bench, Used, between
from pyrouter.bench.times import Buckets, quantiles_ms

__all__ = ["EVER", "Measured", "growth", "limit", "measure", "per", "result_of", "steadiness", "tell_log"]

EVER = 2**32 - 1
"""As a limit of messages: none."""


class Measured(NamedTuple):
    """What was used while messages went to and fro, and how long they took."""

    used: Used
    times: dict[str, list[tuple[int, int]]]
    rss_bytes: int | None


def limit(bench: Bench, streams: int) -> int:
    """Messages that each of so many streams sends: the run's share, or without end."""
    messages = bench.options.messages
    return EVER if messages is None else -(-messages // max(1, streams))


def measure(bench: Bench) -> Measured:
    """Lets streams send that have a window: for the seconds that are wanted, or until all messages were sent."""
    options = bench.options
    counted = options.messages is not None
    if not counted:
        bench.pool.each("send", True)
        bench.hold("warming up", options.warmup or 0)
    begin = bench.mark(begins=True)
    if counted:
        bench.pool.each("send", True)
        seen = bench.wait(
            "measuring",
            lambda counts: (
                counts["sent"] > begin.counts["sent"] and not counts["unaccepted"] and not counts["in_flight"]
            ),
            lambda counts: f"{counts['done'] - begin.counts['done']:,} of {options.messages:,}",
        )
        end = bench.mark()._replace(at_ns=max(seen.counts["last_delivery"], begin.at_ns + 1))
    else:
        bench.hold("measuring", options.seconds)
        end = bench.mark()
    measured = Measured(between(begin, end), bench.pool.take_times(), bench.rss_bytes())
    bench.pool.each("send", False)
    return measured


def per(amount: float | None, count: float) -> float | None:
    """So much for each; None if there was none of it."""
    return None if amount is None or count <= 0 else amount / count


def growth(before: float | None, after: float | None, count: int) -> float | None:
    """How much something grew for each of so many; None if that is not known."""
    return None if before is None or after is None else per(after - before, count)


def steadiness(used: Used) -> dict[str, Detail]:
    """How steady the server was between two marks: turns of its loop, pauses, garbage, waits for a core."""
    metrics = used.metrics
    turns, late = _histogram(metrics, "loop_turn_seconds"), _histogram(metrics, "loop_late_seconds")
    own = _histogram(metrics, "loop_paused_seconds")
    collections = {
        f"generation {generation}": value
        for generation in range(3)
        if (value := metrics.get(f'gc_collections_total{{generation="{generation}"}}')) is not None
    }
    return {
        "loop_turn_ms": quantiles_ms(turns),
        "longest_turn_ms": _longest_ms(turns),
        "longest_late_ms": _longest_ms(late),
        "longest_pause_ms": _longest_ms(own),
        "gc_collections": collections or None,
        "waited_percent": None if used.waited_us is None else used.waited_us / used.seconds / 1e4,
    }


def _histogram(metrics: Mapping[str, float], name: str) -> list[tuple[int, int]]:
    """A histogram of Prometheus' as one of ours; what is above its last bound is told as that."""
    found = []
    for key, value in metrics.items():
        match = re.fullmatch(re.escape(name) + r'_bucket\{le="([^"]+)"\}', key)
        if match is not None and match[1] != "+Inf":
            found.append((int(float(match[1]) * 1e9), int(value)))
    buckets, before = [], 0
    for longest_ns, cumulative in sorted(found):
        if cumulative > before:
            buckets.append((longest_ns, cumulative - before))
        before = cumulative
    return buckets


def _longest_ms(buckets: Buckets) -> float | None:
    return buckets[-1][0] / 1e6 if buckets else None


def result_of(
    bench: Bench,
    used: Used,
    times: Mapping[str, Buckets],
    *,
    rss_bytes: int | None,
    rss_bytes_per_connection: float | None,
    details: Mapping[str, Detail] | None = None,
    members: int = 0,
    pairs: int = 0,
    compare_clients: bool = True,
) -> Result:
    """The result of a run whose messages and deliveries all fall between the same two marks.

    Args:
        bench: the run.
        used: between the marks.
        times: histograms of the same time.
        rss_bytes: the server's memory.
        rss_bytes_per_connection: and what a connection adds to it.
        details: what only this scenario has.
        members: of a group.
        pairs: as the options have it, if the scenario has pairs.
        compare_clients: whether clients that need more CPU than the server make the run worthless. Not where messages
            are sent by the clock, few enough that nobody is busy.
    """
    options = bench.options
    messages, deliveries = used.counts["accepted"], used.counts["deliveries"]
    valid = True
    if compare_clients and used.server_us is not None and used.client_us > used.server_us:
        valid = False
        bench.notes.append(
            f"the clients used {used.client_us / 1e6:.2f} s of CPU and the server {used.server_us / 1e6:.2f} s: "
            "what was measured is the clients"
        )
    result = Result(
        scenario=options.scenario,
        connections=sum(bench.sizes),
        members=members,
        messages=messages,
        deliveries=deliveries,
        seconds=used.seconds,
        messages_per_s=per(messages, used.seconds),
        deliveries_per_s=per(deliveries, used.seconds),
        server_cpu_us_per_message=per(used.server_us, messages),
        server_cpu_us_per_delivery=per(used.server_us, deliveries),
        client_cpu_us_per_message=per(used.client_us, messages),
        client_cpu_us_per_delivery=per(used.client_us, deliveries),
        server_rss_bytes=rss_bytes,
        rss_bytes_per_connection=rss_bytes_per_connection,
        accept_ms=quantiles_ms(times.get("accept.main", [])),
        delivery_ms=quantiles_ms(times.get("delivery.main", [])),
        errors=0,
        valid=valid,
        pairs=pairs,
        window=options.window or 0,
        body=options.body,
        durability=options.durability,
        carrier=options.carrier or "raw",
        version=__version__,
        details=dict(details or {}),
        notes=bench.notes,
    )
    tell_log(result, used)
    return result


def tell_log(result: Result, used: Used) -> None:
    """What of the log was written for each of the result's messages."""
    records, all_bytes = (used.metrics.get(name) for name in ("log_message_bytes_total", "log_bytes_total"))
    result.log_bytes_per_message = per(records, result.messages)
    result.log_bytes_per_body_byte = per(records, result.messages * result.body)
    result.log_other_bytes_per_message = growth(records, all_bytes, result.messages)
