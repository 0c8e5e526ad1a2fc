"""The door to Postgres: one transaction at a time, the bell rung after its commit.

Not here: what is stored (app.store.*), and what the bell is (app.queue).
"""

from __future__ import annotations

import select as sockets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Connection,
    CursorResult,
    Engine,
    Executable,
    bindparam,
    create_engine,
    event,
    func,
    select,
    update,
)
from sqlalchemy.exc import (
    DBAPIError,
    DisconnectionError,
    InterfaceError,
    InvalidRequestError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.domain.errors import DatabaseUnavailableError
from app.domain.failpoints import failpoint
from app.store.tables import step

_DEAD_LINES = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""libpq: a server that went away without a word is noticed within 20 s."""

ASLEEP = timedelta(seconds=20)
"""A process that is stopped in the middle of a transaction (a paused machine, a debugger) holds
locks that everybody needs. After that long the database takes them back.
"""

RUNG_AT_ONCE = 500
"""Of many steps put together, so many are rung for: the queue is short whatever the plan. Each that
ends rings for another, and the reconciler for what is left.
"""

Ring = Callable[[Sequence[str]], bool]
"""Wakes workers for steps; False when the broker does not answer. Never raises."""

_NOW = select(func.now())
_RUNG = (
    update(step)
    .where(step.c.id.in_(bindparam("rung", expanding=True)))
    .values(last_enqueued_at=func.now())
)


class Transaction:
    """One transaction. The edge that opened it commits; rooms below only use it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._began: datetime | None = None
        self._last: list[tuple[Last, Mapping[str, Any]]] = []
        self.to_ring: list[str] = []

    def run(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:
        """Execute one statement, or many rows of it."""
        return self._connection.execute(statement, parameters)

    def now(self) -> datetime:
        """The database's clock, the only one that decides: the time this transaction began."""
        if self._began is None:
            self._began = self._connection.execute(_NOW).scalar_one()
        return self._began

    def began(self, at: datetime) -> None:
        """What `now` is, as another statement of this transaction has told."""
        self._began = at

    def run_last(self, act: Last, values: Mapping[str, Any]) -> None:
        """Have `act` write these values right before the commit, with all that it is given until
        then: for what everybody else waits for meanwhile.
        """
        self._last.append((act, values))

    def settle(self) -> None:
        """Write what was put off. For whoever reads it in the same transaction."""
        while self._last:
            act = self._last[0][0]
            mine = [values for other, values in self._last if other is act]
            self._last = [each for each in self._last if each[0] is not act]
            act(self, mine)

    def ring(self, step_ids: Sequence[str]) -> None:
        """Wake workers for these steps once the transaction is durable."""
        self.to_ring.extend(step_ids)


Last = Callable[[Transaction, Sequence[Mapping[str, Any]]], None]
"""Writes rows at the end of a transaction."""


class Database:
    """A pool of connections to one database."""

    def __init__(self, url: str, *, ring: Ring, pool: int = 10, asleep: timedelta = ASLEEP) -> None:
        """`url`: postgresql+psycopg://... of the service's own role. `ring`: the bell. `asleep`:
        how long a transaction may stand still.
        """
        self._ring = ring
        self._engine = create_engine(
            url,
            pool_size=pool,
            max_overflow=5,
            pool_timeout=5,
            hide_parameters=True,
            connect_args={"application_name": "clearlake", **_DEAD_LINES},
        )
        self._alone = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        milliseconds = round(asleep.total_seconds() * 1000)

        @event.listens_for(self._engine, "connect")
        def limit(connection: Any, _: object) -> None:
            connection.execute(f"set idle_in_transaction_session_timeout = {milliseconds}")
            connection.commit()

        @event.listens_for(self._engine, "checkout")
        def look(connection: Any, *_: object) -> None:
            if _has_something_to_say(connection) and not self._answers(connection):
                raise DisconnectionError("The server ended this connection.")

    def close(self) -> None:
        """Close every connection of the pool."""
        self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Commits at its end, rolls back on an error. DatabaseUnavailableError when Postgres is
        away; after a lost connection during the commit its outcome is unknown, and a repeat of the
        same act settles it.
        """
        with self._told(), self._connected(self._engine) as connection, connection.begin():
            opened = Transaction(connection)
            yield opened
            opened.settle()
            failpoint("store.before_commit")
        failpoint("store.before_ring")
        self._wake(opened.to_ring)

    @contextmanager
    def glance(self) -> Iterator[Transaction]:
        """Statements that each stand for themselves: what is only read needs neither a beginning
        nor an end, and each of those is a way to the server and back. What one writes is durable
        at once; nothing may be put off (`run_last`) or rung for. DatabaseUnavailableError.
        """
        with self._told(), self._connected(self._alone) as connection:
            opened = Transaction(connection)
            yield opened
        assert not opened._last, "a glance has no end at which anything could be written"
        assert not opened.to_ring, "a glance rings for nobody"

    def _wake(self, step_ids: Sequence[str]) -> None:
        """A bell that is not heard costs nothing, nor one that nobody wrote down: the reconciler
        rings again.
        """
        step_ids = step_ids[:RUNG_AT_ONCE]
        if step_ids and self._ring(step_ids):
            with (
                suppress(DatabaseUnavailableError),
                self._told(),
                self._connected(self._engine) as connection,
                connection.begin(),
            ):
                connection.execute(_RUNG, {"rung": list(step_ids)})

    @contextmanager
    def _connected(self, engine: Engine) -> Iterator[Connection]:
        try:
            connection = engine.connect()
        except InvalidRequestError as err:
            # The pool took new connections, and each was dead before anybody had it.
            raise DatabaseUnavailableError("Database connections end as they begin.") from err
        with connection:
            yield connection

    def _answers(self, connection: Any) -> bool:
        try:
            return self._engine.dialect.do_ping(connection)
        except self._engine.dialect.loaded_dbapi.Error:
            return False

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as err:
            if err.connection_invalidated or _is_unavailable(err):
                raise DatabaseUnavailableError("The database does not answer now.") from err
            raise
        except PoolTimeoutError as err:
            raise DatabaseUnavailableError("Every database connection is busy.") from err


def _has_something_to_say(connection: Any) -> bool:
    """A server that speaks unasked has most likely ended the connection. To look costs no round
    trip, as a ping before each transaction does.
    """
    if connection.closed:
        return True
    watch = sockets.poll()
    watch.register(connection.fileno(), sockets.POLLIN)
    return bool(watch.poll(0))


_UNAVAILABLE = ("08", "57P", "53", "40001", "40P01", "55P03", "25P03")
"""SQLSTATE: connection, shutdown, resources, serialisation, deadlock, lock timeout, slept."""


def _is_unavailable(err: DBAPIError) -> bool:
    state = getattr(err.orig, "sqlstate", None)
    if state is None:
        return isinstance(err, OperationalError | InterfaceError)
    return str(state).startswith(_UNAVAILABLE)
