"""`pyrouter group`, `block`, and groups in `send` and `listen`, as processes against a server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server_process import ServerProcess

pytestmark = pytest.mark.slow  # processes; the loop of the tests does not matter
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("PYROUTER_")}


class Shell:
    """Commands of several users."""

    def __init__(self, server: ServerProcess, *users: str) -> None:
        self._tokens = {user: server.token(user) for user in users}
        self._server = f"ws://127.0.0.1:{server.port}"

    def run(self, user: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**CLEAN, "PYROUTER_SERVER": self._server, "PYROUTER_TOKEN": self._tokens[user]}
        command = [sys.executable, "-m", "pyrouter", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=60)

    def __call__(self, user: str, *arguments: str) -> str:
        """What the command printed; it must have worked."""
        done = self.run(user, *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.rstrip("\n")

    def refused(self, user: str, *arguments: str, status: int = 1) -> str:
        done = self.run(user, *arguments)
        assert (done.returncode, done.stdout) == (status, "")
        assert "Traceback" not in done.stderr
        return done.stderr


@pytest.fixture
def sh(tmp_path: Path) -> Iterator[Shell]:
    server = ServerProcess(tmp_path)
    server.start()
    yield Shell(server, "ann", "bob", "carol")
    server.close()


def test_a_group_from_its_making_to_its_end(sh: Shell) -> None:
    group = sh("ann", "group", "create", "bob", "--name", "climbing")
    assert sh("ann", "send", "--group", group, "Sunday?") == f"accepted {group} 2"
    link = sh("ann", "group", "invite", group, "--ttl", "1d")
    assert sh("carol", "group", "join", link) == group
    for command in (
        ["promote", group, "bob"],
        ["profile", group, "--name", "caving\n"],
        ["rules", group, "--post", "admins"],
        ["revoke", group, link],
        ["demote", group, "bob"],
        ["remove", group, "carol"],
        ["add", group, "carol"],
        ["owner", group, "bob"],
        ["leave", group],
    ):
        assert sh("ann", "group", *command) == ""
    told = sh("bob", "listen", "--count", "13").replace(group, "GROUP").split("\n")
    until = told.pop(2)
    assert told == [
        '[caving\\n] ann made the group "climbing" with bob',
        "[caving\\n] ann: Sunday?",
        "[caving\\n] carol joined by an invitation",
        "[caving\\n] ann made bob an admin",
        '[caving\\n] ann changed the name to "caving\\n"',
        "[caving\\n] ann changed the rules: admins may post, admins may add members, admins may change the profile",
        "[caving\\n] ann revoked an invitation",
        "[caving\\n] ann made bob a plain member",
        "[caving\\n] ann removed carol",
        "[caving\\n] ann added carol",
        "[caving\\n] ann made bob the owner",
        "[caving\\n] ann left",
    ]
    assert until.startswith("[caving\\n] ann opened an invitation until 20")
    assert sh("bob", "group", "list") == f"{group} 2 caving\\n"
    assert sh("carol", "group", "show", group).split("\n")[1:] == [
        "name caving\\n",
        "post admins",
        "add admins",
        "edit admins",
        "owner bob",
        "member carol",
    ]
    shown = json.loads(sh("carol", "group", "show", group, "--json"))
    assert shown["members"] == [{"user": "bob", "role": "owner"}, {"user": "carol", "role": "member"}]
    assert "forbidden" in sh.refused("carol", "send", "--group", group, "may I?")
    assert sh("bob", "group", "close", group) == ""
    assert "unknown_conversation" in sh.refused("carol", "group", "show", group)


def test_changes_are_objects_in_json_and_progress_tells_who_has_a_message(sh: Shell) -> None:
    group = sh("ann", "group", "create", "bob", "carol")
    sh("ann", "send", "--group", group, "hello")
    created, message = map(json.loads, sh("bob", "listen", "--count", "2", "--json", "--read").split("\n"))
    assert created["change"]["created"]["members"] == ["bob", "carol"]
    assert "body" not in created
    assert (message["text"], message["conversation"]) == ("hello", group)
    assert set(sh("ann", "group", "progress", group, "2").split("\n")) == {"bob read", "carol sent"}
    assert "unknown_message" in sh.refused("ann", "group", "progress", group, "3")
    sh.refused("ann", "group", "progress", group, "0", status=2)
    assert "a user name has 1 to 64 bytes" in sh.refused("ann", "block", "x" * 65)


def test_a_blocked_user_is_listed_until_the_block_is_off(sh: Shell) -> None:
    assert sh("bob", "block", "ann") == "ann"
    assert sh("bob", "block") == "ann"
    assert "cannot_add" in sh.refused("ann", "group", "create", "bob")
    assert sh("bob", "block", "ann", "--off") == ""


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["send", "x"], "either --to USER or --group"),
        (["send", "--to", "bob", "--group", "00" * 16, "x"], "either --to USER or --group"),
        (["send", "--group", "1234", "x"], "32 hexadecimal digits"),
        (["group", "show", "x" * 32], "32 hexadecimal digits"),
        (["group", "join", "http://example.org"], "pyrouter:group/CONVERSATION/SECRET"),
        (["group", "rules", "00" * 16], "at least one of"),
        (["group", "invite", "00" * 16, "--ttl", "soon"], "30d, 12h"),
        (["block", "--off"], "say whom"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(sh: Shell, arguments: list[str], why: str) -> None:
    assert why in " ".join(sh.refused("ann", *arguments, status=2).replace("│", " ").split())
