"""Who does something here, and what each scope allows. Not here: keys and how they are checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from app.domain.errors import NotAllowedError


class Scope(StrEnum):
    """What a key may do. Every route names one."""

    SUBJECT_READ = "subject:read"
    DSARS_READ = "dsars:read"
    DSARS_WRITE = "dsars:write"
    DSARS_APPROVE = "dsars:approve"
    CONSENTS_READ = "consents:read"
    CONSENTS_WRITE = "consents:write"
    RUNS_READ = "runs:read"
    RUNS_OPERATE = "runs:operate"
    REPORTS_READ = "reports:read"
    ADMIN = "admin"
    AUDITOR = "auditor"


class ActorKind(StrEnum):
    """A person, another service, or our own workers."""

    PERSONAL = "personal"
    SERVICE = "service"
    WORKER = "worker"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts. `id` is pseudonymous (`key_...`, `worker`); the name is for people's eyes."""

    id: str
    kind: ActorKind
    scopes: frozenset[Scope] = frozenset()
    name: str = field(default="", repr=False)

    def may(self, scope: Scope) -> bool:
        """Whether this actor has a scope. `admin` is not all of them."""
        return scope in self.scopes

    def must(self, scope: Scope) -> None:
        """NotAllowedError names the scope that is missing."""
        if not self.may(scope):
            raise NotAllowedError(f"This needs the scope {scope.value}.")


WORKER = Actor("worker", ActorKind.WORKER)
"""The service's own hand: runs, reminders, sweeps."""
