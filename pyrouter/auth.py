"""Who may connect: a token becomes an identity. One JWT (RFC 7519) per connection, verified once, algorithms pinned.

Two ready-made authenticators, and a protocol for an embedder's own:
- `LocalTokens`: HS256 under a secret that lies in the data directory; `pyrouter token` issues them.
- `IssuerTokens`: asymmetric signatures of somebody else's issuer, with issuer and audience, keys from a file or a URL.

Claims: `sub` is the user, `dev` the device (a whole number from 1; 1 when absent), `exp` is required.

This module must never log or raise the text of a token: a refusal says what is wrong with it, never what it says.
"""

from __future__ import annotations

import asyncio
import time
import unicodedata
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from joserfc import jwt
from joserfc.errors import ExpiredTokenError, InvalidClaimError, InvalidKeyIdError, JoseError, MissingClaimError
from joserfc.jwk import KeySet, OctKey
from joserfc.jws import JWSRegistry
from joserfc.jwt import Claims, JWTClaimsRegistry

from pyrouter.errors import AuthError, ConfigError
from pyrouter.keys import fetch_url, parse_keys
from pyrouter.secret import SECRET_NAME, read_secret

__all__ = ["Authenticate", "Authorize", "Identity", "IssuerTokens", "LocalTokens", "check_device", "check_user"]

MAX_USER_BYTES = 64
MAX_DEVICE = 2**16 - 1
MAX_TOKEN_BYTES = 8192
LOCAL_ALGORITHMS = ["HS256"]
# No HMAC among them: a public key must never pass for a shared secret.
ISSUER_ALGORITHMS = ["Ed25519", "EdDSA", "ES256", "ES384", "ES512"]
ISSUER_ALGORITHMS += ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]
JWKS_PAUSE_S = 30.0  # between two fetches that unknown key ids ask for, so that junk tokens cannot hammer the issuer


class Identity(NamedTuple):
    """Who a connection speaks for."""

    user: str
    """1 to 64 bytes of UTF-8 without control characters."""
    device: int = 1
    """From 1 to 65535; each device of a user has its own mailbox."""
    expires_ms: int = 0
    """When the connection must end, ms since 1970; 0 for never."""


class Authenticate(Protocol):
    """Turns the token of a hello into an identity. May take its time: it holds up its own connection only."""

    async def __call__(self, token: str, /) -> Identity:
        """Verifies `token`.

        Raises:
            AuthError: the token is not good; code and message go to the client.
        """


class Authorize(Protocol):
    """Says whether a user may do something in a conversation of theirs, or in a group that it wants to make or join.

    Asked before a connection's first such action there; the answer holds for that connection.
    """

    async def __call__(self, sender: str, conversation: bytes, action: str, /) -> bool:
        """Decides.

        Args:
            sender: the user.
            conversation: its 16-byte id, see docs/wire.md.
            action: what they want to do: `send` a message, tell that they `read` one, or `manage` a group (make it,
                change it, join it).
        """


def check_user(name: str) -> str:
    """Returns `name` if it can be a user's name.

    Raises:
        ValueError: it is empty, longer than 64 bytes of UTF-8, or has control characters.
    """
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise ValueError("a user's name must be text") from None
    if not 1 <= length <= MAX_USER_BYTES:
        raise ValueError(f"a user's name has 1 to {MAX_USER_BYTES} bytes of UTF-8, this one {length}")
    if any(unicodedata.category(character) == "Cc" for character in name):
        raise ValueError("a user's name has no control characters")
    return name


def check_device(device: int) -> int:
    """Returns `device` if it can be a device's number.

    Raises:
        ValueError: it is not from 1 to 65535.
    """
    if not 1 <= device <= MAX_DEVICE:
        raise ValueError(f"a device is a number from 1 to {MAX_DEVICE}")
    return device


