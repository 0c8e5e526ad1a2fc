"""Every table of the service, in the schema `clearlake`. The migrations make exactly these.

`sealed_*` columns hold AES-256-GCM under a key that can be destroyed (app.audit.keys); `digest`
columns hold keyed digests: pseudonymous personal data with an end. Nothing else is personal.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

SCHEMA = "clearlake"
metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    },
)
_Time = DateTime(timezone=True)


def _now() -> Column[object]:
    return Column("created_at", _Time, nullable=False, server_default=func.now())


# --- who acts --------------------------------------------------------------------------------

api_key = Table(
    "api_key",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("digest", Text, nullable=False, unique=True),  # HMAC-SHA-256 with the pepper, hex
    Column("scopes", ARRAY(Text), nullable=False),
    _now(),
    Column("created_by", Text, nullable=False),
    Column("expires_at", _Time),
    Column("last_used_at", _Time),
    Column("revoked_at", _Time),
    CheckConstraint("kind in ('personal', 'service')", name="kind"),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("actor_id", Text, nullable=False),
    Column("key_digest", Text, nullable=False),
    Column("route", Text, nullable=False),
    Column("body_digest", Text, nullable=False),  # HMAC: a plain hash of a body could be guessed
    Column("status", Integer, nullable=False),
    Column("headers", JSONB, nullable=False),
    Column("answer", Text, nullable=False),  # ids and states only, never what came in
    _now(),
    PrimaryKeyConstraint("actor_id", "key_digest"),
    Index(None, "created_at"),
)

# --- cases -----------------------------------------------------------------------------------

dsar = Table(
    "dsar",
    metadata,
    Column("id", Text, primary_key=True),
    Column("type", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("version", Integer, nullable=False, server_default="1"),  # the ETag
    Column("regulation", Text, nullable=False),
    Column("region", Text),
    Column("role", Text, nullable=False),
    Column("controller_id", Text),
    Column("language", Text),
    Column("channel", Text),
    Column("requester_kind", Text, nullable=False),
    Column("proof_kind", Text),
    Column("account_closed", Boolean, nullable=False, server_default=text("false")),
    Column("sealed_subject", LargeBinary),  # what was given: key of the case
    Column("sealed_note", LargeBinary),
    Column("sealed_external_ref", LargeBinary),  # key `<id>.ref`: kept until retain_until
    Column("shared_review", Text),  # tombstone | keep: what the approver decided of shared values
    # the clock
    Column("received_at", _Time, nullable=False),
    _now(),
    Column("acknowledged_at", _Time),
    Column("acknowledge_by", _Time),
    Column("due_at", _Time, nullable=False),
    Column("regime", Text, nullable=False),
    Column("calendar", Text, nullable=False),
    # who decided
    Column("requested_by", Text, nullable=False),
    Column("approved_by", Text),
    Column("approved_by_kind", Text),
    Column("approved_at", _Time),
    Column("approved_scope", Text),
    Column("sealed_reason", LargeBinary),  # of a rejection or cancellation: key `<id>.ref`
    # how it went
    Column("identity_counts", JSONB),
    Column("shared_count", Integer),
    Column("outcome", Text),
    Column("verdict", Text),
    Column("breakers", JSONB, nullable=False, server_default=text("'[]'")),  # tripped, in numbers
    Column("accepted", ARRAY(Text)),  # which of them the approver accepted by name
    Column("waiting_until", _Time),
    Column("waiting_reason", Text),
    Column("settle_until", _Time),
    Column("closed_at", _Time),
    Column("shredded_at", _Time),
    Column("retain_until", _Time),
    Index(None, "state", "due_at"),
    Index(None, "created_at", "id"),
    Index(None, "requested_by", "created_at"),
)

dsar_digest = Table(
    "dsar_digest",
    metadata,
    Column("dsar_id", ForeignKey("dsar.id"), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("digest", Text, nullable=False),
    Column("kind", Text, nullable=False),  # user_id | anon_id | device_fp | external_ref
    PrimaryKeyConstraint("dsar_id", "generation", "digest"),
    Index(None, "digest"),
)
"""To find a case by its subject or external_ref. Ends with the case's retention."""

