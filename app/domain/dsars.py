"""A DSAR: its types, its states, and every legal move between them, as tables.

Not here: deadlines (app.domain.deadlines), who may do what (app.domain.actors), storage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from app.domain.errors import IllegalMoveError


class DsarType(StrEnum):
    """What the person asks for (GDPR articles 15-18, 20, 21; CCPA 1798.105, .110, .120, .121)."""

    ERASURE = "erasure"
    ACCESS = "access"
    PORTABILITY = "portability"
    RESTRICTION = "restriction"
    OBJECTION = "objection"
    RECTIFICATION = "rectification"
    OPT_OUT_SALE_SHARING = "opt_out_sale_sharing"
    LIMIT_SENSITIVE = "limit_sensitive"


class Regulation(StrEnum):
    """Under which law."""

    GDPR = "gdpr"
    UK_GDPR = "uk_gdpr"
    CCPA = "ccpa"
    LGPD = "lgpd"
    VCDPA = "vcdpa"
    CPA = "cpa"
    CTDPA = "ctdpa"


class RequesterKind(StrEnum):
    """Who speaks for the person."""

    SELF = "self"
    AGENT = "agent"
    GUARDIAN = "guardian"
    REPRESENTATIVE = "representative"
    AUTHORITY = "authority"


class Role(StrEnum):
    """In which role we hold the data (GDPR article 4(7) and (8))."""

    CONTROLLER = "controller"
    PROCESSOR = "processor"


class State(StrEnum):
    """Where a case stands."""

    RECEIVED = "received"
    AWAITING_APPROVAL = "awaiting_approval"
    QUEUED = "queued"
    RUNNING = "running"
    SETTLING = "settling"
    """Erased and verified; late data may still land until the last writer's lifetime is over."""
    PENDING_RETENTION = "pending_retention"
    ON_HOLD = "on_hold"
    STUCK = "stuck"
    COMPLETED = "completed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"


CLOSED = frozenset({State.COMPLETED, State.REJECTED, State.CANCELLED})
"""The ends. Identifiers are shredded soon after."""


class Move(StrEnum):
    """What moves a case. The first three are a person's, the others the service's own."""

    APPROVE = "approve"
    REJECT = "reject"
    CANCEL = "cancel"
    SCOPE = "scope"
    """The identity was resolved; the scope can be looked at."""
    RESCOPE = "rescope"
    """The scope is no longer the one that was shown or approved."""
    TAKE = "take"
    """A run has taken it."""
    PUT_BACK = "put_back"
    """The run was undone, or ended before it changed anything."""
    SETTLE = "settle"
    COMPLETE = "complete"
    DEFER = "defer"
    HOLD = "hold"
    """A legal hold hits it, or forbade its run to finish."""
    LIFT = "lift"
    """The last hold was released, and nobody has approved it yet."""
    LIFT_APPROVED = "lift_approved"
    """The last hold was released; what was approved before still is."""
    STICK = "stick"
    RETAKE = "retake"
    """The same run goes on, or a follow-up run begins."""


_DECIDABLE = (State.AWAITING_APPROVAL, State.QUEUED)
_BEFORE_A_RUN = (State.RECEIVED, *_DECIDABLE, State.ON_HOLD)
"""On hold: as far as no run has it (app.services.decisions)."""
_WAITING = (State.PENDING_RETENTION, State.ON_HOLD, State.STUCK)
_ENDING = (State.RUNNING, *_WAITING)

MOVES: Mapping[Move, Mapping[State, State]] = MappingProxyType(
    {
        Move.APPROVE: {State.AWAITING_APPROVAL: State.QUEUED},
        Move.REJECT: dict.fromkeys((*_BEFORE_A_RUN, State.STUCK), State.REJECTED),
        Move.CANCEL: dict.fromkeys(_BEFORE_A_RUN, State.CANCELLED),
        Move.SCOPE: {State.RECEIVED: State.AWAITING_APPROVAL},
        Move.RESCOPE: dict.fromkeys(
            (State.AWAITING_APPROVAL, State.QUEUED, State.RUNNING), State.AWAITING_APPROVAL
        ),
        Move.TAKE: {State.QUEUED: State.RUNNING},
        Move.PUT_BACK: dict.fromkeys(_ENDING, State.AWAITING_APPROVAL),
        Move.SETTLE: dict.fromkeys(_ENDING, State.SETTLING),
        Move.COMPLETE: dict.fromkeys((*_ENDING, State.SETTLING), State.COMPLETED),
        Move.DEFER: dict.fromkeys(_ENDING, State.PENDING_RETENTION),
        Move.HOLD: dict.fromkeys((*_DECIDABLE, *_ENDING), State.ON_HOLD),
        Move.LIFT: {State.ON_HOLD: State.AWAITING_APPROVAL},
        Move.LIFT_APPROVED: {State.ON_HOLD: State.QUEUED},
        Move.STICK: dict.fromkeys((*_ENDING, State.SETTLING), State.STUCK),
        Move.RETAKE: dict.fromkeys((*_WAITING, State.SETTLING, State.COMPLETED), State.RUNNING),
    }
)
"""Move -> from -> to. What is not here is illegal."""

