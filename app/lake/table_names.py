"""One name for one file: the URI form that object stores and the journal use.

Iceberg metadata may hold `/x`, `file:/x` or `s3a://b/k`; the engine speaks `file:///x`, `s3://b/k`.
"""

from __future__ import annotations

import re

_S3 = re.compile(r"^s3[an]://")
_FILE = re.compile(r"^file:/+")


def normalise(path: str) -> str:
    """The URI of a path as some engine wrote it down."""
    if path.startswith("/"):
        return f"file:///{path.lstrip('/')}"
    if _FILE.match(path):
        return _FILE.sub("file:///", path)
    return _S3.sub("s3://", path)


def styled(uri: str, *, like: str) -> str:
    """`uri` in the style of `like` (the spelling this table uses), where both are in one folder."""
    folder, _, name = uri.rpartition("/")
    like_folder = like.rpartition("/")[0]
    return f"{like_folder}/{name}" if normalise(like_folder) == folder else uri


def local_path(uri: str) -> str | None:
    """The path of a file:// URI, None for any other."""
    return uri.removeprefix("file://") if uri.startswith("file:///") else None