class LocalTokens:
    """Issues and verifies tokens under the secret of a data directory. It is an `Authenticate`."""

    def __init__(self, secret: bytes) -> None:
        """Makes one.

        Args:
            secret: 32 bytes or more.
        """
        self._key = OctKey.import_key(secret)
        self._claims = JWTClaimsRegistry(exp={"essential": True}, sub={"essential": True})

    @classmethod
    def open(cls, data: Path) -> LocalTokens:
        """With the secret of the data directory `data`, made if absent with its secret, also when two come at once.

        Raises:
            ConfigError: the secret cannot be made or read, is readable by others, or is not one of ours.
        """
        return cls(read_secret(data / SECRET_NAME))

    def issue(self, user: str, device: int, lifetime_ms: int) -> str:
        """A token for one device of `user`, good for `lifetime_ms` from now.

        Raises:
            ValueError: no such name or number can be.
        """
        now = int(time.time())
        claims = {
            "sub": check_user(user),
            "dev": check_device(device),
            "iat": now,
            "exp": now + max(1, lifetime_ms // 1000),
        }
        return jwt.encode({"alg": LOCAL_ALGORITHMS[0]}, claims, self._key)

    async def __call__(self, token: str, /) -> Identity:
        """Verifies; see `Authenticate`."""
        return _identity(_verified(token, self._key, LOCAL_ALGORITHMS, self._claims))


class IssuerTokens:
    """Verifies tokens of a foreign issuer. It is an `Authenticate`."""

    def __init__(
        self,
        keys: KeySet | None,
        *,
        issuer: str,
        audience: str,
        leeway_s: int = 5,
        fetch: Callable[[], Awaitable[bytes]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Makes one.

        Args:
            keys: public keys; `None` to fetch them when first needed.
            issuer: what `iss` must be.
            audience: what `aud` must be or hold.
            leeway_s: how far the clocks may differ, seconds.
            fetch: gets a JWKS (RFC 7517) anew; asked when a token names a key that is not known, at most every 30 s.
            clock: seconds, never backwards.
        """
        self._keys = keys
        self._fetch = fetch
        self._clock = clock
        self._fetched_at: float | None = None
        self._fetching = asyncio.Lock()
        self._claims = JWTClaimsRegistry(
            leeway=leeway_s,
            exp={"essential": True},
            sub={"essential": True},
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": audience},
        )

    @classmethod
    def from_file(cls, path: Path, *, issuer: str, audience: str, leeway_s: int = 5) -> IssuerTokens:
        """With the keys of a PEM, JWK or JWKS file.

        Raises:
            ConfigError: it cannot be read or holds no public key.
        """
        try:
            return cls(parse_keys(path.read_bytes()), issuer=issuer, audience=audience, leeway_s=leeway_s)
        except OSError as error:
            raise ConfigError([f"auth.key_file: {path} cannot be read: {error.strerror}"]) from error
        except ValueError as error:
            raise ConfigError([f"auth.key_file: {path}: {error}"]) from error

    @classmethod
    def from_url(cls, url: str, *, issuer: str, audience: str, leeway_s: int = 5) -> IssuerTokens:
        """With the keys that are published at `url`; nothing is fetched before `refresh` or the first token."""

        async def fetch() -> bytes:
            return await asyncio.to_thread(fetch_url, url)

        return cls(None, issuer=issuer, audience=audience, leeway_s=leeway_s, fetch=fetch)

    async def __call__(self, token: str, /) -> Identity:
        """Verifies; see `Authenticate`."""
        if self._keys is None:
            await self.refresh()
        for last in (False, True):
            keys = self._keys
            if keys is None:
                break
            try:
                return _identity(_verified(token, keys, ISSUER_ALGORITHMS, self._claims))
            except _UnknownKey:
                if last or not await self.refresh():
                    raise AuthError("the token was signed with a key that its issuer does not publish") from None
        raise AuthError("the keys of the token's issuer cannot be had at the moment")

    async def refresh(self) -> bool:
        """Fetches the keys, unless that was done a moment ago. Whether they are new; if not, the old ones stay."""
        if self._fetch is None:
            return False
        before = self._fetched_at
        async with self._fetching:
            if self._fetched_at != before:  # somebody else did while this one waited
                return self._keys is not None
            if before is not None and self._clock() - before < JWKS_PAUSE_S:
                return False
            self._fetched_at = self._clock()
            try:
                self._keys = parse_keys(await self._fetch())
            except (OSError, ValueError):
                return False
            return True


class _UnknownKey(Exception):
    """The token names a key that is not in the set."""


def _verified(token: str, key: OctKey | KeySet, algorithms: list[str], registry: JWTClaimsRegistry) -> Claims:
    """The claims of a token whose signature and times are good."""
    if len(token) > MAX_TOKEN_BYTES:
        raise AuthError("the token is too long")
    try:
        decoded = jwt.decode(token, key, registry=JWSRegistry(algorithms=algorithms))
        registry.validate(decoded.claims)
    except InvalidKeyIdError:
        raise _UnknownKey from None
    except ExpiredTokenError:
        raise AuthError("the token has expired, get a new one", "token_expired") from None
    except MissingClaimError as error:
        raise AuthError(f"the token lacks a claim: {error.description}") from None
    except InvalidClaimError as error:
        raise AuthError(f"a claim of the token does not fit: {error.description}") from None
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        # Whatever bytes from outside provoke in a parser is the token's fault, and no detail of it helps its owner.
        raise AuthError("the token is not valid here: malformed, or signed with another key") from None
    return decoded.claims


def _identity(claims: Claims) -> Identity:
    user, device, expires = claims["sub"], claims.get("dev", 1), claims["exp"]
    if not isinstance(user, str) or isinstance(device, bool) or not isinstance(device, int):
        raise AuthError("the token's `sub` must be text and its `dev` a whole number")
    try:
        check_user(user)
        check_device(device)
    except ValueError as error:
        raise AuthError(f"the token cannot be used: {error}") from None
    return Identity(user, device, int(min(expires, 2**50) * 1000))
