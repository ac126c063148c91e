"""The generated module of the wire is that of the schema."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def test_what_is_checked_in_is_what_make_proto_makes(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="the generators are in the extra `dev`")
    subprocess.run([sys.executable, ROOT / "scripts/proto.py", tmp_path], check=True, capture_output=True)
    for made in tmp_path.iterdir():
        assert made.read_text() == (ROOT / "pyrouter/wire" / made.name).read_text(), f"run `make proto`: {made.name}"
