"""`clearlake secrets`: the secret files that docker-compose.yml reads, made once.

Not here: the key store's keys, which the service makes and destroys itself.
"""

from __future__ import annotations

import json
import os
import secrets as random
from pathlib import Path
from typing import Annotated

import typer

from app.cli.display import OUT
from app.domain.errors import UsageError
from app.servers.seaweed import AccessKey, identities

ROLES = ("admin", "reader", "eraser", "purger", "verifier")
_SIGNING = ("FILER_SIGNING_KEY", "FILER_SIGNING_READ_KEY", "SIGNING_KEY", "SIGNING_READ_KEY")


def secrets(
    folder: Annotated[Path, typer.Argument(help="An empty folder: ./secrets beside the file.")],
) -> None:
    """Make the secrets of docker-compose.yml. What is there already is never replaced."""
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder}: is not empty. Its secrets open what is there: keep them.")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    files = _files()
    for name, text in files.items():
        # containers read them as another user; the folder keeps this machine's users out
        path = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    OUT.print(f"{len(files)} secrets in {folder}.", markup=False)


def _files() -> dict[str, str]:
    owner, service, catalog, valkey = (random.token_urlsafe(32) for _ in range(4))
    keys = {role: AccessKey(f"clearlake-{role}", random.token_urlsafe(32)) for role in ROLES}
    signing = "".join(f"WEED_JWT_{name}={random.token_urlsafe(32)}\n" for name in _SIGNING)
    return {
        "postgres_password": owner,
        "owner_database_url": _postgres("clearlake_owner", owner),
        "database_url": _postgres("clearlake_api", service),
        "catalog_uri": _postgres("clearlake_catalog", catalog),
        "valkey_password": valkey,
        "broker_url": f"redis://:{valkey}@valkey:6379/0",
        "s3_identities": json.dumps(identities(keys)),
        "s3.env": f"{signing}WEED_MASTER_VOLUME_GROWTH_COPY_1=1\n",
        **{f"s3_{role}": key.secret_key for role, key in keys.items()},
    }


def _postgres(user: str, password: str) -> str:
    return f"postgresql+psycopg://{user}:{password}@postgres:5432/clearlake"
