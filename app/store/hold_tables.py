"""The tables of legal holds, and of whom cases erase; part of app.store.tables, which is full.

Personal are `sealed_*` columns and keyed digests, as there.
"""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    func,
    text,
)

from app.store.tables import metadata

_Time = DateTime(timezone=True)

identity_digest = Table(
    "identity_digest",
    metadata,
    Column("dsar_id", ForeignKey("dsar.id"), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("digest", Text, nullable=False),
    PrimaryKeyConstraint("dsar_id", "generation", "digest"),
    Index(None, "digest"),
)
"""Whom a case erases, under every living key: what a hold on a subject is compared with. Ends with
the scope.
"""

hold = Table(
    "hold",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("dataset", Text),
    Column("sealed_value", LargeBinary),  # the identifier or the order: key of the hold
    Column("sealed_reasons", LargeBinary),  # key `<id>.ref`: kept until retain_until
    Column("fingerprint", Text),  # an order's: the lake in which its people were looked for
    Column("placed_by", Text, nullable=False),
    Column("created_at", _Time, nullable=False, server_default=func.now()),
    Column("released_by", Text),
    Column("released_at", _Time),
    Column("retain_until", _Time),
    CheckConstraint("kind in ('subject', 'dataset', 'order')", name="kind"),
    Index(None, "created_at", "id"),
    Index("ix_hold_live", "kind", postgresql_where=text("released_at is null")),
)

hold_digest = Table(
    "hold_digest",
    metadata,
    Column("hold_id", ForeignKey("hold.id"), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("digest", Text, nullable=False),
    PrimaryKeyConstraint("hold_id", "generation", "digest"),
    Index(None, "digest"),
)
"""Whom a live hold protects. Deleted when it is released."""
