"""A YAML node that knows its line and refuses what it did not expect. Not here: the map's keys."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import NoReturn

import yaml

from app.domain.errors import DataMapError

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?")


class Node:
    """A YAML node that knows where it stands and what was expected of it."""

    def __init__(self, node: yaml.Node, *, source: str, environment: Mapping[str, str]) -> None:
        self.node, self.source, self.environment = node, source, environment

    @property
    def line(self) -> int:
        return int(self.node.start_mark.line) + 1

    def refuse(self, expected: str) -> NoReturn:
        raise DataMapError(f"{self.source}:{self.line}: expected {expected}.")

    def _child(self, node: yaml.Node) -> Node:
        return Node(node, source=self.source, environment=self.environment)

    def mapping(self, *known: str) -> dict[str, Node]:
        """The members by key; unknown and repeated keys are refused when `known` keys are given."""
        if not isinstance(self.node, yaml.MappingNode):
            self.refuse("a mapping of keys to values")
        found: dict[str, Node] = {}
        for key_node, value_node in self.node.value:
            key = self._child(key_node)
            name = key.text()
            if known and name not in known:
                key.refuse(f"one of {', '.join(known)}; found the unknown key {name!r}")
            if name in found:
                key.refuse(f"each key once; {name!r} stands here a second time")
            found[name] = self._child(value_node)
        return found

    def items(self) -> Iterator[Node]:
        if not isinstance(self.node, yaml.SequenceNode):
            self.refuse("a list")
        return (self._child(n) for n in self.node.value)

    @property
    def is_text(self) -> bool:
        return isinstance(self.node, yaml.ScalarNode)

    def text(self) -> str:
        if not isinstance(self.node, yaml.ScalarNode) or self.node.tag.endswith(":null"):
            self.refuse("a text value")
        return _VARIABLE.sub(self._variable, str(self.node.value))

    def _variable(self, found: re.Match[str]) -> str:
        value = self.environment.get(found[1], "")
        if not value:
            self.refuse(f"the variable {found[1]} to be set in the environment")
        return value

    def texts(self) -> tuple[str, ...]:
        """A list of texts, or one text that stands for a list of one."""
        found = (self.text(),) if self.is_text else tuple(n.text() for n in self.items())
        if not found:
            self.refuse("at least one value")
        return found

    def one_of(self, *allowed: str) -> str:
        value = self.text()
        if value not in allowed:
            self.refuse(f"one of {', '.join(allowed)}")
        return value

    def number(self) -> int:
        try:
            return int(self.text())
        except ValueError:
            self.refuse("a whole number")

    def duration(self) -> timedelta:
        found = _DURATION.fullmatch(self.text())
        if not found or not any(found.groups()):
            self.refuse(
                "an ISO 8601 duration of days, hours, minutes, seconds, such as PT45M or P1D"
            )
        days, hours, minutes, seconds = (int(g or 0) for g in found.groups())
        return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)

    def day(self) -> date:
        try:
            return date.fromisoformat(self.text())
        except ValueError:
            self.refuse("a date, YYYY-MM-DD")
