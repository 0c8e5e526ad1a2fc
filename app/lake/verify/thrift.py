"""The Thrift compact protocol, read generically: what Parquet footers, page headers and indexes are
written in. Every binary value is kept; nothing is interpreted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from app.domain.errors import LakeError

Struct = dict[int, Any]
"""Field number -> bool, int, float, bytes, list or Struct."""
_DEEPEST = 64
_STOP, _TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(
    13
)


def read_struct(data: bytes, at: int = 0) -> tuple[Struct, int]:
    """One struct that starts at `at`, and where it ends. LakeError when it is none."""
    try:
        return _Reader(data, at).run()
    except (IndexError, KeyError, RecursionError) as err:
        raise LakeError("A Thrift structure is damaged.") from err


def binaries(value: Any) -> Iterator[bytes]:
    """Every binary value in a struct, at any depth."""
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from binaries(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from binaries(inner)


class _Reader:
    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at
        self._depth = 0

    def run(self) -> tuple[Struct, int]:
        return self._struct(), self._at

    def _byte(self) -> int:
        value = self._data[self._at]
        self._at += 1
        return value

    def _varint(self) -> int:
        shift = result = 0
        while True:
            byte = self._byte()
            result |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return result
            shift += 7
            if shift > 70:
                raise IndexError

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _taken(self, size: int) -> bytes:
        value = self._data[self._at : self._at + size]
        if len(value) != size:
            raise IndexError
        self._at += size
        return value

    def _struct(self) -> Struct:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise IndexError
        found: Struct = {}
        number = 0
        while (head := self._byte()) != _STOP:
            kind = head & 0x0F
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            found[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind)
        self._depth -= 1
        return found

    def _value(self, kind: int) -> Any:
        if kind in (_TRUE, _FALSE):
            return self._byte() == _TRUE
        if kind == _BYTE:
            return self._byte()
        if kind in (_I16, _I32, _I64):
            return self._zigzag()
        if kind == _DOUBLE:
            return self._taken(8).hex()
        if kind == _BINARY:
            return self._taken(self._varint())
        if kind in (_LIST, _SET):
            return self._list()
        if kind == _MAP:
            return self._map()
        if kind == _STRUCT:
            return self._struct()
        raise KeyError(kind)

    def _list(self) -> list[Any]:
        head = self._byte()
        size = head >> 4 if head >> 4 != 0x0F else self._varint()
        if size > len(self._data):
            raise IndexError
        return [self._value(head & 0x0F) for _ in range(size)]

    def _map(self) -> list[Any]:
        size = self._varint()
        if not size:
            return []
        kinds = self._byte()
        return [self._value(k) for _ in range(size) for k in (kinds >> 4, kinds & 0x0F)]
