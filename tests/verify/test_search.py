"""The verifier's own reading and searching, against naive ones."""

from __future__ import annotations

import gzip
import io
import json
import re
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from app.domain.errors import LakeError
from app.domain.findings import What
from app.domain.identifiers import Identifier, Kind, Target, Targets
from app.lake.verify.content import Form, Opened, form_of, line_blocks
from app.lake.verify.jsonread import Form as LeafForm
from app.lake.verify.jsonread import leaves
from app.lake.verify.lines import LineSearch, filled_lines
from app.lake.verify.needles import Needles, counted_up
from app.lake.verify.places import Sight, column_name
from app.lake.verify.text import json_unescaped, percent_decoded, utf8

VALUES = ["usr_aB12cD34", "a_1234", "4711", "me@x.org", "é-id-1", 'q"uo\\te/1', "usr_aB12cD34-x"]


def targets(values: list[str]) -> Targets:
    return Targets(("s",), {v: Target(Identifier(Kind.DERIVED, v), 0) for v in values}, {})


def stands_in(value: str, text: str) -> bool:
    pattern = rf"(?<![A-Za-z0-9_-]){re.escape(value)}(?![A-Za-z0-9_-])"
    return re.search(pattern, text) is not None


def naive(line: bytes) -> bool:
    """Whether a value stands in some text or key of a JSON line, overlaps aside."""

    def texts(value: Any) -> list[str]:
        if isinstance(value, str):
            return [value]
        if isinstance(value, list):
            return [t for inner in value for t in texts(inner)]
        if isinstance(value, dict):
            return [t for k, inner in value.items() for t in (k, *texts(inner))]
        return []

    found = False
    for text in texts(json.loads(line)):
        decoded = unquote_to_bytes(text.encode("utf-8", "surrogatepass"))
        found |= any(stands_in(v, decoded.decode("utf-8", "surrogateescape")) for v in VALUES)
    return found


def written(character: str, form: int) -> str:
    """One character of a JSON string, escaped in one of the ways there are."""
    if form == 1:
        raw = character.encode("utf-16-be", "surrogatepass")
        return "".join(f"\\u{raw[i]:02x}{raw[i + 1]:02X}" for i in range(0, len(raw), 2))
    if form == 2:
        return "".join(f"%{b:02x}" for b in character.encode("utf-8", "surrogatepass"))
    if form == 3:
        percent = "".join(f"%{b:02X}" for b in character.encode("utf-8", "surrogatepass"))
        return "".join(f"\\u{ord(c):04x}" for c in percent)
    return json.dumps(character, ensure_ascii=False)[1:-1]


PIECES = st.one_of(
    st.sampled_from([*VALUES, *(v[:-1] for v in VALUES), *(v.upper() for v in VALUES)]),
    st.sampled_from([" ", "/", "-", "_", "x", "%", "%zz", "\n", "\\", '"', "%41", "é", "😀"]),
)
STRINGS = st.lists(st.tuples(PIECES, st.integers(0, 12)), max_size=4).map(
    lambda parts: '"' + "".join(written(c, form % 13) for text, form in parts for c in text) + '"'
)
LINES = st.lists(STRINGS, min_size=1, max_size=4).map(
    lambda texts: ("{" + ",".join(f'"k{n}":[{t}]' for n, t in enumerate(texts)) + "}").encode()
)


@given(st.lists(LINES, max_size=6))
@example([b'{"a":"\\\\u0075sr_aB12cD34"}', b'{"a":"x\\nusr_aB12cD34"}'])
@example([b'{"a":"\\u0025\\u0037\\u0035sr_aB12cD34"}'])
def test_the_search_finds_what_a_naive_one_finds(lines: list[bytes]) -> None:
    needles = Needles(targets(VALUES))
    search = LineSearch(needles, None)
    for line in lines:
        # each line between strangers' lines, so that the fast way has something to skip
        sight = Sight("", "", "")
        block = b'{"a":"\\u0041 %20 b"}\n' * 3 + line + b'\n{"b":1}\n'
        search.search(iter([block]), sight=sight)
        found = {f.what for f in sight.findings} & {What.RESIDUE, What.NOTE}
        hit = any(f.what is What.RESIDUE or f.detail.startswith("a number") for f in sight.findings)
        assert hit == naive(line), (line, found)


@given(st.lists(LINES, max_size=3))
def test_plain_hits_are_the_hits_of_what_needs_no_decoding(lines: list[bytes]) -> None:
    needles = Needles(targets([v for v in VALUES if re.fullmatch("[A-Za-z0-9_-]+", v)]))
    for line in lines:
        plain = needles.plain_hits(line)
        if plain is not None:
            assert plain == needles.hits(utf8(line))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON, st.booleans(), st.sampled_from([None, 2]))
