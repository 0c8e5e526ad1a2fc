"""How a place is named in a finding: enough to go there with the sealed object list, and never a
personal value.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from app.domain.datasets import Dataset
from app.domain.findings import Finding, What

_COLUMN = re.compile(r"[A-Za-z_]{1,32}[0-9]{0,2}")


def object_name(uri: str) -> str:
    """An object by a short hash of its URI: the key may hold an identifier."""
    return f"object {hashlib.sha256(uri.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def column_name(path: str, declared: Iterable[str] = ()) -> str:
    """A column by its path; a key that is nobody's column may be data and becomes `*`."""
    if path in declared:
        return path
    return ".".join(p if _COLUMN.fullmatch(p) else "*" for p in path.split(".")[:12])


def full_uri(path: str) -> str:
    """One spelling for what engines write in several: /x, file:/x, file:///x; s3a://, s3n://."""
    if path.startswith("/"):
        return "file://" + path
    if path.startswith("file:/") and not path.startswith("file://"):
        return "file://" + path.removeprefix("file:")
    for old in ("s3a://", "s3n://"):
        if path.startswith(old):
            return "s3://" + path.removeprefix(old)
    return path


def key_text(uri: str) -> str:
    """The part of a URI that a loader chose."""
    return uri.partition("://")[2]


@dataclass(slots=True)
class Sight:
    """What one look at one version saw, gathered by place."""

    layer: str
    dataset: str
    uri: str = field(repr=False)
    version_id: str = ""
    aspect: str = ""
    """`current version`, `old version`, ..."""
    _counts: Counter[tuple[What, str, str, int | None]] = field(default_factory=Counter)

    @classmethod
    def of(cls, dataset: Dataset, uri: str, *, version_id: str = "", aspect: str = "") -> Sight:
        """A look at an object or file of a dataset."""
        return cls(dataset.layer.value, dataset.name, uri, version_id, aspect)

    def saw(
        self,
        what: What,
        where: str,
        *,
        detail: str = "",
        subject: int | None = None,
        count: int = 1,
    ) -> None:
        """Add one sight. `where`: the place inside the object."""
        self._counts[what, where, detail, subject] += count

    @property
    def findings(self) -> list[Finding]:
        """One finding a place, kind and subject."""
        return sorted(
            (
                Finding(
                    what,
                    self.layer,
                    self.dataset,
                    ", ".join(p for p in (object_name(self.uri), self.aspect, where) if p),
                    detail=detail,
                    subject=subject,
                    count=count,
                    uri=self.uri,
                    version_id=self.version_id,
                )
                for (what, where, detail, subject), count in self._counts.items()
            ),
            key=lambda f: (f.what, f.place, f.detail, -1 if f.subject is None else f.subject),
        )
