"""The fast reading of a line says what the exact one says, or nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.domain.datasets import Dataset, KeepWhen, Treatment, Where
from app.lake import bronze_lines
from app.lake.bronze_lines import Rule, Tally, rewritten
from app.lake.codecs import Block
from app.lake.jsontext import JsonTextError, leaves
from app.lake.line_reads import LineReader, OwnerReader, Read
from tests.lake.bronze_world import (
    ANON,
    DATASET,
    DEVICE,
    OTHER,
    SECOND,
    TARGETS,
    TOMBSTONES,
    USER,
    event,
)

HIDDEN = [USER.replace("_", "%5F"), ANON.replace("_", "%5f"), f"%2F{USER}", f"{USER}%41"]
ESCAPED = [
    USER.replace("_", "\\u005f"),
    f"gr\\u00f6\\u00dfe {USER}",
    f'\\"{ANON}\\"',
    f"\\n{DEVICE}",
]
IDS = [USER, ANON, DEVICE, SECOND, OTHER, f"{USER}0", f"tel/{USER}?q=1"]
TEXTS = st.sampled_from(
    [*IDS, *HIDDEN, *ESCAPED, "", "x", "%5F", "identity.link", "refund.open", "a{b}[c],:", "é"]
).map(lambda text: f'"{text}"')
SCALARS = TEXTS | st.sampled_from(["null", "true", "12", "-1.5e3", "NaN", "1e999"])
KEYS = st.sampled_from(
    [
        *("user", "user_id", "anon_id", "name", "payload", "provider_id", "page", "x", ""),
        *("user.user_id", "other_user_id", "user\\u005fid", "us\\u0065r", "caf\\u00e9", USER),
    ]
).map(lambda key: f'"{key}"')


def members(values: Any) -> Any:
    """Objects as text: keys twice, in any order, with white space or not."""
    pairs = st.lists(st.tuples(KEYS, values), max_size=4)
    return st.builds(
        lambda found, colon, comma: (
            "{" + comma.join(key + colon + value for key, value in found) + "}"
        ),
        pairs,
        st.sampled_from([":", ": ", " :"]),
        st.sampled_from([",", ", "]),
    )


VALUES = st.recursive(
    SCALARS,
    lambda inner: members(inner) | st.lists(inner, max_size=3).map(lambda v: f"[{','.join(v)}]"),
    max_leaves=8,
)
ORDINARY = st.builds(
    lambda user, name, payload, page: (
        f'{{"name":{name},"user":{{"user_id":{user}}},"payload":{payload},"page":{{"ref":{page}}}}}'
    ),
    SCALARS,
    TEXTS,
    members(VALUES),
    TEXTS,
)
BROKEN = st.builds(lambda line, at: line[: at % (len(line) + 1)], ORDINARY, st.integers(0, 400))
LINES = st.lists(ORDINARY | ORDINARY | members(VALUES) | VALUES | BROKEN, min_size=1, max_size=6)
KEPT = KeepWhen(Where((("name", ("refund.*",)),)), "GDPR 17(3)(e)", date(2027, 1, 1))
RULES = [
    DATASET,
    replace(DATASET, elsewhere="report"),
    replace(DATASET, keep_when=(KEPT,)),
    replace(DATASET, treatment=Treatment(kind="tombstone")),
]


def outcome(text: bytes, rules: Dataset) -> tuple[bytes, Any]:
    rule = Rule.of(rules, targets=TARGETS, tombstones=TOMBSTONES, unparsable="park")
    tally = Tally()
    pieces = rewritten([Block(text, 0, len(text))], rule=rule, tally=tally)
    after = b"".join(bytes(p) for some in pieces for p in some)
    return after, (tally.counts, tally.parked, tally.kept_lines)


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(lines=LINES, rules=st.sampled_from(RULES), end=st.sampled_from(["\n", "\r\n"]))
@example(
    lines=[f'{{"user":{{"user_id":"{USER}"}},"user.user_id":"{OTHER}"}}'],
    rules=DATASET,
    end="\n",
)
@example(
    lines=[f'{{"user":{{"user_id":"{OTHER}"}},"user":{{"user_id":"{USER}"}}}}'],
    rules=DATASET,
    end="\n",
)
@example(
    lines=[f'{{"name":"identity.link","user":{{"user_id":"{USER}"}},"payload":{{"user_id":""}}}}'],
    rules=DATASET,
    end="\n",
)
@example(lines=[f'{{"page":"{USER}","x":[{{"y":"{USER}"}}]}}'], rules=DATASET, end="\n")
def test_lines_become_the_same_as_by_the_exact_reading(
    lines: list[str], rules: Dataset, end: str
) -> None:
    text = "".join(line + end for line in lines).encode()
    quick = outcome(text, rules)
    with pytest.MonkeyPatch.context() as patch:
        right = bronze_lines._line
        patch.setattr(
            bronze_lines, "_line", lambda line, **known: right(line, **known | {"at": ()})
        )
        exact = outcome(text, rules)
    assert quick == exact


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(line=ORDINARY | members(VALUES) | BROKEN, cut=st.integers(0, 300), put=st.binary(max_size=3))
def test_what_the_fast_parser_takes_is_json(line: str, cut: int, put: bytes) -> None:
    raw = line.encode()
    at = cut % (len(raw) + 1)
    raw = raw[:at] + put + raw[at + len(put) :]
    try:
        msgspec.json.Decoder(msgspec.defstruct("Nothing", [])).decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    try:
        leaves(raw)
    except JsonTextError:
        pytest.fail("taken by the fast parser alone")


def test_ordinary_lines_are_read_fast() -> None:
    owners = OwnerReader(DATASET.roles.owner, ["payload.user_id"])
    reader = LineReader(DATASET, frozenset({"user.user_id", "name", "payload.user_id"}))
    line = event(USER, ANON, page={"path": f"/u/{USER}"}) + b"\n"
    assert owners.owners(line) == frozenset({USER})
    spaced = json.dumps(json.loads(line)).encode()
    assert owners.owners(spaced) == frozenset({USER})
    read = reader.read(line, [line.index(b"/u/") + 6])
    assert isinstance(read, Read)
    assert [(leaf.path, leaf.text) for leaf in read.leaves] == [("page.path", f"/u/{USER}")]
    assert read.values == {"name": ["search.query"], "user.user_id": [USER]}


@pytest.mark.parametrize(
    "line",
    [
        f'{{"user":{{"user_id":"{USER}","user_id":"{OTHER}"}}}}',
        f'{{"user":{{"user_id":"{USER}"}},"user.user_id":"{OTHER}"}}',
        f'{{"user":[{{"user_id":"{USER}"}}]}}',
        '{"user":{"user_id":4711}}',
        f'{{"user":{{"user_id":"{USER}"}},"payload":{{"user_id":"{OTHER}"}}}}',
        f'{{"user":{{"user_id":"{USER}"}}',
    ],
)
def test_what_could_be_read_in_two_ways_is_not_read_fast(line: str) -> None:
    assert OwnerReader(["user.user_id"], ["payload.user_id"]).owners(line.encode()) is None
