"""Configuration: one schema, three layers. A TOML file, then environment variables, then flags; the later wins.

- Key `hold` of section `[limits]` is `PYROUTER_LIMITS_HOLD` in the environment.
- Durations carry a unit (`30d`, `12h`, `15m`, `90s`, `500ms`), sizes may (`64KiB`, `1MiB`, or plain bytes).
- A relative path in the file is relative to the file; elsewhere, to the working directory.
- Whatever is wrong is reported at once, each problem with its place (file and line, variable, flag) and its key.

This module knows the schema and nothing of what the values do.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import msgspec

from pyrouter import bounds
from pyrouter.errors import ConfigError
from pyrouter.units import Address, Duration, Size

__all__ = ["Auth", "Config", "Durability", "Limits", "Log", "Logging", "Server", "Settings", "core_options", "load"]

Durability = Literal["fsync", "interval", "none"]


class _Section(msgspec.Struct, frozen=True, kw_only=True):
    """A table of the file; its fields are the keys."""


class Server(_Section, frozen=True, kw_only=True):
    """`[server]`: where it listens and where it keeps things."""

    listen: Address = Address("127.0.0.1", 7400)
    """Address and port for every carrier. Loopback unless told otherwise: see docs/security.md before changing it."""
    data: Path = Path("pyrouter-data")
    """Directory of the log, the cold store and the local secret; created when absent."""
    drain: Duration = Duration.parse("5s")
    """How long a stopping server waits for what it still owes to be written."""
    reconnect: Duration = Duration.parse("500ms")
    """What a stopping server tells clients to wait before they connect again; they add jitter."""


class Log(_Section, frozen=True, kw_only=True):
    """`[log]`: the durable log of messages."""

    durability: Durability = "fsync"
    """`fsync`: accepted means on disk. `interval`: on disk within `interval`. `none`: whenever the system likes."""
    interval: Duration = Duration.parse("50ms")
    """Only for durability `interval`: at most this much of what was accepted is lost with the machine's power."""
    segment: Size = Size.parse("64MiB")
    """Size of a segment file; disk is given back in whole segments."""


class Limits(_Section, frozen=True, kw_only=True):
    """`[limits]`: the bounds that docs/wire.md tells clients about."""

    body: Size = Size.parse("64KiB")
    """Longest body of a message."""
    frame: Size = Size.parse("256KiB")
    """Longest frame of a client; a message with a body for each device is one frame."""
    devices: int = 10
    """Devices a user may have."""
    hold: Duration = Duration.parse("30d")
    """What is not collected by then is discarded, and the recipient told so."""
    hello: Duration = Duration.parse("10s")
    """A connection whose first frame has not come by then is closed."""
    idle: Duration = Duration.parse("60s")
    """A connection silent for this long is pinged, then closed."""
    window_messages: int = 256
    """Unacknowledged messages in flight to one session."""
    window: Size = Size.parse("1MiB")
    """Unacknowledged bytes in flight to one session."""
    unaccepted_messages: int = 256
    """Sends of one session that may wait for the disk; above it the router stops reading from that session."""
    unaccepted: Size = Size.parse("1MiB")
    """The same in bytes."""
    conversation_messages: int = 100_000
    """Undelivered messages in a conversation. Above it, a direct one refuses sends until some are collected, and a
    group drops its oldest."""
    conversation: Size = Size.parse("256MiB")
    """The same in bytes."""
    group_members: int = 1024
    """Members of one group."""
    memory: Size = Size.parse("64MiB")
    """Bodies kept in memory; the others are read from the disk when they are wanted."""
    quiet: Duration = Duration.parse("10m")
    """A user or conversation with nothing pending leaves memory after this long."""


class Auth(_Section, frozen=True, kw_only=True):
    """`[auth]`: who may connect. Without `key_file` and `jwks_url`: tokens under the local secret, `DATA/secret`."""

    key_file: Path | None = None
    """The public key of your token issuer: a PEM, JWK or JWKS file."""
    jwks_url: str | None = None
    """Where your token issuer publishes its keys; `https://`. Fetched when needed and kept; anew for an unknown key."""
    issuer: str | None = None
    """The `iss` that tokens must carry. Required with `key_file` or `jwks_url`."""
    audience: str | None = None
    """The `aud` that tokens must carry. Required with `key_file` or `jwks_url`."""
    leeway: Duration = Duration.parse("5s")
    """How far the issuer's clock and this one may differ."""
    timeout: Duration = Duration.parse("10s")
    """A hook or a key server that takes longer than this to answer has refused."""


