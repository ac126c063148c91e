"""What happens in a run, one file for each scenario: who is there, what they do, and what is measured of it."""

from __future__ import annotations

from collections.abc import Callable

from pyrouter.bench.options import Scenario
from pyrouter.bench.result import Result
from pyrouter.bench.run import Bench
from pyrouter.bench.scenarios import fanout, idle, mixed, offline, pair, storm

__all__ = ["PLAY"]

PLAY: dict[Scenario, Callable[[Bench], Result]] = {
    "idle": idle.play,
    "pair": pair.play,
    "fanout": fanout.play,
    "offline": offline.play,
    "storm": storm.play,
    "mixed": mixed.play,
}
