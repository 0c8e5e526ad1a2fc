"""The same search for bytes that are no object of the lake: an orphan, a log, a database's dump.

By content like everything else.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from io import BytesIO

from app.domain.findings import Finding, What
from app.domain.identifiers import Identifier, Kind, Target, Targets
from app.lake.verify.lines import LineSearch
from app.lake.verify.looking import Looking
from app.lake.verify.needles import Needles
from app.lake.verify.places import Sight
from app.lake.verify.sources import Body, Found

_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)


def search_bytes(data: bytes, values: Iterable[str]) -> list[str]:
    """The places in one file's bytes where a value stands; empty: none. A cut bound counts.

    What cannot be decoded is searched as it stands.
    """
    by_value = {v: Target(Identifier(Kind.DERIVED, v), 0) for v in values}
    needles = Needles(Targets(("",), by_value, {}))
    findings = _look(data, needles) if by_value else []
    return [f.place for f in findings if f.what in (What.RESIDUE, What.PARKED)]


def _look(data: bytes, needles: Needles) -> list[Finding]:
    sight = Sight("", "", "")
    looking = Looking(needles, None, lambda _path, _field, _bound: False)
    found = Found("", "", len(data), _NO_TIME, is_latest=True)
    looking.look(found, Body(BytesIO(data), None), sight=sight, parked_allowed=False)
    if any(f.what is What.CANNOT_SEE for f in sight.findings):
        LineSearch(needles, None).search(iter([data]), sight=sight)
    return sight.findings
