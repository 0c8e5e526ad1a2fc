"""JSON texts of a column whose every target is a whole declared string: most are, and are edited
without a parse that knows offsets.

Anything else is None here and goes the exact way (app.lake.jsontext).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any


def whole_strings(raw: bytes, values: Collection[str], *, declared: Collection[str]) -> int | None:
    """How many strings of a JSON text are values, each at a declared path. None: not certain.

    Values in keys, numbers, longer strings or under a key that stands twice are for the caller to
    notice: the text has more tokens than this says.
    """
    if b"\\" in raw or b"%" in raw or raw[:1] not in (b"{", b"["):
        return None
    try:
        document = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    count = 0
    for path, text in _strings(document, ""):
        if text in values:
            if path not in declared:
                return None
            count += 1
    return count


def _strings(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Dotted path, list indexes left out, and text of every string."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _strings(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner, path)
