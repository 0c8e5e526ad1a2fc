"""The demo: whoever searches its servers afterwards finds nobody whom it took out."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.servers import remove_state
from tests.e2e import reader
from tests.service.processes import CLEARLAKE, ROOT, clean_environment

SMALL = ["--events", "2000", "--users", "60", "--days", "2", "--subjects", "4"]
KINDS = ("user_ids", "anon_ids", "device_fps")


@pytest.fixture
def shown() -> Iterator[dict[str, Any]]:
    """The document of `--json`, while `--keep` keeps everything up."""
    folder = Path(tempfile.mkdtemp(prefix="clearlake-demo-"))
    folder.chmod(0o711)
    demo = subprocess.Popen(
        [*CLEARLAKE, "demo", *SMALL, "--state", str(folder / "demo"), "--json", "--keep"],
        env=clean_environment({"PYTHONPATH": str(ROOT)}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert demo.stdout is not None
    lines: list[str] = []
    try:
        for line in demo.stdout:
            lines.append(line)
            if line == "}\n":
                break
        assert lines, demo.communicate()[1]
        yield json.loads("".join(lines))
    finally:
        demo.terminate()
        demo.communicate(timeout=60)
        remove_state(folder / "demo" / "servers")
        shutil.rmtree(folder, ignore_errors=True)


def values_of(shown: dict[str, Any]) -> list[str]:
    return [v for person in shown["subjects"] for kind in KINDS for v in person[kind]]


def test_what_it_shows_is_so(shown: dict[str, Any]) -> None:
    """One demo for all of it."""
    nobody_is_left(shown)
    each_case_has_a_report_that_verifies(shown)
    its_figures_are_of_every_dataset_and_stage(shown)
    its_key_opens_its_api(shown)


def nobody_is_left(shown: dict[str, Any]) -> None:
    values, s3 = values_of(shown), shown["s3"]
    assert len(values) > len(shown["subjects"]) == 4
    bucket = reader.Bucket(s3["endpoint"], s3["access_key"], s3["secret_key"], s3["bucket"])
    assert reader.in_bucket(bucket, values) == []
    assert reader.in_postgres(shown["postgres"]["url"], values) == []
    state = Path(shown["data_map"]).parent
    files = [p for p in state.rglob("*") if p.is_file() and "servers" not in p.parts]
    assert len(files) > 10
    told = [(path, v) for path in files for v in values if v.encode() in path.read_bytes()]
    assert told == []


def each_case_has_a_report_that_verifies(shown: dict[str, Any]) -> None:
    for person in shown["subjects"]:
        assert person["outcome"] == "fulfilled"
        key = Path(person["report"]).parent / "clearlake-public.pem"
        line = [*CLEARLAKE, "report", "verify", person["report"], "--key", str(key)]
        assert subprocess.run(line, capture_output=True, check=False).returncode == 0


def its_figures_are_of_every_dataset_and_stage(shown: dict[str, Any]) -> None:
    assert shown["schema"] == "clearlake.demo/1"
    rows = {row["name"]: row for row in shown["datasets"]}
    assert set(rows) == {"raw_events", "events", "fact_sessions", "fact_orders", "dim_identity"}
    assert all(r["after"] == r["before"] - r["deleted"] for r in rows.values())
    assert rows["raw_events"]["deleted"] == rows["events"]["deleted"] > 0
    assert sum(r["findings"] for r in rows.values()) == 0
    stages = ("servers", "lake", "resolve", "erase", "check", "purge", "verify", "report")
    assert set(shown["seconds"]) == set(stages)


def its_key_opens_its_api(shown: dict[str, Any]) -> None:
    api = shown["api"]
    asked = urllib.request.Request(
        f"{api['url']}/v1/dsars", headers={"Authorization": f"Bearer {api['key']}"}
    )
    with urllib.request.urlopen(asked, timeout=10) as answer:
        found = json.load(answer)["items"]
    assert {each["id"] for each in found} == {p["dsar_id"] for p in shown["subjects"]}
