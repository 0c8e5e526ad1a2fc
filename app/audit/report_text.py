"""The sentences of a report, in words for a person's file. Pure: facts in, text out.

The sentence of a clean verdict is fixed by docs/erasure.md E; the others say no more than they may.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from app.audit.canonical import NotCanonicalError
from app.domain.findings import Verdict, What
from app.domain.reports import IdentityCheck, Outcome

INCOMPLETE = "it does not show that the list of identifiers or places is complete."

LIMITS = (
    (
        "Only the places that the data map declares were changed. A copy that it does not declare "
        "(an extract, a notebook, a dashboard's cache, another account) was not erased."
    ),
    (
        "Only the identifiers resolved at the time stated were looked for. A value that was never "
        "linked to the person in the lake was not found by them."
    ),
    (
        "Text that describes the person without one of these identifiers, such as a name or an "
        "address, was not looked for."
    ),
    "Figures and models computed earlier from the person's rows were not computed again.",
    (
        "Backups and copies of disks, buckets or catalogs are not part of the lake. After one is "
        "restored, the erasure has to be run again before the lake serves."
    ),
    (
        "Results that somebody read or downloaded before, query engines' caches among them, were "
        "not called back."
    ),
    "Events that arrived after the horizon stated for a dataset were not looked at.",
    (
        "Bytes under a COMPLIANCE lock cannot be deleted by anybody before its date, and bytes "
        "under a legal hold not before it is lifted. Both are listed here where they hold the "
        "person."
    ),
    (
        "Rows that stay without the person's identifiers are severed; nobody has assessed whether "
        "they are anonymous."
    ),
    (
        "Shredding a key overwrites and removes its file. It does not reach copies that a disk's "
        "own wear levelling, a snapshot or a backup of the key folder may hold."
    ),
    (
        "The signature shows who signed and that no byte was changed since. It does not by itself "
        "show that what was signed is true."
    ),
)
"""What is not erased, or not shown. In every report, and in the docs."""

HOW_TO_VERIFY = (
    "clearlake report verify REPORT.json --key PUBLIC.pem",
    (
        "openssl pkeyutl -verify -rawin -pubin -inkey PUBLIC.pem -in REPORT.json "
        "-sigfile REPORT.json.sig"
    ),
    (
        "The key id is the first 16 hex digits of: "
        "openssl pkey -pubin -in PUBLIC.pem -outform DER | sha256sum. "
        "Get the public key from the controller by another way than this report."
    ),
)

OUTCOME_MEANS: Mapping[Outcome, str] = {
    Outcome.FULFILLED: "Everything found was erased.",
    Outcome.FULFILLED_WITH_WITHHELD: "Everything found was erased, but for what is kept on the "
    "grounds listed.",
    Outcome.NOT_FOUND: "Nothing of this person was met in the declared places, so there was "
    "nothing to erase.",
    Outcome.PENDING_RETENTION: "Bytes that a lock protects remain until the dates listed. It is "
    "not completed before they are gone.",
    Outcome.ON_HOLD: "A legal hold, or a missing right, forbids part of the erasure. It goes on "
    "when the hold is lifted or the right is given.",
    Outcome.STUCK: "A person has to look at what is listed. It is not completed.",
    Outcome.LIMITED: "The run was limited to a part of the lake, and only that part was erased. "
    "It is not completed before the same run has gone over the whole.",
}

APPROVAL: Mapping[str | None, str] = {
    "personal": "approved by a person",
    "service": "approved by a service key: allowed in the demo only",
    None: "not approved",
}
"""The kind of the approver's key, in words."""

_WORDS: Mapping[What, str] = {
    What.RESIDUE: "identifiers still stand",
    What.CANNOT_SEE: "could not be read in full",
    What.ARITHMETIC: "counts do not add up",
    What.UNREADABLE: "bytes whose form is not known",
    What.WITHHELD: "rows or values kept on a ground",
    What.HELD: "bytes under a legal hold, or that a missing right protects",
    What.DEFERRED: "bytes that a COMPLIANCE lock protects",
    What.PARKED: "set aside for a person to look at",
    What.UNTOUCHED: "not looked at, and nothing of it was erased",
    What.NOTE: "notes for a person",
}


def text_of(time: datetime) -> str:
    """RFC 3339, UTC, milliseconds. NotCanonicalError for a time without a zone."""
    if time.utcoffset() is None:
        raise NotCanonicalError("A time in a report must have a zone.")
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def statement(
    verdict: Verdict,
    *,
    identifiers: int,
    places: int,
    resolved_at: str,
    horizon_at: str,
    kinds: Sequence[What],
) -> str:
    """The one sentence of page one. A verdict never claims more than its evidence."""
    who = f"For the {_many(identifiers, 'identifier')} resolved at {resolved_at}"
    where = f"in the {_many(places, 'declared place')} up to {horizon_at}"
    what = ", ".join(_WORDS[k] for k in kinds if k is not What.NOTE)
    if verdict is Verdict.VERIFIED:
        said = f"{who}, no occurrence was found {where}"
    elif verdict is Verdict.DEFERRED:
        said = f"{who}, no occurrence was found {where} but in {what}, until the dates listed"
    elif verdict is Verdict.PARTIAL:
        said = f"{who}, no occurrence was found {where} but for what is listed here ({what})"
    else:
        said = f"{who}, it was not shown that they are gone {where} ({what})"
    return f"{said}; {INCOMPLETE}"


def identity_check_sentence(check: IdentityCheck) -> str:
    """How the person was identified, and on whose word."""
    how = check.method or "no method recorded"
    how += f", level {check.level}" if check.level else ""
    return f"{how}; asserted by {check.asserted_by}"


def left_sentence(
    what: What, *, dataset: str, amounts: str, until: str | None, reasons: Sequence[str]
) -> str:
    """One exception in words."""
    said = f"{dataset}: {_WORDS[what]}"
    said += f" ({amounts})" if amounts else ""
    said += f", until {until}" if until else ""
    said += f": {'; '.join(reasons)}" if reasons else ""
    return f"{said}."


def amounts(found: Mapping[str, int]) -> str:
    """`3 versions, 1 line` from units to numbers."""
    return ", ".join(
        _many(number, unit.removesuffix("s")) for unit, number in sorted(found.items()) if number
    )


def _many(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