class Logging(_Section, frozen=True, kw_only=True):
    """`[logging]`: what the server tells its operator, on standard error. Never a body, never a token."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "text", "json"] = "auto"
    """`auto` is `text` on a terminal and `json` elsewhere."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be configured, with its defaults."""

    server: Server = Server()
    log: Log = Log()
    limits: Limits = Limits()
    auth: Auth = Auth()
    logging: Logging = Logging()


class Origin(NamedTuple):
    """Where a value was written, for people; and what its relative paths start from."""

    text: str
    base: Path
    is_text: bool = True  # environment and flags hold text only; a file has types


class Settings(NamedTuple):
    """A configuration and, for every key that was set (`server.listen`), the place that set it."""

    config: Config
    origins: Mapping[str, Origin]


_SECTIONS: Mapping[str, type[_Section]] = get_type_hints(Config)
_FIELDS: Mapping[tuple[str, str], Any] = {
    (name, key): hint for name, section in _SECTIONS.items() for key, hint in get_type_hints(section).items()
}


def load(
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, tuple[str, str | None]] | None = None,
) -> Settings:
    """Reads and checks the layers.

    Args:
        file: a TOML file; `None` for none. A file that is named and missing is an error.
        environ: environment variables; those that begin with `PYROUTER_` and a section's name are ours.
        flags: key (`server.listen`) to the flag's name and its value; a value of `None` was not given.

    Raises:
        ConfigError: with all problems found.
    """
    problems: list[str] = []
    found: dict[tuple[str, str], tuple[Any, Origin]] = {}
    for layer in (_from_file(file, problems), _from_environ(environ or {}, problems), _from_flags(flags or {})):
        found.update(layer)
    values: dict[str, dict[str, Any]] = {name: {} for name in _SECTIONS}
    for (section, key), (value, origin) in found.items():
        try:
            values[section][key] = _convert(value, _FIELDS[section, key], origin)
        except ValueError as error:  # msgspec.ValidationError is one
            problems.append(f"{origin.text}: {section}.{key}: {_reason(error)}")
    if problems:
        raise ConfigError(problems)
    sections: dict[str, Any] = {name: kind(**values[name]) for name, kind in _SECTIONS.items()}
    config = Config(**sections)
    origins = {f"{section}.{key}": origin for (section, key), (_, origin) in found.items()}
    problems.extend(_contradictions(config, origins))
    if problems:
        raise ConfigError(problems)
    return Settings(config, origins)


# What all sessions of a user may hold; the core reads on as long as one frame of each of two fits.
_USER_BYTES = 4 << 20


def core_options(log: Log, limits: Limits, *, authorize: bool, create_unknown: bool) -> dict[str, int | str | bool]:
    """The settings by the names that the core has for them."""
    options: dict[str, int | str | bool] = {
        "durability": log.durability,
        "segment_bytes": int(log.segment),
        "body_bytes": int(limits.body),
        "frame_bytes": int(limits.frame),
        "devices": limits.devices,
        "hold_ms": int(limits.hold),
        "hello_ms": int(limits.hello),
        "idle_ms": int(limits.idle),
        "window_messages": limits.window_messages,
        "window_bytes": int(limits.window),
        "unaccepted_messages": limits.unaccepted_messages,
        "unaccepted_bytes": int(limits.unaccepted),
        "conversation_messages": limits.conversation_messages,
        "conversation_bytes": int(limits.conversation),
        "group_members": limits.group_members,
        "hot_bytes": int(limits.memory),
        "user_bytes": max(_USER_BYTES, 2 * int(limits.frame)),
        "quiet_ms": int(limits.quiet),
        "authorize": authorize,
        "create_unknown": create_unknown,
    }
    if log.durability == "interval":
        options["interval_ms"] = int(log.interval)
    return options


def _from_file(file: Path | None, problems: list[str]) -> Iterator[tuple[tuple[str, str], tuple[Any, Origin]]]:
    if file is None:
        return
    try:
        text = file.read_text("utf-8")
        tables = tomllib.loads(text)
    except OSError as error:
        problems.append(f"{file}: cannot be read: {error.strerror}")
        return
    except UnicodeDecodeError:
        problems.append(f"{file}: is not UTF-8 text")
        return
    except tomllib.TOMLDecodeError as error:
        problems.append(f"{file}: is not valid TOML: {error}")
        return
    lines = _key_lines(text)

    def origin(*path: str) -> Origin:
        line = lines.get(path)
        return Origin(f"{file}, line {line}" if line else str(file), file.parent, is_text=False)

    for section, table in tables.items():
        if section not in _SECTIONS or not isinstance(table, dict):
            problems.append(f"{origin(section).text}: {section}: {_unknown_section(section, table)}")
            continue
        for key, value in table.items():
            if (section, key) in _FIELDS:
                yield (section, key), (value, origin(section, key))
            else:
                problems.append(f"{origin(section, key).text}: {section}.{key}: {_unknown_key(section, key)}")


