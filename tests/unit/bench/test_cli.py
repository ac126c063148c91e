"""The exit status and what is printed where."""

import json

import pytest
from typer.testing import CliRunner

from pyrouter.bench import run as module
from pyrouter.bench.errors import WrongAnswer
from pyrouter.bench.options import Options
from pyrouter.bench.progress import Progress
from pyrouter.bench.result import Result
from pyrouter.cli import app
from pyrouter.cli.bench import SLOW_CLIENT


def result(*, valid: bool) -> Result:
    names = dict.fromkeys(Result.__dataclass_fields__)
    told = {"scenario": "pair", "seconds": 1.0, "errors": 0, "valid": valid, "details": {}, "notes": ["too slow"]}
    return Result(**{**names, **told})  # type: ignore[arg-type]  # what is not told is None


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Options]:
    seen: list[Options] = []

    def run(options: Options, _: Progress) -> Result:
        seen.append(options)
        return result(valid=options.pairs != 13)

    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    return seen


def test_options_arrive_as_they_were_given(ran: list[Options]) -> None:
    done = CliRunner().invoke(app, ["bench", "fanout", "--members", "7", "--durability", "none", "--carrier", "ws"])
    assert done.exit_code == 0
    options = ran[0]
    assert (options.scenario, options.members, options.durability, options.carrier) == ("fanout", 7, "none", "ws")
    assert options.connections is None


def test_slow_clients_are_a_status_of_their_own_unless_they_are_allowed(ran: list[Options]) -> None:
    done = CliRunner().invoke(app, ["bench", "pair", "--pairs", "13", "--json"])
    assert done.exit_code == SLOW_CLIENT
    assert json.loads(done.stdout)["valid"] is False
    assert "too slow" in done.stderr
    done = CliRunner().invoke(app, ["bench", "pair", "--pairs", "13", "--json", "--allow-slow-client"])
    assert done.exit_code == 0


def test_a_wrong_answer_is_status_1_and_told_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_: Options, __: Progress) -> Result:
        raise WrongAnswer(["ann: a gap"])

    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    done = CliRunner().invoke(app, ["bench", "pair", "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["trouble"] == ["ann: a gap"]
    assert done.stderr == "pyrouter: wrong: ann: a gap\n"
