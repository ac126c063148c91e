"""How a run goes, on standard error: one line that is drawn anew on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TextIO

__all__ = ["Progress"]

DRAW_S = 0.1  # between two drawings
LINE_S = 5.0  # between two plain lines of one phase


class Progress:
    """Told of every step; shows what a person can read."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Writes to `stream`, standard error if none is given."""
        self._stream = sys.stderr if stream is None else stream
        self._drawn = False
        self._phase = ""
        self._last = 0.0

    def show(self, phase: str, detail: str = "") -> None:
        """What happens now, and how far it is."""
        now = time.monotonic()
        terminal = self._stream.isatty()
        if phase == self._phase and now - self._last < (DRAW_S if terminal else LINE_S):
            return
        self._phase, self._last = phase, now
        text = f"{phase}: {detail}" if detail else phase
        if terminal:
            width = shutil.get_terminal_size().columns
            self._stream.write(f"\r\x1b[K{text[: width - 1]}")
            self._drawn = True
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()

    def end(self) -> None:
        """Leaves an empty line for whatever comes next. Harmless when repeated."""
        if self._drawn:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._drawn = False
