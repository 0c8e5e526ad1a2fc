"""Canonical JSON (RFC 8785): one value has one form in bytes, so that a signature has a meaning.

Stricter than the standard: no floats, and text is read back only if it is already in that form.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import rfc8785

from app.domain.errors import ClearlakeError


class NotCanonicalError(ClearlakeError):
    """A value without a canonical form, or bytes that are not in it. Names the place, no value."""

    code: ClassVar[str] = "not_canonical"


def canonical_bytes(document: Mapping[str, Any]) -> bytes:
    """The one UTF-8 form of a document made of objects, lists, text, whole numbers, true, false
    and null.

    NotCanonicalError for anything else: floats (their text differs between languages), whole
    numbers beyond 2**53 - 1, lone surrogates, keys that are not text.
    """
    _refuse_floats(document, "$")
    try:
        return rfc8785.dumps(document)
    except rfc8785.CanonicalizationError as err:
        raise NotCanonicalError("The document has a value without a canonical form.") from err
    except RecursionError as err:
        raise NotCanonicalError("The document is nested too deeply.") from err


def parse_json(data: bytes) -> dict[str, Any]:
    """An object read strictly: UTF-8 without a BOM, no key twice, no NaN. NotCanonicalError else.

    Floats are let through here: they are not canonical, but they are JSON.
    """
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_no_key_twice, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as err:
        raise NotCanonicalError("The bytes are not readable JSON.") from err
    if not isinstance(value, dict):
        raise NotCanonicalError("The JSON is not an object.")
    return value


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise NotCanonicalError("The JSON has a key twice in one object.")
    return found


def _no_constant(_name: str) -> Any:
    raise NotCanonicalError("The JSON holds NaN or an infinity.")


def _refuse_floats(value: Any, place: str) -> None:
    if isinstance(value, float):
        raise NotCanonicalError(f"{place}: a float has no place in a document that is signed.")
    if isinstance(value, Mapping):
        # Keys may be data: the place names their number, never their text.
        for number, each in enumerate(value.values()):
            _refuse_floats(each, f"{place}.{number}")
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            _refuse_floats(each, f"{place}[{number}]")
