"""What a purger may destroy: versions of its list, under its prefixes, so many an hour.

Not here: destroying (the purgers of s3 and local).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from app.domain.errors import PurgeRefusedError

HOUR = 3600.0


class Warrant:
    """Refuses with PurgeRefusedError; counts what it lets pass. `clock`: seconds, never back."""

    def __init__(
        self, prefixes: Iterable[str], *, per_hour: int, clock: Callable[[], float]
    ) -> None:
        # a prefix ends at a slash, so that `raw/` never lets `raw-archive/` pass
        self._prefixes = tuple(p if p.endswith("/") else p + "/" for p in prefixes)
        self._per_hour = per_hour
        self._clock = clock
        self._allowed: set[tuple[str, str]] = set()
        self._passed: deque[float] = deque()

    def allow(self, versions: Iterable[tuple[str, str]]) -> None:
        """Add versions that the journal lists as superseded."""
        self._allowed.update(versions)

    def require_version(self, uri: str, version_id: str) -> None:
        """Pass for one listed version under the prefixes, within the hour's number."""
        self.require_prefix(uri)
        if not version_id:
            raise PurgeRefusedError("A purge names an exact version; this one names none.")
        if (uri, version_id) not in self._allowed:
            raise PurgeRefusedError("A version that is not on the purge list of this run.")
        now = self._clock()
        while self._passed and self._passed[0] <= now - HOUR:
            self._passed.popleft()
        if len(self._passed) >= self._per_hour:
            raise PurgeRefusedError(
                f"More than {self._per_hour} versions in an hour: a person must look first."
            )
        self._passed.append(now)

    def require_prefix(self, uri: str) -> None:
        """Pass for a URI under the prefixes of the data map."""
        if not uri.startswith(self._prefixes):
            raise PurgeRefusedError("An object outside the prefixes of the data map.")
