"""Structured logs: events with fields, through the standard library's `logging` under the name `pyrouter`.

So an embedder's own logging set-up gets them like any other; only `pyrouter serve` calls `configure`.

Rule: never a body, never a token, never a secret. Nobody passes one; `redact` is there for the day that somebody does.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

__all__ = ["configure", "get_logger", "redact"]

SECRETS = frozenset({"authorization", "bodies", "body", "secret", "text", "token"})


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Blanks the fields that must never be written, whatever they hold."""
    for name in SECRETS.intersection(event):
        event[name] = "…"
    return event


def get_logger(name: str = "pyrouter") -> FilteringBoundLogger:
    """The logger of one part: `get_logger("pyrouter.cold").warning("store failed", error=…)`."""
    logger: FilteringBoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[structlog.stdlib.filter_by_level, redact, _to_logging],
    )
    return logger


def _to_logging(_logger: WrappedLogger, _method: str, event: EventDict) -> tuple[tuple[str], dict[str, Any]]:
    """A line for whoever formats plainly, and the fields for whoever (like `configure`) wants them apart."""
    exc_info = event.pop("exc_info", None)
    line = " ".join([event["event"], *(f"{key}={value}" for key, value in event.items() if key != "event")])
    return (line,), {"extra": {"pyrouter": event}, "exc_info": exc_info}


def _from_logging(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Undoes `_to_logging`."""
    event.update(getattr(event["_record"], "pyrouter", {}))
    return event


def configure(level: str, style: str, stream: TextIO | None = None) -> None:
    """Sends all logs of this process to `stream`, one event a line.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        style: `text` for people, `json` for machines, `auto` for `text` on a terminal and `json` elsewhere.
        stream: standard error if not given.
    """
    stream = stream or sys.stderr
    text = style == "text" or (style == "auto" and stream.isatty())
    shared: list[Processor] = [structlog.processors.TimeStamper(fmt="iso", utc=True)]
    render: list[Processor]
    if text:
        # A plain traceback: the pretty one prints the local variables, tokens among them.
        plain = structlog.dev.plain_traceback
        render = [structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=plain)]
    else:
        render = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[_from_logging, structlog.stdlib.add_logger_name, structlog.stdlib.add_log_level],
        processors=[*shared, structlog.stdlib.ProcessorFormatter.remove_processors_meta, redact, *render],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # uvicorn's own access lines would name every health check
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, root.level))
