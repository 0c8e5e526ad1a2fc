"""The second look at Bronze pairs: a right pair says nothing, every wrong one is found."""

from __future__ import annotations

import gzip
import hashlib
import io
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
import zstandard

from app.domain.findings import Finding, What
from app.domain.receipts import Counts, ObjectWork, Share, Superseded, WorkState
from app.lake.ports import GOVERNANCE
from app.lake.verify import check_objects
from tests.places import Place
from tests.verify.material import (
    KEEP_DISPUTES,
    TARGETS,
    TOMBSTONE,
    Pair,
    event,
    load,
    raw_dataset,
    right_pair,
    tombstone,
    user,
    written,
)

Lines = list[bytes]


def checked(
    place: Place, *works: ObjectWork, unparsable: str = "park", **dataset: object
) -> list[Finding]:
    return check_objects(
        works,
        dataset=raw_dataset(place.root, **dataset),
        targets=TARGETS,
        store=place.verifier,
        unparsable=unparsable,
    )


def blocking(findings: list[Finding]) -> list[Finding]:
    return [f for f in findings if f.what not in (What.NOTE, What.WITHHELD, What.PARKED)]


def test_a_right_pair_says_nothing(place: Place) -> None:
    assert checked(place, written(place, right_pair())) == []


@pytest.mark.parametrize("squeeze", [gzip.compress, zstandard.ZstdCompressor().compress])
def test_a_right_compressed_pair_says_nothing(
    place_file: Place, squeeze: Callable[[bytes], bytes]
) -> None:
    pair = right_pair()
    body = squeeze(b"".join(pair.base[:5])) + squeeze(b"".join(pair.base[5:]))
    work = written(place_file, pair, base=body, new=squeeze(b"".join(pair.new)))
    assert checked(place_file, work) == []


def test_line_ends_marks_and_a_missing_last_newline_stay(place_file: Place) -> None:
    pair = right_pair()
    base = b"\xef\xbb\xbf" + b"".join(pair.base).replace(b"\n", b"\r\n")[:-2]
    new = b"\xef\xbb\xbf" + b"".join(pair.new).replace(b"\n", b"\r\n")[:-2]
    assert checked(place_file, written(place_file, pair, base=base, new=new)) == []


def stranger_dropped(new: Lines) -> Lines:
    return new[1:]


def blank_line_dropped(new: Lines) -> Lines:
    return [line for line in new if line != b"\n"]


def co_owned_line_deleted(new: Lines) -> Lines:
    return new[:3] + new[4:]


def mention_deleted(new: Lines) -> Lines:
    return new[:1] + new[2:]


def two_lines_swapped(new: Lines) -> Lines:
    return [new[-1], *new[1:-1], new[0]]


def line_doubled(new: Lines) -> Lines:
    return [new[0], *new]


def line_added_at_the_end(new: Lines) -> Lines:
    return [*new, event(3)]


def subjects_line_left(new: Lines) -> Lines:
    return [new[0], event(1), *new[1:]]


def byte_of_a_stranger_changed(new: Lines) -> Lines:
    return [new[0].replace(b"Mozilla", b"mozilla"), *new[1:]]


def byte_beside_a_tombstone_changed(new: Lines) -> Lines:
    return [new[0], new[1].replace(b"Mozilla", b"mozilla"), *new[2:]]


def number_written_otherwise(new: Lines) -> Lines:
    return [new[0], new[1].replace(b"1.5", b"1.50"), *new[2:]]


def white_space_added(new: Lines) -> Lines:
    return [new[0], new[1].replace(b'"payload":', b'"payload": '), *new[2:]]


def identifier_left(new: Lines) -> Lines:
    return [
        new[0],
        new[1].replace(tombstone(user(2), user(8)).encode(), user(2).encode(), 1),
        *new[2:],
    ]


def escaped_identifier_left(new: Lines) -> Lines:
    left = right_pair().base[12]
    return [*new[:9], left, *new[10:]]


def wrong_kind_letter(new: Lines) -> Lines:
    return [new[0], new[1].replace(b"tomb_u_", b"tomb_d_"), *new[2:]]


def tombstone_too_short(new: Lines) -> Lines:
    text = tombstone(user(2), user(8)).encode()
    return [new[0], new[1].replace(text, text[:-1]), *new[2:]]


def tombstone_of_other_letters(new: Lines) -> Lines:
    text = tombstone(user(2), user(8)).encode()
    return [new[0], new[1].replace(text, text[:-1] + b"U"), *new[2:]]


