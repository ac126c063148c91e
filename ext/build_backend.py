"""The PEP 517 backend: compiles the Cython module into the package, then leaves every hook to maturin.

Maturin builds `pyrouter._core` and packs the wheel; it knows nothing of Cython, so `pyrouter._conn` must lie in the
package before maturin looks. Both builds are given the stamp of their sources, which `pyrouter/_stamp.py` compares at
import. Why one wheel and this backend: docs/adr/0001-one-wheel-two-extensions.md.
"""

import os
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import maturin
from maturin import (  # noqa: F401  # the hooks that need nothing of ours
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

Settings = Mapping[str, Any] | None

ROOT = Path(__file__).resolve().parent.parent


def build_wheel(wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None) -> str:
    """Build the wheel (PEP 517)."""
    _prepare()
    return maturin.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    """Build the wheel that points into this checkout (PEP 660)."""
    _prepare()
    return maturin.build_editable(wheel_directory, config_settings, metadata_directory)


def _prepare() -> None:
    """Compile ext/_conn.pyx into pyrouter/, and say to cargo (through the environment) which sources it compiles."""
    stamps = runpy.run_path(str(ROOT / "pyrouter" / "_stamp.py"))["of_sources"](ROOT)
    os.environ["PYROUTER_CORE_STAMP"] = stamps["_core"]
    if os.environ.get("PYROUTER_DEV"):  # quick to compile, slow to run
        os.environ.setdefault("MATURIN_PEP517_ARGS", "--profile dev")
    # A module left by another Python would be packed too; one of this Python is written anew.
    for old in (ROOT / "pyrouter").glob("_conn.*.so"):
        old.unlink()
    _compile_conn(stamps["_conn"])


def _compile_conn(stamp: str) -> None:
    from Cython.Build import cythonize
    from setuptools import Distribution, Extension

    work = ROOT / "build" / "cython"
    conn = Extension(
        "pyrouter._conn",
        [str(ROOT / "ext" / "_conn.pyx")],
        include_dirs=[str(ROOT / "ext")],
        define_macros=[("PYROUTER_STAMP", f'"{stamp}"')],
        extra_compile_args=["-O0" if os.environ.get("PYROUTER_DEV") else "-O3", "-Wall", "-Wextra"],
    )
    modules = cythonize([conn], build_dir=str(work), language_level=3, force=True)
    command = Distribution({"name": "pyrouter", "ext_modules": modules}).get_command_obj("build_ext")
    command.build_temp, command.build_lib, command.force = str(work), str(ROOT), True
    command.ensure_finalized()
    command.run()
