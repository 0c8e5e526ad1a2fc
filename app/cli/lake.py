"""`clearlake lake`: make a lake to try on, stitch its identities; the other commands hang here.

Not here: fix, gate, rewritten, scan (modules of their own).
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from app import wiring
from app.cli.display import OUT, print_json, progress
from app.cli.fix import fix
from app.cli.gate import gate
from app.cli.rewritten import rewritten
from app.cli.scan import scan
from app.domain.errors import UsageError
from app.lake.datamap import map_text
from app.lake.make import Codec, make_lake
from app.lake.stitch import stitch as stitch_table
from app.wiring import lakes

app = typer.Typer(
    help="Make a lake, stitch its identities; scan, mend and gate one.",
    no_args_is_help=True,
)
app.command()(fix)
app.command()(scan)
RETENTION = timedelta(days=30)
"""GOVERNANCE retention that the made lake's loader sets on each Bronze object."""


@app.command()
def make(
    root: Annotated[str, typer.Option(help="s3://bucket/ or file:///folder/")],
    events: Annotated[int, typer.Option(min=1, help="How many events.")] = 250_000,
    users: Annotated[int, typer.Option(min=10, help="How many signed-up users.")] = 2_000,
    days: Annotated[int, typer.Option(min=1, max=3660, help="How many days, ending today.")] = 7,
    seed: Annotated[int, typer.Option(help="The same seed makes the same lake.")] = 1,
    codec: Annotated[Codec, typer.Option(help="Compression of the Bronze objects.")] = Codec.NONE,
    start: Annotated[str | None, typer.Option(help="First day, YYYY-MM-DD.")] = None,
    write_map: Annotated[
        Path | None, typer.Option("--map", help="Write the lake's data map to this file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Make a realistic lake: Bronze objects, Silver and Gold tables, from the same events.

    Needs CLEARLAKE_CATALOG_URI, and for s3:// CLEARLAKE_S3_ENDPOINT and the S3 keys.
    """
    settings = wiring.settings_of()
    root = root if root.endswith("/") else root + "/"
    catalog = lakes.made_catalog(settings, root)
    now = datetime.now(UTC)
    with lakes.loader_of(settings, root) as loader, progress() as say:
        loader.ensure_bucket(root, object_lock=root.startswith("s3://"))
        made = make_lake(
            events=events,
            users=users,
            days=days,
            seed=seed,
            codec=codec,
            root=root,
            loader=loader,
            engine=lakes.engine_of(settings, catalog, endpoint=None, role=None),
            start=_first_day(start, today=now.date(), days=days),
            retain_until=now + RETENTION,
            progress=say,
        )
    if write_map is not None:
        write_map.write_text(map_text(root=root), encoding="utf-8")
    if as_json:
        print_json(made.as_document())
    else:
        OUT.print(made.sentence(), markup=False)


def _first_day(start: str | None, *, today: date, days: int) -> date:
    if start is None:
        return today - timedelta(days=days - 1)
    try:
        return date.fromisoformat(start)
    except ValueError as err:
        raise UsageError("--start: expected a date, YYYY-MM-DD.") from err


@app.command()
def stitch(
    lake_map: Annotated[Path, typer.Option("--map", help="The data map of the lake.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Build dim_identity anew: from what came since the last time, or from every event."""
    settings = wiring.settings_of()
    data_map = lakes.data_map_of(lake_map)
    engine = lakes.table_engine(settings, data_map, role=None)
    identity = next((d for d in data_map.tables if d.is_identity), None)
    if engine is None or identity is None or identity.table is None or data_map.links is None:
        raise UsageError(f"{lake_map}: the map names no identity table and links to build it from.")
    events = data_map.dataset(data_map.links.dataset).table
    if events is None:
        raise UsageError(f"{lake_map}: the links stand in no table.")
    done = stitch_table(
        engine, built_at=datetime.now(UTC), events_table=events, identity_table=identity.table
    )
    if as_json:
        print_json({"schema": "clearlake.stitch/1", "identities": done.identities})
    else:
        OUT.print(f"{done.identities:,} identities from {done.links:,} links.", markup=False)


app.command("gate")(gate)
app.command("rewritten")(rewritten)
