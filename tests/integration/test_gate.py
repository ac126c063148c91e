"""The performance gate fails for a slower server: its own comparison, with real servers and real messages.

A server is slowed by benches/handicap.py, which burns three times the CPU that the server uses; another one by building
its core without optimisation. Whether today's server passes is what `make bench-gate` says.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benches.harness import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler"),
]


def gate(check: str, *arguments: str | Path) -> tuple[int, dict[str, Any], str]:
    command = [sys.executable, "-m", "benches.gate", check, "--rounds", "1", "--json", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.mark.parametrize(
    ("check", "what"),
    [
        ("direct", "CPU of a direct message, one in flight"),
        ("bulk", "CPU of a direct message, 16 in flight"),
        ("fanout", "CPU of a delivery"),
    ],
)
def test_a_server_that_costs_more_fails_it(check: str, what: str) -> None:
    status, slowed, message = gate(check, "--handicap", "3")
    assert (status, slowed["check"], slowed["holds"]) == (1, check, False)
    assert f"above the limit: {what}" in message


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["direct", "--build", "benches"], "there is no package pyrouter in it"),
        (["memory", "--handicap", "1"], "memory and record measure this build as it is"),
    ],
)
def test_what_would_measure_something_else_is_refused(arguments: list[str], why: str) -> None:
    command = [sys.executable, "-m", "benches.gate", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert why in done.stderr


def test_what_it_measures_is_the_difference() -> None:
    _, plain, _ = gate("direct")
    _, slowed, _ = gate("direct", "--handicap", "3")
    assert slowed["ratio"] > 1.4 * plain["ratio"]


@pytest.fixture
def unoptimised(tmp_path: Path) -> Path:
    """A folder with this package and a core that was compiled without optimisation."""
    command = ["cargo", "build", "--locked", "--features", "python", "--message-format", "json"]
    built = subprocess.run(command, cwd=ROOT / "core_rs", capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    files = [
        Path(file)
        for artifact in map(json.loads, built.stdout.splitlines())
        if artifact["reason"] == "compiler-artifact" and artifact["target"]["name"] == "_core"
        for file in artifact["filenames"]
    ]
    package = tmp_path / "pyrouter"
    shutil.copytree(ROOT / "pyrouter", package, ignore=shutil.ignore_patterns("_core.*.so", "__pycache__"))
    shutil.copy(next(file for file in files if file.suffix == ".so"), package / "_core.abi3.so")
    return tmp_path


@pytest.mark.skipif(shutil.which("cargo") is None, reason="needs cargo")
def test_a_core_that_was_built_without_optimisation_fails_it(unoptimised: Path) -> None:
    status, slowed, message = gate("bulk", "--build", unoptimised)
    assert (status, slowed["holds"]) == (1, False), message
    assert "above the limit: CPU of a direct message, 16 in flight" in message
