"""Pages of a list: how many, from where on, and what the answer looks like.

A cursor is opaque to callers: the sort values of the last row, never an identifier.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, Field

from app.domain.errors import InvalidFieldsError

MOST = 200
_LONGEST = 200
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PageAsked:
    """At most `limit` rows after `cursor` (None: from the start). A cursor's values are texts that
    came in: parse them with care.
    """

    limit: int
    cursor: tuple[str, ...] | None

    def refuse(self) -> InvalidFieldsError:
        """For a service or edge that cannot read the values of this cursor."""
        return _refused()

    def time_and_id(self) -> tuple[datetime, str] | None:
        """The row to go on behind, of a list by (created_at, id); None at its beginning."""
        if self.cursor is None:
            return None
        try:
            at, row_id = self.cursor
            place = datetime.fromisoformat(at)
        except ValueError as err:
            raise self.refuse() from err
        if place.tzinfo is None:
            raise self.refuse()
        return place, row_id


class Items(BaseModel, Generic[T]):
    """One page. `next_cursor` is null on the last."""

    items: list[T]
    next_cursor: Annotated[str | None, Field(description="Give it as `cursor` for the next page.")]


def cursor_of(*parts: str) -> str:
    """The cursor that leads on after a row with these sort values."""
    text = json.dumps(parts, separators=(",", ":"), ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def parts_of(cursor: str) -> tuple[str, ...]:
    """What stands in a cursor. InvalidFieldsError when it is none of ours."""
    try:
        raw = base64.b64decode(
            cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True
        ).decode()
        parts = json.loads(raw)
    except (ValueError, binascii.Error, RecursionError) as err:
        raise _refused() from err
    if not isinstance(parts, list) or not parts or not all(_is_plain(p) for p in parts):
        raise _refused()
    return tuple(parts)


async def page_asked(
    limit: Annotated[int, Query(ge=1, le=MOST, description="How many rows at most.")] = 50,
    cursor: Annotated[
        str | None, Query(max_length=1024, description="`next_cursor` of the page before.")
    ] = None,
) -> PageAsked:
    """The page that a request asks for."""
    return PageAsked(limit, None if cursor is None else parts_of(cursor))


def _is_plain(part: object) -> bool:
    return isinstance(part, str) and len(part) <= _LONGEST and part.isprintable()


def _refused() -> InvalidFieldsError:
    return InvalidFieldsError(
        "That page cannot be shown.",
        fields={"query.cursor": "Give the next_cursor of the page before, unchanged."},
    )
