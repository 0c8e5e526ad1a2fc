"""What Spark and its driver raise, as the errors of app.domain.errors.

Messages name tables and kinds of error. Spark's own texts quote paths, plans and values: they are
left out, and not chained either.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from app.domain.errors import (
    AccessDeniedError,
    CommitConflictError,
    LakeError,
    UnreachableError,
)
from app.lake.pyiceberg_engine.faults import LOST_SWAP

_ICEBERG = "org.apache.iceberg.exceptions."
_KINDS: dict[str, type[Exception]] = {
    f"{_ICEBERG}CommitFailedException": LOST_SWAP,
    f"{_ICEBERG}ValidationException": CommitConflictError,
    f"{_ICEBERG}ForbiddenException": AccessDeniedError,
    f"{_ICEBERG}NotAuthorizedException": AccessDeniedError,
    f"{_ICEBERG}NoSuchTableException": LakeError,
    f"{_ICEBERG}BadRequestException": LakeError,
    "java.lang.IllegalArgumentException": LakeError,
    "java.lang.IllegalStateException": LakeError,
}
"""Everything else may go better another time, and its outcome is not known."""
_STATEMENT = ("AnalysisException", "ParseException", "IllegalArgumentException")


@contextmanager
def spark_errors(what: str) -> Iterator[None]:
    """Raise this project's errors for whatever `what` met."""
    try:
        yield
    except _raised_by_spark() as err:
        name = _java_name(err)
        kind = _KINDS.get(name, UnreachableError)
        if any(type(err).__name__.endswith(known) for known in _STATEMENT):
            kind = LakeError
        raise kind(f"{what}: Spark did not do it ({name.rpartition('.')[2]}).") from None


def _raised_by_spark() -> tuple[type[Exception], ...]:
    """Asked for only once something was raised; Connect's own package comes without py4j."""
    found: list[type[Exception]] = [ConnectionError]
    with suppress(ImportError):
        from pyspark.errors import PySparkException

        found.append(PySparkException)
    with suppress(ImportError):
        from py4j.protocol import Py4JError

        found.append(Py4JError)
    return tuple(found)


def _java_name(err: Any) -> str:
    """The Java class behind an error, else its own name."""
    thrown = getattr(err, "java_exception", None) or getattr(err, "_origin", None)
    if thrown is None:
        return type(err).__name__
    return str(thrown.getClass().getName())
