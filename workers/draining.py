"""Whether this worker is to end: said by its main process, heard by its pool processes at once.

Not here: what then becomes of a step (app.services.ledger gives it back).
"""

from __future__ import annotations

import mmap
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Draining:
    """Made before the pool is forked: the page of memory behind it is one for all."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)
        self._told = False

    def __call__(self) -> bool:
        """Whether the step at hand is to be given back."""
        return self._told or self._page[0] != 0

    def begin(self) -> None:
        """No step is begun any more, here and in every process forked from here."""
        self._page[0] = 1

    @contextmanager
    def listening(self) -> Iterator[None]:
        """In a pool process, while a step is at hand: a SIGTERM of its own (a whole process group
        is ended, or the pool) gives the step back; a second one has its usual effect.
        """
        usual = signal.getsignal(signal.SIGTERM)

        def on_term(number: int, frame: FrameType | None) -> None:
            self._told = True
            signal.signal(signal.SIGTERM, usual)

        signal.signal(signal.SIGTERM, on_term)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, usual)
            self._told = False
