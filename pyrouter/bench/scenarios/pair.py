"""`pair`: pairs of clients, one of whom writes to the other, with a window of messages in flight.

A message is in flight until its sender has the receipt: it was accepted, is durable, arrived and was acknowledged.
"""

from __future__ import annotations

from pyrouter.bench.result import Result
from pyrouter.bench.run import Bench
from pyrouter.bench.scenarios.common import growth, limit, measure, result_of
from pyrouter.bench.times import quantiles_ms

__all__ = ["play"]


def play(bench: Bench) -> Result:
    """Connects, warms up, measures, and waits for what is still on its way."""
    options = bench.options
    pairs = options.pairs or 0
    shares = bench.share(pairs)
    flow = {"window": options.window, "limit": limit(bench, pairs), "until": "receipt"}
    bench.pool.every("add_direct", lambda number: (([(2 * one, 2 * one + 1) for one in range(shares[number])],), flow))
    empty = bench.rss_bytes()
    bench.connect(bench.everybody())
    measured = measure(bench)
    bench.finish()
    return result_of(
        bench,
        measured.used,
        measured.times,
        rss_bytes=measured.rss_bytes,
        rss_bytes_per_connection=growth(empty, measured.rss_bytes, sum(bench.sizes)),
        details={"receipt_ms": quantiles_ms(measured.times["done.main"])},
        pairs=pairs,
    )
