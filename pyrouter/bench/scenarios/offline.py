"""`offline`: messages to people who are away; then they come back, all at once, and take what waited.

The two halves are measured apart: messages by what accepting and keeping them costs, deliveries by what handing them
out costs. The time of a delivery counts from when its recipient began to connect.
"""

from __future__ import annotations

from pyrouter.bench.result import Result
from pyrouter.bench.run import Bench, accepted, between, connected
from pyrouter.bench.scenarios.common import growth, per, result_of

__all__ = ["play"]


def play(bench: Bench) -> Result:
    """Connects, sends the recipients away, writes to them, and lets them return."""
    options = bench.options
    pairs, messages = options.pairs or 0, options.messages or 0
    shares = bench.share(pairs)
    flow = {"window": options.window, "limit": messages, "until": "accepted"}
    bench.pool.every("add_direct", lambda number: (([(2 * one, 2 * one + 1) for one in range(shares[number])],), flow))
    recipients = [[2 * one + 1 for one in range(share)] for share in shares]
    empty = bench.rss_bytes()
    bench.connect(bench.everybody())
    full = bench.rss_bytes()
    bench.tell("leave", recipients)
    bench.settle()
    before = bench.rss_bytes()

    total = pairs * messages
    begin = bench.mark(begins=True)
    bench.pool.each("send", True)
    bench.wait(
        "writing to people who are away",
        lambda counts: counts["sent"] == total and accepted(counts),
        lambda counts: f"{counts['accepted']:,} of {total:,}",
    )
    middle = bench.mark()
    written, accept = between(begin, middle), bench.pool.take_times()
    bench.settle()
    waiting = bench.rss_bytes()

    start = bench.mark(begins=True)
    bench.tell("connect", recipients)
    seen = bench.wait(
        "until they have everything",
        lambda counts: connected(counts) and not counts["owed"],
        lambda counts: f"{counts['owed']:,} of {total:,} are owed",
    )
    end = bench.mark()._replace(at_ns=seen.counts["last_delivery"])
    read, times = between(start, end), bench.pool.take_times()
    bench.finish()
    result = result_of(
        bench,
        written,
        {**accept, "delivery.main": times["catch_up.main"]},
        rss_bytes=waiting,
        rss_bytes_per_connection=growth(empty, full, sum(bench.sizes)),
        details={
            "backlog_s": read.seconds,
            "logins_per_s": per(sum(shares), read.seconds),
            "rss_bytes_per_pending_message": growth(before, waiting, total),
        },
        pairs=pairs,
    )
    if read.server_us is not None and read.client_us > read.server_us:
        result.valid = False
        bench.notes.append("the clients used more CPU than the server while they took what waited")
    result.deliveries = read.counts["deliveries"]
    result.deliveries_per_s = per(result.deliveries, read.seconds)
    result.server_cpu_us_per_delivery = per(read.server_us, result.deliveries)
    result.client_cpu_us_per_delivery = per(read.client_us, result.deliveries)
    result.seconds = written.seconds + read.seconds
    return result
