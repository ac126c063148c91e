"""`storm`: everyone returns at once, each with some messages that wait; meanwhile others go on writing to each other.

What is measured is the time from the first connection until everyone has everything. A message's time counts from when
its recipient began to connect. A worker opens a bounded number of connections at once, as the backlog of a listening
socket would have it; whoever has to wait for that has not begun.
"""

from __future__ import annotations

from typing import NamedTuple

from pyrouter.bench.result import Result
from pyrouter.bench.run import Bench, accepted, between, settled
from pyrouter.bench.scenarios.common import EVER, growth, per, result_of, steadiness, tell_log
from pyrouter.bench.times import quantiles_ms

__all__ = ["play"]

WRITERS = 50  # of what waits for those who are away


class _Cast(NamedTuple):
    """Who is who, in the one worker."""

    others: list[int]
    writers: list[int]
    crowd: list[int]


def play(bench: Bench) -> Result:
    """Connects everybody, sends the crowd away, writes to it, lets it return."""
    cast = _cast(bench)
    per_client = bench.options.messages or 0
    total = per_client * len(cast.crowd)
    empty = bench.rss_bytes()
    bench.connect(bench.everybody())
    full = bench.rss_bytes()
    bench.tell("leave", [cast.crowd])

    begin = bench.mark(begins=True)
    bench.pool.each("send", True)
    bench.wait(
        "writing to people who are away",
        lambda counts: counts["sent"] == total and accepted(counts),
        lambda counts: f"{counts['accepted']:,} of {total:,}",
    )
    written, accept = between(begin, bench.mark()), bench.pool.take_times()

    bench.pool.each("rate", bench.options.rate, 0)
    bench.hold("before the storm", bench.options.warmup or 0)
    calm = bench.pool.take_times()
    start = bench.mark(begins=True)
    before = start.counts
    bench.tell("connect", [cast.crowd])
    seen = bench.wait(
        "the storm",
        lambda counts: (
            counts["deliveries_main"] - before["deliveries_main"] >= total and counts["open"] == counts["wanted"]
        ),
        lambda counts: f"{counts['open']:,} of {counts['wanted']:,} connected, {counts['owed']:,} deliveries are owed",
    )
    last = max(seen.counts["last_delivery_main"], seen.counts["last_login"])
    end = bench.mark()
    stormed, times = between(start, end._replace(at_ns=last)), bench.pool.take_times()
    rss = bench.rss_bytes()
    bench.pool.each("rate", 0.0, 0)
    bench.wait("until the others have finished", settled)
    bench.finish()

    logins = stormed.counts["logins"]
    delivered = stormed.counts["deliveries_main"]
    result = result_of(
        bench,
        stormed,
        {"accept.main": accept["accept.main"], "delivery.main": times["catch_up.main"]},
        rss_bytes=rss,
        rss_bytes_per_connection=growth(empty, full, sum(bench.sizes)),
        details={
            "logins": logins,
            "logins_per_s": per(logins, (seen.counts["last_login"] - start.at_ns) / 1e9),
            "login_ms": quantiles_ms(times["login"]),
            "server_cpu_us_per_login": per(stormed.server_us, logins),
            "others_delivery_before_ms": quantiles_ms(calm["delivery.others"]),
            "others_delivery_during_ms": quantiles_ms(times["delivery.others"]),
            **steadiness(stormed),
        },
        pairs=bench.options.pairs or 0,
    )
    if written.server_us is not None and written.client_us > written.server_us:
        result.valid = False
        bench.notes.append("the clients used more CPU than the server while they wrote to people who were away")
    # Messages are those that waited: accepting them came before.
    result.messages = written.counts["accepted"]
    result.messages_per_s = per(result.messages, written.seconds)
    result.server_cpu_us_per_message = per(written.server_us, result.messages)
    result.client_cpu_us_per_message = per(written.client_us, result.messages)
    tell_log(result, written)
    result.deliveries = delivered
    result.deliveries_per_s = per(delivered, stormed.seconds)
    result.server_cpu_us_per_delivery = per(stormed.server_us, delivered)
    result.client_cpu_us_per_delivery = per(stormed.client_us, delivered)
    return result


def _cast(bench: Bench) -> _Cast:
    """Makes the streams: pairs of others by the clock, and writers to the crowd until all of it is accepted."""
    options = bench.options
    everybody = list(range(sum(bench.sizes)))
    others = 2 * (options.pairs or 0)
    writers = max(1, min(WRITERS, (len(everybody) - others) // 20))
    cast = _Cast(everybody[:others], everybody[others : others + writers], everybody[others + writers :])
    bench.pool.each("set_group", cast.others, "others")
    bench.pool.each(
        "add_direct",
        [(one, one + 1) for one in cast.others[::2]] + [(one + 1, one) for one in cast.others[::2]],
        window=0,
        limit=EVER,
        until="receipt",
    )
    bench.pool.each(
        "add_direct",
        [(cast.writers[at % writers], peer) for at, peer in enumerate(cast.crowd)],
        window=options.window,
        limit=options.messages,
        until="accepted",
    )
    return cast
