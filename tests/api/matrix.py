"""Which scope opens which route. A route that is not here fails the test of authorisation."""

from __future__ import annotations

from app.domain.actors import Scope

OPEN = frozenset({("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics")})
"""Need no key. They tell nothing personal, and are kept inside."""

SCOPES: dict[tuple[str, str], Scope] = {
    ("POST", "/v1/dsars"): Scope.DSARS_WRITE,
    ("GET", "/v1/dsars"): Scope.DSARS_READ,
    ("POST", "/v1/dsars:search"): Scope.DSARS_READ,
    ("GET", "/v1/dsars/{dsar_id}"): Scope.DSARS_READ,
    ("GET", "/v1/dsars/{dsar_id}/subject"): Scope.SUBJECT_READ,
    ("GET", "/v1/dsars/{dsar_id}/preview"): Scope.DSARS_READ,
    ("POST", "/v1/dsars/{dsar_id}/approve"): Scope.DSARS_APPROVE,
    ("POST", "/v1/dsars/{dsar_id}/reject"): Scope.DSARS_APPROVE,
    ("POST", "/v1/dsars/{dsar_id}/cancel"): Scope.DSARS_WRITE,
    ("POST", "/v1/dsars/{dsar_id}/retry"): Scope.DSARS_WRITE,
    ("GET", "/v1/dsars/{dsar_id}/timeline"): Scope.DSARS_READ,
    ("GET", "/v1/dsars/{dsar_id}/stream"): Scope.DSARS_READ,
    ("GET", "/v1/dsars/{dsar_id}/report.json"): Scope.REPORTS_READ,
    ("GET", "/v1/dsars/{dsar_id}/report.sig"): Scope.REPORTS_READ,
    ("POST", "/v1/runs"): Scope.RUNS_OPERATE,
    ("GET", "/v1/runs"): Scope.RUNS_READ,
    ("GET", "/v1/runs/{run_id}"): Scope.RUNS_READ,
    ("POST", "/v1/runs/{run_id}/stop"): Scope.RUNS_OPERATE,
    ("POST", "/v1/runs/{run_id}/resume"): Scope.RUNS_OPERATE,
    ("POST", "/v1/runs/{run_id}/undo"): Scope.RUNS_OPERATE,
    ("POST", "/v1/runs/{run_id}/widen"): Scope.RUNS_OPERATE,
    ("GET", "/v1/runs/{run_id}/steps"): Scope.RUNS_READ,
    ("POST", "/v1/runs/{run_id}/steps/{step_id}/retry"): Scope.RUNS_OPERATE,
    ("GET", "/v1/runs/{run_id}/report.json"): Scope.REPORTS_READ,
    ("GET", "/v1/runs/{run_id}/report.sig"): Scope.REPORTS_READ,
    ("GET", "/v1/runs/{run_id}/objects"): Scope.REPORTS_READ,
    ("POST", "/v1/holds"): Scope.DSARS_APPROVE,
    ("GET", "/v1/holds"): Scope.DSARS_READ,
    ("GET", "/v1/holds/{hold_id}"): Scope.DSARS_READ,
    ("POST", "/v1/holds/{hold_id}/release"): Scope.DSARS_APPROVE,
    ("GET", "/v1/keys/public"): Scope.REPORTS_READ,
    ("POST", "/v1/consents"): Scope.CONSENTS_WRITE,
    ("GET", "/v1/consents"): Scope.CONSENTS_READ,
    ("GET", "/v1/consents/check"): Scope.CONSENTS_READ,
    ("GET", "/v1/consents/{consent_id}"): Scope.CONSENTS_READ,
    ("GET", "/v1/api-keys"): Scope.ADMIN,
    ("POST", "/v1/api-keys"): Scope.ADMIN,
    ("GET", "/v1/api-keys/{key_id}"): Scope.ADMIN,
    ("POST", "/v1/api-keys/{key_id}/revoke"): Scope.ADMIN,
    ("POST", "/v1/api-keys/{key_id}/rotate"): Scope.ADMIN,
}

BODIES: dict[tuple[str, str], dict[str, object]] = {
    ("POST", "/v1/dsars"): {
        "type": "erasure",
        "regulation": "gdpr",
        "subject": {"user_id": "usr_01hzy8e1f2c3d4e5f6g7h8j9ka"},
    },
    ("POST", "/v1/dsars:search"): {"external_ref": "ticket 17", "limit": 2},
    ("POST", "/v1/consents"): {
        "subject": {"user_id": "usr_01hzy8e1f2c3d4e5f6g7h8j9ka"},
        "purpose": "marketing",
        "state": "given",
        "policy_version": "2026-11",
        "source": "web_banner",
    },
    ("POST", "/v1/holds"): {
        "subject": {"kind": "user_id", "value": "usr_01hzy8e1f2c3d4e5f6g7h8j9ka"},
        "reason": "A claim is pending.",
    },
    ("POST", "/v1/api-keys"): {"name": "A key", "kind": "service", "scopes": ["dsars:read"]},
}
"""A body that is taken, for the routes that create or look for something."""
