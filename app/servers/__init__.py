"""Postgres, Valkey and S3 from wheels, for the demo and the tests. Never for production.

Not here: which URL a setting gives (app.wiring): these start only where no URL is given.
"""

from app.servers.stack import (
    PARTS,
    ROLES,
    AccessKey,
    PostgresServer,
    S3Server,
    Servers,
    ValkeyServer,
    remove_state,
)

__all__ = [
    "PARTS",
    "ROLES",
    "AccessKey",
    "PostgresServer",
    "S3Server",
    "Servers",
    "ValkeyServer",
    "remove_state",
]