scope = Table(
    "scope",
    metadata,
    Column("dsar_id", ForeignKey("dsar.id"), primary_key=True),
    Column("digest", Text, nullable=False),  # keyed with the case's salt: it cannot be matched
    Column("map_digest", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),  # of the lake as it was resolved
    Column("sealed_identity", LargeBinary, nullable=False),
    Column("plan", JSONB, nullable=False),  # counts only
    Column("undecided", Integer, nullable=False),
    Column("resolved_at", _Time, nullable=False),
)

# --- runs ------------------------------------------------------------------------------------

run = Table(
    "run",
    metadata,
    Column("id", Text, primary_key=True),
    Column("lake", Text, nullable=False, server_default="lake"),
    Column("stage", Text, nullable=False),
    Column("version", Integer, nullable=False, server_default="1"),
    Column("started_by", Text, nullable=False),
    _now(),
    Column("stop_requested", Boolean, nullable=False, server_default=text("false")),
    Column("undo_requested", Boolean, nullable=False, server_default=text("false")),
    Column("undo_until", _Time),
    Column("addendum", Integer, nullable=False, server_default="0"),
    Column("follow_up_of", ForeignKey("run.id")),
    Column("ended_at", _Time),
    Column("shredded_at", _Time),
    Index(
        "uq_run_at_work",
        "lake",
        unique=True,
        postgresql_where=text("stage not in ('pending', 'closed', 'undone')"),
    ),
    Index(None, "created_at", "id"),
)
"""One run at a time a lake: the partial unique index is the lock."""

