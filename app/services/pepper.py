"""The pepper: one secret of the installation under which keys and bodies are digested.

It stands in the key store, never in Postgres: a stolen database verifies nothing.
"""

from __future__ import annotations

from app.services.parts import Parts

_PEPPER = "pepper"


def pepper_of(parts: Parts, *, purpose: str) -> bytes:
    """256 bits for one purpose; the first call makes the pepper."""
    parts.keys.create(_PEPPER)
    return parts.keys.secret(_PEPPER, purpose=purpose)
