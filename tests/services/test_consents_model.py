"""Consents against a model: any order of consents, signals and erasures of people who share
browsers leaves in force what a few lines of lists say.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import ClassVar
from uuid import uuid4

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from app.domain.actors import WORKER, Actor, ActorKind, Scope
from app.domain.consents import SALE_SHARING, ConsentState, Said, named
from app.domain.identifiers import Identifier, Kind
from app.services import consents
from app.services.parts import Parts

OFFICER = Actor("key_officer", ActorKind.PERSONAL, frozenset({Scope.SUBJECT_READ}))
BASE = datetime(2026, 1, 1, tzinfo=UTC)
USERS = ("usr_one", "usr_two", "usr_three")
BROWSERS = ("anon_one", "anon_two")
PURPOSES = ("newsletter", SALE_SHARING)

user = st.sampled_from(USERS)
browsers = st.lists(st.sampled_from(BROWSERS), unique=True, max_size=2)


@dataclass(slots=True)
class Line:
    """(when, which, purpose, state) of one entry."""

    at: datetime
    number: int
    purpose: str
    state: ConsentState


@dataclass(slots=True)
class Book:
    """One record: who it belongs to, which browsers lead to it, what stands in it."""

    owner: str | None
    browsers: set[str]
    lines: list[Line] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    def last(self, purpose: str, at: datetime) -> Line | None:
        found = [x for x in self.lines if x.purpose == purpose and x.at <= at]
        return max(found, key=lambda x: (x.at, x.number), default=None)


def test_any_history_leaves_in_force_what_the_model_says(parts: Parts) -> None:
    class Here(History):
        pass

    Here.parts = parts
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=5,
            stateful_step_count=25,
            phases=[Phase.explicit, Phase.generate],  # shrinking takes minutes on a database
            suppress_health_check=list(HealthCheck),
        ),
    )


class History(RuleBasedStateMachine):
    parts: ClassVar[Parts]

    def __init__(self) -> None:
        super().__init__()
        self.mark = uuid4().hex[:8]
        self.books: list[Book] = []
        self.closed: list[Book] = []
        self.numbers = count()

    def id_of(self, name: str) -> Identifier:
        kind = Kind.USER_ID if name in USERS else Kind.ANON_ID
        return Identifier(kind, f"{name}_{self.mark}")

    @rule(
        who=st.none() | user,
        on=browsers,
        purpose=st.sampled_from(PURPOSES),
        state=st.sampled_from(ConsentState),
        hour=st.none() | st.integers(0, 3),
        gpc=st.booleans(),
    )
    def says(
        self,
        who: str | None,
        on: list[str],
        purpose: str,
        state: ConsentState,
        hour: int | None,
        gpc: bool,
    ) -> None:
        if who is None and not on:
            return
        subject = named(
            user_id=self.id_of(who).value if who else None,
            anon_ids=[self.id_of(b).value for b in on],
        )
        at = None if hour is None else BASE + timedelta(hours=hour)
        said = Said(subject, purpose, state, "1", "test", at=at, gpc=gpc)
        with self.parts.database.transaction() as tx:
            now = tx.now()
            done = consents.record(WORKER, tx, parts=self.parts, said=said)
        before = [b for b in self.books if b.browsers & set(on)]
        book = self.book_of(who, on)
        book.lines.append(Line(at or now, next(self.numbers), purpose, state))
        book.ids.append(done.consent.id)
        expected = [book] + [b for b in before if b is not book and not self.is_out(b, now)]
        assert len(done.opt_outs) == (len(expected) if gpc else 0)
        if gpc:
            for each in expected:
                line = Line(now, next(self.numbers), SALE_SHARING, ConsentState.REFUSED)
                each.lines.append(line)

    def book_of(self, who: str | None, on: list[str]) -> Book:
        mine = [b for b in self.books if who and b.owner == who]
        free = [b for b in self.books if b.owner is None and b.browsers & set(on)]
        if not mine + free:
            self.books.append(Book(None, set()))
        book = (mine + free + self.books[-1:])[0]
        book.owner = book.owner or who
        book.browsers |= set(on)
        return book

    def is_out(self, book: Book, now: datetime) -> bool:
        line = book.last(SALE_SHARING, now)
        return line is not None and line.state is not ConsentState.GIVEN

    @rule(who=user, on=browsers)
    def is_erased(self, who: str, on: list[str]) -> None:
        with self.parts.database.transaction() as tx:
            keys = consents.erase_subject(
                WORKER, tx, parts=self.parts, identifiers=[self.id_of(n) for n in (who, *on)]
            )
        gone = [b for b in self.books if b.owner == who or (not b.owner and b.browsers & set(on))]
        assert len(keys) == len(gone)
        for key in keys:
            self.parts.keys.shred(key)
        self.books = [b for b in self.books if b not in gone]
        self.closed += gone

    @invariant()
    def what_is_in_force_is_what_the_model_says(self) -> None:
        with self.parts.database.transaction() as tx:
            now = tx.now()
            for name in (*USERS, *BROWSERS):
                for at in (BASE, BASE + timedelta(hours=2), now):
                    found = consents.in_force(
                        WORKER, tx, parts=self.parts, who=self.id_of(name), at=at
                    )
                    states = {c.purpose: c.state for c in found}
                    for purpose in PURPOSES:
                        assert states.get(purpose) == self.expected(name, purpose, at)

    def expected(self, name: str, purpose: str, at: datetime) -> ConsentState | None:
        books = [b for b in self.books if b.owner == name or name in b.browsers]
        lines = [line for b in books if (line := b.last(purpose, at))]
        strict = [x for x in lines if x.state is not ConsentState.GIVEN] or lines
        newest = max(strict, key=lambda x: (x.at, x.number), default=None)
        return newest.state if newest else None

    @invariant()
    def entries_of_the_living_open_and_those_of_the_erased_do_not(self) -> None:
        with self.parts.database.transaction() as tx:
            for books, opens in ((self.books, True), (self.closed, False)):
                for book in books[-1:]:
                    _, opened = consents.read(OFFICER, tx, parts=self.parts, consent_id=book.ids[0])
                    assert (opened is not None) == opens
