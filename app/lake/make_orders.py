"""The orders of a made lake from checkout to dispute: carried from day to day, written once.

Not here: which session buys (app.lake.make_days) and the table (app.lake.make_tables).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from app.lake.envelope import CROCKFORD
from app.lake.make_people import DISPUTED, Flags, Ints, People, random_ids
from app.lake.make_words import CONTEXTS, METHODS, STATUSES

ABANDONED, PAID, REFUNDED, IN_DISPUTE, CHARGED_BACK = range(len(STATUSES))
REFUND, REFUND_FAILED, DISPUTE, CLOSE = range(4)
"""What a later session of the buyer does about an order."""


@dataclass(frozen=True, slots=True)
class Due:
    """Something that is still to happen to an order, in a session that starts after `after`."""

    order: int
    user: int
    after: int
    what: int


@dataclass(slots=True)
class Orders:
    """All orders so far, one array a column, and what is still to happen to them."""

    ids: list[pa.Array] = field(default_factory=list, repr=False)
    user: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    provider: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    client: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    day: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    cents: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    context: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    method: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    status: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    due: list[Due] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.user)

    def texts(self) -> pa.Array:
        """Every order_id, by number."""
        return pa.concat_arrays(self.ids) if self.ids else pa.array([], pa.string())

    def place(
        self,
        rng: np.random.Generator,
        *,
        user: Ints,
        provider: Ints,
        client: Ints,
        day: int,
        starts: Ints,
        paid: Flags,
    ) -> Ints:
        """New orders of one day, one a purchase; their numbers."""
        n = len(user)
        numbers = np.arange(len(self), len(self) + n)
        self.ids.append(random_ids(rng, "ord_", alphabet=CROCKFORD, size=26, n=n))
        columns = {
            "user": user,
            "provider": provider,
            "client": client,
            "day": np.full(n, day),
            "cents": 2500 + 100 * rng.integers(0, 1500, n),
            "context": rng.integers(0, len(CONTEXTS), n),
            "method": rng.integers(0, len(METHODS), n),
            "status": np.where(paid, PAID, ABANDONED),
        }
        for name, values in columns.items():
            setattr(self, name, np.concatenate([getattr(self, name), values]))
        fate = rng.random(n)
        disputed = paid & ((fate < 0.08) | (user == DISPUTED))
        refunded = paid & ~disputed & (fate < 0.16)
        for i in np.flatnonzero(disputed | refunded):
            what = DISPUTE if disputed[i] else (REFUND if numbers[i] % 3 else REFUND_FAILED)
            self.due.append(Due(int(numbers[i]), int(user[i]), int(starts[i]), what))
        return numbers

    def settle(self, *, sessions: dict[int, list[tuple[int, int]]]) -> dict[int, tuple[int, int]]:
        """Give what is due to the first free session of each buyer that starts late enough.

        `sessions`: user -> (start, session number), by start. Answers session number -> (what,
        order).
        """
        done: dict[int, tuple[int, int]] = {}
        still: list[Due] = []
        for due in self.due:
            free = [
                (start, number)
                for start, number in sessions.get(due.user, ())
                if start > due.after and number not in done
            ]
            if not free:
                still.append(due)
                continue
            start, number = free[0]
            done[number] = (due.what, due.order)
            still += self._happens(due, start=start)
        self.due = still
        return done

    def _happens(self, due: Due, *, start: int) -> list[Due]:
        status = {REFUND: REFUNDED, DISPUTE: IN_DISPUTE, CLOSE: CHARGED_BACK}
        self.status[due.order] = status.get(due.what, self.status[due.order])
        stays_open = due.user == DISPUTED or due.order % 3
        if due.what != DISPUTE or stays_open:
            return []
        return [Due(due.order, due.user, start, CLOSE)]


def latest_order(orders: Orders, people: People) -> Ints:
    """By user: the last order that the user placed or was chosen for, or -1."""
    latest = np.full(len(people.users), -1)
    numbers = np.arange(len(orders))
    latest[orders.user] = numbers
    latest[orders.provider] = np.maximum(latest[orders.provider], numbers)
    return latest
