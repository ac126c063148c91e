"""pyrouter: the server half of a messenger, as a server and as a library."""

from pyrouter import _stamp

_stamp.check()

from pyrouter._core import __version__  # noqa: E402  # only once the extensions are known to be current

__all__ = ["__version__"]
