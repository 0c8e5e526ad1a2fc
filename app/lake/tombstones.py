"""The keyed random function of a run: what a removed value becomes.

Not a hash, and not an HMAC under a key that lives on: the secret is destroyed when the run closes,
and from then on a tombstone is a random value that nobody can compute again.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from app.domain.identifiers import Identifier

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]
_OWNER_SEPARATOR = "\x1f"


def new_secret() -> bytes:
    """256 random bits for one run."""
    return secrets.token_bytes(32)


def row_owner(owners: Iterable[str]) -> str:
    """The owner a tombstone is bound to: the row's own owner values, in order, or '' for nobody's
    row.

    The same row has the same owner in every layer, so that its tombstones still join across layers.
    """
    return _OWNER_SEPARATOR.join(sorted(set(owners)))


@dataclass(frozen=True, slots=True)
class Tombstones:
    """Values to tombstones under one run's secret: the same call gives the same text, on every
    retry and host.
    """

    secret: bytes = field(repr=False)

    def of(self, identifier: Identifier, *, owner: str) -> str:
        """`tomb_` + kind letter + `_` + 26 lower-case Crockford base32 characters (130 bits of
        HMAC-SHA-256).
        """
        return _tombstone(self.secret, identifier, owner)


@lru_cache(maxsize=65536)
def _tombstone(secret: bytes, identifier: Identifier, owner: str) -> str:
    parts = [
        p.encode("utf-8", "surrogatepass") for p in (identifier.kind.value, identifier.value, owner)
    ]
    message = b"".join(len(p).to_bytes(4, "big") + p for p in parts)
    number = int.from_bytes(hmac.digest(secret, message, "sha256"), "big") >> (256 - 130)
    text = "".join([_PAIRS[(number >> shift) & 1023] for shift in range(120, -1, -10)])
    return f"tomb_{identifier.kind.letter}_{text}"
