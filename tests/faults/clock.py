"""A process whose wall clock is wrong: every way in which Python reads it is put forward.

Not here: the monotonic clock, which no setting of a clock moves. There is no libfaketime here, so
code in C (libpq, Arrow, TLS) still reads the right time.
"""

from __future__ import annotations

import datetime
import gc
import sys
import time
from typing import Any, Self


def put_forward(days: int) -> None:
    """Of this process, for good."""
    real_time, ahead = time.time, days * 86400.0
    right = datetime.datetime

    class _IsInstance(type):
        def __instancecheck__(cls, instance: Any) -> bool:
            return isinstance(instance, right)

    class Wrong(right, metaclass=_IsInstance):
        """Everything but its three ways to read the clock is the real one's."""

        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Self:
            return right.now(tz) + datetime.timedelta(days=days)  # type: ignore[return-value]  # close

        @classmethod
        def utcnow(cls) -> Self:
            return cls.now(datetime.UTC).replace(tzinfo=None)

        @classmethod
        def today(cls) -> Self:
            return cls.now()

    time.time = lambda: real_time() + ahead
    datetime.datetime = Wrong  # type: ignore[misc]  # the point of it
    for module in list(sys.modules.values()):
        names = getattr(module, "__dict__", {})
        for name, value in list(names.items()):
            if value is right and module is not datetime:
                names[name] = Wrong
            elif value is real_time:
                names[name] = time.time
    gc.collect()
