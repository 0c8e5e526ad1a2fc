"""docs/iam, the table of rights and the calls in the code say the same."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from app.doctor.permissions import NEEDS, REFUSED
from app.lake.s3.rights import CALLS, UNNEEDED, rights
from app.servers import seaweed

ROOT = Path(__file__).parents[2]
IDENTITIES = {"read": "reader", "erase": "eraser", "purge": "purger", "verify": "verifier"}
CLIENTS = {"reading", "once", "again", "client"}
"""What clients are called in app.lake.s3."""
HELD_BACK = {"s3:DeleteObject", "s3:PutObjectLegalHold", "s3:PutBucketVersioning", "s3:*", "*"}
"""No door may have these."""


def granted(door: str) -> set[str]:
    document = json.loads((ROOT / "docs" / "iam" / f"{door}.json").read_text(encoding="utf-8"))
    assert document["Version"] == "2012-10-17"
    assert all(s["Effect"] == "Allow" for s in document["Statement"])
    return {action for s in document["Statement"] for action in s["Action"]}


def calls_in(module: str) -> set[str]:
    """Methods of a boto3 client that a module calls, paginated ones among them."""
    tree = ast.parse((ROOT / "app" / "lake" / "s3" / f"{module}.py").read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner = node.func.value
        called = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
        if called not in CLIENTS:
            continue
        first = node.args[0] if node.args else None
        if node.func.attr == "get_paginator" and isinstance(first, ast.Constant):
            found.add(str(first.value))
        elif node.func.attr != "close":
            found.add(node.func.attr)
    return found


@pytest.mark.parametrize("door", sorted(CALLS))
def test_a_policy_names_exactly_what_its_door_needs(door: str) -> None:
    assert granted(door) == rights(door)
    assert not granted(door) & HELD_BACK


def test_the_table_names_exactly_the_calls_that_are_made() -> None:
    made = calls_in("store") | calls_in("writing") | calls_in("purger")
    look = {"get_bucket_lifecycle_configuration", "get_bucket_replication"}
    named = {call for door in CALLS.values() for call in door if not call.startswith("arrow")}
    assert made == (named - look) | set(UNNEEDED)
    assert look <= calls_in("probe")


def test_only_the_purging_policy_destroys_and_it_is_bound_to_prefixes() -> None:
    destroys = {"s3:DeleteObjectVersion", "s3:BypassGovernanceRetention"}
    assert {door for door in CALLS if granted(door) & destroys} == {"purge"}
    document = json.loads((ROOT / "docs" / "iam" / "purge.json").read_text(encoding="utf-8"))
    places = {place for s in document["Statement"] for place in s["Resource"]}
    assert all(p.startswith("arn:aws:s3:::analytics/") and p.endswith("/*") for p in places)
    assert "arn:aws:s3:::analytics/*" not in places


def test_the_evidence_policy_only_puts() -> None:
    assert granted("evidence") == {"s3:PutObject"}


def test_what_doctor_tries_is_what_the_policies_say() -> None:
    for role, acts in NEEDS.items():
        assert {act.right for act in acts} <= granted(role)
    for role, acts in REFUSED.items():
        assert not {act.right for act in acts if act.right != "s3:AbortMultipartUpload"} & granted(
            role
        )


def test_the_servers_of_the_demo_give_the_same_and_some_reads_more() -> None:
    for door, identity in IDENTITIES.items():
        more = set(seaweed.RIGHTS[identity]) - rights(door)
        # its purger also releases retentions, and reads
        assert rights(door) - {"s3:GetObjectVersionTagging"} <= set(seaweed.RIGHTS[identity])
        assert all(right.startswith(("s3:Get", "s3:List")) for right in more - KNOWN_MORE)


KNOWN_MORE = {"s3:PutObjectRetention"}
"""SeaweedFS ends a lock that it was asked to bypass as a change of retention."""
