"""The core's crates depend on each other as ARCHITECTURE.md says; each is stamped and linted like the rest.

Cargo itself refuses a circle of crates. This holds the arrows: a new crate or dependency is allowed here, on purpose.
"""

import json
import shutil
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pyrouter import _stamp

ROOT = Path(__file__).parents[2]

DEPENDS_ON: dict[str, set[str]] = {
    "pyrouter-core": {"pyrouter-link", "pyrouter-load", "pyrouter-log", "pyrouter-wire"},
    "pyrouter-gateway": {"pyrouter-link", "pyrouter-seam", "pyrouter-wire"},
    "pyrouter-link": set(),
    "pyrouter-load": set(),
    "pyrouter-log": set(),
    "pyrouter-node": {
        "pyrouter-gateway",
        "pyrouter-log",
        "pyrouter-partition",
        "pyrouter-seam",
        "pyrouter-store",
        "pyrouter-wire",
    },
    "pyrouter-partition": {"pyrouter-seam", "pyrouter-wire"},
    "pyrouter-seam": {"pyrouter-wire"},
    "pyrouter-store": set(),
    "pyrouter-wire": set(),
}
"""The crates of the workspace, and those of them that each is built with."""

TESTED_WITH: dict[str, set[str]] = {
    "pyrouter-core": {"pyrouter-log"},  # its simulated disk
    "pyrouter-node": {"pyrouter-link", "pyrouter-log", "pyrouter-store"},  # frames, disk and rows of its tests
    "pyrouter-wire": {"pyrouter-link"},  # the magic in the examples of docs/wire.md
}
"""The crates of the workspace that only tests, benches and examples of a crate are built with."""

USED_BY: dict[str, set[str]] = {
    "pyo3": {"pyrouter-core"},  # Python
    "rustix": {"pyrouter-core", "pyrouter-load", "pyrouter-log", "pyrouter-node", "pyrouter-store"},  # system calls
}
"""Dependencies from outside that only these crates may have."""

pytestmark = pytest.mark.skipif(shutil.which("cargo") is None, reason="needs cargo")


@cache
def packages() -> list[dict[str, Any]]:
    """The workspace's packages as cargo reads their manifests."""
    command = ["cargo", "metadata", "--format-version=1", "--no-deps", "--offline", "--locked"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)["packages"]
    return found


def dependencies(package: dict[str, Any], *kinds: str | None) -> set[str]:
    """The names of the packages that `package` names as dependencies of these kinds; None is the plain kind."""
    return {dependency["name"] for dependency in package["dependencies"] if dependency["kind"] in kinds}


def test_each_crate_is_built_with_those_that_it_may_know_and_no_others() -> None:
    crates = {package["name"] for package in packages()}
    built = {package["name"]: dependencies(package, None, "build") & crates for package in packages()}
    assert built == DEPENDS_ON


def test_tests_add_no_arrows_but_the_known_ones() -> None:
    crates = {package["name"] for package in packages()}
    tested = {package["name"]: dependencies(package, "dev") & crates for package in packages()}
    assert {name: added for name, added in tested.items() if added} == TESTED_WITH


@pytest.mark.parametrize("dependency", USED_BY)
def test_python_and_system_calls_stay_in_their_rooms(dependency: str) -> None:
    users = {package["name"] for package in packages() if dependency in dependencies(package, None)}
    assert users == USED_BY[dependency]


def test_every_crate_counts_for_the_stamp_of_the_extension() -> None:
    folders = [Path(package["manifest_path"]).parent.relative_to(ROOT) for package in packages()]
    sources = {source for folder in folders for source in (f"{folder}/Cargo.toml", f"{folder}/src")}
    assert sources == set(_stamp.SOURCES["_core"]) - {"Cargo.lock", "Cargo.toml"}


def test_every_crate_takes_its_lints_from_the_workspace() -> None:
    for package in packages():
        manifest = tomllib.loads(Path(package["manifest_path"]).read_text())
        assert manifest.get("lints") == {"workspace": True}, package["name"]