run_dsar = Table(
    "run_dsar",
    metadata,
    Column("run_id", ForeignKey("run.id"), nullable=False),
    Column("dsar_id", ForeignKey("dsar.id"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("outcome", Text),
    Column("verdict", Text),
    PrimaryKeyConstraint("run_id", "dsar_id"),
    Index(None, "dsar_id"),
)

run_fact = Table(
    "run_fact",
    metadata,
    Column("run_id", ForeignKey("run.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("value", Text, nullable=False),
    PrimaryKeyConstraint("run_id", "name"),
)

run_document = Table(
    "run_document",
    metadata,
    Column("run_id", ForeignKey("run.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("sealed_document", LargeBinary, nullable=False),
    PrimaryKeyConstraint("run_id", "name"),
)

work = Table(
    "work",
    metadata,
    Column("run_id", ForeignKey("run.id"), nullable=False),
    Column("dataset", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("key_digest", Text, nullable=False),  # HMAC of the URI under the run's key
    Column("part", Integer, nullable=False),  # the group whose steps act on it
    Column("state", Text, nullable=False),
    Column("sealed_work", LargeBinary, nullable=False),
    PrimaryKeyConstraint("run_id", "dataset", "number"),
    UniqueConstraint("run_id", "dataset", "key_digest"),
    Index(None, "run_id", "dataset", "part"),
)

step = Table(
    "step",
    metadata,
    Column("id", Text, primary_key=True),
    Column("run_id", ForeignKey("run.id")),
    Column("kind", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("max_attempts", Integer, nullable=False, server_default="5"),
    Column("fence", BigInteger, nullable=False, server_default="0"),
    Column("lease_owner", Text),
    Column("lease_until", _Time),
    Column("not_before", _Time),
    Column("last_enqueued_at", _Time),  # null: never rung. The ledger is its own outbox
    Column("receipt", JSONB),
    Column("error_code", Text),
    Column("reason", Text),
    _now(),
    Column("started_at", _Time),
    Column("ended_at", _Time),
    UniqueConstraint("run_id", "kind", "target", postgresql_nulls_not_distinct=True),
    CheckConstraint(
        "state in ('ready', 'running', 'done', 'deferred', 'held', 'parked')", name="state"
    ),
    Index("ix_step_open", "state", "not_before", postgresql_where=text("state <> 'done'")),
)

finding = Table(
    "finding",
    metadata,
    Column("run_id", ForeignKey("run.id"), nullable=False),
    Column("addendum", Integer, nullable=False),
    Column("number", Integer, nullable=False),
    Column("what", Text, nullable=False),
    Column("layer", Text, nullable=False),
    Column("dataset", Text, nullable=False),
    Column("count", Integer, nullable=False),
    PrimaryKeyConstraint("run_id", "addendum", "number"),
)
"""What the second look saw, in numbers. Places stand sealed in run_document."""

report = Table(
    "report",
    metadata,
    Column("id", Text, primary_key=True),
    Column("run_id", ForeignKey("run.id"), nullable=False),
    Column("dsar_id", ForeignKey("dsar.id")),  # null: the run's own
    Column("kind", Text, nullable=False),  # subject | run | objects
    Column("addendum", Integer, nullable=False, server_default="0"),
    Column("verdict", Text),
    Column("outcome", Text),
    Column("document", LargeBinary, nullable=False),
    Column("signature", LargeBinary),
    Column("sha256", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    _now(),
    UniqueConstraint("run_id", "dsar_id", "kind", "addendum", postgresql_nulls_not_distinct=True),
    Index(None, "dsar_id"),
)

# --- nobody comes back -----------------------------------------------------------------------

suppression = Table(
    "suppression",
    metadata,
    Column("generation", Integer, nullable=False),
    Column("digest", Text, nullable=False),
    Column("dsar_id", ForeignKey("dsar.id"), nullable=False),
    Column("run_id", ForeignKey("run.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("fence", _Time, nullable=False),
    Column("ground", Text, nullable=False),
    Column("until", _Time, nullable=False),
    Column("active_again_at", _Time),  # when a sweep said so
    _now(),
    PrimaryKeyConstraint("generation", "digest", "dsar_id"),
    CheckConstraint("scope in ('all', 'before')", name="scope"),
    Index(None, "until"),
)

sweep_mark = Table(
    "sweep_mark",
    metadata,
    Column("dataset", Text, primary_key=True),
    Column("seen_to", Text, nullable=False),  # RFC 3339 (objects) or a snapshot id (tables)
    Column("swept_at", _Time, nullable=False),
)

# --- consents --------------------------------------------------------------------------------

consent_subject = Table(
    "consent_subject",
    metadata,
    Column("ref", Text, primary_key=True),  # csub_...: also the id of the subject's key
    _now(),
    Column("erased_at", _Time),
    Column("shredded_at", _Time),
)

consent_digest = Table(
    "consent_digest",
    metadata,
    Column("generation", Integer, nullable=False),
    Column("digest", Text, nullable=False),
    Column("ref", ForeignKey("consent_subject.ref"), nullable=False),
    Column("kind", Text, nullable=False),
    PrimaryKeyConstraint("generation", "digest", "ref"),
    Index(None, "ref"),
)
"""Deleted by an erasure: after it nothing leads from an identifier to the entries."""

consent = Table(
    "consent",
    metadata,
    Column("id", Text, primary_key=True),
    Column("seq", BigInteger, Identity(always=True), nullable=False),  # of two at once, the later
    Column("ref", ForeignKey("consent_subject.ref"), nullable=False),
    Column("purpose", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("policy_version", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("gpc", Boolean, nullable=False, server_default=text("false")),
    Column("at", _Time, nullable=False),
    _now(),
    Column("recorded_by", Text, nullable=False),
    Column("sealed_evidence", LargeBinary, nullable=False),  # identifiers and evidence
    Column("proof", Text, nullable=False),  # commitment that survives the shredding
    CheckConstraint("state in ('given', 'refused', 'withdrawn')", name="state"),
    Index(None, "ref", "purpose", "at"),
)
"""Append-only: the service's role may insert and select."""

# --- what happened, and when what is due -----------------------------------------------------

audit_entry = Table(
    "audit_entry",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at", _Time, nullable=False),
    Column("actor", Text, nullable=False),
    Column("verb", Text, nullable=False),
    Column("object", Text, nullable=False),
    Column("facts", Text, nullable=False),  # RFC 8785 canonical JSON
    Index(None, "object", "seq"),
)
"""Append-only and gapless: insert and select rights, triggers refuse everything else."""

schedule = Table(
    "schedule",
    metadata,
    Column("name", Text, primary_key=True),
    Column("due_at", _Time, nullable=False),
)
"""When each recurring thing is due. Taking it moves the date, so that it happens once."""

APPEND_ONLY = (audit_entry, consent, report)
"""Tables that the service's role can only add to."""
