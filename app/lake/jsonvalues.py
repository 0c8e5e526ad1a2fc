"""The texts of one JSON value by path, for reading only: by Python's own parser where it can.

Says the same as app.lake.jsontext.leaves, which knows places and takes what that parser refuses.
"""

from __future__ import annotations

import json
from typing import Any

from app.lake.jsontext import joined, leaves

_DECODER = json.JSONDecoder(
    object_pairs_hook=tuple, parse_int=str, parse_float=str, parse_constant=str
)


def texts_by_path(raw: bytes) -> dict[str, list[str]]:
    """Strings and numbers (as their source text) by path, in order; keys are not among them. A key
    that stands twice gives both values. JsonTextError when it is not one JSON value.
    """
    found: dict[str, list[str]] = {}
    try:
        _gather(_DECODER.decode(raw.decode("utf-8")), "", found)
    except (ValueError, RecursionError):
        found = {}
        for leaf in leaves(raw):
            if leaf.text is not None and not leaf.is_key:
                found.setdefault(leaf.path, []).append(leaf.text)
    return found


def _gather(value: Any, path: str, found: dict[str, list[str]]) -> None:
    if isinstance(value, str):
        found.setdefault(path, []).append(value)
    elif isinstance(value, list):
        for element in value:
            _gather(element, path, found)
    elif isinstance(value, tuple):  # an object, as its pairs
        for key, inside in value:
            _gather(inside, joined(path, key) if path else key, found)
