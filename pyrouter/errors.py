"""What the shell raises. One root, `PyrouterError`, so that an embedder can catch everything of ours in one place.

Rule: the text of an error says what was wrong, where, and what to do; the command line prints it as it is, without a
traceback. An error that answers a frame keeps the stable code of docs/wire.md. No error carries a token or a body.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "AuthError",
    "ColdStoreError",
    "ConfigError",
    "DataDirError",
    "ListenError",
    "PyrouterError",
    "RouterClosed",
    "RouterFailed",
]


class PyrouterError(Exception):
    """Anything that pyrouter raises on purpose."""


class ConfigError(PyrouterError):
    """The configuration cannot be used.

    Attributes:
        problems: one line each, with the place that is to blame (file and line, variable, or flag), the key, and the
            reason.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class AuthError(PyrouterError):
    """A token was not accepted. Also for an embedder's own `authenticate` to raise.

    Attributes:
        code: `bad_token` or `token_expired`, sent to the client as it is. The message is sent too.
    """

    def __init__(self, message: str, code: str = "bad_token") -> None:
        self.code = code
        super().__init__(message)


class ColdStoreError(PyrouterError):
    """The database of users and quiet conversations cannot be opened or is damaged."""


class DataDirError(PyrouterError):
    """The data directory cannot be used: held by another server (named by its process id), not writable, not ours."""


class ListenError(PyrouterError):
    """The address cannot be listened on."""


class RouterClosed(PyrouterError):
    """The router was closed, or is being closed. An unanswered send may or may not have been accepted."""


class RouterFailed(PyrouterError):
    """The router hit something that it must not survive (I10): a failed write of the log, a panic of the core.

    It refuses everything from then on. Nothing that was accepted is lost: open the directory again, it recovers.
    """
