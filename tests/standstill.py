"""What a test that ran out of its time waits for: said before the session ends, so that a hang explains itself.

A time-out ends the whole session at once (see `timeout_method` in pyproject.toml): no `finally` runs, and no fixture is
torn down. So the processes of the session are killed here as well.
"""

from __future__ import annotations

import asyncio
import gc
import io
import select
import shutil
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import pytest
import pytest_timeout  # type: ignore[import-untyped]

from pyrouter.client.client import Client
from pyrouter.router import Router
from tests import leftovers
from tests.server_process import ServerProcess

__all__ = ["expired", "report"]

T = TypeVar("T")

SAID = 4000  # the end of what a server has said, characters
PART_WITHIN_S = 5.0  # a core whose thread stands inside it answers nobody


def expired(item: pytest.Item, settings: pytest_timeout.Settings) -> None:
    """Says what there is to say, kills the session's processes, and ends the session."""
    if pytest_timeout.is_debugging() and not settings.disable_debugger_detection:
        return
    if (capture := item.config.pluginmanager.getplugin("capturemanager")) is not None:
        capture.suspend_global_capture(item)
    terminal = item.config.get_terminal_writer()
    terminal.sep("+", title=f"{item.nodeid} did not end within {settings.timeout:g} s")
    try:
        for line in report():
            terminal.line(line)
        leftovers.end(leftovers.descendants())
    finally:
        pytest_timeout.timeout_timer(item, settings)


def report() -> Iterator[str]:
    """Disk, processes, routers with their sessions, and tasks: one line each, or a stack."""
    disk = shutil.disk_usage(tempfile.gettempdir())
    yield f"disk: {disk.free >> 20} MiB free of {disk.total >> 20} in {tempfile.gettempdir()}"
    for pid in leftovers.descendants():
        yield f"process {pid}: {leftovers.command(pid)}"
    for server in _alive(ServerProcess):
        if server.alive():
            yield from _within(f"server {server.pid}", _server, server)
    for router in _alive(Router):
        yield from _within(f"router on {router._path}", _router, router)
    for loop in _alive(asyncio.AbstractEventLoop):  # type: ignore[type-abstract]
        if loop.is_running():
            yield from _within(f"loop {loop}", _tasks, loop)


def _alive(kind: type[T]) -> list[T]:
    return [one for one in gc.get_objects() if issubclass(type(one), kind)]


def _server(server: ServerProcess) -> Iterator[str]:
    yield server.said()[-SAID:]
    yield f"{server.metrics()}"


def _router(router: Router) -> Iterator[str]:
    yield f"failure {router.failure}, unready {router.unready}, closing {router._closing}"
    core, driver, pump = router._core, router._driver, router._pump
    if pump is not None:
        yield f"pump: {len(pump._loads._waiting)} loads, {len(pump._stores._waiting)} stores, {pump._hooks} hooks wait"
    if driver is not None:
        yield f"driver: {driver.diagnosis()}"
    for client in router._sessions._all:
        yield f"session {_client(client)}"
    if core is not None:
        poll = select.poll()
        poll.register(core.wake_fd, select.POLLIN)
        yield f"log's descriptor is readable: {bool(poll.poll(0))}"
        yield f"core: {core.diagnosis()}"
        yield f"stats: {core.stats()}"


def _client(client: Client) -> str:
    box = client._protocol.outbox
    troubles = {f"{sent.delay}" for sent in box if sent.delay is not None}
    parts = [
        f"{client.user}/{client.device}: ready {client._protocol.ready}, end {client._end!r}",
        f"{len(box)} sends unanswered, held until {box.held_until()} (now {client._loop.time():.1f}) {troubles or ''}",
    ]
    return ", ".join(parts)


def _tasks(loop: asyncio.AbstractEventLoop) -> Iterator[str]:
    for task in asyncio.all_tasks(loop):
        stack = io.StringIO()
        task.print_stack(file=stack)
        yield f"{task!r}\n{stack.getvalue()}"


def _within(what: str, look: Callable[..., Iterable[str]], *arguments: object) -> list[str]:
    """What `look` gives, or why it gives nothing; also when it does not return."""
    told: list[str] = []

    def tell() -> None:
        try:
            told.extend(f"{what}: {line}" for line in look(*arguments))
        except Exception:  # noqa: BLE001  # whatever is wrong with one part, the others are told
            told.append(f"{what}: {traceback.format_exc()}")

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    thread.join(PART_WITHIN_S)
    return [*told, *([f"{what}: does not answer"] if thread.is_alive() else [])]
