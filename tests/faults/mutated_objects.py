"""Faults of an eraser of objects: versions, codecs, and what is carried over."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from app.domain.receipts import Superseded
from app.lake import bronze, bronze_read
from app.lake.codecs import Codec, Encoder
from app.lake.local import LocalStore
from app.lake.s3 import S3Store
from tests.faults.mutated import Plant


def _read(fault: Callable[[Any, Any], Any]) -> Plant:
    """Of an object that was read, something else is to be done. `fault`: what is right, and the
    versions.
    """

    def plant(patch: pytest.MonkeyPatch) -> None:
        right = bronze_read.read_object

        def wrong(work: Any, versions: Any, **known: Any) -> Any:
            prepared = right(work, versions, **known)
            return fault(prepared, versions) if prepared.body is not None else prepared

        patch.setattr(bronze, "read_object", wrong)

    return plant


def _changed(prepared: Any, **changes: Any) -> Any:
    return replace(prepared, work=replace(prepared.work, **changes))


def _forgets_old_versions(prepared: Any, versions: Any) -> Any:
    return _changed(prepared, superseded=prepared.work.superseded[:1])


def _takes_every_version(prepared: Any, versions: Any) -> Any:
    return _changed(prepared, superseded=tuple(Superseded(v.version_id) for v in versions))


def _counts_one_more(prepared: Any, versions: Any) -> Any:
    counts = prepared.work.counts
    return _changed(prepared, counts=replace(counts, before=counts.before + 1))


def _counts_for_another(prepared: Any, versions: Any) -> Any:
    counts = prepared.work.counts
    return _changed(prepared, counts=replace(counts, shares={}))


def _digests_something_else(prepared: Any, versions: Any) -> Any:
    return _changed(prepared, sha256="0" * 64)


def _packs_otherwise(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(bronze_read, "Encoder", lambda sink, _codec: Encoder(sink, Codec.NONE))


def _put(fault: Callable[[bytes, dict[str, Any]], bytes]) -> Plant:
    """Something else is put. `fault`: the right bytes, and the arguments, which it may change."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        for store in (LocalStore, S3Store):
            right = store.put

            def wrong(self: Any, uri: str, body: Any, right: Any = right, **known: Any) -> str:
                body.seek(0)
                data = fault(body.read(), known)
                version: str = right(self, uri, io.BytesIO(data), **known)
                return version

            patch.setattr(store, "put", wrong)

    return plant


def _like(**changes: Any) -> Plant:
    """Something of the base is not carried over."""

    def forget(data: bytes, known: dict[str, Any]) -> bytes:
        known["like"] = replace(known["like"], **changes)
        return data

    return _put(forget)


def _without_the_lock(data: bytes, known: dict[str, Any]) -> bytes:
    known["retain"] = False
    return data


def _swaps_bodies(patch: pytest.MonkeyPatch) -> None:
    """Two objects change places, each with the digest of the other."""
    right = bronze._Eraser._carried_out

    def wrong(self: Any, prepared: Any) -> Any:
        ready = [p for p in prepared if p.body is not None]
        others = {p.work.uri: q for p, q in zip(ready, reversed(ready), strict=True)}
        moved = [
            replace(
                _changed(p, sha256=others[p.work.uri].work.sha256), body=others[p.work.uri].body
            )
            if p.work.uri in others
            else p
            for p in prepared
        ]
        return right(self, moved)

    patch.setattr(bronze._Eraser, "_carried_out", wrong)


OBJECTS: dict[str, Plant] = {
    "a receipt counts one more": _read(_counts_one_more),
    "a receipt counts for nobody": _read(_counts_for_another),
    "a digest of something else": _read(_digests_something_else),
    "another codec": _packs_otherwise,
    "a body cut short": _put(lambda data, _: data[:-5]),
    "an empty body": _put(lambda _, __: b""),
    "two bodies change places": _swaps_bodies,
}
IN_BUCKETS: dict[str, Plant] = {
    "tags are forgotten": _like(tags={}),
    "metadata is forgotten": _like(metadata={}),
    "headers are forgotten": _like(headers={}),
    "the lock is forgotten": _put(_without_the_lock),
    "an old version is forgotten": _read(_forgets_old_versions),
    "a stranger's version is taken along": _read(_takes_every_version),
}
"""What only a bucket has."""
