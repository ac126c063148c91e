"""`mixed`: a day's shape. Most messages go from one to one, some to groups; people come and go; some read slowly.

Everybody is in one pair and in one group. Messages are sent by the clock, so that a server that is late is told so: a
message counts from when it was due. After the warm-up comes the steady state, in which the server's loop should have no
long turn, and its garbage collector nothing to do.
"""

from __future__ import annotations

from pyrouter.bench.result import Result
from pyrouter.bench.run import Bench, between
from pyrouter.bench.scenarios.common import EVER, growth, result_of, steadiness
from pyrouter.bench.times import quantiles_ms

__all__ = ["play"]

SESSION_S = 300.0  # how long somebody stays connected, on average
AWAY_MS = (1_000, 30_000)  # and is away
STALLED_MS, READING_MS = 5_000, 5_000  # of those who read slowly
FLAP_MS = 1000


def play(bench: Bench) -> Result:
    """Connects, makes the groups, lets a day begin, measures some of it, and lets everybody have everything."""
    options = bench.options
    members = options.members or 2
    sizes = bench.sizes
    direct = [[(one, one ^ 1) for one in range(size - size % 2)] for size in sizes]
    groups = [[list(range(at, min(at + members, size))) for at in range(0, size - 1, members)] for size in sizes]
    flow = {"window": 0, "limit": EVER}
    bench.pool.every("add_direct", lambda number: ((direct[number],), {**flow, "until": "receipt"}))
    if options.groups:
        bench.pool.every("add_groups", lambda number: ((groups[number], members), {**flow, "until": "accepted"}))
    slow, flapping = _aside(bench, options.stalled or 0), _aside(bench, options.flapping, offset=1)
    for aside in (slow, flapping):
        bench.tell("set_group", aside, "aside")

    empty = bench.rss_bytes()
    bench.connect(bench.everybody())
    if options.groups:
        bench.make_groups()
    bench.settle()
    full = bench.rss_bytes()
    bench.tell("slow", slow, STALLED_MS, READING_MS)
    bench.tell("flap", flapping, FLAP_MS)
    everybody = bench.everybody()
    bench.pool.every("churn", lambda number: ((sizes[number] / SESSION_S, everybody[number], *AWAY_MS), {}))
    rate = (options.rate or 0.0) / sum(sizes)
    bench.pool.every("rate", lambda number: ((rate * sizes[number], options.groups), {}))

    bench.hold("a day begins", options.warmup or 0)
    begin = bench.mark(begins=True)
    bench.hold("a day", options.seconds)
    used = between(begin, bench.mark())
    times = bench.pool.take_times()
    rss = bench.rss_bytes()
    bench.pool.each("calm")
    bench.finish()
    return result_of(
        bench,
        used,
        times,
        rss_bytes=rss,
        rss_bytes_per_connection=growth(empty, full, sum(sizes)),
        details={
            "groups_percent": options.groups,
            "returned_delivery_ms": quantiles_ms(times["catch_up.main"]),
            "slow_readers": sum(map(len, slow)),
            "logins": used.counts["logins"],
            "repeated_deliveries": used.counts["repeated"],
            "unsent": used.counts["unsent"],
            **steadiness(used),
        },
        members=members if options.groups else 0,
    )


def _aside(bench: Bench, count: int, offset: int = 0) -> list[list[int]]:
    """So many clients, spread over workers and groups."""
    shares = bench.share(count)
    chosen = []
    for size, share in zip(bench.sizes, shares, strict=True):
        step = max(2, size // max(1, share))
        chosen.append(list(range(offset, size, step))[:share])
    return chosen
