"""Fills the templates of make_words for many events at once: `$name` stands for a column of texts.

Not here: which template an event takes (app.lake.make_text).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app.lake.make_people import Ints

_VARIABLE = re.compile(r"\$([a-z_]+[0-9]?)")


class Values(Protocol):
    """What the variables of a template stand for."""

    def of(self, variable: str, rows: Ints) -> pa.Array:
        """The variable's text on each of these rows."""
        ...


class Drawn:
    """Templates by event name; where a name has several, one is drawn."""

    def __init__(
        self, by_name: Mapping[str, Sequence[str]], *, names: Sequence[str], other: Sequence[str]
    ) -> None:
        self._templates: list[str] = []
        first, size = [], []
        for name in names:
            templates = by_name.get(name, other)
            first.append(len(self._templates))
            size.append(len(templates))
            self._templates += templates
        self._first, self._size = np.array(first), np.array(size)

    def fill(self, values: Values, *, name: Ints, draw: Ints) -> pa.Array:
        """The text of each row, by the number of its name and some random bits."""
        return fill(self._templates, self._first[name] + draw % self._size[name], values)


def fill(templates: Sequence[str], which: Ints, values: Values) -> pa.Array:
    """The filled template of each row; null where `which` is -1."""
    by_template = np.argsort(which, kind="stable")
    bounds = np.searchsorted(which[by_template], np.arange(len(templates) + 1))
    pieces = [
        _filled(template, by_template[bounds[number] : bounds[number + 1]], values)
        for number, template in enumerate(templates)
        if bounds[number] < bounds[number + 1]
    ]
    place = np.full(len(which), -1)
    place[by_template[bounds[0] :]] = np.arange(len(which) - bounds[0])
    return take(pa.concat_arrays(pieces) if pieces else pa.array([], pa.string()), place)


def _filled(template: str, rows: Ints, values: Values) -> pa.Array:
    parts = _VARIABLE.split(template)
    columns = [values.of(part, rows) if odd % 2 else part for odd, part in enumerate(parts)]
    return join(*columns) if len(columns) > 1 else pa.repeat(template, len(rows))


def join(*parts: pa.Array | str) -> pa.Array:
    """The texts side by side; null where one of them is null."""
    return pc.binary_join_element_wise(*(p for p in parts if not isinstance(p, str) or p), "")


def take(pool: pa.Array, numbers: Ints) -> pa.Array:
    """The texts of these numbers; null for -1."""
    if len(numbers) and numbers.min() < 0:
        return pool.take(pa.array(numbers, mask=numbers < 0))
    return pool.take(pa.array(numbers))
