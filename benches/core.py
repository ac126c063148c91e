"""The parts of the core, measured in Rust (core_rs/benches) and put beside their yardsticks."""

from __future__ import annotations

import json
import subprocess

from benches.figures import Figure
from benches.harness import ROOT


def run() -> list[Figure]:
    """Nanoseconds for one operation of each part."""
    done = subprocess.run(
        ["cargo", "bench", "--quiet", "--locked", "-p", "pyrouter-core", "--bench", "core"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise RuntimeError("cargo bench printed no figures")
    return [
        Figure(f"{line['name']} (yardstick: {line['yardstick_name']})", "ns", line["ours"], line["yardstick"])
        for line in lines
    ]