def test_leaves_are_those_of_the_standard_reader(
    value: Any, ascii_only: bool, indent: int | None
) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    found = leaves(raw)
    assert found is not None
    said = [leaf.value for leaf in found if leaf.form is LeafForm.STRING]
    assert said == _texts(json.loads(raw.decode("utf-8", "surrogatepass")))
    for leaf in found:
        assert raw[leaf.start : leaf.start + len(leaf.raw)] == leaf.raw


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [
            value.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
            if any("\ud800" <= c <= "\udfff" for c in value)
            else value
        ]
    if isinstance(value, list):
        return [t for inner in value for t in _texts(inner)]
    if isinstance(value, dict):
        return [t for inner in value.values() for t in _texts(inner)]
    return []


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"}",
        b"[1,]",
        b'{"a"}',
        b'{"a":1,}',
        b"1 2",
        b'"a',
        b"nul",
        b"[1}",
        b'{"a":[}',
        b"]",
    ],
)
def test_what_is_no_json_has_no_leaves(raw: bytes) -> None:
    assert leaves(raw) is None


def test_json_that_others_refuse_is_read() -> None:
    raw = b'{"a":NaN,"b":-Infinity,"c":' + b"9" * 5000 + b',"d":"\\ud800","e":"\xff","a":"x"}'
    found = leaves(raw)
    assert found is not None
    assert [leaf.path for leaf in found if leaf.form is LeafForm.STRING] == ["d", "e", "a"]
    assert leaves(b"[" * 100_000 + b"]" * 100_000) == []
    assert leaves(b'{"a":' * 20_000 + b"1" + b"}" * 20_000) is not None


@given(st.text(st.sampled_from('aé😀%/4%1\\"\n\ud800'), max_size=12))
def test_each_character_knows_its_bytes(text: str) -> None:
    body = json.dumps(text).encode()[1:-1]
    decoded = json_unescaped(body)
    assert decoded.text == text
    view = percent_decoded(decoded)
    assert len(view.text) == len(view.starts) == len(view.ends)
    assert [0, *view.ends] == [*view.starts, len(body)], "no byte is lost, none is taken twice"


@given(st.lists(st.binary(max_size=40), max_size=6), st.integers(1, 9))
def test_blocks_are_the_same_bytes_cut_at_line_ends(parts: list[bytes], size: int) -> None:
    body = b"\n".join(parts)
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    blocks = list(line_blocks(iter(pieces)))
    assert b"".join(blocks) == body
    assert all(b.endswith(b"\n") for b in blocks[:-1])


@given(st.text(st.sampled_from("a \t\r\n"), max_size=30))
def test_blank_lines_are_no_lines(text: str) -> None:
    body = text.encode()
    assert filled_lines(body) == sum(1 for line in body.split(b"\n") if line.strip())


def test_every_member_and_frame_is_opened_and_a_cut_one_is_refused() -> None:
    parts = [b"one\n" * 50_000, b"", b"two\n"]
    zipped = b"".join(map(gzip.compress, parts)) + bytes(7)
    framed = b"".join(map(zstandard.compress, parts)) + b"\x50\x2a\x4d\x18\x01\0\0\0x"
    for body in (zipped, framed):
        assert b"".join(Opened(io.BytesIO(body)).text()) == b"".join(parts)
        for cut in (20, len(body) - 30 if body is zipped else 25):
            with pytest.raises(LakeError):
                list(Opened(io.BytesIO(body[:cut])).text())
    with pytest.raises(LakeError):
        list(Opened(io.BytesIO(gzip.compress(b"x") + b"more")).text())


def test_forms_are_told_by_content() -> None:
    assert form_of(b"") is Form.TEXT
    assert form_of(b"\x28\xb5\x2f\xfdxx") is Form.ZSTD
    assert form_of(b"\x53\x2a\x4d\x18") is Form.ZSTD
    assert form_of(b"PAR1") is Form.PARQUET
    assert form_of(b"Obj\x01") is Form.AVRO
    assert form_of(b"\xff\xfe{\0") is Form.UNKNOWN
    assert form_of(b'{"a": 1}') is Form.TEXT


def test_a_bound_is_a_beginning_or_one_counted_up() -> None:
    needles = Needles(targets(["usr_01J9ABCDEFGHJKMN"]))
    assert needles.cut_from("usr_01J9ABCDEFGH") == "usr_01J9ABCDEFGHJKMN"
    assert needles.cut_from(counted_up("usr_01J9ABCDEFGH")) == "usr_01J9ABCDEFGHJKMN"
    assert needles.cut_from("usr_01J9ABCDEFGHJKMN") is None
    assert needles.cut_from("usr_01J9ABC") is None
    assert needles.cut_from("usr_01J9ABCDEFGK") is None


def test_a_place_never_shows_a_key_that_may_be_somebodys_value() -> None:
    assert column_name("payload.usr_01J9ABCDEF.at") == "payload.*.at"
    assert column_name("page.path2") == "page.path2"
    assert column_name("by 1", declared=["by 1"]) == "by 1"
