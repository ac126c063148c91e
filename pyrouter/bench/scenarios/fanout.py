"""`fanout`: groups, each with one member who writes to all others. A message is in flight until all of them have it.

In each group some members may stall, and read nothing until the end; others may reconnect once a second. Nobody waits
for these, and their times are counted apart; in the end they must have everything too, in order.
"""

from __future__ import annotations

import time

from pyrouter.bench.result import Detail, Result
from pyrouter.bench.run import Bench
from pyrouter.bench.scenarios.common import growth, limit, measure, result_of
from pyrouter.bench.times import quantiles_ms

__all__ = ["play"]

FLAP_MS = 1000


def play(bench: Bench) -> Result:
    """Makes the groups, measures, and lets those catch up who are behind."""
    options = bench.options
    members, pairs = options.members or 2, options.pairs or 1
    groups = [[list(range(at * members, (at + 1) * members)) for at in range(count)] for count in bench.share(pairs)]
    # The first member of each is the sender; then come those that stall, then those that flap.
    stalled_end = 1 + (options.stalled or 0)
    stalled = [[peer for group in of for peer in group[1:stalled_end]] for of in groups]
    flapping = [[peer for group in of for peer in group[stalled_end : stalled_end + options.flapping]] for of in groups]
    for aside in (stalled, flapping):
        bench.tell("set_group", aside, "aside")
    flow = {"window": options.window, "limit": limit(bench, pairs), "until": "everyone"}
    bench.pool.every("add_groups", lambda number: ((groups[number], 1), flow))
    empty = bench.rss_bytes()
    bench.connect(bench.everybody())
    bench.make_groups()
    bench.tell("stall", stalled)
    bench.tell("flap", flapping, FLAP_MS)
    measured = measure(bench)
    return result_of(
        bench,
        measured.used,
        measured.times,
        rss_bytes=measured.rss_bytes,
        rss_bytes_per_connection=growth(empty, measured.rss_bytes, sum(bench.sizes)),
        details={
            "everyone_ms": quantiles_ms(measured.times["done.main"]),
            **_let_catch_up(bench, stalled, any(stalled) or any(flapping)),
        },
        members=members,
        pairs=pairs,
    )


def _let_catch_up(bench: Bench, stalled: list[list[int]], anybody: bool) -> dict[str, Detail]:
    """Those who read nothing read all of it now; how long that takes."""
    if not anybody:
        bench.finish()
        return {}
    bench.wait("until all is accepted", lambda counts: not counts["unaccepted"])
    before = bench.pool.look().counts
    begin = time.monotonic()
    bench.pool.each("calm")
    bench.tell("unstall", stalled)
    bench.finish("until those who were stalled have everything")
    after = bench.pool.look().counts
    return {
        "behind_deliveries": before["owed"],
        "behind_caught_up_s": time.monotonic() - begin,
        "reconnects": after["logins"] - sum(bench.sizes),
        "repeated_deliveries": after["repeated"],
    }
