"""A process whose wall clock is wrong, wherever ours or the S3 client reads it.

Not here: the monotonic clock, which no setting of a clock moves; code in C, which still reads the
right time (there is no libfaketime); the database's clock, by which everything is decided.
"""

from __future__ import annotations

import datetime as dt
import sys
import time
from datetime import datetime as right
from typing import Any

_READERS = ("app.", "workers.", "botocore.", "boto3.")


class _IsInstance(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, right)


def put_forward(days: int) -> None:
    """Of this process, for good; back, where `days` is negative. What is imported by then."""
    real_time, ahead = time.time, dt.timedelta(days=days)

    class Wrong(right, metaclass=_IsInstance):
        """Everything but its ways to read the clock is the real one's, and so is what it makes."""

        def __new__(cls, *args: Any, **named: Any) -> Any:
            return right(*args, **named)  # noqa: DTZ001 - as it was called

        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Any:
            return right.now(tz) + ahead

        @classmethod
        def utcnow(cls) -> Any:
            return right.now(dt.UTC).replace(tzinfo=None) + ahead

    def wrong_time() -> float:
        return real_time() + ahead.total_seconds()

    time.time = wrong_time
    for module in list(sys.modules.values()):
        names = getattr(module, "__dict__", {})
        for name, value in list(names.items()):
            if value is right and module.__name__.startswith(_READERS):
                names[name] = Wrong
            elif value is real_time and module.__name__ != __name__:
                names[name] = wrong_time
