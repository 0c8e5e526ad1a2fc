"""What bodies are made of: bounded texts and exact times, unknown fields refused."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")


class Asked(BaseModel):
    """A request body: extra fields are refused, and errors never show what came."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, frozen=True)


def _time_text(value: object) -> object:
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise ValueError("expected an RFC 3339 time with an offset, such as 2026-11-23T08:00:00Z")
    return value


Instant = Annotated[AwareDatetime, BeforeValidator(_time_text)]
"""RFC 3339 with an offset; not a number, not a bare date."""

Line = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""One line of text."""
