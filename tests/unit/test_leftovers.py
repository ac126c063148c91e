"""The suite is held to what it may leave behind, by sessions of its own that leave too much, hang, or are killed."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import leftovers
from tests.server_process import until

pytestmark = pytest.mark.slow  # every session imports everything
ROOT = Path(__file__).parents[2]

# `Popen` objects that are forgotten warn, and a warning is an error here: what is tested would hide behind that.
HEAD = """
import os, subprocess, sys, time
from pathlib import Path
from tests import leftovers

leftovers.ENDED_WITHIN_S = 0.1
kept = []

def forget(*command):
    kept.append(subprocess.Popen(command))
    print(f"pid {kept[-1].pid}", flush=True)
"""


def session(
    tmp_path: Path, text: str, *options: str, during: Callable[[subprocess.Popen[bytes]], object] | None = None
) -> tuple[int, str]:
    """A session of pytest with one file of tests under this suite's rules; its exit status and what it printed."""
    file = tmp_path / "test_it.py"
    file.write_text(HEAD + text)
    rules = ["-p", "tests.conftest", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path), "-s"]
    # Without its standard input nobody can be asked, and a process that was forgotten does not hold up `run`.
    with (tmp_path / "out").open("w+") as out:
        command = [sys.executable, "-m", "pytest", *rules, *options, str(file)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path), "COLUMNS": "300"}
        run = leftovers.start(command, cwd=tmp_path, env=environment, stdout=out, stderr=out)
        if during is not None:
            during(run)
        status = run.wait(60)
        out.seek(0)
        return status, out.read()


def all_ended(said: str) -> bool:
    """Whether the processes that a session told of run no more; this session has adopted them."""
    pids = {int(pid) for pid in re.findall(r"pid (\d+)", said)}
    assert pids
    return not pids & leftovers.descendants()


def test_a_test_that_leaves_nothing_passes_and_its_folder_is_removed(tmp_path: Path) -> None:
    status, said = session(
        tmp_path,
        """
def test_it(tmp_path):
    print("folder", tmp_path)
    (tmp_path / "large").write_bytes(bytes(1 << 20))
    subprocess.run(["true"], check=True)
""",
    )
    assert status == 0, said
    assert "1 passed" in said
    (folder,) = re.findall("folder (.*)", said)
    assert not Path(folder).exists()


def test_a_process_that_a_test_forgets_fails_that_test_and_is_killed(tmp_path: Path) -> None:
    status, said = session(
        tmp_path,
        """
def test_forgets():
    forget("sleep", "1000")

def test_other():
    pass
""",
    )
    assert status == 1, said
    assert re.search(r"the test left processes running:\n.*sleep 1000", said), said
    assert "ERROR test_it.py::test_forgets" in said, said
    assert "2 passed, 1 error" in said, said
    assert all_ended(said)


def test_a_process_whose_parent_died_is_found_as_well(tmp_path: Path) -> None:
    status, said = session(
        tmp_path,
        """
def test_forgets():
    subprocess.run(["sh", "-c", "sleep 1000 & echo pid $!"], check=True)
""",
    )
    assert status == 1, said
    assert re.search(r"the test left processes running:\n.*sleep 1000", said), said
    assert all_ended(said)


def test_a_process_of_a_session_that_outlives_it_fails_the_session(tmp_path: Path) -> None:
    status, said = session(
        tmp_path,
        """
import pytest

@pytest.fixture(scope="module")
def shared():
    forget("sleep", "1000")

def test_it(shared):
    pass
""",
    )
    assert status == 1, said
    assert "this process still runs: sleep 1000" in said, said
    assert all_ended(said)


def test_too_much_left_in_the_temporary_folder_fails_the_session(tmp_path: Path) -> None:
    text = """
def test_it(tmp_path):
    log = tmp_path / "log"
    log.mkdir()
    (log / "reserve-1").write_bytes(bytes(60 << 20))
    (log / "1.seg").write_bytes(bytes(60 << 20))
    assert LARGE is None, "keep the folder"
"""
    status, said = session(tmp_path, "LARGE = 1\n" + text)
    assert status == 1, said
    assert "may be" not in said, "what was made ahead is removed"
    status, said = session(tmp_path, "LARGE = 1\nleftovers.MOST_BYTES = 50 << 20\n" + text)
    assert status == 1, said
    assert re.search(r"60 MiB are left in .*, 50 may be", said), said
    status, said = session(tmp_path, "LARGE = None\n" + text)
    assert status == 0, said


SERVES = """
import asyncio, threading
from pyrouter import Router
from tests.conftest import TIMER
from tests.server_process import ServerProcess

async def test_hangs(tmp_path, request):
    server = ServerProcess(tmp_path)
    server.start()
    print(f"pid {server.pid}", flush=True)
    async with Router.open(tmp_path / "other") as router:
        await router.create_user("bob")
        await router.send("ann", "bob", b"x")
        (Path.cwd() / "there").touch()
        if OUT_OF_TIME:
            timer = request.node.stash[TIMER]
            threading.Thread(target=timer.function, args=timer.args).start()
        await asyncio.Event().wait()
"""


def test_a_test_out_of_time_tells_what_it_waited_for_and_its_server_ends(tmp_path: Path) -> None:
    status, said = session(tmp_path, "OUT_OF_TIME = True\n" + SERVES)
    assert status == 1, said
    assert all_ended(said)
    for part in ("test_hangs did not end within", "MiB free", "serve --data", "'log_in_flight': 0", "'storage_ok': 1"):
        assert part in said, said
    assert re.search(r"router on \S+/other: session ann/1: ready True, end None, 0 sends unanswered", said), said
    assert "await asyncio.Event().wait()" in said, said


def test_a_server_ends_with_a_session_that_is_killed(tmp_path: Path) -> None:
    def kill(run: subprocess.Popen[bytes]) -> None:
        until((tmp_path / "there").exists, "the server runs")
        run.kill()

    status, said = session(tmp_path, "OUT_OF_TIME = False\n" + SERVES, during=kill)
    assert status == -signal.SIGKILL, said
    until(lambda: all_ended(said), "the server has ended")
