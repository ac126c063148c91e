"""The pages for operators say what the code does: every key with its default, every metric."""

import asyncio
import re
from pathlib import Path

from pyrouter.config import Config, load
from pyrouter.metrics import StatsCollector
from pyrouter.router import Router
from pyrouter.watch import Watch

DOCS = Path(__file__).parents[2] / "docs"


def test_the_configuration_of_the_page_has_every_key_with_its_default(tmp_path: Path) -> None:
    block = re.search(r"```toml\n(.*?)```", (DOCS / "operations.md").read_text(), re.DOTALL)
    assert block is not None
    (tmp_path / "c.toml").write_text(block[1])
    settings = load(tmp_path / "c.toml")
    told = {
        f"{section}.{key}"
        for section in Config.__struct_fields__
        for key in getattr(settings.config, section).__struct_fields__
    }
    shown = set(settings.origins) | {f"auth.{key}" for key in re.findall(r"^# (\w+) =", block[1], re.MULTILINE)}
    assert shown == told
    for section in Config.__struct_fields__:
        for key in getattr(settings.config, section).__struct_fields__:
            value, default = getattr(getattr(settings.config, section), key), getattr(getattr(Config(), section), key)
            assert value == (tmp_path / default if isinstance(default, Path) else default), f"{section}.{key}"


async def test_the_page_explains_every_metric_and_no_other(tmp_path: Path) -> None:
    table = (DOCS / "operations.md").read_text().partition("## Metrics")[2].partition("## Logs")[0]
    rows = re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE)
    explained = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    async with Router.open(tmp_path) as router:
        watch = Watch(asyncio.get_running_loop())
        told = [metric for collector in (StatsCollector(router), watch) for metric in collector.collect()]
        watch.close()
    names = {metric.name + ("_total" if metric.type == "counter" else "") for metric in told}
    ours = {name.removeprefix("pyrouter_") for name in names if name.startswith("pyrouter_") and name != "pyrouter"}
    assert ours == explained


def test_the_page_explains_every_alarm() -> None:
    sources = "".join(file.read_text() for file in (DOCS.parent / "core_rs").glob("**/src/**/*.rs"))
    codes = set(re.findall(r'\.alarm\("(\w+)"', sources))
    explained = set(re.findall(r"`(\w+)`", (DOCS / "operations.md").read_text().partition("## Logs")[2]))
    assert codes
    assert codes <= explained
