"""Tokens: verified once per connection, on the event loop, so that a storm of reconnects is as long as this."""

from __future__ import annotations

import asyncio
import hashlib
import hmac

from benches.conftest import Beside
from pyrouter.auth import Identity, LocalTokens

SECRET = b"s" * 32
COUNT = 100


def test_a_local_token_is_verified(beside: Beside) -> None:
    tokens = LocalTokens(SECRET)
    token = tokens.issue("alice", 3, 3_600_000)
    signed, signature = token.rsplit(".", 1)

    async def verify() -> None:
        for _ in range(COUNT):
            identity = await tokens(token)
            assert (identity.user, identity.device) == ("alice", 3)

    def sign() -> None:
        for _ in range(COUNT):
            assert len(hmac.digest(SECRET, signed.encode(), hashlib.sha256)) == 32

    assert isinstance(asyncio.run(tokens(token)), Identity)
    assert signature
    with asyncio.Runner() as runner:
        beside(lambda: runner.run(verify()), sign, what="the HMAC alone", at_most=200, operations=COUNT)
