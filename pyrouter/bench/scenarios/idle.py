"""`idle`: connections that do nothing, and a message to one of them now and then.

Memory is the slope between a third of the connections and all of them, which leaves out what a server needs once. Where
one server process cannot take all of them there are several, and as many workers.
"""

from __future__ import annotations

import random

from pyrouter.bench.result import Result
from pyrouter.bench.run import Bench, between, settled
from pyrouter.bench.scenarios.common import EVER, growth, result_of

__all__ = ["play"]

QUIET_S = 2.0  # without any message, for the CPU that connections alone cost
STREAMS = 500  # of random clients to random others, in each worker


def play(bench: Bench) -> Result:
    """Connects a third, then all; measures memory; then messages to random ones, by the clock."""
    options = bench.options
    chance = random.Random(sum(bench.sizes))
    flow = {"window": 0, "limit": EVER, "until": "receipt"}
    bench.pool.every("add_direct", lambda number: ((_pairs(chance, bench.sizes[number]),), flow))
    everybody = bench.everybody()
    first = [peers[: -(-len(peers) // 3)] for peers in everybody]
    bench.connect(first)
    bench.settle()
    low = bench.rss_bytes()
    bench.connect(everybody)
    bench.settle()
    high = bench.rss_bytes()
    begin = bench.mark(begins=True)
    bench.hold("nothing happens", QUIET_S)
    quiet = between(begin, bench.mark())
    begin = bench.mark(begins=True)
    for share, number in zip(_rates(bench), range(len(bench.sizes)), strict=True):
        bench.pool.workers[number].ask("rate", share, 0)
        bench.pool.workers[number].answer()
    bench.hold("a message now and then", options.seconds)
    bench.pool.each("rate", 0.0, 0)
    bench.wait("until they have arrived", settled)
    used = between(begin, bench.mark())
    times = bench.pool.take_times()
    bench.finish()
    return result_of(
        bench,
        used,
        times,
        rss_bytes=high,
        rss_bytes_per_connection=growth(low, high, sum(bench.sizes) - sum(map(len, first))),
        details={
            "servers": len(bench.servers),
            "idle_cpu_percent": None if quiet.server_us is None else quiet.server_us / quiet.seconds / 1e4,
        },
        compare_clients=False,
    )


def _pairs(chance: random.Random, peers: int) -> list[tuple[int, int]]:
    pairs = set()
    for _ in range(STREAMS):
        one, other = chance.randrange(peers), chance.randrange(peers)
        if one != other:
            pairs.add((one, other))
    return sorted(pairs) or ([(0, 1)] if peers > 1 else [])


def _rates(bench: Bench) -> list[float]:
    rate = bench.options.rate or 0.0
    return [rate * size / sum(bench.sizes) for size in bench.sizes]
