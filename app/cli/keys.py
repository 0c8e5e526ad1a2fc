"""`clearlake keys`: API keys, made and ended on the machine itself without one; the digest key.

Talks to the database, not to the API: it is how the first key comes to be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from app import wiring
from app.cli.display import OUT, print_json
from app.domain.actors import ActorKind, Scope
from app.domain.errors import UsageError
from app.services import actors, generations
from app.services.actors import OPERATOR, ApiKey
from app.services.parts import Parts

app = typer.Typer(help="API keys: create, list, revoke.", no_args_is_help=True)
_PAGE = 200

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document.")]


@contextmanager
def _opened() -> Iterator[Parts]:
    parts = wiring.service_parts(wiring.settings_of(), ring=wiring.no_bell)
    try:
        yield parts
    finally:
        parts.database.close()


@app.command()
def create(
    name: Annotated[str, typer.Option(min=1, max=100, help="Whose key it is.")],
    scope: Annotated[
        list[Scope] | None, typer.Option(help="Once for each; without it: every scope.")
    ] = None,
    service: Annotated[
        bool, typer.Option("--service", help="Of a program. Only a person's key approves.")
    ] = False,
    expires: Annotated[str | None, typer.Option(help="After 90d, 12h.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and show it, once: nothing can show it again."""
    kind = ActorKind.SERVICE if service else ActorKind.PERSONAL
    with _opened() as parts, parts.database.transaction() as tx:
        made, secret = actors.create(
            OPERATOR,
            tx,
            parts=parts,
            name=name,
            kind=kind,
            scopes=scope or list(Scope),
            expires_at=_end(expires, now=tx.now()),
        )
    if as_json:
        print_json({"schema": "clearlake.key/1", **_described(made), "key": secret})
    else:
        OUT.print(f"{made.id}\n{secret}", markup=False, soft_wrap=True)


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Every key, newest first; never its secret."""
    with _opened() as parts, parts.database.transaction() as tx:
        keys = actors.newest_first(OPERATOR, tx, limit=_PAGE, before=None)
        while keys and len(keys) % _PAGE == 0:
            more = actors.newest_first(OPERATOR, tx, limit=_PAGE, before=keys[-1].id)
            if not more:
                break
            keys += more
    rows = [_described(key) for key in keys]
    if as_json:
        print_json({"schema": "clearlake.keys/1", "keys": rows})
        return
    for row in rows:
        ends = "revoked" if row["revoked_at"] else row["expires_at"] or "-"
        words = (row["id"], row["kind"], ends, ",".join(row["scopes"]), row["name"])
        OUT.print("  ".join(words), markup=False, soft_wrap=True)


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="key_...")], as_json: AsJson = False) -> None:
    """End a key at once. Twice is a success."""
    with _opened() as parts, parts.database.transaction() as tx:
        ended = actors.revoke(OPERATOR, tx, key_id=key_id)
    if as_json:
        print_json({"schema": "clearlake.key/1", **_described(ended)})
    else:
        OUT.print(f"{ended.id} opens nothing any more.", markup=False)


@app.command("rotate-digests")
def rotate_digests(as_json: AsJson = False) -> None:
    """Begin a new generation of the digest key. The older ones end with their last rows."""
    with _opened() as parts, parts.database.transaction() as tx:
        number = generations.rotate(OPERATOR, tx, parts=parts)
    if as_json:
        print_json({"schema": "clearlake.digest_key/1", "generation": number})
    else:
        OUT.print(f"New digests are of generation {number}.", markup=False)


def _end(text: str | None, *, now: datetime) -> datetime | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,5})([hd])", text)
    if found is None:
        raise UsageError("--expires: expected a duration such as 12h or 90d.")
    number = int(found[1])
    return now + (timedelta(hours=number) if found[2] == "h" else timedelta(days=number))


def _described(key: ApiKey) -> dict[str, Any]:
    times = ("created_at", "expires_at", "last_used_at", "revoked_at")
    return {
        "id": key.id,
        "name": key.name,
        "kind": key.kind.value,
        "scopes": sorted(key.scopes),
        "created_by": key.created_by,
        **{name: t.isoformat() if (t := getattr(key, name)) else None for name in times},
    }
