"""`pyrouter serve`."""

from typing import Annotated

import typer

from pyrouter.cli.options import ConfigOption, DataOption, settings


def serve(
    config: ConfigOption = None,
    data: DataOption = None,
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where to listen. [default: 127.0.0.1:7400]")
    ] = None,
    durability: Annotated[
        str | None,
        typer.Option(metavar="fsync|interval|none", help="What `accepted` promises. [default: fsync: it is on disk]"),
    ] = None,
) -> None:
    """Start the router and serve until SIGTERM or Ctrl-C.

    Once it is ready it prints one line on standard output: version, address, data directory, durability. Logs go to
    standard error. Without a token issuer in the configuration, `pyrouter token USER` makes the tokens.
    """
    chosen = settings(
        config,
        server_data=("--data", data),
        server_listen=("--listen", listen),
        log_durability=("--durability", durability),
    )
    from pyrouter.server import run

    raise typer.Exit(run(chosen.config))
