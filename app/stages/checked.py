"""What the check stage saw and stopped at, journalled group by group.

Not here: the second look itself (app.lake.verify), and putting back (app.stages.acts).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from app.domain.datasets import Dataset
from app.domain.findings import Finding
from app.domain.receipts import ObjectWork, WorkState
from app.stages.ports import Journal


@dataclass(frozen=True, slots=True)
class CheckFindings:
    """The findings of a run's check stage. Each group has a document of its own, named by the
    first object that was put back, so that groups at work at once write over nobody's.
    """

    journal: Journal
    secret: bytes = field(repr=False)
    """The run's. Nobody without it can match a document's name to an object."""

    def put(self, dataset: Dataset, bad: Sequence[ObjectWork], findings: list[Finding]) -> None:
        """What was seen of these objects, before they are put back."""
        self.journal.put_document(self._name(dataset, bad[0]), findings)

    def of(self, datasets: Iterable[Dataset]) -> tuple[Finding, ...]:
        """Of every object that was put back; each finding once."""
        found: dict[Finding, None] = {}
        for dataset in datasets:
            for work in self.journal.works(dataset.name):
                if _was_put_back(work):
                    name = self._name(dataset, work)
                    found |= dict.fromkeys(self.journal.document(name, list[Finding]) or ())
        return tuple(found)

    def _name(self, dataset: Dataset, work: ObjectWork) -> str:
        message = b"check\0" + work.uri.encode("utf-8", "surrogatepass")
        digest = hmac.new(self.secret, message, hashlib.sha256).hexdigest()
        return f"check:{dataset.name}:{digest[:24]}"


def _was_put_back(work: ObjectWork) -> bool:
    """Back, or left as it is because others wrote it since."""
    left = work.state is WorkState.PARKED and work.new_version is not None
    return left or work.state is WorkState.UNDONE


def named(group: Sequence[ObjectWork], findings: Iterable[Finding]) -> list[ObjectWork]:
    """The works that findings are about; all of the group, where one is about none of them."""
    uris = {f.uri for f in findings}
    found = [w for w in group if w.uri in uris]
    return found if len(found) == len(uris) else list(group)
