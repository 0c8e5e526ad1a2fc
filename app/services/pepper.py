"""The pepper: one secret of the installation under which keys and bodies are digested.

It stands in the key store, never in Postgres: a stolen database verifies nothing.
"""

from __future__ import annotations

from functools import lru_cache

from app.audit.keys import KeyStore
from app.services.parts import Parts

_PEPPER = "pepper"


def pepper_of(parts: Parts, *, purpose: str) -> bytes:
    """256 bits for one purpose; the first call makes the pepper, which never changes."""
    return _derived(parts.keys, purpose)


@lru_cache(maxsize=8)
def _derived(keys: KeyStore, purpose: str) -> bytes:
    """Remembered: every request asks for it, and reading a key takes a few ways to the disk."""
    keys.create(_PEPPER)
    return keys.secret(_PEPPER, purpose=purpose)
