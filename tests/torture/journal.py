"""What a client writes down as it happens: one JSON array a line, the kind first. Times are of the machine's one clock.

sent      id to n            the program made it; n counts the device's messages; see `check.members` for `to`
accepted  id conversation seq
refused   id code
message   conversation seq sender device id n
change    conversation seq came went    the message changes a group; users, with commas between them
ack       conversation seq time
read      conversation seq time
receipt   conversation user delivered read time
wrong     text               a rule of the wire was broken on one connection
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Journal:
    """The journal of one device; every line is on its way to the file when `write` returns."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)

    def write(self, *entry: str | int) -> None:
        self._file.write(json.dumps(entry) + "\n")

    def close(self) -> None:
        self._file.close()


def read(path: Path) -> Iterator[list[Any]]:
    """The entries, in order."""
    with path.open() as file:
        for line in file:
            yield json.loads(line)


def name(user: str, device: int) -> str:
    """The file of a device's journal."""
    return f"{user}.{device}.journal"


def owner(path: Path) -> tuple[str, int]:
    """Whose journal a file is."""
    user, device, _ = path.name.rsplit(".", 2)
    return user, int(device)
