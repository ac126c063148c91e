"""Says whether the compiled halves are those of the sources beside them.

In a checkout it is easy to run yesterday's binary with today's Python. So each extension carries a stamp, the hash of
the sources it was built from (put there by ext/build_backend.py), and importing `pyrouter` in a checkout compares. An
installed package has no sources beside it and is not checked.

This module must import nothing of pyrouter at its top: the build backend runs it by path, before anything is built.
"""

import hashlib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

SOURCES = {
    "_core": (
        *("Cargo.lock", "Cargo.toml", "core_rs/Cargo.toml", "core_rs/src"),
        *("core_rs/gateway/Cargo.toml", "core_rs/gateway/src"),
        *("core_rs/link/Cargo.toml", "core_rs/link/src"),
        *("core_rs/load/Cargo.toml", "core_rs/load/src"),
        *("core_rs/log/Cargo.toml", "core_rs/log/src"),
        *("core_rs/node/Cargo.toml", "core_rs/node/src"),
        *("core_rs/partition/Cargo.toml", "core_rs/partition/src"),
        *("core_rs/seam/Cargo.toml", "core_rs/seam/src"),
        *("core_rs/store/Cargo.toml", "core_rs/store/src"),
        *("core_rs/wire/Cargo.toml", "core_rs/wire/src"),
    ),
    "_conn": ("ext",),
}
"""What each extension is made of, relative to the checkout."""

SUFFIXES = {".rs", ".toml", ".lock", ".pyx", ".pxd", ".pxi", ".h", ".py"}


def of_sources(root: Path) -> dict[str, str]:
    """The stamp of each extension's sources in the checkout `root`: 16 hex digits, by extension name."""
    return {name: _digest(root, paths) for name, paths in SOURCES.items()}


def check() -> None:
    """Raise ImportError if this package lies in a checkout and an extension is missing or of other sources."""
    root = Path(__file__).resolve().parent.parent
    if not (root / "ext" / "build_backend.py").exists():
        return
    for name, wanted in of_sources(root).items():
        try:
            built: str = import_module(f"pyrouter.{name}").build_stamp()
        except ModuleNotFoundError as error:
            raise ImportError(f"pyrouter.{name} is not built for this Python in {root}: run `make build`") from error
        if built != wanted:
            raise ImportError(
                f"pyrouter.{name} is older than its sources in {root} (built from {built or 'unknown sources'}, "
                f"the sources are {wanted}): run `make build`"
            )


def _digest(root: Path, paths: tuple[str, ...]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for path in paths:
        for file in _files(root / path):
            content = file.read_bytes()
            digest.update(f"{file.relative_to(root).as_posix()}\0{len(content)}\0".encode())
            digest.update(content)
    return digest.hexdigest()


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    else:
        yield from sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES)
