"""Who is in a made lake: users, visitors, their clients (cookie and device), shared tablets.

Numbers, not texts: a user is an index into `users`, a client one into `anon_ids`. Not here: what
they do (app.lake.make_days).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from app.lake.envelope import BASE62, CROCKFORD, HEX
from app.lake.make_words import APPS, DEVICES_OF_APP, PLACES

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

ACTIVE_BUYER, PROVIDER, DISPUTED = 0, 4, 5
"""User numbers with a part to play."""
FIRST_TABLET = (1, 2, 3)
_FREE_FROM = 6
MIN_USERS = 8
_PROVIDER_EVERY = 5
_VISITOR_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class People:
    """The population. Texts are arrow arrays, everything else is indices into them."""

    users: pa.Array = field(repr=False)
    profiles: pa.Array = field(repr=False)
    studios: pa.Array = field(repr=False)
    anon_ids: pa.Array = field(repr=False)
    """By client."""
    device_fps: pa.Array = field(repr=False)
    """By client; two clients of one device (a cleared cookie) have the same."""
    visitors: int
    is_provider: Flags
    providers: Ints
    """User numbers, the most wanted first; as `buyers`."""
    buyers: Ints
    first_client: Ints
    """By actor: users first, then visitors. Own clients are consecutive."""
    clients: Ints
    tablet: Ints
    """By user: the client number of the tablet that the user shares, or -1."""
    tablet_mate: Ints
    """By user: another user of the same tablet, or -1."""
    sends_fp: Flags
    """By client, as app, device and place."""
    app: Ints
    device: Ints
    place: Ints
    activity: Floats
    """By actor: the share of the sessions."""

    @property
    def actors(self) -> int:
        """Users and visitors."""
        return len(self.users) + self.visitors

    @property
    def first_tablet(self) -> int:
        """The client numbers from here on are shared tablets."""
        return int(self.first_client[-1] + self.clients[-1])


def random_ids(
    rng: np.random.Generator, prefix: str, *, alphabet: str, size: int, n: int
) -> pa.Array:
    """`n` texts of a prefix and `size` random characters."""
    letters = np.frombuffer(alphabet.encode("ascii"), np.uint8)
    body = letters[rng.integers(0, len(letters), (n, size), np.uint8)]
    head = np.broadcast_to(np.frombuffer(prefix.encode("ascii"), np.uint8), (n, len(prefix)))
    return fixed_texts(np.hstack([head, body]))


def fixed_texts(matrix: npt.NDArray[np.uint8]) -> pa.Array:
    """An arrow string array from a row of ASCII bytes a text, without a Python string a row."""
    rows, width = matrix.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * width
    data = np.ascontiguousarray(matrix)
    return pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(data))


def zipf(n: int, *, exponent: float, shift: float) -> Floats:
    """Zipf-Mandelbrot shares of n ranks, summing to 1."""
    weights = (np.arange(n) + 1.0 + shift) ** -exponent
    return np.asarray(weights / weights.sum())


def make_people(*, users: int, seed: int) -> People:
    """The population of a seed. The first users have their parts, whatever the size."""
    rng = np.random.default_rng([seed, 1])
    visitors = max(2, users // 2)
    own = np.concatenate(
        [1 + (rng.random(users) < 0.5) + (rng.random(users) < 0.2), np.ones(visitors)]
    )
    own = own.astype(np.int64)
    first = np.concatenate([[0], np.cumsum(own)[:-1]])
    tablets = _tablets(rng, users)
    tablet, mate = np.full(users, -1), np.full(users, -1)
    for number, members in enumerate(tablets):
        tablet[members] = int(own.sum()) + number
        mate[members] = np.roll(members, 1)
    total = int(own.sum()) + len(tablets)
    is_provider = np.arange(users) % _PROVIDER_EVERY == PROVIDER
    app = rng.choice(len(APPS), total, p=[0.25, 0.3, 0.25, 0.2])
    return People(
        users=random_ids(rng, "usr_", alphabet=CROCKFORD, size=26, n=users),
        profiles=random_ids(rng, "prf_", alphabet=CROCKFORD, size=26, n=users),
        studios=random_ids(rng, "std_", alphabet=CROCKFORD, size=26, n=users),
        anon_ids=random_ids(rng, "a_", alphabet=BASE62, size=22, n=total),
        device_fps=_device_fps(rng, first=first, own=own, total=total, users=users),
        visitors=visitors,
        is_provider=is_provider,
        providers=np.flatnonzero(is_provider),
        buyers=np.flatnonzero(~is_provider),
        first_client=first,
        clients=own,
        tablet=tablet,
        tablet_mate=mate,
        sends_fp=rng.random(total) < 0.4,
        app=app,
        device=np.array(DEVICES_OF_APP)[app, rng.integers(0, 4, total)],
        place=rng.integers(0, len(PLACES), total),
        activity=_activity(rng, users=users, visitors=visitors),
    )


def _tablets(rng: np.random.Generator, users: int) -> list[Ints]:
    """Groups of three to five users, at most what a policy replaces without asking a person."""
    groups = [np.array(FIRST_TABLET)]
    free = _FREE_FROM + rng.permutation(users - _FREE_FROM)
    while len(groups) < users // 80:
        size = 3 + int(rng.integers(0, 3))
        groups.append(free[:size])
        free = free[size:]
    return groups


def _device_fps(
    rng: np.random.Generator, *, first: Ints, own: Ints, total: int, users: int
) -> pa.Array:
    """One a client, but for users who cleared their cookies: two clients, one device."""
    fps = random_ids(rng, "fp_", alphabet=HEX, size=32, n=total)
    device = np.arange(total)
    cleared = np.flatnonzero((own[:users] > 1) & (rng.random(users) < 0.4))
    device[first[cleared] + 1] = first[cleared]
    return fps.take(pa.array(device))


def _activity(rng: np.random.Generator, *, users: int, visitors: int) -> Floats:
    """Zipf over a shuffled order; the active buyer leads it."""
    ranks = 1 + rng.permutation(users - 1)
    of_users = np.empty(users)
    shares = zipf(users, exponent=0.8, shift=8.0)
    of_users[ACTIVE_BUYER] = shares[0]
    of_users[1:] = shares[ranks]
    of_visitors = rng.permutation(zipf(visitors, exponent=0.4, shift=8.0))
    return np.concatenate([of_users * (1 - _VISITOR_SHARE), of_visitors * _VISITOR_SHARE])
