"""Configuration: precedence, and problems that name their place and key."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrouter.config import Config, load
from pyrouter.errors import ConfigError
from pyrouter.units import Address, Duration, Size


def problems(file: Path | None = None, environ: dict[str, str] | None = None, **flags: str) -> tuple[str, ...]:
    named = {key.replace("_", ".", 1): (f"--{key}", value) for key, value in flags.items()}
    with pytest.raises(ConfigError) as caught:
        load(file, environ, named)
    return caught.value.problems


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "router.toml"


def test_without_any_layer_the_defaults_are_in_force() -> None:
    config = load().config
    assert config == Config()
    assert str(config.server.listen) == "127.0.0.1:7400"
    assert config.server.data == Path("pyrouter-data")
    assert config.log.durability == "fsync"
    assert config.limits.hold == Duration.parse("30d") == 30 * 86_400_000


def test_a_later_layer_wins_file_then_environment_then_flag(file: Path) -> None:
    file.write_text('[limits]\nhold = "1d"\nbody = "1KiB"\ndevices = 3\n')
    settings = load(
        file,
        {
            "PYROUTER_LIMITS_HOLD": "2d",
            "PYROUTER_LIMITS_BODY": "2KiB",
            "HOME": "/",
            "PYROUTER_TOKEN": "ours, elsewhere",
        },
        {"limits.hold": ("--hold", "3d"), "limits.body": ("--body", None)},
    )
    limits = settings.config.limits
    assert (limits.hold, limits.body, limits.devices) == (Duration.parse("3d"), 2048, 3)
    assert settings.origins["limits.hold"].text == "--hold"
    assert settings.origins["limits.body"].text == "environment variable PYROUTER_LIMITS_BODY"
    assert settings.origins["limits.devices"].text == f"{file}, line 4"


def test_a_relative_path_in_the_file_is_relative_to_the_file_and_elsewhere_to_the_working_directory(file: Path) -> None:
    file.write_text('[server]\ndata = "d"\n')
    assert load(file).config.server.data == file.parent / "d"
    assert load(file, {"PYROUTER_SERVER_DATA": "e"}).config.server.data == Path("e")


def test_all_problems_are_reported_at_once_each_with_line_and_key(file: Path) -> None:
    file.write_text(
        """stray = 1
[server]  # comment
listen = "nowhere"
note = '''
[limits]
hold = 1
'''
[limits]
"hold" = 30
devices = true
bodi = "1KiB"

