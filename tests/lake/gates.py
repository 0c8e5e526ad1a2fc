"""Who is suppressed in the tests of the gate, and one call of it. Not here: what is expected."""

from __future__ import annotations

import io
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from app.domain.datasets import Dataset
from app.domain.identifiers import Identifier, Kind
from app.lake.bronze_lines import Tally
from app.lake.codecs import blocks
from app.lake.gate import Gate, Suppressed
from app.lake.late import NEVER
from app.lake.tombstones import Tombstones
from tests.lake.bronze_world import ANON, DATASET, DEVICE, SECOND, USER

FENCE = datetime(2026, 11, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)
BEFORE, AFTER = (FENCE - HOUR).isoformat(), (FENCE + HOUR).isoformat()
SECRET = b"of one call of a loader, 32 byte"
FENCES = {
    Identifier(Kind.USER_ID, USER): FENCE,
    Identifier(Kind.ANON_ID, ANON): FENCE,
    Identifier(Kind.DEVICE_FP, DEVICE): FENCE,
    Identifier(Kind.USER_ID, SECOND): NEVER,
}
"""SECOND has closed the account."""


def who(fences: Mapping[Identifier, datetime]) -> Suppressed:
    """Digests that are no digests: of two generations, of which the rows know the older one."""
    return Suppressed(
        lambda i: ((2, f"{i.kind}:{i.value}"), (1, f"{i.value}:{i.kind}")),
        {(1, f"{i.value}:{i.kind}"): fence for i, fence in fences.items()},
    )


def gate(
    dataset: Dataset = DATASET,
    *,
    fences: Mapping[Identifier, datetime] = FENCES,
    unparsable: str = "park",
    secret: bytes = SECRET,
) -> Gate:
    return Gate(
        dataset, suppressed=who(fences), tombstones=Tombstones(secret), unparsable=unparsable
    )


def let_through(content: bytes, opened: Gate, *, chunk: int = 1 << 20) -> tuple[bytes, Tally]:
    """What may be loaded of a text that comes in chunks of that size."""
    source, tally = io.BytesIO(content), Tally()
    pieces = opened.lines(blocks(iter(lambda: source.read(chunk), b"")), tally=tally)
    return b"".join(bytes(p) for some in pieces for p in some), tally
