"""Logs: one event a line with its fields, and never what must not be written."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from pyrouter.log import SECRETS, configure, get_logger


@pytest.fixture(autouse=True)
def root() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level, logging.getLogger("uvicorn").level
    yield
    root.handlers[:], root.level = before[0], before[1]
    logging.getLogger("uvicorn").setLevel(before[2])


def written(style: str = "json", level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    configure(level, style, stream)
    return stream


def test_an_event_is_one_line_of_json_with_its_fields() -> None:
    stream = written()
    get_logger("pyrouter.cold").warning("store failed", error="disk", requests=3)
    line = json.loads(stream.getvalue())
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "store failed",
        "error": "disk",
        "requests": 3,
        "logger": "pyrouter.cold",
        "level": "warning",
    }


def test_lines_of_other_libraries_look_the_same() -> None:
    stream = written()
    logging.getLogger("elsewhere").error("failed %s", 3)
    line = json.loads(stream.getvalue())
    assert (line["event"], line["logger"], line["level"]) == ("failed 3", "elsewhere", "error")


def test_what_is_below_the_level_is_not_written() -> None:
    stream = written(level="error")
    get_logger().warning("quiet")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("style", ["json", "text", "auto"])
@pytest.mark.parametrize("field", sorted(SECRETS))
def test_a_field_that_must_not_be_written_is_blanked(style: str, field: str) -> None:
    stream = written(style)
    get_logger().error("oops", **{field: "PRIVATE"})
    assert "PRIVATE" not in stream.getvalue()
    assert "oops" in stream.getvalue()


@pytest.mark.parametrize("style", ["json", "text"])
def test_a_traceback_does_not_show_local_variables(style: str) -> None:
    stream = written(style)
    token = "PRIVATE"
    try:
        raise ValueError("shown")  # noqa: TRY301
    except ValueError:
        get_logger().exception("failed", n=len(token))
    assert "ValueError: shown" in stream.getvalue()
    assert "PRIVATE" not in stream.getvalue()


def test_an_embedders_own_logging_gets_a_readable_line_and_the_fields(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        get_logger("pyrouter.x").info("100% full", disk="/data", token="PRIVATE")
    assert caplog.messages == ["100% full disk=/data token=…"]
    fields = caplog.records[0].__dict__["pyrouter"]
    assert fields == {"event": "100% full", "disk": "/data", "token": "…"}
