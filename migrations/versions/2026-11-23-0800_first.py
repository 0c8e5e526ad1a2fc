"""The first tables. What they are for stands in app/store/tables.py."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261123_0800"
down_revision = None
branch_labels = None
depends_on = None

SCHEMA = "clearlake"
TIME = sa.DateTime(timezone=True)
NOW = sa.text("now()")


def upgrade() -> None:
    op.create_table(
        "api_key",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", TIME, server_default=NOW, nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("expires_at", TIME, nullable=True),
        sa.Column("last_used_at", TIME, nullable=True),
        sa.Column("revoked_at", TIME, nullable=True),
        sa.CheckConstraint("kind in ('personal', 'service')", name=op.f("ck_api_key_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_key")),
        sa.UniqueConstraint("digest", name=op.f("uq_api_key_digest")),
        schema=SCHEMA,
    )
    op.create_table(
        "audit_entry",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit_entry")),
        schema=SCHEMA,
    )
    op.create_index(op.f("ix_audit_entry_object"), "audit_entry", ["object", "seq"], schema=SCHEMA)
    op.create_table(
        "consent_subject",
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, server_default=NOW, nullable=False),
        sa.Column("erased_at", TIME, nullable=True),
        sa.Column("shredded_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("ref", name=op.f("pk_consent_subject")),
        schema=SCHEMA,
    )
    op.create_table(
        "dsar",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("regulation", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=True),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("controller_id", sa.Text(), nullable=True),
        sa.Column("language", sa.Text(), nullable=True),
        sa.Column("channel", sa.Text(), nullable=True),
        sa.Column("requester_kind", sa.Text(), nullable=False),
        sa.Column("proof_kind", sa.Text(), nullable=True),
        sa.Column("account_closed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("sealed_subject", sa.LargeBinary(), nullable=True),
        sa.Column("sealed_note", sa.LargeBinary(), nullable=True),
        sa.Column("sealed_external_ref", sa.LargeBinary(), nullable=True),
        sa.Column("shared_review", sa.Text(), nullable=True),
        sa.Column("received_at", TIME, nullable=False),
        sa.Column("created_at", TIME, server_default=NOW, nullable=False),
        sa.Column("acknowledged_at", TIME, nullable=True),
        sa.Column("acknowledge_by", TIME, nullable=True),
        sa.Column("due_at", TIME, nullable=False),
        sa.Column("regime", sa.Text(), nullable=False),
        sa.Column("calendar", sa.Text(), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("approved_by", sa.Text(), nullable=True),
        sa.Column("approved_by_kind", sa.Text(), nullable=True),
        sa.Column("approved_at", TIME, nullable=True),
        sa.Column("approved_scope", sa.Text(), nullable=True),
        sa.Column("sealed_reason", sa.LargeBinary(), nullable=True),
        sa.Column("identity_counts", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("shared_count", sa.Integer(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("verdict", sa.Text(), nullable=True),
        sa.Column(
            "breakers",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'[]'"),
            nullable=False,
        ),
        sa.Column("accepted", postgresql.ARRAY(sa.Text()), nullable=True),
        sa.Column("waiting_until", TIME, nullable=True),
        sa.Column("waiting_reason", sa.Text(), nullable=True),
        sa.Column("settle_until", TIME, nullable=True),
        sa.Column("closed_at", TIME, nullable=True),
        sa.Column("shredded_at", TIME, nullable=True),
        sa.Column("retain_until", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dsar")),
        schema=SCHEMA,
    )
    op.create_index(op.f("ix_dsar_created_at"), "dsar", ["created_at", "id"], schema=SCHEMA)
    op.create_index(op.f("ix_dsar_state"), "dsar", ["state", "due_at"], schema=SCHEMA)
    op.create_index(
        op.f("ix_dsar_requested_by"), "dsar", ["requested_by", "created_at"], schema=SCHEMA
    )
    op.create_table(
        "hold",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=True),
        sa.Column("sealed_value", sa.LargeBinary(), nullable=True),
        sa.Column("sealed_reasons", sa.LargeBinary(), nullable=True),
        sa.Column("fingerprint", sa.Text(), nullable=True),
        sa.Column("placed_by", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, server_default=NOW, nullable=False),
        sa.Column("released_by", sa.Text(), nullable=True),
        sa.Column("released_at", TIME, nullable=True),
        sa.Column("retain_until", TIME, nullable=True),
        sa.CheckConstraint("kind in ('subject', 'dataset', 'order')", name=op.f("ck_hold_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hold")),
        schema=SCHEMA,
    )
    op.create_index(op.f("ix_hold_created_at"), "hold", ["created_at", "id"], schema=SCHEMA)
    op.create_index(
        "ix_hold_live",
        "hold",
        ["kind"],
        schema=SCHEMA,
        postgresql_where=sa.text("released_at is null"),
    )
    op.create_table(
        "hold_digest",
        sa.Column("hold_id", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["hold_id"], ["clearlake.hold.id"], name=op.f("fk_hold_digest_hold_id")
        ),
        sa.PrimaryKeyConstraint("hold_id", "generation", "digest", name=op.f("pk_hold_digest")),
        schema=SCHEMA,
    )
    op.create_index(op.f("ix_hold_digest_digest"), "hold_digest", ["digest"], schema=SCHEMA)
    op.create_table(
        "identity_digest",
        sa.Column("dsar_id", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dsar_id"], ["clearlake.dsar.id"], name=op.f("fk_identity_digest_dsar_id")
        ),
        sa.PrimaryKeyConstraint("dsar_id", "generation", "digest", name=op.f("pk_identity_digest")),
        schema=SCHEMA,
    )
    op.create_index(op.f("ix_identity_digest_digest"), "identity_digest", ["digest"], schema=SCHEMA)
    op.create_table(
        "idempotency",
        sa.Column("actor_id", sa.Text(), nullable=False),
        sa.Column("key_digest", sa.Text(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("body_digest", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("actor_id", "key_digest", name=op.f("pk_idempotency")),
        schema=SCHEMA,
    )
    op.create_index(op.f("ix_idempotency_created_at"), "idempotency", ["created_at"], schema=SCHEMA)
    op.create_table(
        "run",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("lake", sa.Text(), server_default="lake", nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("started_by", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, server_default=NOW, nullable=False),
        sa.Column("stop_requested", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("undo_requested", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("undo_until", TIME, nullable=True),
        sa.Column("addendum", sa.Integer(), server_default="0", nullable=False),
        sa.Column("follow_up_of", sa.Text(), nullable=True),
        sa.Column("ended_at", TIME, nullable=True),
        sa.Column("shredded_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["follow_up_of"], ["clearlake.run.id"], name=op.f("fk_run_follow_up_of")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
        schema=SCHEMA,
    )
    op.create_index(op.f("ix_run_created_at"), "run", ["created_at", "id"], schema=SCHEMA)
    op.create_index(
        "uq_run_at_work",
        "run",
        ["lake"],
        unique=True,
        schema=SCHEMA,
        postgresql_where=sa.text("stage not in ('pending', 'closed', 'undone')"),
    )
    op.create_table(
        "schedule",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("due_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_schedule")),
        schema=SCHEMA,
    )
    op.create_table(
        "sweep_mark",
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("seen_to", sa.Text(), nullable=False),
        sa.Column("swept_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("dataset", name=op.f("pk_sweep_mark")),
        schema=SCHEMA,
    )
    op.create_table(
        "consent",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("policy_version", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("gpc", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("created_at", TIME, server_default=NOW, nullable=False),
        sa.Column("recorded_by", sa.Text(), nullable=False),
        sa.Column("sealed_evidence", sa.LargeBinary(), nullable=False),
        sa.Column("proof", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "state in ('given', 'refused', 'withdrawn')", name=op.f("ck_consent_state")
        ),
        sa.ForeignKeyConstraint(
            ["ref"], ["clearlake.consent_subject.ref"], name=op.f("fk_consent_ref")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consent")),
        schema=SCHEMA,
    )
    op.create_index(op.f("ix_consent_ref"), "consent", ["ref", "purpose", "at"], schema=SCHEMA)
    op.create_table(
        "consent_digest",
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["ref"], ["clearlake.consent_subject.ref"], name=op.f("fk_consent_digest_ref")
        ),
        sa.PrimaryKeyConstraint("generation", "digest", "ref", name=op.f("pk_consent_digest")),
        schema=SCHEMA,
    )
    op.create_index(op.f("ix_consent_digest_ref"), "consent_digest", ["ref"], schema=SCHEMA)
    op.create_table(
        "dsar_digest",
        sa.Column("dsar_id", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dsar_id"], ["clearlake.dsar.id"], name=op.f("fk_dsar_digest_dsar_id")
        ),
        sa.PrimaryKeyConstraint("dsar_id", "generation", "digest", name=op.f("pk_dsar_digest")),
        schema=SCHEMA,
    )
    op.create_index(op.f("ix_dsar_digest_digest"), "dsar_digest", ["digest"], schema=SCHEMA)
    op.create_table(
        "finding",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("addendum", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("layer", sa.Text(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["clearlake.run.id"], name=op.f("fk_finding_run_id")),
        sa.PrimaryKeyConstraint("run_id", "addendum", "number", name=op.f("pk_finding")),
        schema=SCHEMA,
    )
    op.create_table(
        "report",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("dsar_id", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("addendum", sa.Integer(), server_default="0", nullable=False),
        sa.Column("verdict", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=True),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, server_default=NOW, nullable=False),
        sa.ForeignKeyConstraint(["dsar_id"], ["clearlake.dsar.id"], name=op.f("fk_report_dsar_id")),
        sa.ForeignKeyConstraint(["run_id"], ["clearlake.run.id"], name=op.f("fk_report_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report")),
        sa.UniqueConstraint(
            "run_id",
            "dsar_id",
            "kind",
            "addendum",
            name=op.f("uq_report_run_id"),
            postgresql_nulls_not_distinct=True,
        ),
        schema=SCHEMA,
    )
    op.create_index(op.f("ix_report_dsar_id"), "report", ["dsar_id"], schema=SCHEMA)
    op.create_table(
        "run_document",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sealed_document", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["clearlake.run.id"], name=op.f("fk_run_document_run_id")
        ),
        sa.PrimaryKeyConstraint("run_id", "name", name=op.f("pk_run_document")),
        schema=SCHEMA,
    )
    op.create_table(
        "run_dsar",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("dsar_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("verdict", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["dsar_id"], ["clearlake.dsar.id"], name=op.f("fk_run_dsar_dsar_id")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["clearlake.run.id"], name=op.f("fk_run_dsar_run_id")),
        sa.PrimaryKeyConstraint("run_id", "dsar_id", name=op.f("pk_run_dsar")),
        schema=SCHEMA,
    )
    op.create_index(op.f("ix_run_dsar_dsar_id"), "run_dsar", ["dsar_id"], schema=SCHEMA)
    op.create_table(
        "run_fact",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["clearlake.run.id"], name=op.f("fk_run_fact_run_id")),
        sa.PrimaryKeyConstraint("run_id", "name", name=op.f("pk_run_fact")),
        schema=SCHEMA,
    )
    op.create_table(
        "scope",
        sa.Column("dsar_id", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("map_digest", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("sealed_identity", sa.LargeBinary(), nullable=False),
        sa.Column("plan", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("undecided", sa.Integer(), nullable=False),
        sa.Column("resolved_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["dsar_id"], ["clearlake.dsar.id"], name=op.f("fk_scope_dsar_id")),
        sa.PrimaryKeyConstraint("dsar_id", name=op.f("pk_scope")),
        schema=SCHEMA,
    )
    op.create_table(
        "step",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("max_attempts", sa.Integer(), server_default="5", nullable=False),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_until", TIME, nullable=True),
        sa.Column("not_before", TIME, nullable=True),
        sa.Column("last_enqueued_at", TIME, nullable=True),
        sa.Column("receipt", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", TIME, server_default=NOW, nullable=False),
        sa.Column("started_at", TIME, nullable=True),
        sa.Column("ended_at", TIME, nullable=True),
        sa.CheckConstraint(
            "state in ('ready', 'running', 'done', 'deferred', 'held', 'parked')",
            name=op.f("ck_step_state"),
        ),
        sa.ForeignKeyConstraint(["run_id"], ["clearlake.run.id"], name=op.f("fk_step_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_step")),
        sa.UniqueConstraint(
            "run_id",
            "kind",
            "target",
            name=op.f("uq_step_run_id"),
            postgresql_nulls_not_distinct=True,
        ),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_step_open",
        "step",
        ["state", "not_before"],
        schema=SCHEMA,
        postgresql_where=sa.text("state <> 'done'"),
    )
    op.create_table(
        "suppression",
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("dsar_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("fence", TIME, nullable=False),
        sa.Column("ground", sa.Text(), nullable=False),
        sa.Column("until", TIME, nullable=False),
        sa.Column("active_again_at", TIME, nullable=True),
        sa.Column("created_at", TIME, server_default=NOW, nullable=False),
        sa.CheckConstraint("scope in ('all', 'before')", name=op.f("ck_suppression_scope")),
        sa.ForeignKeyConstraint(
            ["dsar_id"], ["clearlake.dsar.id"], name=op.f("fk_suppression_dsar_id")
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["clearlake.run.id"], name=op.f("fk_suppression_run_id")
        ),
        sa.PrimaryKeyConstraint("generation", "digest", "dsar_id", name=op.f("pk_suppression")),
        schema=SCHEMA,
    )
    op.create_index(op.f("ix_suppression_until"), "suppression", ["until"], schema=SCHEMA)
    op.create_table(
        "work",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("key_digest", sa.Text(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("sealed_work", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["clearlake.run.id"], name=op.f("fk_work_run_id")),
        sa.PrimaryKeyConstraint("run_id", "dataset", "number", name=op.f("pk_work")),
        sa.UniqueConstraint("run_id", "dataset", "key_digest", name=op.f("uq_work_run_id")),
        schema=SCHEMA,
    )
    op.create_index(op.f("ix_work_run_id"), "work", ["run_id", "dataset", "part"], schema=SCHEMA)
