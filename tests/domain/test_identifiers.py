"""Who may be named, and how the identities of a run become its targets."""

from __future__ import annotations

import pytest

from app.domain.errors import (
    IdentifierMalformedError,
    IdentifierMissingError,
    IdentifierTooWeakError,
)
from app.domain.identifiers import (
    Identifier,
    Identity,
    Kind,
    Shared,
    Targets,
    checked_identifier,
    named_subjects,
)

U1, U2 = Identifier(Kind.USER_ID, "usr_ONE"), Identifier(Kind.USER_ID, "usr_TWO")
A1 = Identifier(Kind.ANON_ID, "a_one")
D1 = Identifier(Kind.DEVICE_FP, "fp_one")


def identity(subject: str, *given: Identifier, shared: tuple[Shared, ...] = ()) -> Identity:
    return Identity(subject, frozenset(given), frozenset(), frozenset(), shared)


@pytest.mark.parametrize(
    "value",
    ["", "abc", "x" * 257, "two words", "tab\tbed", "new\nline", "null", "NONE", "undefined",
     "0000", "aaaaaaaa", "tomb_u_" + "0" * 26, "\x00abcdef"],
)  # fmt: skip
def test_what_cannot_be_an_identifier_is_refused_without_being_repeated(value: str) -> None:
    with pytest.raises(IdentifierMalformedError) as refusal:
        checked_identifier(Kind.USER_ID, value, place="--user-id #1")
    assert str(refusal.value).startswith("--user-id #1: a user_id ")
    if len(value) > 8:
        assert value not in str(refusal.value)


def test_an_identifier_never_shows_its_value_in_a_repr() -> None:
    assert "usr_ONE" not in repr(U1)
    assert "usr_ONE" not in repr(Targets.of([identity("s1", U1)]))


def test_nobody_named_is_refused() -> None:
    with pytest.raises(IdentifierMissingError):
        named_subjects(user_ids=[], anon_ids=[], device_fps=[])


def test_a_fingerprint_alone_or_without_one_owner_is_too_weak() -> None:
    for users, anons in (([], []), (["usr_ONE", "usr_TWO"], []), ([], ["a_one", "a_two"])):
        with pytest.raises(IdentifierTooWeakError):
            named_subjects(user_ids=users, anon_ids=anons, device_fps=["fp_one"])


def test_with_one_user_everything_given_is_theirs() -> None:
    (one,) = named_subjects(user_ids=["usr_ONE"], anon_ids=["a_one"], device_fps=["fp_one"])
    assert set(one.given) == {U1, A1, D1}


def test_with_one_anon_id_a_fingerprint_goes_with_it() -> None:
    (one,) = named_subjects(user_ids=[], anon_ids=["a_one"], device_fps=["fp_one"])
    assert set(one.given) == {A1, D1}


def test_several_values_are_several_people_in_one_stable_order() -> None:
    found = named_subjects(user_ids=["usr_TWO", "usr_ONE"], anon_ids=["a_one"], device_fps=[])
    assert [(s.name, s.given) for s in found] == [("s1", (U1,)), ("s2", (U2,)), ("s3", (A1,))]
    again = named_subjects(
        user_ids=["usr_ONE", "usr_TWO", "usr_ONE"], anon_ids=["a_one"], device_fps=[]
    )
    assert again == found


def test_a_kept_shared_value_is_no_target() -> None:
    kept = Shared(A1, 2, "keep")
    targets = Targets.of([identity("s1", U1, A1, shared=(kept,))])
    assert set(targets.by_value) == {"usr_ONE"}
    assert dict(targets.owners) == {"usr_ONE": 0}


def test_a_value_of_two_subjects_is_counted_for_the_first() -> None:
    targets = Targets.of([identity("s1", U1, A1), identity("s2", U2, A1)])
    assert targets.subject_of("a_one") == 0
    assert targets.subject_of("usr_TWO") == 1