def _from_environ(
    environ: Mapping[str, str], problems: list[str]
) -> Iterator[tuple[tuple[str, str], tuple[Any, Origin]]]:
    for name, value in environ.items():
        parts = name.split("_", 2)
        if len(parts) != 3 or parts[0] != "PYROUTER" or parts[1].lower() not in _SECTIONS:
            continue
        section, key = parts[1].lower(), parts[2].lower()
        if (section, key) in _FIELDS:
            yield (section, key), (value, Origin(f"environment variable {name}", Path()))
        else:
            problems.append(f"environment variable {name}: {_unknown_key(section, key)}")


def _from_flags(
    flags: Mapping[str, tuple[str, str | None]],
) -> Iterator[tuple[tuple[str, str], tuple[Any, Origin]]]:
    for dotted, (flag, value) in flags.items():
        if value is not None:
            section, _, key = dotted.partition(".")
            yield (section, key), (value, Origin(flag, Path()))


def _convert(value: Any, hint: Any, origin: Origin) -> Any:
    if hint in (Address, Duration, Size):
        return hint.parse(value)
    if hint in (Path, Path | None):
        if not isinstance(value, str) or not value:
            raise ValueError("expected a path")
        return origin.base / Path(value).expanduser()
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    if choices and value not in choices:
        raise ValueError(f"expected one of {', '.join(choices)}, got {value!r}")
    if hint is int:
        try:
            return msgspec.convert(value, int, strict=not origin.is_text)
        except msgspec.ValidationError:
            raise ValueError(f"expected a whole number, got {value!r}") from None
    return msgspec.convert(value, hint)


def _reason(error: ValueError) -> str:
    text = str(error)
    return text[0].lower() + text[1:] if text else "not valid"


def _unknown_section(section: str, value: Any) -> str:
    if isinstance(value, dict):
        known = ", ".join(f"[{name}]" for name in _SECTIONS)
        return f"unknown section{_nearest(section, _SECTIONS)}; there are {known}"
    if section in _SECTIONS:
        return f"is a section: write [{section}] and its keys below"
    homes = [name for name, key in _FIELDS if key == section]
    return f"belongs into section [{homes[0]}]" if homes else "unknown key outside of any section"


def _unknown_key(section: str, key: str) -> str:
    keys = [known for name, known in _FIELDS if name == section]
    return f"unknown key{_nearest(key, keys)}; [{section}] has {', '.join(keys)}"


def _nearest(word: str, known: Any) -> str:
    close = difflib.get_close_matches(word, list(known), 1)
    return f", did you mean `{close[0]}`?" if close else ""


def _contradictions(config: Config, origins: Mapping[str, Origin]) -> Iterator[str]:
    def problem(key: str, reason: str) -> str:
        place = origins.get(key)
        return f"{place.text}: {key}: {reason}" if place else f"{key}: {reason}"

    auth = config.auth
    if auth.key_file and auth.jwks_url:
        yield problem("auth.jwks_url", "give either key_file or jwks_url, not both")
    foreign = "auth.key_file" if auth.key_file else "auth.jwks_url" if auth.jwks_url else None
    for key in ("issuer", "audience"):
        given = getattr(auth, key)
        if foreign and not given:
            yield problem(foreign, f"needs auth.{key} too, or tokens that were made for somebody else would be taken")
        if given and not foreign:
            yield problem(f"auth.{key}", "is only used with key_file or jwks_url")
    if auth.jwks_url and not auth.jwks_url.startswith("https://"):
        yield problem("auth.jwks_url", "must begin with https://, or the keys could be exchanged on the way")
    for keys, reason in bounds.problems(config.log, config.limits):
        yield problem(next((key for key in keys if key in origins), keys[-1]), reason)


_HEADER = re.compile(r"\s*\[\[?\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?$")
_ASSIGNMENT = re.compile(r"""\s*((?:[A-Za-z0-9_.\s-]|"[^"]*"|'[^']*')+?)\s*=""")


def _key_lines(text: str) -> dict[tuple[str, ...], int]:
    """The line of each table and key, found by sight: tomllib keeps none. Only ever used to point at a place."""
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    inside: str | None = None  # the quotes of a multi-line string that is open
    for number, line in enumerate(text.splitlines(), 1):
        if inside is None:
            if header := _HEADER.match(line):
                table = _path(header[1])
                lines.setdefault(table, number)
            elif assignment := _ASSIGNMENT.match(line):
                path = table + _path(assignment[1])
                for depth in range(1, len(path) + 1):
                    lines.setdefault(path[:depth], number)
        for quotes in ('"""', "'''"):
            if line.count(quotes) % 2 and inside in (None, quotes):
                inside = None if inside else quotes
    return lines


def _path(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
