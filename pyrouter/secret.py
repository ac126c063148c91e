"""The local secret of a data directory: made once, mode 0600, whole or not at all; read by `serve` and `token` alike.

Nothing here is logged, and no message repeats what the file holds.
"""

from __future__ import annotations

import base64
import binascii
import errno
import os
import secrets
from pathlib import Path

from pyrouter.errors import ConfigError

__all__ = ["SECRET_NAME", "read_secret"]

SECRET_NAME = "secret"  # in the data directory

SECRET_BYTES = 32


def read_secret(path: Path) -> bytes:
    """The secret in `path`, made first if there is none (mode 0600, whole or not at all).

    Raises:
        ConfigError: see `LocalTokens.open`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            _create_secret(path)
        mode = path.stat().st_mode
        if mode & 0o077:
            raise ConfigError([f"{path} can be read by others (mode {mode & 0o777:o}); run: chmod 600 {path}"])
        text = path.read_bytes().strip()
    except OSError as error:
        advice = "free some space on its disk" if error.errno == errno.ENOSPC else "is the data directory yours?"
        raise ConfigError([f"the secret {path} cannot be used: {error.strerror}; {advice}"]) from error
    try:
        secret = base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if len(secret) < SECRET_BYTES:
        problem = f"{path} does not hold a secret of ours (base64url of {SECRET_BYTES} bytes)"
        raise ConfigError([f"{problem}; restore it, or delete it, which makes every token issued so far worthless"])
    return secret


def _create_secret(path: Path) -> None:
    """Writes aside, then links into place: who comes at the same time sees none or a whole one, and one wins."""
    text = base64.urlsafe_b64encode(secrets.token_bytes(SECRET_BYTES)).rstrip(b"=") + b"\n"
    aside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(aside, path)
        except FileExistsError:
            return
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    finally:
        aside.unlink()
