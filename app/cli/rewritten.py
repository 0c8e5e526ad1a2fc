"""`clearlake lake rewritten`: the objects that runs have rewritten, for loaders to leave out."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from app import wiring
from app.cli.display import ERR, OUT, print_json
from app.cli.gate import objects_of
from app.cli.times import since_of
from app.lake.rewritten import rewritten_objects


def rewritten(
    dataset: Annotated[str, typer.Option(help="The dataset of the map that is loaded.")],
    since: Annotated[
        str | None, typer.Option(help="When the loader last looked; without it: ever.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """One URI a line. A key that names an erased person is left out, and counted on stderr.

    Needs CLEARLAKE_DATABASE_URL, CLEARLAKE_KEYS_URI, CLEARLAKE_LAKE_MAP and the S3 keys that read.
    """
    from app.services.gate import suppressed  # only here: `lake make` needs no database
    from app.wiring import lakes

    settings = wiring.settings_of()
    wiring.require(settings, "lake_map")
    assert settings.lake_map is not None
    data_map = lakes.data_map_of(settings.lake_map)
    chosen = objects_of(dataset, data_map.bronze)
    at = None if since is None else since_of(since)
    parts = wiring.service_parts(settings, ring=wiring.no_bell)
    with closing(parts.database), parts.database.transaction() as tx:
        who = suppressed(tx, parts)
    with lakes.reader_of(settings, data_map) as store:
        found = list(
            rewritten_objects(
                chosen, store=store, since=at, erased=lambda i: who.fence(i) is not None
            )
        )
    shown = [r for r in found if r.uri is not None]
    if as_json:
        items = [
            {"uri": r.uri, "version": r.version_id, "run": r.run_id, "at": r.modified.isoformat()}
            for r in shown
        ]
        withheld = len(found) - len(shown)
        print_json({"schema": "clearlake.rewritten/1", "objects": items, "withheld": withheld})
        return
    for one in shown:
        OUT.print(one.uri, markup=False, soft_wrap=True)
    if len(shown) < len(found):
        ERR.print(f"{len(found) - len(shown)} more, whose keys name erased people.", markup=False)
