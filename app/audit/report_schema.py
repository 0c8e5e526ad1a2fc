"""The fields of `clearlake.report/1` as a reader expects them: written apart from the builder.

Unknown and missing fields are refused. What the fields must say together: report_verify.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

Count = Annotated[int, Meta(ge=0)]
Time = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
KeyId = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
VerdictText = Literal["VERIFIED", "PARTIAL", "DEFERRED", "FAILED"]
OutcomeText = Literal[
    "fulfilled",
    "fulfilled_with_withheld",
    "not_found",
    "pending_retention",
    "on_hold",
    "stuck",
    "limited",
]
WhatText = Literal[
    "residue",
    "withheld",
    "deferred",
    "held",
    "parked",
    "cannot_see",
    "unreadable",
    "arithmetic",
    "untouched",
    "note",
]
ApprovalText = Literal[
    "approved by a person",
    "approved by a service key: allowed in the demo only",
    "not approved",
]
KindText = Literal["user_id", "anon_id", "device_fp", "derived"]
OriginText = Literal["given", "linked", "derived"]


class Part(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the document: no field more, none less."""


class Ground(Part, frozen=True):
    ground: str
    until: str | None
    approved_by: str | None


class Kept(Part, frozen=True):
    dataset: str | None
    rows: Count
    values: Count
    grounds: tuple[Ground, ...]


class Copy(Part, frozen=True):
    name: str
    kind: str
    action: str
    state: Literal["open", "done"]


class Downstream(Part, frozen=True):
    declared: Literal["none", "nothing", "copies"]
    copies: tuple[Copy, ...]
    said: str


class MapVoucher(Part, frozen=True):
    author: str | None
    approved_by: str | None
    absent: str | None


class PageOne(Part, frozen=True):
    value: VerdictText
    where: Literal["in the declared lake"]
    outcome: OutcomeText
    outcome_means: str
    statement: str
    identifiers: Count
    places: Count
    resolved_at: Time
    horizon_at: Time
    left: tuple[str, ...]
    kept: tuple[Kept, ...]
    downstream: Downstream
    data_map: MapVoucher


class LogEntries(Part, frozen=True):
    first: Count
    last: Count


class Case(Part, frozen=True):
    """Where there is none, all is null but `absent`, and the fields with a default are left out."""

    id: str | None
    type: str | None
    regulation: str | None
    received_at: Time | None
    acknowledged_at: Time | None
    due_at: Time | None
    completed_at: Time | None
    extension: str | None
    requester: str | None
    identity_check: str | None
    requested_by: str | None
    approved_by: str | None
    absent: str | None
    region: str | UnsetType | None = UNSET
    role: Literal["controller", "processor"] | UnsetType = UNSET
    approved_at: Time | UnsetType | None = UNSET
    approval: ApprovalText | UnsetType = UNSET
    addendum: Count | UnsetType = UNSET
    log_entries: LogEntries | UnsetType | None = UNSET


class Commitment(Part, frozen=True):
    kind: KindText
    origin: OriginText
    commitment: Sha256


class Shared(Part, frozen=True):
    kind: KindText
    users: Count
    decision: Literal["tombstone", "keep", "review"]
    commitment: Sha256


class Subject(Part, frozen=True):
    name: str
    counts: dict[KindText, Count]
    origins: dict[OriginText, Count]
    commitments: tuple[Commitment, ...]
    commitment_form: str
    shared: tuple[Shared, ...]
    sources: tuple[str, ...]


class SubjectLine(Part, frozen=True):
    name: str
    identifiers: Count
    verdict: VerdictText
    outcome: OutcomeText


class Treatment(Part, frozen=True):
    kind: Literal["delete", "tombstone", "keep"]
    purpose: str | None
    legal_basis: str | None
    ground: str | None


class Share(Part, frozen=True):
    deleted: Count
    tombstoned: Count
    co_owned: Count
    kept: Count


class Totals(Part, frozen=True):
    before: Count
    after: int
    deleted: Count
    tombstoned: Count
    co_owned: Count
    kept: Count
    values: Count
    parked: Count


class Dataset(Part, frozen=True):
    layer: Literal["bronze", "silver", "gold"]
    name: str
    horizon: str
    treatment: Treatment
    read: Count
    changed: Count
    run_totals: Totals
    subject: Share | None
    shares: dict[str, Share] | None
    undeclared: dict[str, Count]
    versions_purged: Count
    files_purged: Count
    snapshots_added: Count
    snapshots_expired: Count
    warnings: tuple[str, ...]


class Objects(Part, frozen=True):
    sha256: Sha256
    entries: Count
    sealed: bool


class Exceptional(Part, frozen=True):
    what: WhatText
    layer: str
    dataset: str
    occurrences: Count
    items: dict[str, Count]
    until: Time | None
    reasons: tuple[str, ...]


class Seen(Part, frozen=True):
    objects: Count
    versions: Count
    bytes: Count
    rows: Count


class FindingLine(Part, frozen=True):
    what: WhatText
    layer: str
    dataset: str
    place: str
    detail: str
    count: Count


class Verification(Part, frozen=True):
    code: str
    credential: str
    seen: Seen
    findings: tuple[FindingLine, ...]
    undeclared_places: tuple[str, ...]


class Provenance(Part, frozen=True):
    versions: dict[str, str]
    settings_digest: str
    data_map_digest: str
    times: dict[str, Time]
    database_time: Time | None
    log_entries: Count | None
    checkpoint: str | None
    absent: str | None


class Signature(Part, frozen=True):
    algorithm: Literal["Ed25519"]
    key_id: KeyId


class Report(Part, frozen=True):
    schema: Literal["clearlake.report/1"]
    scope: Literal["subject", "run"]
    run_id: str
    reported_at: Time
    verdict: PageOne
    case: Case
    subject: Subject | None
    subjects: tuple[SubjectLine, ...] | None
    datasets: tuple[Dataset, ...]
    objects: Objects | None
    exceptions: tuple[Exceptional, ...]
    verification: Verification
    provenance: Provenance
    limits: tuple[str, ...]
    how_to_verify: tuple[str, ...]
    signature: Signature


def read_report(data: bytes) -> Report:
    """The report in these bytes. msgspec.ValidationError names the field that is not right."""
    return msgspec.json.decode(data, type=Report)