def two_tombstones_for_one_value(new: Lines) -> Lines:
    text = tombstone(user(2), user(8)).encode()
    other = tombstone(user(2), "another").encode()
    return [new[0], new[1].replace(text, other, 1), *new[2:]]


def one_tombstone_for_two_owners(new: Lines) -> Lines:
    return [
        line.replace(tombstone(user(2), user(9)).encode(), tombstone(user(2), user(8)).encode())
        for line in new
    ]


def one_tombstone_for_two_values(new: Lines) -> Lines:
    return [
        line.replace(tombstone(user(2), user(9)).encode(), tombstone(user(1), user(9)).encode())
        for line in new
    ]


def span_too_wide(new: Lines) -> Lines:
    text = tombstone(user(1), user(9)).encode()
    return [line.replace(b"/p/" + text, b"/p" + text) for line in new]


def longer_value_of_a_stranger_cut(new: Lines) -> Lines:
    return [
        line.replace(user(1).encode() + b"X", tombstone(user(1)).encode() + b"X") for line in new
    ]


def null_made_text(new: Lines) -> Lines:
    return [line.replace(b'"ref":null', b'"ref":""') for line in new]


def last_newline_lost(new: Lines) -> Lines:
    return [*new[:-1], new[-1].rstrip(b"\n")]


def line_end_changed(new: Lines) -> Lines:
    return [*new[:-1], new[-1].rstrip(b"\n") + b"\r\n"]


def everything_gone(_new: Lines) -> Lines:
    return []


MUTANTS = [
    stranger_dropped, blank_line_dropped, co_owned_line_deleted, mention_deleted,
    two_lines_swapped, line_doubled, line_added_at_the_end, subjects_line_left,
    byte_of_a_stranger_changed, byte_beside_a_tombstone_changed, number_written_otherwise,
    white_space_added, identifier_left, escaped_identifier_left, wrong_kind_letter,
    tombstone_too_short, tombstone_of_other_letters, two_tombstones_for_one_value,
    one_tombstone_for_two_owners, one_tombstone_for_two_values, span_too_wide,
    longer_value_of_a_stranger_cut, null_made_text, last_newline_lost, line_end_changed,
    everything_gone,
]  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.__name__)
def test_a_mutated_eraser_is_found(place_file: Place, mutant: Callable[[Lines], Lines]) -> None:
    pair = right_pair()
    changed = mutant(list(pair.new))
    assert changed != pair.new
    work = written(place_file, pair, new=b"".join(changed))
    found = blocking(checked(place_file, work))
    assert found
    assert {f.uri for f in found} == {work.uri}


@pytest.mark.parametrize(
    "counts",
    [
        {"before": 14}, {"deleted": 4}, {"tombstoned": 5}, {"co_owned": 0}, {"values": 7},
        {"kept": 1}, {"parked": 1}, {"shares": {0: Share(deleted=3)}},
    ],
    ids=str,
)  # fmt: skip
def test_a_receipt_that_says_something_else_is_found(
    place_file: Place, counts: dict[str, object]
) -> None:
    pair = right_pair()
    lie = Pair(pair.base, pair.new, replace(pair.counts, **counts))  # type: ignore[arg-type]
    found = blocking(checked(place_file, written(place_file, lie)))
    assert {f.what for f in found} == {What.ARITHMETIC}


def test_another_digest_is_found(place: Place) -> None:
    work = replace(written(place, right_pair()), sha256="0" * 64)
    assert [f.detail for f in checked(place, work)] == ["the digest is another"]


def test_another_codec_is_found(place_file: Place) -> None:
    pair = right_pair()
    work = written(place_file, pair, new=gzip.compress(b"".join(pair.new)))
    assert [f.detail for f in checked(place_file, work)] == ["another codec"]


def test_a_mess_cannot_be_seen(place_file: Place) -> None:
    pair = right_pair()
    body = gzip.compress(b"".join(pair.base))
    cut = gzip.compress(b"".join(pair.new))[:-20]
    work = written(place_file, pair, base=body, new=cut)
    assert What.CANNOT_SEE in {f.what for f in checked(place_file, work)}
    gone = replace(written(place_file, pair, name="evt-2.ndjson"), base_version="1-2-3")
    assert [f.what for f in checked(place_file, gone)] == [What.CANNOT_SEE]


