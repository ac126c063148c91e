"""`pyrouter fsck`."""

from pathlib import Path
from typing import Annotated, Any

import typer


def fsck(directory: Annotated[Path, typer.Argument(metavar="DIR", help="A data directory.")]) -> None:
    """Check a data directory and say what was found. Reads only. Exit status 1 if something is damaged.

    Best with the server stopped: beside a running one, the end of the log may look torn.
    """
    from pyrouter._core import CoreError
    from pyrouter._core import fsck as check_log
    from pyrouter.cold import check_database
    from pyrouter.errors import DataDirError

    cold = check_database(directory / "cold.db")
    try:
        report: dict[str, Any] = check_log(str(directory), cold.found if cold else "missing")
    except CoreError as error:
        raise DataDirError(str(error)) from error
    for name in ("segments", "bytes", "batches", "records"):
        print(f"log {name}: {report[name]:,}")
    for name in report["set_aside"]:
        print(f"set aside by an earlier recovery: {name}")
    found = f"{cold.users:,} users, {cold.conversations:,} conversations" if cold else "not there"
    print(f"cold store: {found}")
    problems = [*report["findings"], *(cold.problems if cold else ())]
    for problem in problems:
        print(f"- {problem}")
    if report["damaged"] or (cold is not None and cold.problems):
        print("damaged")
        raise typer.Exit(1)
    print("sound" if not problems else "sound: a torn end is what a crash leaves, and is cut at the next start")
