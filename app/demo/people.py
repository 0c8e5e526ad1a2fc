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
    identity: tuple[Identifier, ...]
    """All that the lake links to them: whoever searches it afterwards can look for each."""
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
    linked = _linked(made)
    visitor = Identifier(Kind.ANON_ID, cast.visitor_anon_id)
    people = [Person(visitor, "a visitor known by an anon_id only", (visitor,))]
    others = (user for user in linked if user not in stories)
    people += [
        Person(Identifier(Kind.USER_ID, user), stories.get(user, "a user"), linked[user])
        for user in [*stories, *islice(others, count)]
    ]
    if len(people) < count:
        raise UsageError(f"--subjects: this lake has {len(people)} people to choose from.")
    return people[:count]


def _linked(made: Made) -> dict[str, tuple[Identifier, ...]]:
    """Of each user the user_id and every value ever linked to it."""
    lists = {"anon_ids": Kind.ANON_ID, "device_fps": Kind.DEVICE_FP}
    return {
        row["user_id"]: (
            Identifier(Kind.USER_ID, row["user_id"]),
            *(Identifier(kind, value) for name, kind in lists.items() for value in row[name]),
        )
        for batch in made.engine.batches(IDENTITY, columns=["user_id", *lists])
        for row in batch.to_pylist()
        if row["user_id"] is not None
    }
