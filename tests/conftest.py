"""What every test runs under: the event loop, how hard Hypothesis tries, small segments, and what it may leave behind.

`--loop uvloop` (the default, as in production) or `--loop asyncio`; with `--asyncio-debug` the loop also reports
callbacks that block and coroutines that nobody awaited. `--hypothesis-profile slow` tries far more examples.
"""

import asyncio
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial

import pytest
import pytest_timeout  # type: ignore[import-untyped]
import uvloop
from hypothesis import HealthCheck, settings

from pyrouter import config, router
from pyrouter.units import Size
from tests import leftovers, standstill

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}
TIMER = pytest.StashKey[threading.Timer]()
FREE_BYTES = 1 << 30
SEGMENT = Size.parse("1MiB")  # of a router that a test opens without a word about its log

# No deadlines: how long one example takes says something about the machine only.
settings.register_profile("fast", max_examples=50, deadline=None)
settings.register_profile("slow", max_examples=5_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fast")

# A shell starts what is in the background with SIGINT ignored, and so would be the commands that tests end with Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--loop", choices=sorted(LOOPS), default="uvloop", help="the event loop under async tests")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    name: str = config.getoption("--loop")
    return {name: LOOPS[name]}


@pytest.fixture(scope="session", autouse=True)
def temporary_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """All that is temporary goes below pytest's folder, also what processes make: so it is counted, and removed."""
    with pytest.MonkeyPatch.context() as patch:
        place = str(tmp_path_factory.mktemp("tmp"))
        patch.setenv("TMPDIR", place)
        patch.setattr(tempfile, "tempdir", place)
        yield


@pytest.fixture(scope="session", autouse=True)
def small_segments() -> Iterator[None]:
    """A router makes three segments ahead; with those of production every test would write 200 MB."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(router, "Log", partial(config.Log, segment=SEGMENT))
        yield


@pytest.fixture(autouse=True)
def processes_end_with_their_test() -> Iterator[None]:
    """Set up after what a module or the session shares, and before all else that a test uses; so it looks last."""
    before = leftovers.children()
    yield
    if left := leftovers.lasting(leftovers.children() - before, leftovers.ENDED_WITHIN_S):
        told = "\n".join(leftovers.command(pid) for pid in left)
        leftovers.end(left)
        pytest.fail(f"the test left processes running:\n{told}")


def pytest_sessionstart() -> None:
    leftovers.adopt()
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < FREE_BYTES:  # a router whose disk is full lets sends wait for room: every test would stand still
        told = f"{free >> 20} MiB are free in {tempfile.gettempdir()}: set TMPDIR to where there are {FREE_BYTES >> 20}"
        raise pytest.UsageError(told)


def pytest_timeout_set_timer(item: pytest.Item, settings: pytest_timeout.Settings) -> bool:
    timer = threading.Timer(settings.timeout, standstill.expired, (item, settings))
    timer.daemon = True
    timer.name = f"timeout of {item.nodeid}"
    item.stash[TIMER] = timer
    timer.start()
    return True


def pytest_timeout_cancel_timer(item: pytest.Item) -> bool:
    if (timer := item.stash.get(TIMER, None)) is not None:
        timer.cancel()
        timer.join()  # it may be about to look at what the test leaves
    return True


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None]:
    """After everything has been torn down and removed."""
    yield
    left = leftovers.descendants()
    problems = [f"this process still runs: {leftovers.command(pid)}" for pid in left]
    leftovers.end(left)
    factory = session.config._tmp_path_factory  # type: ignore[attr-defined]  # pytest has no other way to ask
    if factory._basetemp is not None and factory._basetemp.is_dir():
        leftovers.remove_reserves(factory._basetemp)
        kept = leftovers.kept_bytes(factory._basetemp)
        if kept > leftovers.MOST_BYTES:
            problems.append(f"{kept >> 20} MiB are left in {factory._basetemp}, {leftovers.MOST_BYTES >> 20} may be")
    if problems:
        session.config.get_terminal_writer().line("\n" + "\n".join(problems), red=True)
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED
