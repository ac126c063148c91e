"""`python -m pyrouter.bench.child PARENT COMMAND…`: the command `pyrouter`, which ends with the process PARENT.

A run that is killed could not end its server, which would stay, with its data, until somebody noticed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from pyrouter.cli import main as command

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1  # prctl(2)


def main() -> None:
    """Runs it."""
    parent = int(sys.argv.pop(1))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it was gone before
            sys.exit(1)
    command()


if __name__ == "__main__":
    main()
