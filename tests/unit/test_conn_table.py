"""The two extensions refuse to work together unless they agree about the table of C functions between them."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyrouter import _conn, _core
from pyrouter._conn import Driver
from tests.conn_table import Table, capsule_of

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def table() -> Iterator[Table]:
    wake_fd = os.eventfd(0, os.EFD_NONBLOCK)
    yield Table(wake_fd)
    os.close(wake_fd)


def test_both_are_of_one_version() -> None:
    assert _conn.API_VERSION == _core.API_VERSION


@pytest.mark.parametrize("wrong", [{"version": 2}, {"version": 0}, {"size": 8}, {"name": b"other"}])
async def test_a_core_with_another_table_is_refused(table: Table, wrong: dict[str, Any]) -> None:
    table.capsule, api = capsule_of(**wrong)
    with pytest.raises(ImportError, match="pyrouter") as refused:
        Driver(table, asyncio.get_running_loop(), lambda: None)  # type: ignore[arg-type]
    assert api.version == wrong.get("version", 1)
    assert "rebuild" in str(refused.value) or "make build" in str(refused.value)


async def test_something_else_than_a_capsule_is_refused(table: Table) -> None:
    table.capsule = b"no capsule"
    with pytest.raises(ImportError, match="not the core's table"):
        Driver(table, asyncio.get_running_loop(), lambda: None)  # type: ignore[arg-type]


def test_importing_beside_another_core_is_refused() -> None:
    script = f"""
import sys, types
from tests.conn_table import capsule_of
package, core = types.ModuleType("pyrouter"), types.ModuleType("pyrouter._core")
package.__path__, package._core = [{str(Path(_conn.__file__).parent)!r}], core
core.api, table = capsule_of(version=99)
sys.modules |= {{"pyrouter": package, "pyrouter._core": core}}
try:
    import pyrouter._conn
except ImportError as error:
    print(error)
"""
    command = [sys.executable, "-c", script]
    told = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "version 99" in told
    assert "reinstall" in told
