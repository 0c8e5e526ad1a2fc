"""People, lines and a naive eraser for the verifier's tests. It shares nothing with the erasers:
whole lines through json, values replaced as text.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from app.domain.datasets import Dataset, KeepWhen, Layer, OwnerWhen, Roles, Treatment, Where
from app.domain.identifiers import Identifier, Identity, Kind, Targets
from app.domain.receipts import Counts, ObjectWork, Share, Superseded, WorkState
from tests.places import Place

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def user(number: int) -> str:
    return f"usr_{number:06d}JqXw9ZkT2mVb5Rc8Hd4p"


def anon(number: int) -> str:
    return f"a_{number:05d}kQ7Zp2Lm9Xc4Vb6Nt"


def device(number: int) -> str:
    return "fp_" + hashlib.blake2b(str(number).encode(), digest_size=16).hexdigest()


def identity(
    name: str, *, users: Iterable[str] = (), linked: Iterable[Identifier] = ()
) -> Identity:
    given = frozenset(Identifier(Kind.USER_ID, u) for u in users)
    return Identity(name, given, frozenset(linked), frozenset(), ())


def person(number: int) -> Identity:
    linked = {Identifier(Kind.ANON_ID, anon(number)), Identifier(Kind.DEVICE_FP, device(number))}
    return identity(f"s{number}", users=[user(number)], linked=linked)


TARGETS = Targets.of([person(1), person(2)])

RAW_ROLES = Roles(
    owner=("user.user_id",),
    owner_when=(OwnerWhen(Where((("name", ("identity.link",)),)), ("payload.user_id",)),),
    linked=(
        (Kind.ANON_ID, ("user.anon_id", "payload.anon_id")),
        (Kind.DEVICE_FP, ("device.fp", "payload.device_fp")),
    ),
    mentions=("payload.user_id", "payload.provider_id"),
    derived=("session_id",),
)


def raw_dataset(root: str, **changes: Any) -> Dataset:
    dataset = Dataset("raw_events", Layer.BRONZE, location=f"{root}raw/", roles=RAW_ROLES)
    return replace(dataset, **changes)


KEEP_DISPUTES = (KeepWhen(Where((("name", ("chargeback.*",)),)), ground="17(3)(e)", until=None),)  # type: ignore[arg-type]  # no test reads it
TOMBSTONE = Treatment(kind="tombstone", purpose="statistics", legal_basis="6(1)(f)")


def event(
    number: int | None,
    *,
    name: str = "search.query",
    path: str = "/",
    anon_id: str = "",
    **payload: Any,
) -> bytes:
    who = {
        "user_id": None if number is None else user(number),
        "anon_id": anon_id or anon(number or 0),
    }
    said = {
        "event_id": f"evt_{number}", "name": name, "user": who, "session_id": "s_0",
        "device": {"ua": "Mozilla", "n": 1.50}, "page": {"path": path, "ref": None},
        "payload": payload,
    }  # fmt: skip
    return json.dumps(said, separators=(",", ":")).encode() + b"\n"


def tombstone(value: str, owner: str = "") -> str:
    kind = TARGETS.by_value[value].identifier.kind
    number = int.from_bytes(hashlib.sha256(f"{value}|{owner}".encode()).digest(), "big")
    text = "".join(ALPHABET[(number >> shift) & 31] for shift in range(0, 130, 5))
    return f"tomb_{kind.letter}_{text}"


@dataclass(frozen=True)
class Pair:
    """A base, its right replacement, and the counts of a right receipt."""

    base: list[bytes]
    new: list[bytes]
    counts: Counts


def right_pair() -> Pair:
    """One line of every kind. The tombstones are written out by hand, as a reader would."""
    link = {"user_id": user(1), "anon_id": anon(1), "device_fp": device(1)}
    mention = event(8, provider_id=user(2), also=user(2))
    co_owned = event(7, name="identity.link", user_id=user(1))
    nobody = event(None, anon_id=anon(2))
    in_path = event(9, path=f"/p/{user(1)}?x=%20{user(2)}")
    percent = event(6, path="/p/" + user(1).replace("_", "%5F"))
    escaped = event(5, q=user(2)).replace(b"usr_", b"\\u0075sr_", 2)
    keep = [event(3), event(4, q=user(1) + "X"), b"\n", b"not json, holds nobody\n", event(9)]

    def gone(raw: bytes, value: str, owner: int | None, written: bytes = b"") -> bytes:
        text = tombstone(value, "" if owner is None else user(owner)).encode()
        return raw.replace(written or value.encode(), text)

    base = [
        keep[0], event(1), mention, keep[1], event(2, x=1), co_owned, nobody, keep[2], in_path,
        event(1, name="identity.link", **link), percent, keep[3], escaped, keep[4],
    ]  # fmt: skip
    both = "\x1f".join(sorted([user(7), user(1)]))
    severed_link = co_owned.replace(user(1).encode(), tombstone(user(1), both).encode())
    new = [
        keep[0], gone(mention, user(2), 8), keep[1], severed_link, gone(nobody, anon(2), None),
        keep[2], gone(gone(in_path, user(1), 9), user(2), 9),
        gone(percent, user(1), 6, user(1).replace("_", "%5F").encode()), keep[3],
        gone(escaped, user(2), 5, b"\\u0075sr_" + user(2)[4:].encode()), keep[4],
    ]  # fmt: skip
    shares = {
        0: Share(deleted=2, tombstoned=3, co_owned=1),
        1: Share(deleted=1, tombstoned=3),
    }
    counts = Counts(before=13, deleted=3, tombstoned=6, co_owned=1, values=8, shares=shares)
    return Pair(base, new, counts)


def load(place: Place, name: str, body: bytes) -> tuple[str, str]:
    uri = f"{place.root}raw/event_dt=2026-10-01/00/{name}"
    return uri, place.loader.load(uri, body)


def written(
    place: Place,
    pair: Pair,
    *,
    name: str = "evt-1.ndjson",
    base: bytes = b"",
    new: bytes | None = None,
) -> ObjectWork:
    """Base and replacement in the store, as an eraser leaves them, and its work record."""
    base = base or b"".join(pair.base)
    new = b"".join(pair.new) if new is None else new
    uri, version = load(place, name, base)
    info = place.reader.info(uri, version_id=version)
    put = place.eraser.put(
        uri,
        io.BytesIO(new),
        if_match=info.etag,
        like=info,
        marks={"clearlake-run": "r"},
        retain=True,
    )
    return ObjectWork(
        uri=uri, state=WorkState.WRITTEN, base_version=version, base_etag=info.etag,
        new_version=put, sha256=hashlib.sha256(new).hexdigest(), counts=pair.counts,
        superseded=(Superseded(version),),
    )  # fmt: skip