def test_an_older_version_that_holds_nobody_must_not_go(place_s3: Place) -> None:
    _, stranger = load(place_s3, "evt-1.ndjson", event(3))
    _, older = load(place_s3, "evt-1.ndjson", event(1))
    work = written(place_s3, right_pair())
    right = replace(work, superseded=(*work.superseded, Superseded(older)))
    assert checked(place_s3, right) == []
    work = replace(right, superseded=(*right.superseded, Superseded(stranger)))
    assert [f.detail for f in checked(place_s3, work)] == ["holds nobody of the run"]


def test_a_current_version_must_not_go_without_a_replacement(place: Place) -> None:
    uri, version = load(place, "evt-1.ndjson", event(1))
    work = ObjectWork(uri, WorkState.WRITTEN, superseded=(Superseded(version),))
    assert [f.detail for f in checked(place, work)] == ["current and not replaced"]


def test_lines_kept_on_a_legal_ground_stay_as_they_are(place_file: Place) -> None:
    dispute = event(1, name="chargeback.open")
    counts = Counts(before=2, deleted=1, kept=1, shares={0: Share(deleted=1, kept=1)})
    pair = Pair([dispute, event(1)], [dispute], counts)
    assert checked(place_file, written(place_file, pair), keep_when=KEEP_DISPUTES) == []
    lost = Pair(pair.base, [], replace(counts, deleted=2, kept=0, shares={0: Share(deleted=2)}))
    work = written(place_file, lost, name="evt-2.ndjson")
    assert blocking(checked(place_file, work, keep_when=KEEP_DISPUTES))


def test_severed_lines_of_a_tombstone_dataset_stay_without_the_person(place_file: Place) -> None:
    own = event(1, anon_id="a_somebody")
    new = own.replace(user(1).encode(), tombstone(user(1), user(1)).encode())
    counts = Counts(before=1, tombstoned=1, values=1, shares={0: Share(tombstoned=1)})
    pair = Pair([own], [new], counts)
    assert checked(place_file, written(place_file, pair), treatment=TOMBSTONE) == []
    assert blocking(checked(place_file, written(place_file, pair, name="evt-2.ndjson")))


def test_a_line_that_cannot_be_parsed_is_parked_or_dropped_whole(place_file: Place) -> None:
    broken = b'{"user_id": "' + user(1).encode() + b'", oops\n'
    counts = Counts(before=2, parked=1)
    parked = Pair([broken, event(3)], [broken, event(3)], counts)
    found = checked(place_file, written(place_file, parked))
    assert [f.what for f in found] == [What.PARKED]
    dropped = Pair(
        parked.base, [event(3)], Counts(before=2, deleted=1, shares={0: Share(deleted=1)})
    )
    work = written(place_file, dropped, name="evt-2.ndjson")
    assert checked(place_file, work, unparsable="drop") == []
    assert blocking(checked(place_file, work))


def test_undeclared_values_may_stay_only_where_the_map_reports_them(place_file: Place) -> None:
    line = event(9, path=f"/p/{user(1)}", provider_id=user(2))
    new = line.replace(user(2).encode(), tombstone(user(2), user(9)).encode())
    counts = Counts(before=1, tombstoned=1, values=1, shares={1: Share(tombstoned=1)})
    work = written(place_file, Pair([line], [new], counts))
    assert checked(place_file, work, elsewhere="report") == []
    assert blocking(checked(place_file, work))


def test_the_lock_must_be_the_base_s(place_s3: Place) -> None:
    until = place_s3.reader.now() + timedelta(days=2)
    pair = right_pair()
    uri = f"{place_s3.root}raw/evt-1.ndjson"
    body = b"".join(pair.base)
    base = place_s3.loader.load(uri, body, lock_mode=GOVERNANCE, retain_until=until)
    info = place_s3.reader.info(uri, version_id=base)
    for retain, expected in ((True, []), (False, ["not as meant"])):
        work = _put_again(place_s3, pair, uri=uri, base=base, etag=info.etag, retain=retain)
        assert [f.detail for f in checked(place_s3, work)] == expected
        info = place_s3.reader.info(uri, version_id=work.new_version or "")


def _put_again(
    place: Place, pair: Pair, *, uri: str, base: str, etag: str, retain: bool
) -> ObjectWork:
    like = place.reader.info(uri, version_id=base)
    new = b"".join(pair.new)
    version = place.eraser.put(
        uri, io.BytesIO(new), if_match=etag, like=like, marks={}, retain=retain
    )
    return ObjectWork(
        uri=uri, state=WorkState.WRITTEN, base_version=base, new_version=version,
        sha256=hashlib.sha256(new).hexdigest(), counts=pair.counts, superseded=(Superseded(base),),
    )  # fmt: skip
