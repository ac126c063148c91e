"""What a run's options may be, and what a scenario chooses where they say nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pyrouter.bench.errors import BenchError
from pyrouter.bench.options import SCENARIOS, Options, Scenario, fitted, server_connections, unit, used


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_has_a_default_for_everything(scenario: Scenario) -> None:
    options = fitted(Options(scenario))
    assert options.connections is not None
    assert options.connections >= max(2, used(options))
    assert options.connections >= unit(options)
    optional = {"messages", "server", "secret", "server_pid", "workers", "directory", "config"}
    for name in Options.__slots__:
        assert name in optional or getattr(options, name) is not None, name


def test_what_is_asked_for_stays() -> None:
    options = fitted(Options("fanout", pairs=3, members=100, window=4, stalled=5, flapping=6))
    assert (options.connections, options.pairs, options.members, options.window) == (300, 3, 100, 4)
    assert (options.stalled, options.flapping) == (5, 6)


def test_other_connections_are_idle() -> None:
    assert fitted(Options("pair", pairs=10, connections=100)).connections == 100


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scenario": "pair", "pairs": 10, "connections": 19}, "--connections 19: for pair it is at least 20"),
        ({"scenario": "pair", "pairs": 0}, "--pairs"),
        ({"scenario": "pair", "body": 19}, "at least 20"),
        ({"scenario": "pair", "body": 65_537}, "at most 65536"),
        ({"scenario": "pair", "window": 241}, "at most 240"),
        ({"scenario": "pair", "seconds": 0.0}, "--seconds"),
        ({"scenario": "pair", "messages": 0}, "--messages"),
        ({"scenario": "pair", "stalled": 1}, "for fanout and mixed"),
        ({"scenario": "fanout", "members": 1025}, "at most 1024"),
        ({"scenario": "fanout", "members": 1}, "--members"),
        ({"scenario": "fanout", "members": 10, "stalled": 5, "flapping": 4}, "together at most 8"),
        ({"scenario": "mixed", "groups": 101}, "at most 100"),
        ({"scenario": "pair", "secret": Path("secret")}, "--server too"),
        ({"scenario": "pair", "server": "ws://h"}, "--secret"),
        ({"scenario": "pair", "server": "ws://h", "secret": Path("s"), "directory": Path()}, "--directory"),
        ({"scenario": "pair", "server": "ws://h", "secret": Path("s"), "config": Path()}, "--config"),
        ({"scenario": "pair", "directory": Path("/nonexistent")}, "no such directory"),
        ({"scenario": "pair", "config": Path("/nonexistent")}, "no such file"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(options: dict[str, Any], words: str) -> None:
    with pytest.raises(BenchError) as refused:
        fitted(replace(Options(options["scenario"]), **options))
    assert words in str(refused.value)


def test_a_server_leaves_open_files_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (1024, 20_000))
    assert server_connections() == 18_000
    monkeypatch.setattr("resource.getrlimit", lambda _: (1024, 4096))
    assert server_connections() == 4096 - 256 - 64 - 50
    monkeypatch.setattr("resource.getrlimit", lambda _: (1024, 1 << 20))
    assert server_connections() == 18_000
