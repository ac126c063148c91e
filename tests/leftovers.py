"""What a test leaves behind: processes that it started, and files.

- A process that is started with `BOUND` before its command, or by `start`, dies with the session, however that ends.
- `adopt` makes the session the parent of every process below it whose own parent dies first: so a process that a test
  forgot is found, whoever started it.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

MOST_BYTES = 100 << 20  # that a whole run may leave in the temporary folder, also when tests fail
ENDED_WITHIN_S = 10.0  # what was told to end has done so by then

# The rest of the command is killed when the thread that started it ends: prctl(PR_SET_PDEATHSIG).
BOUND = ("setpriv", "--pdeathsig", "KILL", "--") if shutil.which("setpriv") else ()

_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
_starter = ThreadPoolExecutor(1, thread_name_prefix="starter")  # its thread ends with this process, and not before


def start(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """`subprocess.Popen` of a command that dies with this process, whichever thread asks for it."""
    return _starter.submit(lambda: subprocess.Popen([*BOUND, *command], **options)).result()


def adopt() -> None:
    """Makes this process the parent of every process below it whose own parent dies."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def children() -> set[int]:
    """The processes that run and have this process as their parent; those that have ended do not count."""
    return _by_parent().get(os.getpid(), set())


def descendants() -> set[int]:
    """The processes that run below this one."""
    by_parent = _by_parent()
    found: set[int] = set()
    ahead = [os.getpid()]
    while ahead:
        below = by_parent.get(ahead.pop(), set()) - found
        found |= below
        ahead += below
    return found


def command(pid: int) -> str:
    """How a process was called."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return "(ended meanwhile)"


def lasting(pids: Iterable[int], within_s: float) -> set[int]:
    """Those of `pids` that have not ended `within_s` seconds from now; returns as soon as all have."""
    watched: dict[int, int] = {}
    for pid in pids:
        with suppress(ProcessLookupError):
            watched[os.pidfd_open(pid)] = pid
    poll = select.poll()
    for descriptor in watched:
        poll.register(descriptor, select.POLLIN)
    running = dict(watched)
    try:
        while running and (ended := poll.poll(within_s * 1000)):
            for descriptor, _ in ended:
                poll.unregister(descriptor)
                del running[descriptor]
    finally:
        for descriptor in watched:
            os.close(descriptor)
    return set(running.values())


def end(pids: Iterable[int]) -> None:
    """Kills them, whatever they do."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kept_bytes(directory: Path) -> int:
    """What a directory takes on the disk with all that is in it: blocks, not lengths."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):
                total += (Path(folder) / name).lstat().st_blocks * 512
    return total


def remove_reserves(directory: Path) -> None:
    """Removes the segments that routers made ahead: they are large, and say nothing about what went wrong."""
    for file in directory.rglob("log/reserve-*"):
        file.unlink(missing_ok=True)


def _by_parent() -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                # After the name, which is in brackets and may hold anything: the state, and the parent.
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if state not in "ZX":
                    found.setdefault(int(parent), set()).add(int(entry.name))
    return found
