"""The command `pyrouter`: one module per command, registered below.

Rule: what a command needs is imported inside its function, so that `--help` and `token` do not wait for a web server.
A `PyrouterError` becomes one message on standard error and exit status 1, never a traceback.
"""

import sys

import typer

from pyrouter import __version__
from pyrouter.cli.bench import bench
from pyrouter.cli.block import block
from pyrouter.cli.check_config import check_config
from pyrouter.cli.fsck import fsck
from pyrouter.cli.group import app as group
from pyrouter.cli.listen import listen
from pyrouter.cli.send import send
from pyrouter.cli.serve import serve
from pyrouter.cli.token import token
from pyrouter.errors import PyrouterError

app = typer.Typer(
    name="pyrouter",
    help="A message router: stores each message durably, pushes it at once, forgets it once the recipient has it.",
    epilog="Start with: pyrouter serve",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # its tracebacks print local variables, tokens among them
)
app.command()(serve)
app.command()(token)
app.command()(send)
app.command()(listen)
app.add_typer(group)
app.command()(block)
app.command()(check_config)
app.command()(fsck)
app.command()(bench)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"pyrouter {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    """What stands before a command."""


def main() -> None:
    """Run the command line of this process."""
    try:
        app(prog_name="pyrouter")
    except PyrouterError as error:
        print(f"pyrouter: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
