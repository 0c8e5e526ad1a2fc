"""JSON text is read as bytes, and an identifier is spliced out of it without touching the rest."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.identifiers import TOMBSTONE, Identifier, Kind, Target, Targets
from app.lake.jsontext import Edited, Editor, JsonTextError, leaves
from app.lake.tombstones import Tombstones

USER = "usr_01HZX5T3QF7N8K2M4P6R8S0VWX"
NUMBER = "48151623"
MAIL = "a.b@c.de"
UMLAUT = "bär_é€😀"
CODED = "x%41yz"
SECRET = b"s" * 32


def editor(*values: str) -> Editor:
    targets = Targets(
        ("s1", "s2"),
        {v: Target(Identifier(Kind.USER_ID, v), n % 2) for n, v in enumerate(values)},
        {v: n % 2 for n, v in enumerate(values)},
    )
    return Editor(targets, Tombstones(SECRET))


def tomb(value: str, owner: str = "") -> str:
    return Tombstones(SECRET).of(Identifier(Kind.USER_ID, value), owner=owner)


def edited(
    raw: bytes | str, *values: str, declared: str = "user.user_id", elsewhere: str = "replace"
) -> Edited:
    raw = raw.encode() if isinstance(raw, str) else raw
    return editor(*(values or (USER, NUMBER, MAIL, UMLAUT, CODED))).edit_json(
        raw, leaves(raw), owner="", declared=frozenset(declared.split()), elsewhere=elsewhere
    )


# --- reading ---------------------------------------------------------------------------------


def oracle(value: Any, path: str = "") -> Iterator[tuple[str, str | None]]:
    if isinstance(value, dict):
        for key, member in value.items():
            inner = f"{path}.{key}" if path else key
            yield inner, key
            yield from oracle(member, inner)
    elif isinstance(value, list):
        for element in value:
            yield from oracle(element, path)
    elif isinstance(value, str):
        yield path, value
    elif value is None or isinstance(value, bool):
        yield path, None
    else:
        yield path, repr(value)


SCALARS = st.none() | st.booleans() | st.integers() | st.text() | st.just('\ud800\\"/')
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(value=VALUES, ascii_only=st.booleans(), indent=st.sampled_from([None, 1]))
def test_leaves_are_those_of_a_parser(value: Any, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    raw = text.encode("utf-8", "surrogatepass")
    if not ascii_only and re.search("[\ud800-\udfff]", text):
        return  # not UTF-8: the parser below refuses it
    found = leaves(raw)
    assert [(leaf.path, leaf.text) for leaf in found] == list(oracle(json.loads(raw)))
    for leaf in found:
        parsed = json.loads(raw[leaf.start : leaf.end])
        assert isinstance(parsed, str) == leaf.is_string


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b"[1,]",
        b'{"a":1,}',
        b'{"a"}',
        b"[1 2]",
        b"[1}",
        b'{"a":1]',
        b"1 2",
        b'{"a":01}',
        b'"a\tb"',
        b'"\\x"',
        b'"\\u12"',
        b'"open',
        b"tru",
        b"{1:2}",
        b"\xef\xbb\xbf1",
        b"'a'",
        b"-NaN",
        b"1.",
    ],
)
def test_what_is_not_one_complete_value_is_refused(raw: bytes) -> None:
    with pytest.raises(JsonTextError):
        leaves(raw)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"NaN", "NaN"),
        (b"[-Infinity]", "-Infinity"),
        (b'{"n":' + b"9" * 5000 + b"}", "9" * 5000),
        (b"-1.50e+3", "-1.50e+3"),
        (b'"\\ud800"', "\ud800"),
        (b'"a\xff"', "a\udcff"),
    ],
)
def test_odd_values_are_taken_as_they_are(raw: bytes, text: str) -> None:
    assert leaves(raw)[-1].text == text


def test_depth_and_length_are_no_limit() -> None:
    deep = b'{"a":[' * 50_000 + b'"x"' + b"]}" * 50_000
    assert leaves(deep)[-1].text == "x"
    wide = b'{"k":"' + b"\\n" * 2_500_000 + b'"}'
    assert leaves(wide)[-1].text == "\n" * 2_500_000


def test_a_key_that_stands_twice_gives_both_values() -> None:
    found = leaves(b'{"u":{"i":"a"},"u":{"i":["b","c"]}}')
    assert [f.text for f in found if f.path == "u.i" and not f.is_key] == ["a", "b", "c"]


# --- splicing --------------------------------------------------------------------------------


def every_form(value: str) -> list[str]:
    """Ways to write a value inside a JSON string."""
    units = json.dumps(value)[1:-1]
    escaped = "".join(
        f"\\u{ord(c):04X}" if ord(c) < 0x10000 else json.dumps(c)[1:-1] for c in value
    )
    forms = [json.dumps(value, ensure_ascii=False)[1:-1], units, escaped]
    if "%" not in value:
        percent = "".join(f"%{octet:02x}" for octet in value.encode())
        forms += [quote(value, safe=""), percent, percent.replace("%", "\\u0025")]
    return forms


@pytest.mark.parametrize("value", [USER, NUMBER, MAIL, UMLAUT, CODED])
def test_every_form_of_a_value_is_replaced_and_nothing_beside_it(value: str) -> None:
    for form in every_form(value):
        for before, after in (("", ""), ("\\n", "\\t"), ("%2F", "%2f"), ("/", "?x"), ("é", "é")):
            if value == CODED and before == "%2F":
                continue  # decoding its neighbours decodes it too
            raw = f'{{ "t" :"{before}{form}{after}" , "n":1.0}}'
            done = edited(raw)
            expected = f'{{ "t" :"{before}{tomb(value)}{after}" , "n":1.0}}'
            assert done.raw.decode() == expected, (form, before)
            assert (done.values, done.undeclared) == (1, {"t": 1})


@pytest.mark.parametrize("value", [USER, NUMBER, MAIL, UMLAUT])
def test_a_longer_token_is_somebody_else(value: str) -> None:
    for form in every_form(value):
        for before, after in (
            ("a", ""),
            ("", "0"),
            ("-", ""),
            ("", "_"),
            ("\\u0041", ""),
            ("", "%41"),
        ):
            text = f'"{before}{form}{after}"'
            raw = f'{{"user":{{"user_id":{text}}},{text}:1}}'.encode()
            assert edited(raw).raw == raw, (form, before)


def test_a_value_of_another_case_is_somebody_else() -> None:
    raw = b'{"t":"' + USER.lower().encode() + b'"}'
    assert edited(raw).raw == raw


def test_numbers_count_at_declared_paths_only_and_become_strings() -> None:
    raw = f'{{"user":{{"user_id":[{NUMBER}, "{NUMBER}"]}},"total":{NUMBER}}}'
    done = edited(raw)
    new = tomb(NUMBER)
    assert done.raw.decode() == f'{{"user":{{"user_id":["{new}", "{new}"]}},"total":{NUMBER}}}'
    assert (done.values, done.undeclared) == (2, {})


def test_keys_are_searched_and_never_shown() -> None:
    inner = f'{{"seen":"{MAIL}","alice_smith":"/{USER}"}}'
    raw = f'{{"by":{{"{USER}":{inner}}},"usr_SOMEBODYELSE123":"{USER}"}}'
    done = edited(raw)
    assert USER not in done.raw.decode()
    assert done.undeclared == {"by.*": 1, "by.*.seen": 1, "by.*.alice_smith": 1, "*": 1}
    hidden = edited('{"anna_lena":"see anna_lena"}', "anna_lena")
    assert hidden.undeclared == {"*": 2}


def test_elsewhere_report_counts_and_leaves() -> None:
    raw = f'{{"user":{{"user_id":"{USER}"}},"path":"/u/{USER}"}}'
    done = edited(raw, elsewhere="report")
    assert done.raw.decode() == raw.replace(USER, tomb(USER), 1)
    assert (done.values, done.undeclared, done.subjects) == (1, {"path": 1}, {0})


def test_of_overlapping_values_the_leftmost_and_longest_is_taken() -> None:
    done = edited('{"t":"ab.cd.ef ab.cd ef"}', "ab.cd", "ab.cd.ef", "cd.ef")
    assert done.raw.decode() == f'{{"t":"{tomb("ab.cd.ef")} {tomb("ab.cd")} ef"}}'


def test_a_value_beside_one_that_spans_two_leaves_is_not_overlooked() -> None:
    done = edited('{"t":"xab,yz","u":"yz99"}', "ab,yz,u:", "yz99", "ab,yz")
    assert done.raw.decode() == f'{{"t":"xab,yz","u":"{tomb("yz99")}"}}'


def test_tombstones_differ_by_owner_and_not_by_place() -> None:
    raw = f'["{USER}","/{USER}"]'.encode()
    one, two = (
        editor(USER).edit_json(
            raw, leaves(raw), owner=owner, declared=frozenset(), elsewhere="replace"
        )
        for owner in ("a", "b")
    )
    assert len(set(TOMBSTONE.findall(one.raw.decode()))) == 1
    assert one.raw != two.raw


def test_plain_text_knows_percent_escapes_and_no_json_escapes() -> None:
    edit = editor(USER, MAIL)
    assert edit.edit_text(USER, owner="").text == tomb(USER)
    done = edit.edit_text(f"/a/{USER}?m=a%2Eb%40c.de\udcff", owner="")
    assert done.text == f"/a/{tomb(USER)}?m={tomb(MAIL)}\udcff"
    assert (done.values, done.subjects) == (2, {0, 1})
    untouched = USER.replace("_", "\\u005f")
    assert edit.edit_text(untouched, owner="").text == untouched


def test_hits_and_holder_tell_who_is_there() -> None:
    edit = editor(USER, MAIL)
    assert edit.hits(USER) == [USER]
    assert edit.hits(f"x {MAIL} y") == [MAIL]
    assert edit.hits(f"x{USER}") == []
    assert edit.holder(b"{broken " + USER.encode()) == 0
    assert edit.holder(b'{"\\n' + MAIL.encode()) == 1
    assert edit.holder(b"{broken x" + USER.encode()) is None


def test_no_value_stands_in_a_repr_or_a_message() -> None:
    done = edited(f'{{"t":"{USER}"}}')
    assert tomb(USER) not in repr(done)
    with pytest.raises(JsonTextError) as raised:
        leaves(f'{{"t":"{USER}'.encode())
    assert USER not in str(raised.value)


@given(
    value=VALUES,
    seeds=st.lists(
        st.tuples(st.sampled_from([USER, NUMBER, MAIL]), st.text(' /."é\\', max_size=2))
    ),
)
def test_nothing_is_left_and_everything_else_means_the_same(
    value: Any, seeds: list[tuple[str, str]]
) -> None:
    texts = [f"{glue}{v}{glue}" for v, glue in seeds]
    raw = json.dumps({"v": value, "texts": texts, "user": {"user_id": texts}}).encode()
    done = edited(raw)
    before, after = json.loads(raw), json.loads(done.raw)
    assert after["v"] == before["v"]
    expected = [f"{glue}{tomb(v)}{glue}" for v, glue in seeds]
    assert after["texts"] == expected
    assert done.values == 2 * len(seeds)
    assert edited(done.raw).values == 0
