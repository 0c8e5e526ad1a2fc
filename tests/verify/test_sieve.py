"""What a large block is searched with finds no less than the search of short ones."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.identifiers import Targets
from app.lake.verify.lines import filled_lines, suspect_lines
from app.lake.verify.needles import Needles
from tests.verify.material import anon, device, event, identity, user

ODD = ["mueller@example.org", "17", "ünïcode-name-of-one", "no_", "-", "a" * 40, "_start1234567"]
VALUES = [user(1), user(2), anon(1), device(1), "s_7Q2NAAAABBBBCCCC", *ODD]
NEEDLES = Needles(Targets.of([identity("s", users=VALUES)]))
TOKENS = Needles(Targets.of([identity("s", users=VALUES[:5])]))
FILLER = [event(9, path=f"/p/{user(number)}?q=caf%C3%A9%5F", q="a\\nb_") for number in range(60)]

plain = st.sampled_from(VALUES)
spelled = st.builds(
    lambda value, how: how(value),
    plain,
    st.sampled_from(
        [
            str,
            str.upper,
            str.lower,
            lambda v: v.replace("_", "%5F"),
            lambda v: "".join(f"%{byte:02x}" for byte in v.encode()),
            lambda v: "".join(f"\\u{ord(c):04X}" for c in v),
            lambda v: v[:3] + "".join(f"\\u{ord(c):04x}" for c in "%" + v[3:4].encode().hex()),
            lambda v: v[:-1] + "%" + v[-1:].encode().hex(),
            lambda v: hashlib.md5(v.encode(), usedforsecurity=False).hexdigest(),
            lambda v: hashlib.sha1(v.encode(), usedforsecurity=False).hexdigest().upper(),
            lambda v: hashlib.sha256(v.encode()).hexdigest(),
        ]
    ),
)
around = st.text(st.sampled_from('abcdef0123456789_-%\\/" é'), max_size=40)
lines = st.lists(
    st.builds(lambda a, v, b: f"{a}{v}{b}\n".encode(), around, st.one_of(spelled, around), around),
    min_size=1,
    max_size=8,
)


@pytest.mark.parametrize("needles", [NEEDLES, TOKENS], ids=["odd values too", "tokens"])
@settings(max_examples=150)
@given(planted=lines, at=st.integers(0, len(FILLER)))
def test_a_large_block_hides_no_line_that_is_suspect_by_itself(
    needles: Needles, planted: list[bytes], at: int
) -> None:
    alone = {line for line in planted if len(needles.suspects(line))}
    block = b"".join([*FILLER[:at], *planted, *FILLER[at:]])
    assert len(block) > 1 << 14
    found = {block[a:b] for a, b in suspect_lines(block, needles.suspects(block))}
    assert alone <= found


def test_a_large_block_without_anybody_has_no_suspect() -> None:
    block = b"".join(FILLER * 3)
    assert len(Needles(Targets.of([identity("s", users=[user(500)])])).suspects(block)) == 0


def test_a_value_is_found_at_either_end_of_a_block() -> None:
    filler = b"x" * (1 << 14)
    for value in VALUES[:5]:
        raw = value.encode()
        for block in (raw + b" " + filler, filler + b" " + raw):
            where = block.index(raw)
            (place,) = TOKENS.suspects(block).tolist()
            assert where <= place < where + len(raw)


@given(st.lists(st.sampled_from([b"x", b" ", b"\n", b"\r\n", b"\t", b"\x0b", b"{}"]), max_size=30))
def test_lines_that_are_not_blank_are_counted(pieces: list[bytes]) -> None:
    block = b"".join(pieces)
    assert filled_lines(block) == sum(bool(line.strip(b" \t\r\f\v")) for line in block.split(b"\n"))
