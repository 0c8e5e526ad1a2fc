"""PyIceberg's, Arrow's and the catalog database's errors as those of app.domain.errors.

Messages name tables and kinds of error, never paths or values.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from pyiceberg import exceptions as iceberg
from pyiceberg.catalog import glue
from pyiceberg.catalog.sql import OperationalError

from app.domain.errors import (
    AccessDeniedError,
    DiskFullError,
    LakeError,
    ObjectMissingError,
    UnreachableError,
)

DATABASE_ERRORS: type[Exception] = OperationalError.__base__.__base__
"""What a SQL catalog's database raises: SQLAlchemy's DBAPIError, reached without importing it."""

_AWS = glue.boto3.session.botocore.exceptions
"""What Glue's client raises, reached without importing it."""
_REFUSED_BY_AWS = frozenset({"AccessDeniedException", "UnrecognizedClientException"})

LOST_SWAP = iceberg.CommitFailedException
"""Another writer was faster: look again, decide again."""

OUTCOME_UNKNOWN: tuple[type[Exception], ...] = (
    iceberg.CommitStateUnknownException,
    iceberg.ServiceUnavailableError,
    iceberg.ServerError,
    iceberg.TooManyRequestsError,
    ConnectionError,
    TimeoutError,
    DATABASE_ERRORS,
    _AWS.BotoCoreError,
)


@contextmanager
def lake_errors(what: str) -> Iterator[None]:
    """Raise this project's errors for whatever `what` met."""
    try:
        yield
    except iceberg.NoSuchTableError as err:
        raise LakeError(f"{what}: the catalog has no such table.") from err
    except (iceberg.UnauthorizedError, iceberg.ForbiddenError, PermissionError) as err:
        raise AccessDeniedError(f"{what}: a right is missing.") from err
    except _AWS.ClientError as err:
        if err.response["Error"]["Code"] in _REFUSED_BY_AWS:
            raise AccessDeniedError(f"{what}: a right is missing.") from err
        raise UnreachableError(f"{what}: no answer (Glue).") from err
    except FileNotFoundError as err:
        raise ObjectMissingError(f"{what}: a file that it names is gone.") from err
    except OUTCOME_UNKNOWN as err:
        raise UnreachableError(f"{what}: no answer ({type(err).__name__}).") from err
    except OSError as err:
        raise _os_error(what, err) from err


def _os_error(what: str, err: OSError) -> LakeError:
    """Arrow reports everything that happens on S3 as OSError; its text tells the kinds apart."""
    text = str(err)
    if err.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(f"{what}: no space left.")
    if err.errno in (errno.EACCES, errno.EPERM) or "ACCESS_DENIED" in text or "code 15" in text:
        return AccessDeniedError(f"{what}: a right is missing.")
    if err.errno == errno.ENOENT or "does not exist" in text or "HTTP status 404" in text:
        return ObjectMissingError(f"{what}: a file that it names is gone.")
    return UnreachableError(f"{what}: no answer from the store.")
