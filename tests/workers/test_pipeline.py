"""The service's own workers, put together from settings: every kind of step has its act."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from app.domain.errors import SettingsError
from app.domain.steps import StepKind
from app.lake.datamap import map_text
from app.lake.make import make_lake
from app.services.parts import Rules
from app.services.schedule import put_step
from app.services.stitching import tables_of
from app.settings import read_settings
from app.store import leases
from app.wiring import no_bell
from app.wiring.lakes import data_map_of, worker_parts
from tests.places import Place
from tests.workers.worlds import World
from workers import pipeline

TABLE = "gold.dim_identity"
MAIN = ("-m", "celery", "--quiet", "-A", "workers.main", "worker", "--without-mingle")


@pytest.fixture
def environment(place_file: Place, world: World, tmp_path: Path) -> Mapping[str, str]:
    """Settings of a worker on a lake of folders."""
    (tmp_path / "lake.yaml").write_text(map_text(root=place_file.root), "utf-8")
    return {
        "CLEARLAKE_DATABASE_URL": world.database_url,
        "CLEARLAKE_BROKER_URL": world.broker_url,
        "CLEARLAKE_KEYS_URI": f"file://{tmp_path}/keys",
        "CLEARLAKE_CATALOG_URI": place_file.catalog.uri,
        "CLEARLAKE_LAKE_MAP": str(tmp_path / "lake.yaml"),
        "CLEARLAKE_SPOOL": str(tmp_path / "spool"),
        "CLEARLAKE_RECONCILE_EVERY": "500ms",
    }


@pytest.fixture
def unstitched(place_file: Place) -> Place:
    """A small lake without identities."""
    make_lake(
        events=1500,
        users=60,
        days=2,
        seed=7,
        codec="zst",
        root=place_file.root,
        loader=place_file.loader,
        engine=place_file.engine,
        start=date(2026, 11, 2),
        retain_until=datetime(2026, 12, 1, tzinfo=UTC),
    )
    return place_file


def test_every_kind_of_step_has_its_act_and_every_job_a_name_of_its_own() -> None:
    assert set(pipeline.acts()) == set(StepKind)
    jobs = pipeline.jobs_of(Rules())
    assert len({job.name for job in jobs}) == len(jobs)


@pytest.mark.parametrize("missing", ["LAKE_MAP", "DATABASE_URL", "KEYS_URI"])
def test_a_worker_without_a_setting_says_which(
    environment: Mapping[str, str], missing: str
) -> None:
    lacking = {k: v for k, v in environment.items() if not k.endswith(missing)}
    with pytest.raises(SettingsError, match=f"_{missing}:"):
        worker_parts(read_settings(lacking), ring=no_bell)


def test_a_worker_stitches_the_lake_of_its_settings(
    environment: Mapping[str, str], world: World, unstitched: Place
) -> None:
    world.start(MAIN, environment=environment)
    with world.parts.database.transaction() as tx:
        put_step(StepKind.STITCH)(tx, world.parts)
        (step_id,) = leases.claimable(tx, kinds=[StepKind.STITCH], limit=10)
    world.wait_for(lambda: world.is_done(step_id))
    receipt = world.row(step_id).receipt
    identities = sum(b.num_rows for b in unstitched.engine.batches(TABLE, columns=["user_id"]))
    assert receipt["identities"] == identities > 0
    assert receipt["links"]


def test_a_map_without_links_has_nothing_to_stitch(environment: Mapping[str, str]) -> None:
    data_map = data_map_of(Path(environment["CLEARLAKE_LAKE_MAP"]), environment)
    assert tables_of(data_map) == ("lake.events", TABLE)
    assert tables_of(replace(data_map, links=None)) is None
