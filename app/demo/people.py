"""Who leaves the demo's lake: people with a story first, then ordinary users."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from app.domain.errors import UsageError
from app.domain.identifiers import Identifier, Kind
from app.up import Made

IDENTITY = "gold.dim_identity"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who asks to be forgotten, by the one value that the support desk knows."""

    known_by: Identifier
    story: str
    regulation: str = "gdpr"
    region: str = "DE"


def chosen(made: Made, *, count: int) -> list[Person]:
    """UsageError when the lake has fewer people."""
    cast = made.lake.cast
    stories = {
        cast.tablet_user: "a buyer who shares a tablet with others",
        cast.provider: "a provider whom many other people's events name",
        cast.active_buyer: "the most active buyer",
        cast.disputed_buyer: "a buyer with an order under dispute",
    }
    people = [
        Person(Identifier(Kind.ANON_ID, cast.visitor_anon_id), "a visitor known by an anon_id only")
    ]
    people += [Person(Identifier(Kind.USER_ID, user), story) for user, story in stories.items()]
    others = (
        user
        for batch in made.engine.batches(IDENTITY, columns=["user_id"])
        for user in batch.column("user_id").drop_null().to_pylist()
        if user not in stories
    )
    people += [Person(Identifier(Kind.USER_ID, user), "a user") for user in islice(others, count)]
    if len(people) < count:
        raise UsageError(f"--subjects: this lake has {len(people)} people to choose from.")
    return people[:count]
