"""What is printed at the end: JSON for programs, a table for people."""

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from pyrouter.bench import scenarios
from pyrouter.bench.options import SCENARIOS
from pyrouter.bench.result import Result, failed, json_of, shown, table_of

# What the JSON must have, whatever else is in it.
FIELDS = [
    "scenario",
    "connections",
    "members",
    "messages",
    "deliveries",
    "seconds",
    "messages_per_s",
    "deliveries_per_s",
    "server_cpu_us_per_message",
    "server_cpu_us_per_delivery",
    "client_cpu_us_per_message",
    "server_rss_bytes",
    "rss_bytes_per_connection",
    "accept_ms",
    "delivery_ms",
    "log_bytes_per_message",
    "log_bytes_per_body_byte",
    "errors",
]


@pytest.fixture
def result() -> Result:
    return Result(
        scenario="fanout",
        connections=1024,
        members=1024,
        messages=1000,
        deliveries=1_023_000,
        seconds=9.87654321,
        messages_per_s=101.25,
        deliveries_per_s=103_578.0,
        server_cpu_us_per_message=6400.5,
        server_cpu_us_per_delivery=6.256789,
        client_cpu_us_per_message=None,
        client_cpu_us_per_delivery=2.5,
        server_rss_bytes=80 << 20,
        rss_bytes_per_connection=1700.0,
        accept_ms={"p50": 1.0, "p99": 2.0, "p999": 3.0},
        delivery_ms=None,
        log_bytes_per_message=230.0,
        log_bytes_per_body_byte=1.4375,
        log_other_bytes_per_message=2.5,
        errors=0,
        valid=True,
        pairs=1,
        window=16,
        body=160,
        durability="fsync",
        carrier="raw",
        version="1.2.3",
        details={"everyone_ms": {"p50": 5.0, "p99": 6.0, "p999": 7.0}, "logins_per_s": 5000.4, "backlog_s": None},
        notes=["the disk was in memory"],
    )


def test_the_json_is_one_object_with_every_field_and_what_only_the_scenario_has(result: Result) -> None:
    text = json_of(result)
    assert "\n" not in text
    told = json.loads(text)
    assert set(FIELDS) <= set(told)
    assert told["seconds"] == 9.877
    assert told["accept_ms"] == {"p50": 1.0, "p99": 2.0, "p999": 3.0}
    assert told["delivery_ms"] is None
    assert told["everyone_ms"]["p99"] == 6.0
    assert "details" not in told


def test_the_page_explains_every_field() -> None:
    page = (Path(__file__).parents[3] / "docs" / "bench.md").read_text()
    explained = set(re.findall(r"`(\w+)`", page))
    sources = "".join(file.read_text() for file in Path(scenarios.__file__).parent.glob("*.py"))
    details = set(re.findall(r'^ +"(\w+)": ', sources, re.MULTILINE)) - set(SCENARIOS)
    assert {field.name for field in fields(Result)} - {"details"} <= explained
    assert details <= explained


def test_the_table_has_what_is_known_with_units_and_leaves_out_the_rest(result: Result) -> None:
    lines = table_of(result).splitlines()
    assert lines[0].split(maxsplit=1) == ["scenario", "fanout, raw, durability fsync, 1.2.3"]
    table = dict(line.split("  ", 1) for line in lines if "  " in line)
    assert table["server CPU a delivery"].strip() == "6.26 µs"
    assert table["deliveries"].strip() == "103,578/s"
    assert table["send to accepted"].strip() == "median 1 ms, 99 % 2 ms, 99.9 % 3 ms"
    assert table["everyone"].strip() == "median 5 ms, 99 % 6 ms, 99.9 % 7 ms"
    assert table["logins"].strip() == "5,000/s"
    assert "send to arrival" not in table
    assert "backlog" not in table
    assert lines[-1] == "note: the disk was in memory"


def test_a_run_that_found_something_wrong_is_an_object_too() -> None:
    told = json.loads(failed("pair", ["ann: a gap", "bob: another body"]))
    assert (told["scenario"], told["errors"], told["valid"]) == ("pair", 2, False)
    assert told["trouble"] == ["ann: a gap", "bob: another body"]


def test_figures_are_as_long_as_they_are_good_for() -> None:
    assert shown(1234567, " B") == "1,234,567 B"
    assert shown(12.3456, " µs") == "12.3 µs"
    assert shown(0.012345, " ms") == "0.0123 ms"
    assert shown("text", "") == "text"
