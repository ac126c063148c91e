"""`pyrouter serve`: a router in a process of its own.

Here is what only such a process may do: signals, the set-up of logging, the limit of open files, garbage collection.

Garbage collection: a full collection visits every object that there is, and would stop every connection for as long as
that takes. Connections form no cycles and go by reference counting, so here the collector looks at young objects only
(`settle_garbage_collector`). An embedder's process is left alone.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import shlex
import shutil
import signal
import sys
from pathlib import Path

import uvloop

from pyrouter import __version__
from pyrouter.auth import Authenticate, IssuerTokens
from pyrouter.config import Auth, Config
from pyrouter.errors import RouterFailed
from pyrouter.listener import Listener
from pyrouter.log import configure, get_logger
from pyrouter.router import Router
from pyrouter.watch import Watch

__all__ = ["authenticator", "ready_line", "run", "settle_garbage_collector"]

YOUNG = 50_000  # objects more than the last time, at which the youngest generation is collected
MIDDLE = 20  # collections of the youngest, after which the middle one is
NEVER = 2**31 - 1  # the largest count that the collector takes

log = get_logger("pyrouter.server")


def run(config: Config) -> int:
    """Serves until SIGTERM or SIGINT. Returns the exit status: 0 after a graceful stop, 1 if the router failed.

    Raises:
        PyrouterError: it could not be started.
    """
    configure(config.logging.level, config.logging.format)
    _raise_file_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_serve(config))
        except RouterFailed as error:
            print(f"pyrouter: {error}", file=sys.stderr)
            print("pyrouter: what was accepted is safe; see to the cause and start again", file=sys.stderr)
            return 1
    return 0


async def _serve(config: Config) -> None:
    stop = _Stop()
    router = Router.open(
        config.server.data,
        log=config.log,
        limits=config.limits,
        authenticate=authenticator(config.auth),
        hook_timeout_s=config.auth.timeout / 1000,
        drain_s=config.server.drain / 1000,
        reconnect_s=config.server.reconnect / 1000,
    )
    async with router:
        listener = await router.serve(config.server.listen.host, config.server.listen.port)
        settle_garbage_collector()
        watch = Watch(asyncio.get_running_loop())
        router.collectors.append(watch)
        stop.ready = True
        print(ready_line(config, listener), flush=True)
        print(_hints(config, listener), file=sys.stderr, flush=True)
        if not config.server.listen.loopback:
            log.warning("open to other machines, and TLS is not ours: put a proxy in front, see docs/security.md")
        await stop.asked.wait()
        log.info("stopping")
        watch.close()


def authenticator(auth: Auth) -> Authenticate | None:
    """What the configuration says about tokens; `None` for those under the local secret.

    Raises:
        ConfigError: the key file cannot be used.
    """
    leeway_s = auth.leeway // 1000
    issuer, audience = auth.issuer or "", auth.audience or ""
    if auth.key_file is not None:
        return IssuerTokens.from_file(auth.key_file, issuer=issuer, audience=audience, leeway_s=leeway_s)
    if auth.jwks_url is not None:
        return IssuerTokens.from_url(auth.jwks_url, issuer=issuer, audience=audience, leeway_s=leeway_s)
    return None


def ready_line(config: Config, listener: Listener) -> str:
    """What is printed once clients can connect: version, address, data directory, durability."""
    address = ", ".join(str(address) for address in listener.addresses)
    return f"pyrouter {__version__} ready on {address}, data {_shown(config)}, durability {config.log.durability}"


def settle_garbage_collector() -> None:
    """Sets aside what start-up made, and from now on collects young objects only.

    What gets old is freed by its reference count. A cycle that gets old stays: pyrouter makes none per connection.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, NEVER)


def _shown(config: Config) -> str:
    data = str(config.server.data)
    return data if os.path.isabs(data) or data.startswith(".") else f"./{data}"  # noqa: PTH117  # text, as it was given


def _command() -> str:
    """How a shell in this directory calls us: the environment that this process runs in may not be active there."""
    if shutil.which("pyrouter"):
        return "pyrouter"
    beside = Path(sys.executable).parent / "pyrouter"
    near = beside.is_relative_to(Path.cwd())
    return shlex.quote(str(beside.relative_to(Path.cwd()) if near else beside))


def _hints(config: Config, listener: Listener) -> str:
    command = _command()
    server = f"ws://{listener.addresses[0]}"
    where = "" if config.server.data == type(config.server)().data else f" --data {_shown(config)}"
    token = "TOKEN" if config.auth.issuer else f"$({command} token {{}}{where})"
    return (
        "Try, in two other terminals:\n"
        f'  {command} listen --server {server} --token "{token.format("bob")}"\n'
        f'  {command} send --server {server} --token "{token.format("alice")}" --to bob hello\n'
        f"Health: http://{listener.addresses[0]}/   Stop: Ctrl-C"
    )


class _Stop:
    """SIGTERM and SIGINT: the first, once ready, asks for a graceful stop; any other ends the process at once.

    Ending at once loses nothing that was accepted. During recovery there is nothing to be graceful about.
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.ready = False
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)

    def _on_signal(self, number: signal.Signals) -> None:
        if not self.ready or self.asked.is_set():
            os._exit(128 + number)
        self.asked.set()


def _raise_file_limit() -> None:
    """Every connection is an open file; the usual soft limit is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
