"""`pyrouter check-config`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pyrouter.cli.options import ConfigOption, settings


def check_config(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="The same as --config.")] = None,
    config: ConfigOption = None,
) -> None:
    """Check the configuration and print what is in force, with the place that each setting comes from.

    Takes the file and the environment as `pyrouter serve` would. Starts nothing, makes nothing.
    """
    from pyrouter.auth import IssuerTokens

    chosen, origins = settings(file or config)
    auth = chosen.auth
    if auth.key_file:
        IssuerTokens.from_file(auth.key_file, issuer=auth.issuer or "", audience=auth.audience or "")
    for section in chosen.__struct_fields__:
        print(f"[{section}]")
        table = getattr(chosen, section)
        for key in table.__struct_fields__:
            value = getattr(table, key)
            place = origins.get(f"{section}.{key}")
            line = f"# {key} is not set" if value is None else f"{key} = {_toml(value)}"
            print(f"{line:<40} # {place.text}" if place else line)
        print()


def _toml(value: Any) -> str:
    return str(value) if type(value) is int else '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
