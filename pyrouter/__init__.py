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
    from pyrouter.actor import Actor
    from pyrouter.auth import Authenticate, Authorize, Identity
    from pyrouter.config import Limits, Log
    from pyrouter.errors import (
        AuthError,
        ColdStoreError,
        ConfigError,
        DataDirError,
        ListenError,
        PyrouterError,
        RouterClosed,
        RouterFailed,
    )
    from pyrouter.listener import Listener
    from pyrouter.mailbox import Mailbox
    from pyrouter.router import Router
    from pyrouter.units import Duration, Size

__all__ = [
    "Actor",
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
    "Listener",
    "Log",
    "Mailbox",
    "PyrouterError",
    "Router",
    "RouterClosed",
    "RouterFailed",
    "Size",
    "__version__",
]

_HOMES = {
    "actor": ("Actor",),
    "auth": ("Authenticate", "Authorize", "Identity"),
    "config": ("Limits", "Log"),
    "errors": (
        *("AuthError", "ColdStoreError", "ConfigError", "DataDirError", "ListenError"),
        *("PyrouterError", "RouterClosed", "RouterFailed"),
    ),
    "listener": ("Listener",),
    "mailbox": ("Mailbox",),
    "router": ("Router",),
    "units": ("Duration", "Size"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'pyrouter' has no attribute {name!r}")
    return getattr(import_module(f"pyrouter.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
