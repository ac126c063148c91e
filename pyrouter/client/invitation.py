"""Invitations to a group: a secret made here, and the link that carries it.

The server is told the secret's hash only. Whoever has the link can join, so it is handed over in private.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import NamedTuple, Self

from pyrouter.client.ids import CONVERSATION_BYTES

__all__ = ["SECRET_BYTES", "Invitation"]

SECRET_BYTES = 16  # made here; the wire takes 16 to 64
_LINK = re.compile(rf"pyrouter:group/([0-9a-f]{{{2 * CONVERSATION_BYTES}}})/((?:[0-9a-f]{{2}}){{16,64}})")


class Invitation(NamedTuple):
    """What its holder needs to join.

    Attributes:
        conversation: the group.
        secret: 16 to 64 bytes.
    """

    conversation: bytes
    secret: bytes

    def __repr__(self) -> str:
        return f"<Invitation {self.conversation.hex()} {self.hash.hex()}>"

    @classmethod
    def make(cls, conversation: bytes) -> Self:
        """A fresh one, which the group has to be told of."""
        return cls(conversation, secrets.token_bytes(SECRET_BYTES))

    @classmethod
    def parse(cls, link: str) -> Self:
        """From the text of a link. ValueError: it is none."""
        found = _LINK.fullmatch(link.strip())
        if found is None:
            raise ValueError("an invitation is pyrouter:group/CONVERSATION/SECRET, both in hexadecimal digits")
        return cls(bytes.fromhex(found[1]), bytes.fromhex(found[2]))

    @property
    def hash(self) -> bytes:
        """How the group knows it: the SHA-256 of the secret, 32 bytes."""
        return hashlib.sha256(self.secret).digest()

    @property
    def link(self) -> str:
        """As text."""
        return f"pyrouter:group/{self.conversation.hex()}/{self.secret.hex()}"
