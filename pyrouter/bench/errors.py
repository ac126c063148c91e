"""What ends a run before its result is a good one."""

from __future__ import annotations

from collections.abc import Sequence

from pyrouter.errors import PyrouterError

__all__ = ["BenchError", "WrongAnswer"]


class BenchError(PyrouterError):
    """The run could not be made: no server, no workers, or options that do not fit."""


class WrongAnswer(PyrouterError):
    """The server did not do what it must, or not in time.

    Attributes:
        trouble: a sentence each: which client, and what was wrong.
    """

    def __init__(self, trouble: Sequence[str]) -> None:
        self.trouble = tuple(trouble)
        super().__init__("\n".join(self.trouble))
