"""`pyrouter bench`."""

import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

SLOW_CLIENT = 3  # exit status


class ScenarioName(StrEnum):
    """What happens."""

    IDLE = "idle"
    PAIR = "pair"
    FANOUT = "fanout"
    OFFLINE = "offline"
    STORM = "storm"
    MIXED = "mixed"


class CarrierName(StrEnum):
    """What clients speak."""

    RAW = "raw"
    WS = "ws"


class DurabilityName(StrEnum):
    """What `accepted` promises."""

    FSYNC = "fsync"
    INTERVAL = "interval"
    NONE = "none"


def bench(  # noqa: PLR0917  # each is an option by its name
    scenario: Annotated[ScenarioName, typer.Argument(help="What happens; docs/bench.md tells each.")],
    connections: Annotated[int | None, typer.Option(metavar="N", help="Clients in all; the rest is idle.")] = None,
    pairs: Annotated[int | None, typer.Option(metavar="N", help="Pairs of clients; in fanout groups.")] = None,
    members: Annotated[int | None, typer.Option(metavar="N", help="Members of a group, who writes included.")] = None,
    messages: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="pair, fanout: in all, instead of --seconds. offline: of a pair. storm: for a client."
        ),
    ] = None,
    window: Annotated[int | None, typer.Option(metavar="N", help="Messages in flight of each sender.")] = None,
    body: Annotated[int, typer.Option(metavar="BYTES", help="Of a message.")] = 160,
    stalled: Annotated[
        int | None, typer.Option(metavar="N", help="Members that read nothing until the end; in mixed: slowly.")
    ] = None,
    flapping: Annotated[int, typer.Option(metavar="N", help="Members that reconnect once a second.")] = 0,
    durability: Annotated[DurabilityName, typer.Option(help="Of its own server.")] = DurabilityName.FSYNC,
    seconds: Annotated[float, typer.Option(metavar="S", help="That are measured.")] = 10.0,
    warmup: Annotated[float | None, typer.Option(metavar="S", help="Before these.")] = None,
    rate: Annotated[
        float | None, typer.Option(metavar="N", help="Messages a second: mixed, idle, beside a storm.")
    ] = None,
    groups: Annotated[
        int | None, typer.Option(metavar="N", help="mixed: of 100 messages, to groups. [default: 20]")
    ] = None,
    carrier: Annotated[CarrierName | None, typer.Option(help="[default: ws for idle, else raw]")] = None,
    server: Annotated[
        str | None, typer.Option(metavar="URL", help="ws:// or tcp://HOST:PORT, instead of a server of its own.")
    ] = None,
    secret: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --server: `secret` in its data directory, to make tokens.")
    ] = None,
    server_pid: Annotated[
        int | None, typer.Option(metavar="PID", help="With --server: its process, if it is on this machine.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Client processes. [default: as few as can be]")
    ] = None,
    directory: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where its own server's data goes. [default: the temporary one]")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of its own server: what docs/operations.md lets you set.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
    allow_slow_client: Annotated[
        bool, typer.Option(help="Take the result even if the clients used more CPU than the server.")
    ] = False,
) -> None:
    """Put a server under load, check every answer, and tell what it costs.

    Without --server it starts one on an empty directory. Exit status: 0; 1 if an answer was wrong or nothing could be
    measured; 3 if the clients used more CPU than the server, which makes the result worthless.
    """
    from pyrouter.bench.errors import WrongAnswer
    from pyrouter.bench.options import Options
    from pyrouter.bench.progress import Progress
    from pyrouter.bench.result import failed, json_of, table_of
    from pyrouter.bench.run import run

    options = Options(
        scenario=scenario.value,
        connections=connections,
        pairs=pairs,
        members=members,
        messages=messages,
        window=window,
        body=body,
        stalled=stalled,
        flapping=flapping,
        durability=durability.value,
        seconds=seconds,
        warmup=warmup,
        rate=rate,
        groups=groups,
        carrier=carrier.value if carrier else None,
        server=server,
        secret=secret,
        server_pid=server_pid,
        workers=workers,
        directory=directory,
        config=config,
    )
    # Ended from outside it still ends its server and its workers.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        result = run(options, Progress())
    except WrongAnswer as error:
        if json:
            print(failed(scenario.value, error.trouble))
        for sentence in error.trouble:
            print(f"pyrouter: wrong: {sentence}", file=sys.stderr)
        raise typer.Exit(1) from None
    print(json_of(result) if json else table_of(result))
    if not result.valid:
        for note in result.notes:
            print(f"pyrouter: {note}", file=sys.stderr)
        if not allow_slow_client:
            raise typer.Exit(SLOW_CLIENT)
