"""A figure of a scenario as one line of JSON, for whoever adds the lines up: to the file that
CLEARLAKE_FAULT_FIGURES names, else to nobody.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path


def tell(
    promise: str, scenario: str, *, wanted: int, rounds: int, faults: Sequence[str], seconds: float
) -> str:
    """`rounds` of the `wanted` were gone through; `faults` is what went wrong, by name."""
    figure = {
        "promise": promise,
        "scenario": scenario,
        "wanted": wanted,
        "rounds": rounds,
        "faults": list(faults),
        "seconds": round(seconds, 1),
    }
    line = json.dumps({"figure": figure})
    book = os.environ.get("CLEARLAKE_FAULT_FIGURES")
    if book:
        with Path(book).open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    return line
