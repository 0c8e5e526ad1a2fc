"""What each door to S3 asks of it, call by call, and the rights that the calls need on AWS.

docs/iam holds the same as policies; tests hold the three (calls, this table, policies) together.
Not here: what must be refused (app.doctor.permissions).
"""

from __future__ import annotations

from collections.abc import Mapping

_READ: Mapping[str, tuple[str, ...]] = {
    "get_bucket_versioning": ("s3:GetBucketVersioning",),
    "list_object_versions": ("s3:ListBucketVersions",),
    "list_multipart_uploads": ("s3:ListBucketMultipartUploads",),
    "head_object": (
        # without s3:ListBucket a missing object looks like a forbidden one
        *("s3:GetObjectVersion", "s3:GetObjectRetention", "s3:GetObjectLegalHold", "s3:ListBucket"),
    ),
    "get_object": ("s3:GetObjectVersion", "s3:GetObjectRetention", "s3:GetObjectLegalHold"),
    "get_object_tagging": ("s3:GetObjectVersionTagging",),
    # a table's files are read by path, which is the current version
    "arrow reads a table's file": ("s3:GetObject", "s3:ListBucket"),
}
_WRITE: Mapping[str, tuple[str, ...]] = {
    "put_object": ("s3:PutObject", "s3:PutObjectRetention", "s3:PutObjectTagging"),
    "create_multipart_upload": ("s3:PutObject", "s3:PutObjectRetention", "s3:PutObjectTagging"),
    "upload_part": ("s3:PutObject",),
    "complete_multipart_upload": ("s3:PutObject",),
    "abort_multipart_upload": ("s3:AbortMultipartUpload",),
    "arrow writes a table's file": ("s3:PutObject", "s3:AbortMultipartUpload"),
}
_DEFAULT: Mapping[str, tuple[str, ...]] = {
    "get_object_lock_configuration": ("s3:GetBucketObjectLockConfiguration",),
}
"""Refused, the eraser looks at every replacement that it put without a lock."""
_LOOK: Mapping[str, tuple[str, ...]] = {
    **_DEFAULT,
    "get_bucket_lifecycle_configuration": ("s3:GetLifecycleConfiguration",),
    "get_bucket_replication": ("s3:GetReplicationConfiguration",),
}
"""What doctor asks, with the reading credential."""

CALLS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "read": {**_READ, **_LOOK},
    "erase": {**_READ, **_WRITE, **_DEFAULT},
    "purge": {
        "delete_object": ("s3:DeleteObjectVersion", "s3:BypassGovernanceRetention"),
        "abort_multipart_upload": ("s3:AbortMultipartUpload",),
    },
    "verify": _READ,
}
"""Door -> call -> rights."""

UNNEEDED: Mapping[str, str] = {
    "list_buckets": "asked for the Date of its answer; a refusal has one too",
    "put_object_retention": "tried where a bucket's default retention locked a replacement; "
    "refused, the date is written down instead",
}
"""Calls of these doors that do their work also where they are refused."""


def rights(door: str) -> frozenset[str]:
    """Every right that a door needs."""
    return frozenset(right for needed in CALLS[door].values() for right in needed)
