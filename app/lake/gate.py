"""The gate: what a loader asks before it writes, so that nobody comes back through what lands late.

The sweep's rule, row by row, on NDJSON text; `gate_tables` on Arrow tables. Pure: who is suppressed
is given (app.services.gate), and so is the secret of the tombstones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache, partial

from app.domain.datasets import Dataset
from app.domain.identifiers import Identifier, Identity, Targets
from app.lake.bronze_lines import BOM, Piece, Rule, Tally, changed_lines, line_without
from app.lake.codecs import Block
from app.lake.late_lines import JsonLook, identifiers_at, is_late, latest
from app.lake.tombstones import Tombstones

Digest = tuple[int, str]
"""Generation of the key, and keyed digest of an identifier."""
_RULES = 256
"""Sets of values whose rule is remembered: a replay brings the same few again and again."""
_NAME = "suppressed"


@dataclass(frozen=True, slots=True)
class Suppressed:
    """Of whom nothing may be loaded: digests, and until when each is late data (`NEVER`: always).

    Whoever holds it can ask of any identifier whether its person was erased. Never stored.
    """

    digests: Callable[[Identifier], Iterable[Digest]] = field(repr=False)
    """Of an identifier, under every generation of the digest key that lives."""
    fences: Mapping[Digest, datetime] = field(repr=False)

    def fence(self, identifier: Identifier) -> datetime | None:
        """Up to when an event of it is late data; None: it is not suppressed."""
        found = (self.fences.get(d) for d in self.digests(identifier))
        return max((f for f in found if f is not None), default=None)


class Gate:
    """One call of a loader on one dataset: which values of a row must not be loaded.

    `tombstones` are of this call alone, under a secret that nobody keeps: within the call equal
    values stay equal; no later load, run or call makes the same ones, so that what is left of an
    erased person never joins to anything again. `unparsable`: park | drop, as in the map.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        suppressed: Suppressed,
        tombstones: Tombstones,
        unparsable: str,
    ) -> None:
        self.dataset = dataset
        self.tombstones = tombstones
        self._suppressed = suppressed
        self._unparsable = unparsable
        self._fences: dict[Identifier, datetime] = {}
        self._look = JsonLook(dataset.roles, wanted=self.wants)
        self._rule = lru_cache(maxsize=_RULES)(self._made_rule)

    def wants(self, identifier: Identifier) -> bool:
        """Whether it is suppressed, whatever its rows tell."""
        if identifier in self._fences:
            return True
        fence = self._suppressed.fence(identifier)
        if fence is None:
            return False
        self._fences[identifier] = fence
        return True

    def late(self, found: Iterable[Identifier], at: datetime | None) -> frozenset[Identifier]:
        """Those of the wanted identifiers of a row that are late data on it."""
        fences = self._fences
        return frozenset(i for i in found if is_late(at, fence=fences[i], dataset=self.dataset))

    def lines(self, blocks: Iterable[Block], *, tally: Tally) -> Iterator[list[Piece]]:
        """The text as it may be loaded, a list of pieces for each block.

        1. Only lines on which a suppressed value may stand at a declared path are parsed.
        2. Values that are late data on the line decide by the rule of the erasers: a line that is
           theirs alone is dropped; on any other they are replaced wherever they stand on it.
        3. Every other byte is as it was. A line that is no JSON and holds one of them is parked
           (it stays, and its place is said) or dropped.
        """
        for block in blocks:
            positions = (begin for begin, _ in self._look.spans(*block))
            change = partial(self._changed, block, tally)
            yield changed_lines(block, positions, change=change, tally=tally)

    def _changed(self, block: Block, tally: Tally, line: bytes, start: int, at: list[int]) -> bytes:
        late = self._late_on(line)
        if not late:
            return line
        place = partial(tally.place, block, start)
        return line_without(line, place=place, rule=self._rule(late), tally=tally)

    def _late_on(self, line: bytes) -> frozenset[Identifier]:
        text = line.strip().removeprefix(BOM)
        values_at = self._look.values(text)
        if values_at is None:
            return self.late(self._look.tokens(text), None)
        found = identifiers_at(self._look.paths, values_at, wanted=self.wants)
        event_time = self.dataset.event_time
        at = latest(values_at(event_time)) if found and event_time else None
        return self.late(found, at)

    def _made_rule(self, late: frozenset[Identifier]) -> Rule:
        return Rule.of(
            self.dataset,
            targets=targets_of(late),
            tombstones=self.tombstones,
            unparsable=self._unparsable,
        )


def targets_of(late: frozenset[Identifier]) -> Targets:
    """What the erasers take out of a row on which these are late data."""
    none: frozenset[Identifier] = frozenset()
    return Targets.of([Identity(_NAME, given=late, linked=none, derived=none, shared=())])