[sever]
data = "x"
[log]
durability = "maybe"
"""
    )
    no_size = "expected a size such as 64KiB, 1MiB or a number of bytes, got 'many'"
    found = problems(file, {"PYROUTER_LIMITS_DEVICE": "1", "PYROUTER_LIMITS_WINDOW": "many"}, server_data="")
    assert sorted(found) == sorted(
        [
            f"{file}, line 1: stray: unknown key outside of any section",
            f"{file}, line 3: server.listen: expected HOST:PORT such as 127.0.0.1:7400 or [::1]:7400, got 'nowhere'",
            f"{file}, line 4: server.note: unknown key; [server] has listen, data, drain, reconnect",
            f"{file}, line 9: limits.hold: expected a duration such as 30d, 12h, 15m, 90s or 500ms, got 30",
            f"{file}, line 10: limits.devices: expected a whole number, got True",
            next(line for line in found if f"{file}, line 11: limits.bodi: unknown key, did you mean `body`?" in line),
            next(line for line in found if f"{file}, line 13: sever: unknown section, did you mean `server`?" in line),
            f"{file}, line 16: log.durability: expected one of fsync, interval, none, got 'maybe'",
            next(line for line in found if "variable PYROUTER_LIMITS_DEVICE: unknown key, did you mean" in line),
            f"environment variable PYROUTER_LIMITS_WINDOW: limits.window: {no_size}",
            "--server_data: server.data: expected a path",
        ]
    )


def test_a_file_that_is_missing_not_toml_or_not_text_is_named(file: Path) -> None:
    assert problems(file) == (f"{file}: cannot be read: No such file or directory",)
    file.write_text("[server\n")
    assert "is not valid TOML" in problems(file)[0]
    assert "line 1" in problems(file)[0]
    file.write_bytes(b"\xff")
    assert problems(file) == (f"{file}: is not UTF-8 text",)


def test_a_key_at_the_top_is_sent_to_its_section_and_a_section_is_not_a_value(file: Path) -> None:
    file.write_text('listen = "[::1]:1"\nserver = 3\n')
    assert problems(file) == (
        f"{file}, line 1: listen: belongs into section [server]",
        f"{file}, line 2: server: is a section: write [server] and its keys below",
    )


def test_dotted_keys_and_arrays_do_not_confuse_the_lines(file: Path) -> None:
    file.write_text('limits.devices = "a"\n\nlog.durability = "b"\n')
    assert [line.split(": ")[0] for line in problems(file)] == [f"{file}, line 1", f"{file}, line 3"]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('key_file = "k"\nissuer = "i"', "needs auth.audience too"),
        ('issuer = "i"', "is only used with key_file or jwks_url"),
        ('key_file = "k"\njwks_url = "https://x"\nissuer = "i"\naudience = "a"', "not both"),
        ('jwks_url = "http://x"\nissuer = "i"\naudience = "a"', "must begin with https://"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(file: Path, text: str, part: str) -> None:
    file.write_text(f"[auth]\n{text}\n")
    assert any(part in line and "line" in line for line in problems(file))


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("limits.devices", "0", "must be from 1 to 500, not 0"),
        ("limits.group_members", "1025", "must be from 1 to 1024, not 1025"),
        ("limits.hold", '"5ms"', "must be from 1s to 36500d, not 5ms"),
        ("limits.window", '"8GiB"', "must be from 1B to 1GiB, not 8GiB"),
        ("limits.window_messages", "-1", "must be from 1 to 1000000, not -1"),
        ("log.segment", '"4GiB"', "must be from 64KiB to 2GiB, not 4GiB"),
        ("limits.frame", '"16MiB"', "must be from 1KiB to 15MiB, not 16MiB"),
        ("limits.window", '"1KiB"', "a body of 64KiB does not fit into limits.window, 1KiB"),
        ("limits.frame", '"64KiB"', "a body of 64KiB does not fit into limits.frame, 64KiB"),
        ("log.segment", '"256KiB"', "with limits.frame = 256KiB, log.segment must be at least 514KiB, not 256KiB"),
        ("limits.frame", '"10MiB"', None),
    ],
)
def test_limits_that_could_not_work_are_refused(file: Path, key: str, value: str, reason: str | None) -> None:
    section, _, name = key.partition(".")
    file.write_text(f"[{section}]\n{name} = {value}\n")
    if reason is None:
        load(file)
    else:
        assert f"{file}, line 2: {key}: {reason}" in problems(file)


def test_of_settings_that_do_not_fit_together_the_one_that_was_set_is_to_blame(file: Path) -> None:
    file.write_text('[limits]\nbody = "2MiB"\n')
    assert [line.split(": ")[1] for line in problems(file)] == ["limits.body", "limits.body"]
    file.write_text('[log]\nsegment = "1MiB"\n[limits]\ndevices = 100\n')
    assert problems(file) == (
        f"{file}, line 2: log.segment: with limits.devices = 100, log.segment must be at least 4168KiB, not 1MiB",
    )


def test_the_core_takes_the_least_and_the_most_of_every_setting() -> None:
    import tempfile

    from pyrouter._core import Core
    from pyrouter.bounds import _BOUNDS
    from pyrouter.config import Limits, Log, core_options

    for end in (0, 1):
        values: dict[str, Any] = {key: ends[end] for key, ends in _BOUNDS.items()}
        log = Log(**{key.removeprefix("log."): value for key, value in values.items() if key.startswith("log.")})
        limits = Limits(**{key.removeprefix("limits."): value for key, value in values.items() if "limits." in key})
        options = core_options(log, limits, authorize=False, create_unknown=False)
        # A segment of the largest size would take its room here.
        options["segment_bytes"] = min(int(options["segment_bytes"]), 1 << 20)
        with tempfile.TemporaryDirectory() as directory:
            Core(directory, options).close()


@given(st.text())
def test_any_text_in_the_file_is_a_configuration_or_a_config_error(text: str) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile("w", suffix=".toml", encoding="utf-8", errors="surrogatepass") as named:
        named.write(text)
        named.flush()
        try:
            load(Path(named.name))
        except ConfigError as error:
            assert error.problems  # noqa: PT017


@given(st.integers(0, 10**12))
def test_durations_and_sizes_read_what_they_print(value: int) -> None:
    assert Duration.parse(str(Duration(value))) == value
    assert Size.parse(str(Size(value))) == value


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "1.5h", "1 week", "1D", None, 30, "9" * 30 + "d"])
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        Duration.parse(text)


@pytest.mark.parametrize("text", ["", "1KB", "x", "-1", None, True, -1, 1.5])
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="expected a size"):
        Size.parse(text)


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("127.0.0.1:0", "127.0.0.1", 0, True),
        ("[::1]:7400", "::1", 7400, True),
        ("localhost:65535", "localhost", 65535, True),
        ("0.0.0.0:80", "0.0.0.0", 80, False),
    ],
)
def test_an_address_reads_what_it_prints_and_knows_whether_it_is_loopback(
    text: str, host: str, port: int, loopback: bool
) -> None:
    address = Address.parse(text)
    assert (address.host, address.port, address.loopback, str(address)) == (host, port, loopback, text)


@pytest.mark.parametrize("text", ["", "7400", ":7400", "::1:7400", "h:", "h:65536", "h:x", "a b:1", 7400])
def test_what_is_no_address_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="expected HOST:PORT"):
        Address.parse(text)
