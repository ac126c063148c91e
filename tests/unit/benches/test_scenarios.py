"""The rows that `pyrouter bench` measures, with answers of the shape that docs/bench.md gives them."""

from typing import Any

import pytest

from benches import scenarios
from benches.figures import table

TIMES = {"p50": 1.0, "p99": 2.0, "p999": 3.0}
ANSWER: dict[str, Any] = {
    "connections": 500, "seconds": 5.0, "messages_per_s": 50.0, "deliveries_per_s": 500.0,
    "server_cpu_us_per_delivery": 9.0, "delivery_ms": TIMES, "loop_turn_ms": TIMES, "longest_turn_ms": 4.0,
    "longest_pause_ms": None, "waited_percent": 7.5, "gc_collections": {"generation 0": 0.0, "generation 1": 0.0},
    "logins_per_s": 5000.0, "server_cpu_us_per_login": 90.0, "others_delivery_before_ms": TIMES,
    "others_delivery_during_ms": {"p50": 2.0, "p99": 8.0, "p999": 9.0},
}  # fmt: skip


def answer(monkeypatch: pytest.MonkeyPatch, **other: Any) -> list[dict[str, Any]]:
    """Answers every run with `ANSWER`; what was asked for."""
    asked: list[dict[str, Any]] = []

    def run(scenario: str, **options: Any) -> dict[str, Any]:
        asked.append({"scenario": scenario, **options})
        return ANSWER | other

    monkeypatch.setattr(scenarios, "pyrouter_bench", run)
    return asked


def test_pauses_has_a_table_and_minds_collections(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch)
    text = table(scenarios.pauses(scenarios.Pauses(5, 500)))
    assert (
        "| mixed load, 500 connections, 5 s: collections of the garbage collector | – | 0  | – | none | yes |" in text
    )
    answer(monkeypatch, gc_collections={"generation 0": 1.0})
    assert "**no**" in table(scenarios.pauses(scenarios.Pauses(5, 500)))


def test_pauses_says_when_there_is_nothing_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, gc_collections=None)
    with pytest.raises(RuntimeError, match="metrics"):
        scenarios.pauses(scenarios.Pauses(5, 500))


def test_storm_puts_the_others_beside_what_they_were_before(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answer(monkeypatch)
    text = table(scenarios.storm(scenarios.Storm(1, 500, 10)))
    assert "2 ms | 8 ms | 4.00 ×" in text
    assert (asked[0]["connections"], asked[0]["messages"]) == (500, 10)


def test_isolation_runs_without_and_with_those_who_disturb(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answer(monkeypatch)
    figures = scenarios.isolation(scenarios.Isolation(2, 3, 128, 8))
    assert [run["stalled"] for run in asked] == [0, 8, 0, 8]
    assert [run["flapping"] for run in asked] == [0, 8, 0, 8]
    assert all(figure.holds() is not False for figure in figures)
