"""The command `pyrouter`."""

import typer

from pyrouter import __version__

app = typer.Typer(name="pyrouter", help="The server half of a messenger.", no_args_is_help=True)


@app.callback()
def options() -> None:
    """The server half of a messenger."""


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


def main() -> None:
    """Run the command line of this process."""
    app()
