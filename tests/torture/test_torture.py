"""Runs the torture test: 20 kills in the suite, as many as PYROUTER_KILLS says under `make torture`."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from .run import run

KILLS = int(os.environ.get("PYROUTER_KILLS", "20"))
SEED = int(os.environ.get("PYROUTER_SEED", "0")) or secrets.randbits(32)


@pytest.mark.slow
@pytest.mark.timeout(300 + 10 * KILLS)
def test_nothing_accepted_is_lost_whenever_the_server_is_killed_i1_i2_i3_i4_i5_i7() -> None:
    directory = Path(tempfile.mkdtemp(prefix="pyrouter-torture-"))
    sys.stderr.write(f"PYROUTER_SEED={SEED}, kept in {directory} if it fails\n")
    outcome = run(KILLS, SEED, directory)
    assert not outcome.violations, str(outcome)
    assert outcome.kills >= KILLS
    shutil.rmtree(directory)
