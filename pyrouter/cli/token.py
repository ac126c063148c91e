"""`pyrouter token`."""

from typing import Annotated

import typer

from pyrouter.cli.options import ConfigOption, DataOption, settings


def token(
    user: Annotated[str, typer.Argument(metavar="USER", help="Name of the user; made if there is none.")],
    device: Annotated[int, typer.Option(metavar="N", help="Number of the user's device.")] = 1,
    ttl: Annotated[str, typer.Option(metavar="TIME", help="How long it is good for: 30d, 12h, 15m, 90s.")] = "30d",
    new: Annotated[
        bool,
        typer.Option("--new", help="Make the data directory and its secret if there is none, before the first serve."),
    ] = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Make a token for a device of a user, and the user if there is none. Prints the token and nothing else.

    Works beside a running server, on the same data directory. Whoever holds the token is that user, so hand it over in
    private.
    """
    from pyrouter.auth import LocalTokens, check_device, check_user
    from pyrouter.cold import ColdDatabase
    from pyrouter.errors import ConfigError
    from pyrouter.secret import SECRET_NAME
    from pyrouter.units import Duration

    chosen = settings(config, server_data=("--data", data)).config
    if chosen.auth.key_file or chosen.auth.jwks_url:
        raise ConfigError([f"the configuration takes tokens of {chosen.auth.issuer} only: have one made there"])
    try:
        lifetime = Duration.parse(ttl)
        check_device(device)
        check_user(user)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if lifetime < 1000:
        raise typer.BadParameter("a token must be good for at least 1s")
    directory = chosen.server.data.absolute()
    if not new and not (directory / SECRET_NAME).exists():
        # Under a secret of its own the token would look right, and no server would take it.
        problem = f"{directory} is not the data directory of a server: there is no secret in it to make tokens with"
        where = "name the server's with --data DIR or --config FILE, or start `pyrouter serve` here first"
        raise ConfigError([f"{problem}; {where} (--new makes the secret for a server that is to come)"])
    issued = LocalTokens.open(chosen.server.data).issue(user, device, lifetime)
    with ColdDatabase(chosen.server.data / "cold.db") as database:
        database.create_user(user)
    print(issued)
