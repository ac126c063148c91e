"""What a run found: one object for `--json`, a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import orjson

__all__ = ["Result", "failed", "json_of", "table_of"]

Quantiles = dict[str, float]
Detail = float | int | str | None | Quantiles


@dataclass(kw_only=True)
class Result:
    """Field by field what `--json` prints; None where it is not known or there was nothing to measure."""

    scenario: str
    connections: int
    members: int
    """Of a group; 0 where there was none."""
    messages: int
    """That were accepted in the time that is measured."""
    deliveries: int
    """Of these and earlier ones in that time."""
    seconds: float
    messages_per_s: float | None
    deliveries_per_s: float | None
    server_cpu_us_per_message: float | None
    server_cpu_us_per_delivery: float | None
    client_cpu_us_per_message: float | None
    client_cpu_us_per_delivery: float | None
    server_rss_bytes: int | None
    rss_bytes_per_connection: float | None
    accept_ms: Quantiles | None
    """From a send until it is accepted."""
    delivery_ms: Quantiles | None
    """From a send until it arrives; what waited for a recipient counts from when that one began to connect."""
    errors: int
    valid: bool
    """False: the clients needed more CPU than the server, which was therefore not at its limit."""
    pairs: int
    window: int
    body: int
    durability: str
    carrier: str
    version: str
    log_bytes_per_message: float | None = None
    log_bytes_per_body_byte: float | None = None
    """Both: of the records of messages."""
    log_other_bytes_per_message: float | None = None
    """Cursors above all."""
    details: dict[str, Detail] = field(default_factory=dict)
    """What only this scenario has."""
    notes: list[str] = field(default_factory=list)


def json_of(result: Result) -> str:
    """One object; the scenario's own fields stand beside the others."""
    fields = {name: _rounded(value) for name, value in asdict(result).items() if name != "details"}
    details = {name: _rounded(value) for name, value in result.details.items()}
    return orjson.dumps({**fields, **details}).decode()


def failed(scenario: str, trouble: Sequence[str]) -> str:
    """The object of a run that found something wrong."""
    return orjson.dumps(
        {"scenario": scenario, "errors": len(trouble), "valid": False, "trouble": list(trouble)}
    ).decode()


# What the table calls a field, and its unit; a space before a unit that is a word.
_ROWS = (
    ("connections", "connections", ""),
    ("pairs", "pairs", ""),
    ("members", "members of a group", ""),
    ("window", "in flight, of each sender", ""),
    ("body", "body", " B"),
    ("seconds", "measured", " s"),
    ("messages", "messages", ""),
    ("deliveries", "deliveries", ""),
    ("messages_per_s", "messages", "/s"),
    ("deliveries_per_s", "deliveries", "/s"),
    ("accept_ms", "send to accepted", " ms"),
    ("delivery_ms", "send to arrival", " ms"),
    ("server_cpu_us_per_message", "server CPU a message", " µs"),
    ("server_cpu_us_per_delivery", "server CPU a delivery", " µs"),
    ("client_cpu_us_per_message", "clients' CPU a message", " µs"),
    ("client_cpu_us_per_delivery", "clients' CPU a delivery", " µs"),
    ("server_rss_bytes", "server memory", " B"),
    ("rss_bytes_per_connection", "server memory a connection", " B"),
    ("log_bytes_per_message", "log a message", " B"),
    ("log_bytes_per_body_byte", "log a byte of body", " B"),
    ("log_other_bytes_per_message", "log of cursors and the rest, a message", " B"),
)
_UNITS = {"_per_s": "/s", "_ms": " ms", "_s": " s", "_bytes": " B", "_percent": " %"}
_UNITS_WITHIN = {"_us_per_": " µs", "_bytes_per_": " B"}


def table_of(result: Result) -> str:
    """Lines for people: what was asked, what was found, what to know about it."""
    rows = [("scenario", f"{result.scenario}, {result.carrier}, durability {result.durability}, {result.version}")]
    for name, label, unit in _ROWS:
        value = getattr(result, name)
        if value is not None and (value or name not in ("pairs", "members")):
            rows.append((label, shown(value, unit)))
    for name, value in result.details.items():
        if value is not None:
            label, unit = _label(name)
            rows.append((label, shown(value, unit)))
    width = max(len(label) for label, _ in rows)
    lines = [f"{label:<{width}}  {value}" for label, value in rows]
    checked = "every answer was right: count, order, numbers, bodies, receipts"
    return "\n".join([*lines, "", checked, *(f"note: {note}" for note in result.notes)])


def shown(value: Detail, unit: str) -> str:
    """A figure as people write it."""
    if isinstance(value, dict):
        names = {"p50": "median", "p99": "99 %", "p999": "99.9 %"}
        return ", ".join(f"{names.get(name, name)} {_number(part)}{unit}" for name, part in value.items())
    if isinstance(value, str) or value is None:
        return str(value)
    return f"{_number(value)}{unit}"


def _number(value: float) -> str:
    if isinstance(value, int) or value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _label(name: str) -> tuple[str, str]:
    for within, unit in _UNITS_WITHIN.items():
        if within in name:
            return name.replace(within, " per ").replace("_", " "), unit
    for ending, unit in _UNITS.items():
        if name.endswith(ending):
            return name.removesuffix(ending).replace("_", " "), unit
    return name.replace("_", " "), ""


def _rounded(value: object) -> object:
    return round(value, 3) if isinstance(value, float) else value
