"""Clients of one credential, and what S3's answers mean in the words of app.domain.errors.

No message here names a key: a key can hold an identifier. Causes are cut off for the same reason
(botocore's texts quote URLs); the message carries their kind, status and code instead.
"""

from __future__ import annotations

import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import boto3.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoAuthTokenError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)
from urllib3.exceptions import HTTPError

from app.domain.errors import (
    AccessDeniedError,
    LakeError,
    ObjectArchivedError,
    ObjectConflictError,
    ObjectMissingError,
    ObjectSealedError,
    PreconditionFailedError,
    UnreachableError,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

POOL = 32
CONNECT_SECONDS = 5
READ_SECONDS = 60
READ_ATTEMPTS = 4

_NO_CREDENTIALS = (
    *(NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, NoAuthTokenError),
)
_BY_CODE: Mapping[str, tuple[type[LakeError], str]] = {
    "InvalidObjectState": (
        ObjectArchivedError,
        "the object is in an archive storage class; restore it first",
    ),
    "NoSuchBucket": (LakeError, "there is no such bucket"),
    "NoSuchKey": (ObjectMissingError, "gone"),
    "NoSuchVersion": (ObjectMissingError, "gone"),
    "NoSuchUpload": (ObjectMissingError, "gone"),
    "MethodNotAllowed": (ObjectMissingError, "a delete marker, no object"),
    "RequestTimeTooSkewed": (LakeError, "this machine's clock is wrong"),
    "ExpiredToken": (AccessDeniedError, "the credential has expired"),
    "RequestTimeout": (UnreachableError, "the server gave up waiting for the body"),
    "SlowDown": (UnreachableError, "the server asks to slow down"),
    "BadDigest": (UnreachableError, "the bytes that arrived are not those that were sent"),
    "XAmzContentChecksumMismatch": (UnreachableError, "the bytes were damaged on the way"),
    "XAmzContentSHA256Mismatch": (UnreachableError, "the bytes were damaged on the way"),
    "IncompleteBody": (UnreachableError, "the body did not arrive whole"),
}
_BY_STATUS: Mapping[int, tuple[type[LakeError], str]] = {
    401: (AccessDeniedError, "refused"),
    403: (AccessDeniedError, "refused: a right is missing, or a lock forbids it"),
    404: (ObjectMissingError, "gone"),
    405: (ObjectMissingError, "a delete marker, no object"),
    408: (UnreachableError, "timed out"),
    409: (ObjectConflictError, "another writer is at the same key"),
    412: (PreconditionFailedError, "the object is no longer the one that was read"),
    429: (UnreachableError, "too many requests"),
}


_CUSTOMER_KEY = "Server Side Encryption"
"""In the message of whoever asks for a key with the request; the codes are general ones."""


class Connection:
    """Two clients of one credential: `reading` repeats what failed on the way, `once` never does.

    Both may be used by many threads. Made once, closed by `close`.
    """

    def __init__(
        self, endpoint: str | None, region: str, access_key: str | None, secret_key: str | None
    ) -> None:
        def client(attempts: int) -> S3Client:
            with _making:
                return _session().client(
                    "s3",
                    endpoint_url=endpoint,
                    region_name=region,
                    aws_access_key_id=access_key,
                    aws_secret_access_key=secret_key,
                    config=_config(endpoint, attempts=attempts),
                )

        self.region = region
        self.reading = client(READ_ATTEMPTS)
        self.once = client(1)

    def close(self) -> None:
        """Close the pools."""
        self.reading.close()
        self.once.close()


_making = threading.Lock()


@lru_cache(maxsize=1)
def _session() -> boto3.session.Session:
    """Shared: it loads the service's description once. Credentials are each client's own."""
    return boto3.session.Session()


def _config(endpoint: str | None, *, attempts: int) -> Config:
    host = urllib.parse.urlsplit(endpoint or "").hostname
    return Config(
        signature_version="s3v4",
        s3={"addressing_style": "path" if endpoint else "auto"},
        retries={"mode": "standard", "total_max_attempts": attempts},
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        max_pool_connections=POOL,
        tcp_keepalive=True,
        proxies={} if host in {"127.0.0.1", "localhost", "::1"} else None,
    )


@contextmanager
def told(operation: str, bucket: str) -> Iterator[None]:
    """Turn what botocore raises inside into an error of the domain."""
    try:
        yield
    except ClientError as err:
        raise _of_answer(err, f"{operation} in {bucket}") from None
    except _NO_CREDENTIALS as err:
        text = f"{operation} in {bucket}: no usable credential ({type(err).__name__})"
        raise AccessDeniedError(text) from None
    except ParamValidationError:
        text = f"{operation} in {bucket}: an argument that S3 does not take"
        raise LakeError(text) from None
    except (BotoCoreError, HTTPError, OSError) as err:
        text = f"{operation} in {bucket}: no whole answer ({type(err).__name__})"
        raise UnreachableError(text) from None


def code_of(err: ClientError) -> tuple[int, str]:
    """HTTP status and S3 code of an answer."""
    meta: Mapping[str, Any] = err.response.get("ResponseMetadata", {})
    status = int(meta.get("HTTPStatusCode", 0))
    return status, str(err.response.get("Error", {}).get("Code", ""))


def _of_answer(err: ClientError, what: str) -> LakeError:
    status, code = code_of(err)
    kind: type[LakeError]
    if status == 400 and _CUSTOMER_KEY in str(err.response.get("Error", {}).get("Message", "")):
        kind, text = ObjectSealedError, "the object is encrypted with a key of its writer's own"
    elif code in _BY_CODE:
        kind, text = _BY_CODE[code]
    elif status in _BY_STATUS:
        kind, text = _BY_STATUS[status]
    elif status >= 500 or status == 0:
        kind, text = UnreachableError, "the server failed"
    else:
        kind, text = LakeError, "refused as wrong"
    return kind(f"{what}: {text} (HTTP {status} {code})")


def split(uri: str) -> tuple[str, str]:
    """Bucket and key of `s3://bucket/key`. The key is taken as it stands: nothing is decoded."""
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme not in {"s3", "s3a", "s3n"} or not bucket:
        raise LakeError("not an s3:// address")
    return bucket, key
