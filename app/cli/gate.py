"""`clearlake lake gate`: what a loader sends a Bronze object through before it writes it.

Thin: who is suppressed is app.services.gate's to say, what becomes of a line app.lake.gate's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from contextlib import closing
from typing import Annotated, BinaryIO

import typer

from app import wiring
from app.cli.display import ERR
from app.domain.datasets import Dataset
from app.domain.errors import UsageError
from app.lake.bronze_lines import Piece, Tally
from app.lake.codecs import Encoder, blocks, decoded
from app.lake.gate import Gate
from app.lake.tombstones import Tombstones, new_secret

PARKED = 5
_PLACES = 20
"""Places of parked lines that are shown."""


def gate(
    dataset: Annotated[str, typer.Option(help="The dataset of the map that is loaded.")],
    as_json: Annotated[bool, typer.Option("--json", help="Counts as JSON, on stderr.")] = False,
) -> int:
    """Let an object's text through without late data of erased people: stdin to stdout.

    Plain text, gzip or zstd, and the same out. Load what comes out only if the exit code is 0; 5: a
    line that cannot be parsed holds somebody (`unparsable: park`), and stands in the output.
    Needs CLEARLAKE_DATABASE_URL, CLEARLAKE_KEYS_URI and CLEARLAKE_LAKE_MAP.
    """
    from app.services.gate import suppressed  # only here: `lake make` needs no database
    from app.wiring import lakes

    settings = wiring.settings_of()
    wiring.require(settings, "lake_map")
    assert settings.lake_map is not None
    data_map = lakes.data_map_of(settings.lake_map)
    rules = objects_of(dataset, data_map.bronze)
    parts = wiring.service_parts(settings, ring=wiring.no_bell)
    with closing(parts.database), parts.database.transaction() as tx:
        who = suppressed(tx, parts)
    opened = Gate(
        rules,
        suppressed=who,
        tombstones=Tombstones(new_secret()),
        unparsable=data_map.unparsable,
    )
    tally = _through(sys.stdin.buffer, sys.stdout.buffer, gate=opened)
    _say(tally, dataset=dataset, as_json=as_json)
    return PARKED if tally.parked else 0


def objects_of(name: str, known: Iterable[Dataset]) -> Dataset:
    """The dataset of objects of that name. UsageError."""
    found = {d.name: d for d in known}
    if name not in found:
        raise UsageError(
            "--dataset: expected a dataset of objects of the map "
            f"({', '.join(sorted(found)) or 'it has none'}). Rows for a table go through "
            "app.lake.gate_tables in the loader itself."
        )
    return found[name]


def _through(source: BinaryIO, sink: BinaryIO, *, gate: Gate) -> Tally:
    """In a stream: memory is a few blocks of 32 MiB, whatever the object's size."""
    tally = Tally()
    codec, chunks = decoded(source.read)
    encoder = Encoder(sink, codec)
    for pieces in gate.lines(blocks(chunks), tally=tally):
        _write(encoder, pieces)
    encoder.finish()
    sink.flush()
    return tally


def _write(encoder: Encoder, pieces: Iterable[Piece]) -> None:
    for piece in pieces:
        encoder.write(piece)


def _say(tally: Tally, *, dataset: str, as_json: bool) -> None:
    counts = tally.counts
    if as_json:
        document = {
            "schema": "clearlake.gated/1",
            "dataset": dataset,
            "lines": counts.before,
            "dropped": counts.deleted,
            "tombstoned": counts.tombstoned,
            "co_owned": counts.co_owned,
            "kept": counts.kept,
            "values": counts.values,
            "undeclared": dict(counts.undeclared),
            "parked": [{"line": p.line, "byte": p.offset} for p in tally.parked[:_PLACES]],
            "parked_lines": counts.parked,
        }
        sys.stderr.write(json.dumps(document) + "\n")
        return
    said = f"{counts.before:,} lines: {counts.deleted:,} dropped, {counts.tombstoned:,} severed"
    ERR.print(f"{said}, {counts.kept:,} kept, {counts.parked:,} parked.", markup=False)
    for place in tally.parked[:_PLACES]:
        ERR.print(f"parked: line {place.line}, byte {place.offset}", markup=False)