UNAPPROVED_MOVES = (Move.LIFT, Move.HOLD, Move.REJECT, Move.CANCEL)
"""Out of a hold that came before anybody approved: to no run, and to no run's ends."""
PERSONS_MOVES = (Move.APPROVE, Move.REJECT, Move.CANCEL)


def legal_moves(state: State, type_: DsarType) -> tuple[Move, ...]:
    """What a person may do with a case now, in a stable order."""
    return tuple(m for m in PERSONS_MOVES if state in MOVES[m] and _fits(m, type_))


def moved(state: State, move: Move, *, type_: DsarType, approved: bool = True) -> State:
    """The state after a move. IllegalMoveError names the legal ones. `approved`: whether somebody
    has approved the case, which decides where a case on hold may go.
    """
    after = MOVES[move].get(state)
    never = state is State.ON_HOLD and not approved and move not in UNAPPROVED_MOVES
    if after is None or never or not _fits(move, type_):
        raise IllegalMoveError(
            f"A case that is {state.value} cannot be moved by {move.value}.",
            legal=tuple(m.value for m in legal_moves(state, type_)),
        )
    return after


def _fits(move: Move, type_: DsarType) -> bool:
    """Only erasure is carried out by the service; the other types wait for a person."""
    return type_ is DsarType.ERASURE or move in (Move.REJECT, Move.CANCEL)


@dataclass(frozen=True, slots=True)
class Needs:
    """What a case waits for, whose move it is, and the way out."""

    what: str
    whose: str
    """service | privacy_officer | operator | nobody"""
    exit: str = ""
    """The commands that a person can give now (RUN: the last of the case's runs)."""


_BEFORE = "dsar cancel or dsar reject, with a reason"
_NEEDS: Mapping[State, Needs] = MappingProxyType(
    {
        State.RECEIVED: Needs(
            "the service resolves who this is in the lake",
            "service",
            f"where it cannot: mend the cause, then dsar retry; else {_BEFORE}",
        ),
        State.AWAITING_APPROVAL: Needs(
            "somebody other than the requester looks at the preview and approves its scope",
            "privacy_officer",
            f"dsar preview, then dsar approve; else {_BEFORE}",
        ),
        State.QUEUED: Needs(
            "the next run takes it", "service", f"run start begins one; else {_BEFORE}"
        ),
        State.RUNNING: Needs(
            "the run erases, checks, purges and verifies",
            "service",
            "run show RUN; run undo RUN until its point of no return",
        ),
        State.SETTLING: Needs("late data may still land; a sweep looks for it", "service"),
        State.PENDING_RETENTION: Needs(
            "a retention lock ends, then the rest is purged", "service", "run resume RUN, earlier"
        ),
        State.ON_HOLD: Needs(
            "a legal hold is lifted or a missing right is given, then the run is resumed",
            "privacy_officer",
            "run resume RUN",
        ),
        State.STUCK: Needs(
            "somebody looks at what the run could not finish, then resumes it",
            "privacy_officer",
            "run show RUN names the exit of each step; run resume RUN or run undo RUN; once no run "
            "has the case, dsar reject",
        ),
        State.COMPLETED: Needs("nothing", "nobody"),
        State.REJECTED: Needs("nothing", "nobody"),
        State.CANCELLED: Needs("nothing", "nobody"),
    }
)
_LIMITED = Needs(
    "somebody looks at the report of the part that was erased, then widens the run to the whole "
    "lake",
    "operator",
    "run widen RUN",
)


def needs(state: State, type_: DsarType, *, outcome: str | None = None) -> Needs:
    """What a case waits for now. `outcome`: of its last report."""
    if type_ is not DsarType.ERASURE and state not in CLOSED:
        return Needs(
            f"a person carries it out: the service does not do {type_.value} by itself",
            "privacy_officer",
            "carry it out, then dsar reject or dsar cancel, with a reason",
        )
    if state is State.RUNNING and outcome == "limited":
        return _LIMITED
    return _NEEDS[state]
