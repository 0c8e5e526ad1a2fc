"""Each credential is tried: what it lacks fails, and what it could do beyond its part fails too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

import pytest

from app.doctor.permissions import NEEDS, REFUSED, ROLES, examine_rights
from app.doctor.results import Outcome, Probed
from app.doctor.storage import Bucket
from tests.doctor.conftest import versions_in

At = Callable[..., Bucket]
WRITES = {"put", "end an upload", "delete a version", "bypass a lock", "delete without a version"}
"""What nobody who reads may do."""


def _look(bucket: Bucket) -> list[Probed]:
    return list(examine_rights(bucket, name="here"))


def _failing(found: list[Probed], bucket: str) -> dict[str, set[str]]:
    wrong = [p for p in found if p.outcome is Outcome.FAIL and p.check != "scratch_removed"]
    assert all(p.advice for p in wrong)
    roles = {p.target.removesuffix(f" in {bucket}") for p in wrong}
    return {r: {p.check for p in wrong if p.target.startswith(r)} for r in roles}


def test_four_credentials_apart_pass_everything_and_leave_nothing(
    bucket_at: At, name: str, admin: Any
) -> None:
    found = _look(bucket_at(name))
    assert {p.outcome for p in found} == {Outcome.PASS}
    assert len(found) == 1 + sum(len(NEEDS[r]) + len(REFUSED[r]) for r in ROLES)
    assert versions_in(admin, name) == []


CASES: Mapping[str, tuple[dict[str, str], dict[str, set[str]]]] = {
    "a reader that may write": (
        {"read": "eraser"},
        {"read": {"may not put", "may not end an upload"}},
    ),
    "a second look that may do everything": (
        {"verify": "admin"},
        {"verify": {f"may not {act}" for act in WRITES}},
    ),
    "an eraser that may destroy": (
        {"erase": "admin"},
        {
            "erase": {
                "may not delete a version",
                "may not bypass a lock",
                "may not delete without a version",
            }
        },
    ),
    "a purger that may write and hide": (
        {"purge": "admin"},
        {"purge": {"may not put", "may not delete without a version"}},
    ),
    "a purger that may not purge": (
        {"purge": "eraser"},
        {"purge": {"may delete a version", "may bypass a lock", "may not put"}},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_credential_that_is_not_as_it_should_be_is_named(
    case: str, bucket_at: At, name: str
) -> None:
    doors, expected = CASES[case]
    assert _failing(_look(bucket_at(name, doors=doors)), name) == expected


def test_one_credential_for_everything_fails_wherever_it_reaches_too_far(
    bucket_at: At, name: str, admin: Any
) -> None:
    found = _look(bucket_at(name, doors=dict.fromkeys(ROLES, "admin")))
    expected = {role: {f"may not {act.name}" for act in REFUSED[role]} for role in ROLES}
    assert _failing(found, name) == expected
    assert versions_in(admin, name) == []


def test_an_eraser_that_may_not_write_fails_and_the_rest_is_not_tried(
    bucket_at: At, name: str
) -> None:
    found = _look(bucket_at(name, doors={"erase": "reader"}))
    assert _failing(found, name) == {"erase": {"may put", "may put under a lock"}}
    tried = {p.check for p in found if p.target.startswith("purge") and p.outcome is Outcome.PASS}
    assert tried == {"may not put"}


def test_a_default_retention_does_not_pass_for_a_refused_right(
    bucket_at: At, name: str, admin: Any
) -> None:
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
    settings = {"ObjectLockEnabled": "Enabled", "Rule": rule}
    admin.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration=settings)
    found = _look(bucket_at(name))
    deleting = {p.outcome for p in found if p.check.endswith("delete a version")}
    assert deleting == {Outcome.NOT_APPLICABLE}
    assert _failing(found, name) == {}
    assert versions_in(admin, name) == []


def test_nothing_is_tried_where_it_would_stay(bucket_at: At, admin: Any) -> None:
    name = f"plain-{uuid4().hex[:12]}"
    admin.create_bucket(Bucket=name)
    assert [p.outcome for p in _look(bucket_at(name))] == [Outcome.NOT_APPLICABLE]
    assert versions_in(admin, name) == []
