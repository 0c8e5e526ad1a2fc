"""How long work tells how far it is: names of stages and datasets and counts, never a value."""

from __future__ import annotations

from collections.abc import Callable

Say = Callable[[str, str, int, int], None]
"""Stage, dataset, done, of how many."""
