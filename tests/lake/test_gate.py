"""The gate on NDJSON text: late data of suppressed people does not get in, everything else does."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import date

import pytest

from app.domain.datasets import KeepWhen, Treatment, Where
from app.domain.identifiers import TOMBSTONE
from app.lake.late import NEVER
from tests.lake.bronze_world import (
    ANON,
    DATASET,
    DEVICE,
    OTHER,
    OTHER_ANON,
    SECOND,
    USER,
    event,
    text,
)
from tests.lake.gates import AFTER, BEFORE, FENCE, FENCES, gate, let_through, who

EVERYBODY = (USER, ANON, DEVICE, SECOND)


def test_a_late_line_of_an_erased_person_is_dropped_and_the_others_keep_their_bytes() -> None:
    others = [b'{"user": {"user_id":"' + OTHER.encode() + b'"},  "odd" :1}', b"", b"not json"]
    lines = [others[0], event(USER, ts=BEFORE), others[1], event(OTHER, ts=BEFORE), others[2]]
    out, tally = let_through(text(lines), gate())
    assert out == text([lines[0], *lines[2:]])
    assert (tally.before, tally.deleted, tally.changed) == (4, 1, True)


def test_what_happened_after_the_fence_is_a_new_fact() -> None:
    lines = text([event(USER, ANON, ts=AFTER), event(OTHER, device={"fp": DEVICE}, ts=AFTER)])
    out, tally = let_through(lines, gate())
    assert (out, tally.changed) == (lines, False)


def test_of_a_closed_account_nothing_gets_in_whenever_it_happened() -> None:
    out, tally = let_through(text([event(SECOND, ts=AFTER)]), gate())
    assert (out, tally.deleted) == (b"", 1)


@pytest.mark.parametrize("ts", [None, "some time", ""])
def test_a_line_that_tells_no_time_is_late(ts: str | None) -> None:
    assert let_through(text([event(USER, ts=ts)]), gate())[0] == b""


def test_a_linked_value_on_somebody_elses_line_is_replaced_wherever_it_stands_on_it() -> None:
    line = event(OTHER, ANON, ts=BEFORE, page={"path": f"/from/{ANON}", "ref": None})
    out, tally = let_through(text([line]), gate())
    read = json.loads(out)
    new = read["user"]["anon_id"]
    assert TOMBSTONE.fullmatch(new)
    assert (read["page"]["path"], read["user"]["user_id"]) == (f"/from/{new}", OTHER)
    assert out == text([line.replace(ANON.encode(), new.encode())])
    assert (tally.tombstoned, tally.values, dict(tally.undeclared)) == (1, 2, {"page.path": 1})


def test_of_the_same_line_only_what_is_late_is_replaced() -> None:
    """One cookie was erased before it happened, the other after."""
    first, second = FENCES.keys() - {i for i in FENCES if i.value in (USER, SECOND)}
    fences = {first: FENCE, second: NEVER}
    line = event(OTHER, ANON, device={"fp": DEVICE}, ts=AFTER)
    out, _ = let_through(text([line]), gate(fences=fences))
    assert first.value.encode() in out
    assert second.value.encode() not in out


def test_a_line_of_two_people_stays_without_the_erased_one() -> None:
    line = event(OTHER, ts=BEFORE, name="identity.link", payload={"user_id": USER})
    out, tally = let_through(text([line]), gate())
    assert (tally.deleted, tally.co_owned, json.loads(out)["user"]["user_id"]) == (0, 1, OTHER)
    assert USER.encode() not in out


def test_within_a_call_equal_values_stay_equal_and_two_calls_never_join() -> None:
    lines = text([event(None, ANON, ts=BEFORE), event(None, ANON, ts=BEFORE, name="again")])

    def values(secret: bytes) -> list[str]:
        out, _ = let_through(lines, gate(secret=secret))
        return [json.loads(line)["user"]["anon_id"] for line in out.splitlines()]

    one, other = values(b"1" * 32), values(b"2" * 32)
    assert len(set(one)) == len(set(other)) == 1
    assert set(one).isdisjoint(other)


def test_rows_kept_on_a_legal_ground_get_in_as_they_are() -> None:
    keep = KeepWhen(Where((("name", ("chargeback.*",)),)), "GDPR 17(3)(e)", date(2030, 1, 1))
    lines = text([event(USER, ts=BEFORE, name="chargeback.open"), event(USER, ts=BEFORE)])
    out, tally = let_through(lines, gate(replace(DATASET, keep_when=(keep,))))
    assert (out, tally.kept) == (lines.splitlines(keepends=True)[0], 1)
    held = replace(DATASET, treatment=Treatment("keep"))
    assert let_through(lines, gate(held))[0] == lines


def test_where_rows_are_severed_the_line_stays_without_the_person() -> None:
    severed = replace(DATASET, treatment=Treatment("tombstone"))
    out, tally = let_through(text([event(USER, ANON, ts=BEFORE)]), gate(severed))
    assert (tally.deleted, tally.values) == (0, 2)
    assert not any(v.encode() in out for v in EVERYBODY)


def test_a_broken_line_that_holds_somebody_is_parked_with_its_place_or_dropped() -> None:
    broken = b'{"user": {"user_id": "' + USER.encode() + b'"'
    lines = text([event(OTHER, ts=BEFORE), broken, b'{"user": {"user_id": "nobody'])
    parked, tally = let_through(lines, gate())
    assert (parked, [p.line for p in tally.parked]) == (lines, [2])
    dropped, tally = let_through(lines, gate(unparsable="drop"))
    assert dropped == lines.replace(broken + b"\n", b"")
    assert (tally.deleted, tally.parked) == (1, [])


@pytest.mark.parametrize("chunk", [7, 100, 1 << 20])
def test_nobody_comes_in_and_strangers_keep_every_byte_whatever_the_mixture(chunk: int) -> None:
    rng = random.Random(chunk)

    def line() -> tuple[bytes, bool]:
        user, anon = rng.choice((USER, SECOND, OTHER, None)), rng.choice((ANON, OTHER_ANON, None))
        made = event(user, anon, ts=rng.choice((BEFORE, AFTER)), n=rng.random())
        if rng.random() < 0.3:
            made = made.replace(b"_", b"\\u005f")
        return made + rng.choice((b"\n", b"\r\n")), user in (OTHER, None) and anon != ANON

    lines = [line() for _ in range(200)]
    content = b"\xef\xbb\xbf" + b"".join(made for made, _ in lines)
    out, tally = let_through(content, gate(), chunk=chunk)
    assert out.startswith(b"\xef\xbb\xbf")
    left = out.removeprefix(b"\xef\xbb\xbf").splitlines(keepends=True)
    strangers = [made for made, stranger in lines if stranger]
    assert [made for made in left if made in set(strangers)] == strangers
    for made in left:
        read = json.loads(made)
        assert read["user"]["user_id"] != SECOND
        if read["ts"] == BEFORE:
            assert read["user"]["user_id"] != USER
            assert read["user"]["anon_id"] != ANON
    assert tally.before == 200
    assert len(left) == 200 - tally.deleted
    again, second = let_through(out, gate(), chunk=chunk)
    assert (again, second.changed) == (out, False)


def test_who_is_suppressed_is_shown_nowhere() -> None:
    shown = repr(who(FENCES))
    assert not any(value in shown for value in EVERYBODY)
