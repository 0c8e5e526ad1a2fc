"""Times that are typed."""

from __future__ import annotations

from datetime import UTC, datetime

from app.domain.errors import UsageError


def since_of(text: str) -> datetime:
    """What `--since` says, in UTC; without a zone it is UTC. UsageError."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError as err:
        raise UsageError("--since: expected a time such as 2026-11-20T03:00Z.") from err
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
