"""The last look at free text on its way into a report: what holds an identifier stays out.

A belt beside the braces: warnings, places and keys are free of them by contract already.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import unquote

from ahocorasick_rs import AhoCorasick

WITHHELD = "[withheld: it holds an identifier]"


@dataclass(frozen=True, slots=True)
class Screen:
    """Knows every value of a run; says of a text only whether it holds one."""

    _search: AhoCorasick = field(repr=False)

    @classmethod
    def of(cls, values: Iterable[str]) -> Screen:
        """For these values. Case is ignored: a shouted identifier is one still."""
        return cls(AhoCorasick(sorted({_plain(v).lower() for v in values if v})))

    def holds(self, text: str) -> bool:
        """Whether one of the values stands in the text, as it is or percent-encoded."""
        return any(
            self._search.find_matches_as_indexes(form)
            for form in {_plain(text).lower(), _plain(unquote(text)).lower()}
        )

    def clean(self, text: str) -> str:
        """The text, or that it was withheld."""
        return WITHHELD if self.holds(text) else _plain(text)

    def key(self, text: str) -> str | None:
        """The key of an object, or null."""
        return None if self.holds(text) else _plain(text)


def _plain(text: str) -> str:
    """Without lone surrogates: a column's name can hold one, canonical JSON cannot."""
    return text.encode("utf-8", "backslashreplace").decode()
