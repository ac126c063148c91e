"""The performance gate fails for a slower server: its own comparison, with real servers and real messages.

The server is slowed by benches/handicap.py, which burns three times the CPU that the server uses. Whether today's
server passes is what `make bench-gate` says.
"""

import json
import shutil
import subprocess
import sys
from typing import Any

import pytest

from benches.harness import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler"),
]


def gate(*arguments: str) -> tuple[int, dict[str, Any], str]:
    command = [sys.executable, "-m", "benches.gate", "direct", "--rounds", "1", "--json", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_a_server_that_costs_more_fails_it() -> None:
    status, slowed, message = gate("--handicap", "3")
    assert (status, slowed["check"], slowed["holds"]) == (1, "direct", False)
    assert "above the limit: CPU of a direct message" in message


def test_what_it_measures_is_the_difference() -> None:
    _, plain, _ = gate()
    _, slowed, _ = gate("--handicap", "3")
    assert slowed["ratio"] > 1.4 * plain["ratio"]
