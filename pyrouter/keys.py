"""Public keys of a token issuer: reads them from PEM, JWK and JWKS (RFC 7517), fetches them from a URL.

`fetch_url` blocks and belongs into a thread. Nothing here ever holds a private or shared key.
"""

from __future__ import annotations

import json
import urllib.request
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, KeySet, OctKey, OKPKey, RSAKey

__all__ = ["fetch_url", "parse_keys"]

TIMEOUT_S = 10.0
MAX_BYTES = 1 << 20


def parse_keys(content: bytes) -> KeySet:
    """The public keys of a PEM, JWK or JWKS document.

    Raises:
        ValueError: there are none; the message says what was expected.
    """
    try:
        if content.lstrip().startswith(b"{"):
            document: dict[str, Any] = json.loads(content)
            if "keys" in document:
                keys = KeySet.import_key_set({"keys": document["keys"]}).keys
            else:
                keys = [JWKRegistry.import_key(document)]
        else:
            keys = [_parse_pem(content)]
    except (JoseError, ValueError, TypeError, KeyError, RecursionError):
        raise ValueError("holds no public key that can be read; expected PEM, JWK or JWKS") from None
    public = [key for key in keys if not isinstance(key, OctKey)]
    if not public:
        raise ValueError("holds a shared secret; only public keys are taken here")
    return KeySet([*public])


def _parse_pem(content: bytes) -> RSAKey | ECKey | OKPKey:
    if b"-----BEGIN" not in content:
        raise ValueError("not PEM")
    for kind in (RSAKey, ECKey, OKPKey):
        try:
            return kind.import_key(content)
        except (JoseError, ValueError, TypeError):
            continue
    raise ValueError("no key of a known kind")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The address is the operator's; where it points is not."""

    def redirect_request(self, *_: object) -> None:
        """Follows nothing."""


def fetch_url(url: str) -> bytes:
    """The document at `url`.

    Raises:
        OSError: it cannot be had, or redirects elsewhere.
        ValueError: it is longer than 1 MiB.
    """
    opener = urllib.request.build_opener(_NoRedirect)
    request = urllib.request.Request(url, headers={"Accept": "application/json", "User-Agent": "pyrouter"})
    with opener.open(request, timeout=TIMEOUT_S) as response:
        content: bytes = response.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"the key set at {url} is longer than {MAX_BYTES} bytes")
    return content
