"""`pyrouter fsck`."""

from pathlib import Path
from typing import Annotated

import typer


def fsck(directory: Annotated[Path, typer.Argument(metavar="DIR", help="A data directory.")]) -> None:
    """Check a data directory and say what was found. Reads only. Exit status 1 if something is damaged.

    Best with the server stopped: beside a running one, the end of the log may look torn.
    """
    from pyrouter._core import CoreError
    from pyrouter._core import fsck as check_log
    from pyrouter.errors import DataDirError

    try:
        report = check_log(str(directory))
    except CoreError as error:
        raise DataDirError(str(error)) from error
    findings = report.get("findings")
    for name, value in report.items():
        if name != "findings":
            print(f"{name.replace('_', ' ')}: {value}")
    for finding in findings if isinstance(findings, list) else ():
        print(f"- {finding}")
    if report.get("damaged"):
        raise typer.Exit(1)
