"""The second look: pairs before the purge, everything after it. Reads only.

It shares no code with the erasers, so that one mistake cannot hide in both.
"""

from app.lake.verify.file_pairs import check_files
from app.lake.verify.files import search_bytes
from app.lake.verify.lake import Verified, find_person, verify_beside, verify_dataset
from app.lake.verify.object_pairs import check_objects

__all__ = [
    "Verified",
    "check_files",
    "check_objects",
    "find_person",
    "search_bytes",
    "verify_beside",
    "verify_dataset",
]
