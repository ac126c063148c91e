"""A line that is drawn anew on a terminal, and few plain lines elsewhere."""

import io

import pytest

from pyrouter.bench.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_elsewhere_a_phase_is_told_once_and_then_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    stream = io.StringIO()
    progress = Progress(stream)
    progress.show("connecting", "1 of 9")
    progress.show("connecting", "2 of 9")
    now[0] += 6
    progress.show("connecting", "3 of 9")
    progress.show("measuring")
    progress.end()
    assert stream.getvalue() == "connecting: 1 of 9\nconnecting: 3 of 9\nmeasuring\n"


def test_on_a_terminal_the_line_is_drawn_anew_and_wiped_at_the_end() -> None:
    stream = Terminal()
    progress = Progress(stream)
    progress.show("connecting", "1 of 9")
    progress.show("measuring")
    progress.end()
    progress.end()
    assert stream.getvalue() == "\r\x1b[Kconnecting: 1 of 9\r\x1b[Kmeasuring\r\x1b[K"
