"""Options that several commands share, and the settings that they amount to."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pyrouter.config import Settings

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", envvar="PYROUTER_CONFIG", help="Configuration, TOML."),
]
DataOption = Annotated[
    str | None,
    typer.Option("--data", metavar="DIR", help="Data directory. [default: ./pyrouter-data]"),
]


def settings(config: Path | None, **flags: tuple[str, str | None]) -> "Settings":
    """The settings of this process: file, environment, flags.

    Args:
        config: the file, if any.
        flags: a key with `_` for the dot between section and key (`server_data`), the flag's name and its value.
    """
    from pyrouter.config import load

    return load(config, os.environ, {key.replace("_", ".", 1): value for key, value in flags.items()})
