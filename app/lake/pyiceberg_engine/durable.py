"""A file in a folder that is on disk once it is closed. Not here: objects, which a put makes so."""

from __future__ import annotations

import os
from io import FileIO


class DurableFile(FileIO):
    """A new local file that is on disk, with its name, once closed."""

    def __init__(self, path: str) -> None:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        super().__init__(path, "wb")
        self._path = path

    def close(self) -> None:
        if self.closed:
            return
        os.fsync(self.fileno())
        super().close()
        folder = os.open(os.path.dirname(self._path), os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
