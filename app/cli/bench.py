"""`clearlake bench`: what erasing these people costs on a lake of one's own. Changes nothing.

Parse, call, show; what is measured is in app.bench.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from app import wiring
from app.bench.costs import ROUNDS, machine, peak_memory
from app.bench.figures import Figure, Measured
from app.bench.objects import measure_objects
from app.bench.tables import measure_table
from app.cli.display import OUT, print_json, table
from app.cli.subjects import subjects_of
from app.domain.datasets import DataMap
from app.domain.errors import UsageError
from app.domain.identifiers import Targets
from app.lake.datamap import map_text, parse_map
from app.lake.ports import Doors
from app.settings import with_files
from app.stages.resolving import resolve_checked
from app.wiring import lakes

_CATALOG = "CLEARLAKE_CATALOG_URI"


class Layer(StrEnum):
    """What is measured: objects, or Iceberg tables."""

    BRONZE = "bronze"
    TABLES = "tables"


def bench(
    what: Annotated[Layer, typer.Argument(help="Objects, or Iceberg tables.")],
    subjects: Annotated[
        Path, typer.Option(help="A file of people, one JSON object a line, as over HTTP.")
    ],
    lake_map: Annotated[Path | None, typer.Option("--map", help="The data map, lake.yaml.")] = None,
    folder: Annotated[
        Path | None, typer.Option("--dir", help="Instead: a folder that `lake make` filled.")
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, help="How often each act is done; the median counts.")
    ] = ROUNDS,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Measure what erasing these people costs here, dry: the lake is read and never written.

    Resolves them as a run does; compares with only reading, and with decoding and encoding.
    """
    people = subjects_of(subjects)
    settings = wiring.settings_of()
    data_map = _map_of(lake_map, folder)
    if not (data_map.bronze if what is Layer.BRONZE else data_map.tables):
        raise UsageError(f"The map names nothing that is measured by {what.value}.")
    with (
        lakes.lake_doors(settings, data_map) as every,
        tempfile.TemporaryDirectory(prefix="clearlake-bench-") as scratch,
    ):
        doors = replace(every, engine=every.verify_engine)  # the credential that only reads
        identities = resolve_checked(
            people, data_map=data_map, doors=doors, shared_review="tombstone"
        )
        targets = Targets.of(identities)
        before = peak_memory()
        found = list(
            _measured(what, data_map, doors, targets=targets, scratch=Path(scratch), rounds=rounds)
        )
    document = {
        "schema": "clearlake.bench-lake/1",
        "what": what.value,
        "people": len(people),
        "identifiers": len(targets.by_value),
        "rounds": rounds,
        "machine": machine(),
        "memory": {"resolving": before, "measuring": peak_memory()},
        "datasets": [_document(m) for m in found],
    }
    if as_json:
        print_json(document)
    else:
        _show(document, found)


def _map_of(lake_map: Path | None, folder: Path | None) -> DataMap:
    if (lake_map is None) == (folder is None):
        raise UsageError("Give --map or --dir, one of the two.")
    if lake_map is not None:
        return lakes.data_map_of(lake_map)
    assert folder is not None
    root = folder.absolute()
    environment = with_files(os.environ)
    if not environment.get(_CATALOG):
        if not (root / "catalog.db").is_file():
            raise UsageError(
                f"--dir: the folder has no catalog.db. Say where its catalog is: {_CATALOG}."
            )
        environment = {**environment, _CATALOG: f"sqlite:///{root}/catalog.db"}
    return parse_map(map_text(root=f"file://{root}/"), source="--dir", environment=environment)


def _measured(
    what: Layer,
    data_map: DataMap,
    doors: Doors,
    *,
    targets: Targets,
    scratch: Path,
    rounds: int,
) -> Iterator[Measured]:
    if what is Layer.BRONZE:
        for dataset in data_map.bronze:
            yield measure_objects(
                dataset,
                targets=targets,
                unparsable=data_map.unparsable,
                store=doors.reader,
                scratch=scratch,
                rounds=rounds,
            )
        return
    for dataset in data_map.tables:
        assert doors.engine is not None
        yield measure_table(
            dataset, targets=targets, engine=doors.engine, scratch=scratch, rounds=rounds
        )


def _document(measured: Measured) -> dict[str, Any]:
    figures = [asdict(f) | {"mb_per_cpu_second": f.mb_per_cpu_second} for f in measured.figures]
    return asdict(measured) | {"figures": figures}


def _show(document: Mapping[str, Any], found: Sequence[Measured]) -> None:
    OUT.print(
        f"{document['people']:,} people with {document['identifiers']:,} identifiers, "
        f"{document['rounds']} rounds, the median counts.",
        markup=False,
    )
    rows = [[m.dataset, *_cells(f)] for m in found for f in m.figures]
    columns = ["dataset", "what", "MB", "CPU s", "wall s", "MB/CPU s", "times", "of"]
    table("", columns, rows)
    for measured in found:
        counts = ", ".join(f"{n.replace('_', ' ')} {c:,}" for n, c in measured.counts.items())
        OUT.print(f"{measured.dataset}: {counts}", markup=False, soft_wrap=True)
    memory = document["memory"]
    OUT.print(
        f"Memory at most {memory['measuring'] / 1e6:,.0f} MB, "
        f"{memory['resolving'] / 1e6:,.0f} MB of it before anything was measured.",
        markup=False,
    )


def _cells(figure: Figure) -> list[str]:
    cost, speed, ratio = figure.cost, figure.mb_per_cpu_second, figure.ratio
    return [
        figure.what,
        f"{figure.bytes / 1e6:>9,.1f}",
        f"{cost.cpu_seconds:>8,.2f}",
        f"{cost.wall_seconds:>8,.2f}",
        "" if speed is None else f"{speed:>8,.0f}",
        "" if ratio is None else f"{ratio:>6,.2f}",
        figure.against or "",
    ]
