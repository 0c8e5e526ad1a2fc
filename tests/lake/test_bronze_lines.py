"""The rule on lines: who goes, what is replaced, and that every other byte stays."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.datasets import KeepWhen, Treatment, Where
from app.domain.identifiers import TOKEN_CHARACTERS
from app.domain.receipts import Counts, Place, Share
from tests.lake.bronze_world import (
    ANON,
    DATASET,
    DEVICE,
    OTHER,
    OTHER_ANON,
    SECOND,
    SESSION,
    TARGETS,
    USER,
    erased,
    event,
    text,
    tomb,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "bronze_lines.json").read_text())


def filled(template: str) -> bytes:
    def value(match: re.Match[str]) -> str:
        return tomb(match[1], *match[2].split())

    return re.sub(r"<tomb (\S+) of([^>]*)>", value, template).encode("latin-1")


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["name"].replace(" ", "_"))
@pytest.mark.parametrize("chunk", [7, 1 << 20])
def test_vector(vector: dict[str, Any], chunk: int) -> None:
    after, tally = erased(vector["before"].encode("latin-1"), chunk=chunk)
    assert after == filled(vector["after"])
    counts = replace(tally.counts, shares={}, undeclared={})
    assert counts == Counts(**vector["counts"])


def test_long_and_deep_lines_are_lines_like_any_other() -> None:
    long = b'{"q":"' + b"x\\n" * 1_700_000 + f'{ANON}","w":1}}'.encode()
    deep = b'{"a":[' * 20_000 + f'"{ANON}"'.encode() + b"]}" * 20_000
    after, tally = erased(text([long, event(USER), deep, event(OTHER)]), chunk=1 << 18)
    new = tomb(ANON).encode()
    # Behind an escape that ends in a letter: the neighbours are those of the decoded text.
    expected = [long.replace(ANON.encode(), new), deep.replace(ANON.encode(), new), event(OTHER)]
    assert after == text(expected)
    assert tally.counts.deleted == 1


def test_a_line_is_counted_for_its_owner_or_the_first_subject_of_its_values() -> None:
    lines = [
        event(USER),
        event(SECOND, ANON),
        event(OTHER, payload={"buyer_id": SECOND, "provider_id": USER}),
        event(OTHER, payload={"buyer_id": SECOND}),
        event(None, None, name="identity.link", payload={"user_id": SECOND}),
    ]
    _, tally = erased(text(lines))
    assert tally.counts.shares == {0: Share(deleted=1, tombstoned=1), 1: Share(2, 1)}
    assert tally.counts.values == 3


def test_values_where_nothing_is_declared_are_replaced_and_counted_by_path() -> None:
    line = event(OTHER, page={"path": f"/u/{USER}", "ref": "-"}, extra=[{"k": ANON}, {USER: 1}])
    after, tally = erased(text([line]))
    assert tally.counts.undeclared == {"page.path": 1, "extra.k": 1, "extra.*": 1}
    new = line.replace(USER.encode(), tomb(USER, OTHER).encode())
    assert after == text([new.replace(ANON.encode(), tomb(ANON, OTHER).encode())])
    unchanged, tally = erased(text([line]), rules=replace(DATASET, elsewhere="report"))
    assert unchanged == text([line])
    assert not tally.changed
    assert tally.counts.undeclared == {"page.path": 1, "extra.k": 1, "extra.*": 1}


def test_treatment_tombstone_keeps_the_line_and_severs_the_person() -> None:
    rules = replace(DATASET, treatment=Treatment(kind="tombstone"))
    line = event(USER, ANON, session_id=SESSION, device={"fp": DEVICE})
    after, tally = erased(text([line, event(OTHER)]), rules=rules)
    for value in (USER, ANON, SESSION, DEVICE):
        line = line.replace(value.encode(), tomb(value, USER).encode())
    assert after == text([line, event(OTHER)])
    assert tally.counts.deleted == 0
    assert tally.counts.shares == {0: Share(tombstoned=1)}


def test_kept_lines_stay_as_they_are_and_are_counted() -> None:
    where = Where((("name", ("chargeback.*", "refund.*")),))
    rules = replace(DATASET, keep_when=(KeepWhen(where, "GDPR 17(3)(e)", date(2027, 1, 1)),))
    dispute = event(USER, ANON, name="chargeback.open")
    after, tally = erased(text([dispute, event(USER)]), rules=rules)
    assert after == text([dispute])
    assert tally.counts == Counts(2, 1, kept=1, shares={0: Share(deleted=1, kept=1)})
    kept = replace(DATASET, treatment=Treatment(kind="keep"))
    after, tally = erased(text([dispute, event(OTHER)]), rules=kept)
    assert after == text([dispute, event(OTHER)])
    assert tally.counts == Counts(2, kept=1, shares={0: Share(kept=1)})


def test_a_line_of_two_people_of_the_run_goes() -> None:
    line = event(USER, name="identity.link", payload={"user_id": SECOND})
    after, tally = erased(text([line]))
    assert after == b""
    assert tally.counts.shares == {0: Share(deleted=1)}


def test_a_parked_line_has_its_place_and_drop_removes_it() -> None:
    before = text([b"", event(OTHER), f'{{"u":"{SECOND}"'.encode(), event(USER)])
    after, tally = erased(before, chunk=50)
    assert tally.parked == [Place(3, before.index(b'{"u":'))]
    assert after == before.removesuffix(text([event(USER)]))
    after, tally = erased(before, unparsable="drop")
    assert after == text([b"", event(OTHER)])
    assert tally.counts == Counts(3, 2, shares={1: Share(deleted=1), 0: Share(deleted=1)})


def test_what_is_erased_stays_the_same_when_erased_again() -> None:
    once, _ = erased(text([event(USER), event(OTHER, ANON), event(None, ANON, x=USER)]))
    twice, tally = erased(once)
    assert twice == once
    assert not tally.changed


def test_people_stand_in_no_repr() -> None:
    _, tally = erased(text([event(OTHER, payload={USER: {"x": USER}})]))
    assert USER not in repr(tally)
    assert USER not in repr(TARGETS)


# --- against a naive reading of the rule -------------------------------------------------------

IDS = [USER, ANON, DEVICE, SESSION, SECOND, OTHER, OTHER_ANON, USER + "0", "x" + ANON]
WORDS = st.sampled_from([*IDS, "", "größe", "null", "tab\there", 'quote"', "back\\slash"])
TEXTS = st.lists(st.tuples(WORDS, st.sampled_from([" ", "/", "é", "-", "a", ""]))).map(
    lambda parts: "".join(a + b for a, b in parts)
)
IDENTIFIER = st.sampled_from([*IDS, None])
LINES = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["identity.link", "search.query"]),
        "user": st.fixed_dictionaries({"user_id": IDENTIFIER, "anon_id": IDENTIFIER}),
        "payload": st.dictionaries(
            st.sampled_from(["user_id", "anon_id", "provider_id", "q", USER]),
            IDENTIFIER | TEXTS | st.integers() | st.lists(TEXTS, max_size=2),
            max_size=3,
        ),
        "page": st.fixed_dictionaries({"path": TEXTS}),
    }
)


def severed(value: Any, owners: set[str]) -> Any:
    token = re.escape(TOKEN_CHARACTERS)
    if isinstance(value, str):
        for target in TARGETS.by_value:
            new = tomb(target, *owners)
            value = re.sub(f"(?<![{token}]){target}(?![{token}])", new, value)
    elif isinstance(value, list):
        return [severed(v, owners) for v in value]
    elif isinstance(value, dict):
        return {severed(k, owners): severed(v, owners) for k, v in value.items()}
    return value


def naive(line: dict[str, Any]) -> dict[str, Any] | None:
    owners = {line["user"]["user_id"]}
    if line["name"] == "identity.link":
        said = line["payload"].get("user_id")
        owners |= set(said) if isinstance(said, list) else {said}
    owners = {str(o) for o in owners if o is not None}
    if owners & set(TARGETS.owners) and owners <= set(TARGETS.owners):
        return None
    after: dict[str, Any] = severed(line, owners)
    return after


@given(
    lines=st.lists(LINES, max_size=8),
    ascii_only=st.booleans(),
    end=st.sampled_from(["\n", "\r\n"]),
    chunk=st.sampled_from([13, 400, 1 << 20]),
)
def test_the_rule_is_the_naive_rule_and_everyone_else_is_byte_equal(
    lines: list[dict[str, Any]], ascii_only: bool, end: str, chunk: int
) -> None:
    raw = [(json.dumps(line, ensure_ascii=ascii_only) + end).encode() for line in lines]
    after, tally = erased(b"".join(raw), chunk=chunk)
    expected = [(line, naive(line)) for line in lines]
    left = after.split(b"\n")[:-1]
    stay = [(b, n, r) for (b, n), r in zip(expected, raw, strict=True) if n is not None]
    assert len(left) == len(stay)
    for line, (before, wanted, untouched) in zip(left, stay, strict=True):
        assert json.loads(line) == wanted
        if before == wanted:
            assert line + b"\n" == untouched
    states = Counter("gone" if n is None else "same" if b == n else "severed" for b, n in expected)
    counts = tally.counts
    assert (counts.before, counts.deleted) == (len(lines), states["gone"])
    assert counts.tombstoned == states["severed"]
    total = sum(counts.shares.values(), Share())
    assert (total.deleted, total.tombstoned) == (counts.deleted, counts.tombstoned)
