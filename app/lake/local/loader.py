"""Loader on a folder: first files, written whole. A folder has no retention."""

from __future__ import annotations

import os
import secrets
from datetime import datetime

from app.domain.errors import LakeError
from app.lake.local.paths import path_of, told, version_of


class LocalLoader:
    """app.lake.ports.Loader. Like any other writer it replaces a file of the same name."""

    def ensure_bucket(self, uri: str, *, object_lock: bool) -> None:
        """Make the folder."""
        with told("making a folder"):
            path_of(uri).mkdir(parents=True, exist_ok=True)

    def load(
        self,
        uri: str,
        body: bytes,
        *,
        lock_mode: str | None = None,
        retain_until: datetime | None = None,
    ) -> str:
        """Write a file, whole or not at all."""
        path = path_of(uri)
        if uri.endswith("/"):
            raise LakeError("a folder is no object")
        new = path.with_name(f".{secrets.token_hex(8)}.loading")
        with told("loading an object"):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with new.open("xb") as file:
                    file.write(body)
                    file.flush()
                    version = version_of(os.fstat(file.fileno()))
                new.replace(path)
            finally:
                new.unlink(missing_ok=True)
        return version
