"""Commands that need no running router: what goes where, what is refused, and that nothing is a traceback."""

import asyncio
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pyrouter.auth import LocalTokens
from pyrouter.cold import ColdDatabase

CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("PYROUTER_")}


def pyrouter(*arguments: str | Path, cwd: Path | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from pyrouter.cli import main; main()", *map(str, arguments)]
    environment = {**CLEAN, "COLUMNS": "200", **environ}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, check=False, timeout=60)


def refused(*arguments: str | Path, status: int = 1, cwd: Path | None = None, **environ: str) -> str:
    done = pyrouter(*arguments, cwd=cwd, **environ)
    assert (done.returncode, done.stdout) == (status, "")
    assert "Traceback" not in done.stderr
    return done.stderr


class TestHelp:
    def test_it_lists_every_command_and_each_has_its_own(self) -> None:
        text = pyrouter("--help").stdout
        for command in ("serve", "token", "check-config", "fsck", "bench"):
            assert command in text
            done = pyrouter(command, "--help")
            assert done.returncode == 0
            assert f"pyrouter {command}" in done.stdout

    def test_it_waits_for_nothing_that_only_a_server_needs(self) -> None:
        heavy = [
            "uvicorn",
            "starlette",
            "uvloop",
            "joserfc",
            "structlog",
            "msgspec",
            "sqlite3",
            "prometheus_client",
            "google",
        ]
        program = f"import sys, pyrouter.cli; print([name for name in {heavy} if name in sys.modules])"
        assert subprocess.check_output([sys.executable, "-c", program], text=True) == "[]\n"

    def test_the_version_is_told(self) -> None:
        assert pyrouter("--version").stdout.startswith("pyrouter ")

    def test_an_unknown_command_is_refused(self) -> None:
        assert "No such command" in refused("serv", status=2)


class TestToken:
    def test_it_prints_the_token_and_nothing_else_and_makes_secret_and_user(self, tmp_path: Path) -> None:
        done = pyrouter("token", "bob", "--device", "7", "--ttl", "12h", "--new", "--data", tmp_path / "d")
        assert (done.returncode, done.stderr) == (0, "")
        token, rest = done.stdout.split("\n")
        assert rest == ""
        identity = asyncio.run(LocalTokens.open(tmp_path / "d")(token))
        assert identity[:2] == ("bob", 7)
        assert stat.S_IMODE((tmp_path / "d" / "secret").stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o700
        with ColdDatabase(tmp_path / "d" / "cold.db") as database:
            assert database.has_user("bob")

    def test_the_data_directory_may_come_from_the_environment(self, tmp_path: Path) -> None:
        assert pyrouter("token", "bob", "--new", PYROUTER_SERVER_DATA=str(tmp_path / "e")).returncode == 0
        assert (tmp_path / "e" / "secret").exists()

    def test_where_no_server_keeps_its_secret_none_is_made_and_the_folder_is_named(self, tmp_path: Path) -> None:
        text = refused("token", "bob", cwd=tmp_path)
        assert f"{tmp_path}/pyrouter-data is not the data directory of a server" in text
        assert "--data DIR" in text
        assert list(tmp_path.iterdir()) == []

    def test_where_there_is_a_secret_it_is_used(self, tmp_path: Path) -> None:
        first = pyrouter("token", "bob", "--new", cwd=tmp_path)
        secret = (tmp_path / "pyrouter-data" / "secret").read_bytes()
        for arguments in ([], ["--new"]):
            again = pyrouter("token", "bob", *arguments, cwd=tmp_path)
            assert again.returncode == first.returncode == 0
            assert asyncio.run(LocalTokens.open(tmp_path / "pyrouter-data")(again.stdout.strip()))[:2] == ("bob", 1)
        assert (tmp_path / "pyrouter-data" / "secret").read_bytes() == secret

    def test_it_works_beside_an_open_store(self, tmp_path: Path) -> None:
        with ColdDatabase(tmp_path / "cold.db") as database:
            assert pyrouter("token", "bob", "--new", "--data", tmp_path).returncode == 0
            assert database.has_user("bob")

    @pytest.mark.parametrize(
        ("arguments", "part"),
        [
            (["", "--ttl", "1d"], "1 to 64 bytes"),
            (["x" * 65], "1 to 64 bytes"),
            (["bob", "--ttl", "30"], "such as 30d, 12h, 15m, 90s"),
            (["bob", "--ttl", "10ms"], "at least 1s"),
            (["bob", "--device", "0"], "from 1 to 65535"),
            (["bob", "--device", "x"], "valid integer"),
            ([], "Missing argument"),
        ],
    )
    def test_what_cannot_be_is_refused_before_anything_is_made(
        self, tmp_path: Path, arguments: list[str], part: str
    ) -> None:
        assert part in refused("token", *arguments, "--data", tmp_path / "d", status=2)
        assert not (tmp_path / "d").exists()

    def test_a_secret_that_others_can_read_is_refused(self, tmp_path: Path) -> None:
        pyrouter("token", "bob", "--new", "--data", tmp_path)
        (tmp_path / "secret").chmod(0o640)
        assert f"chmod 600 {tmp_path}/secret" in refused("token", "bob", "--data", tmp_path)

    def test_with_a_foreign_issuer_there_is_nothing_to_issue(self, tmp_path: Path) -> None:
        (tmp_path / "c.toml").write_text('[auth]\nkey_file = "k"\nissuer = "https://id.example"\naudience = "a"\n')
        text = refused("token", "bob", "--config", tmp_path / "c.toml")
        assert "takes tokens of https://id.example only" in text


class TestCheckConfig:
    def test_it_shows_what_is_in_force_and_where_it_comes_from(self, tmp_path: Path) -> None:
        file = tmp_path / "c.toml"
        file.write_text('[limits]\nhold = "7d"\n')
        done = pyrouter("check-config", file, PYROUTER_LIMITS_DEVICES="3")
        assert done.returncode == 0
        lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
        assert f'hold = "7d" # {file}, line 2' in lines
        assert "devices = 3 # environment variable PYROUTER_LIMITS_DEVICES" in lines
        assert 'listen = "127.0.0.1:7400"' in lines

    def test_what_it_shows_is_a_configuration_itself(self, tmp_path: Path) -> None:
        (tmp_path / "c.toml").write_text(pyrouter("check-config").stdout)
        assert pyrouter("check-config", "--config", tmp_path / "c.toml").returncode == 0

    def test_problems_are_listed_with_line_and_key(self, tmp_path: Path) -> None:
        file = tmp_path / "c.toml"
        file.write_text('[limits]\nhold = 7\n\n[server]\nlisen = "x"\n')
        text = refused("check-config", "--config", file)
        assert f"{file}, line 2: limits.hold: expected a duration" in text
        assert f"{file}, line 5: server.lisen: unknown key, did you mean `listen`?" in text

    def test_a_key_file_without_a_key_is_a_problem(self, tmp_path: Path) -> None:
        (tmp_path / "k").write_text("nothing")
        (tmp_path / "c.toml").write_text('[auth]\nkey_file = "k"\nissuer = "i"\naudience = "a"\n')
        assert "holds no public key" in refused("check-config", tmp_path / "c.toml")

    def test_the_file_may_be_named_by_the_environment(self, tmp_path: Path) -> None:
        assert "cannot be read: No such file" in refused("check-config", PYROUTER_CONFIG=str(tmp_path / "none"))
