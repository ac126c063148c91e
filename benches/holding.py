"""Connections that are held open by `floor/hold`, so that somebody else can look at the server."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from benches.harness import FLOOR, Server

MESSAGE = 3
"""The kind of a message in `ServerFrame`."""


class Holder:
    """One `hold` process and its connections to one server.

    Args:
        server: to connect to.
        arguments: of `hold`: the carrier, the users.
    """

    def __init__(self, server: Server, *arguments: str | Path) -> None:
        self.server = server
        self.count = 0
        """Connections that are open."""
        command = [FLOOR / "bin" / "hold", "--port", str(server.port), *arguments]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def hold(self, count: int) -> None:
        """Opens connections until there are so many; none of those before was closed by the server."""
        self._ask(f"{count}", f"holding {count}")
        self.count = count

    def expect_message(self, index: int) -> None:
        """The next frame of that connection, from 0, is a message."""
        self._ask(f"get {index}", f"got {index} {MESSAGE}")

    def _ask(self, question: str, expected: str) -> None:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(f"{question}\n")
        process.stdin.flush()
        answer = process.stdout.readline().rstrip("\n")
        if answer == expected:
            return
        if answer:
            raise RuntimeError(f"hold was told {question!r} and answered {answer!r}")
        raise RuntimeError(f"hold ended with {process.wait()}: {process.stderr.read().strip()}")
