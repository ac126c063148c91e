"""pyrouter: the server half of a messenger, as a server and as a library.

Embedding begins with `Router`; docs/embedding.md shows it. The names below are imported when they are first
used, so that `import pyrouter` (and with it every start of the command line) stays cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pyrouter import _stamp

_stamp.check()

from pyrouter._core import __version__  # noqa: E402  # only once the extensions are known to be current

if TYPE_CHECKING:
    from pyrouter.auth import Authenticate, Authorize, Identity
    from pyrouter.config import Limits, Log
    from pyrouter.errors import (
        AuthError,
        ColdStoreError,
        ConfigError,
        DataDirError,
        ListenError,
        PyrouterError,
        RouterFailed,
    )
    from pyrouter.units import Duration, Size

__all__ = [
    "AuthError",
    "Authenticate",
    "Authorize",
    "ColdStoreError",
    "ConfigError",
    "DataDirError",
    "Duration",
    "Identity",
    "Limits",
    "ListenError",
    "Log",
    "PyrouterError",
    "RouterFailed",
    "Size",
    "__version__",
]

_HOMES = {
    **dict.fromkeys(("Authenticate", "Authorize", "Identity"), "auth"),
    **dict.fromkeys(("Limits", "Log"), "config"),
    **dict.fromkeys(
        ("AuthError", "ColdStoreError", "ConfigError", "DataDirError", "ListenError", "PyrouterError", "RouterFailed"),
        "errors",
    ),
    **dict.fromkeys(("Duration", "Size"), "units"),
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'pyrouter' has no attribute {name!r}")
    return getattr(import_module(f"pyrouter.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
