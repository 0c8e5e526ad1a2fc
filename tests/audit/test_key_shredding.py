"""What is shredded stays so: whoever is killed, overtakes, or makes the key at the same time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.audit.keyfolder import KEY_BYTES, KeyFolder
from app.audit.keys import KeyStore
from app.domain.errors import KeyMissingError
from app.domain.identifiers import Identifier, Kind

ANNA = Identifier(Kind.USER_ID, "usr_01ANNA")


def files_in(folder: Path) -> list[Path]:
    found = [p for p in folder.rglob("*") if p.is_file()]
    assert found
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def keys(folder: Path) -> KeyStore:
    return KeyStore.open(folder)


def test_a_shredded_key_is_gone_from_its_bytes_and_opens_nothing(
    keys: KeyStore, folder: Path, tmp_path: Path
) -> None:
    keys.create("run_1")
    sealed = keys.seal("run_1", b"x", aad="row")
    path = folder / "data" / "data-run_1.key"
    secret = path.read_bytes()
    # A second link to the same bytes sees whether they were overwritten, not only unlinked.
    os.link(path, tmp_path / "witness")
    keys.shred("run_1")
    keys.shred("run_1")
    assert (tmp_path / "witness").read_bytes() == bytes(KEY_BYTES) != secret
    assert not path.exists()
    assert all(secret not in p.read_bytes() for p in files_in(folder))
    for again in (keys, KeyStore.open(folder)):
        with pytest.raises(KeyMissingError):
            again.open_sealed("run_1", sealed, aad="row")
        with pytest.raises(KeyMissingError):
            again.commitments("run_1")
        with pytest.raises(KeyMissingError):
            again.create("run_1")


def test_shredding_one_key_leaves_the_others(keys: KeyStore) -> None:
    keys.create("run_1")
    keys.create("run_1.s1")
    sealed = keys.seal("run_1.s1", b"x", aad="row")
    keys.shred("run_1")
    assert keys.open_sealed("run_1.s1", sealed, aad="row") == b"x"


_SHREDDER = """
import sys
from pathlib import Path
from app.audit.keys import KeyStore
KeyStore.open(Path(sys.argv[1])).shred("run_1")
"""


@pytest.mark.parametrize(
    "place", ["shred_begun", "shred_marked", "shred_overwritten", "shred_removed"]
)
def test_a_shredding_killed_half_way_is_finished_by_the_next_opening(
    keys: KeyStore, folder: Path, place: str
) -> None:
    keys.create("run_1")
    secret = (folder / "data" / "data-run_1.key").read_bytes()
    environment = {**os.environ, "CLEARLAKE_FAILPOINTS": f"keys.{place}=kill"}
    killed = subprocess.run(
        [sys.executable, "-c", _SHREDDER, str(folder)], env=environment, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    if place != "shred_begun":
        with pytest.raises(KeyMissingError):
            keys.seal("run_1", b"x", aad="row")
    KeyStore.open(folder)
    assert not (folder / "data" / "data-run_1.key").exists()
    assert all(secret not in p.read_bytes() for p in files_in(folder))
    with pytest.raises(KeyMissingError):
        keys.create("run_1")


@pytest.mark.parametrize("place", ["before_link", "after_link"])
def test_a_making_killed_half_way_leaves_a_whole_key_or_none(folder: Path, place: str) -> None:
    maker = _SHREDDER.replace("shred", "create")
    environment = {**os.environ, "CLEARLAKE_FAILPOINTS": f"keys.{place}=kill"}
    killed = subprocess.run(
        [sys.executable, "-c", maker, str(folder)], env=environment, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    keys = KeyStore.open(folder)
    keys.create("run_1")
    assert keys.open_sealed("run_1", keys.seal("run_1", b"x", aad="r"), aad="r") == b"x"
    keys.shred("run_1")
    whole = [p for p in files_in(folder) if place == "after_link" and any(p.read_bytes())]
    assert whole == []


def _make_and_read(folder: str, _number: int) -> bytes:
    keys = KeyFolder.open(Path(folder))
    keys.ensure("data-run_1")
    return keys.read("data-run_1")


def test_of_many_makers_at_once_all_have_the_same_key(folder: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        found = pool.starmap(_make_and_read, [(str(folder), n) for n in range(40)])
    assert len(set(found)) == 1
    assert [p.name for p in files_in(folder)] == ["data-run_1.key"]


def test_a_signing_or_digest_key_killed_while_shredded_is_finished_too(
    keys: KeyStore, folder: Path
) -> None:
    keys.digester()
    keys.rotate_digest()
    killed = _run(_SHREDDER.replace('shred("run_1")', "destroy_digest(1, rows=0)"), folder)
    assert killed == -signal.SIGKILL
    assert (folder / "digest-000001.key").exists()
    assert [d.generation for d in KeyStore.open(folder).digester().all_of(ANNA)] == [2]
    assert not (folder / "digest-000001.key").exists()


def _run(program: str, folder: Path) -> int:
    environment = {**os.environ, "CLEARLAKE_FAILPOINTS": "keys.shred_begun=kill"}
    command = [sys.executable, "-c", program, str(folder)]
    return subprocess.run(command, env=environment, check=False).returncode


def test_what_is_destroyed_is_not_looked_at_again(keys: KeyStore, folder: Path) -> None:
    for number in range(3):
        keys.create(f"run_{number}")
        keys.shred(f"run_{number}")
    assert list((folder / "shredding").iterdir()) == []
    (folder / "shredding" / ".of somebody else").touch()
    KeyStore.open(folder)


def test_digest_and_signing_keys_lie_apart_from_the_many(keys: KeyStore, folder: Path) -> None:
    """Looking for the newest reads the folder: it must not grow with the cases."""
    keys.digester()
    keys.signer()
    before = sorted(folder.iterdir())
    for number in range(3):
        keys.create(f"run_{number}")
    keys.shred("run_0")
    keys.shred("run_never_made")
    assert sorted(folder.iterdir()) == before


_READER = """
import sys
from pathlib import Path
from app.audit.keyfolder import KeyFolder
from app.domain.errors import KeyMissingError
try:
    print(KeyFolder(Path(sys.argv[1])).read("data-run_1").hex())
except KeyMissingError:
    print("missing")
"""


def test_a_reader_overtaken_by_a_shredder_gets_nothing_and_never_zeros(
    keys: KeyStore, folder: Path, tmp_path: Path
) -> None:
    keys.create("run_1")
    record = tmp_path / "passed"
    environment = {
        **os.environ,
        "CLEARLAKE_FAILPOINTS": "keys.opened=sleep:1",
        "CLEARLAKE_FAILPOINTS_RECORD": str(record),
    }
    command = [sys.executable, "-c", _READER, str(folder)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as reader:
        while not record.exists():
            assert reader.poll() is None
            time.sleep(0.01)
        keys.shred("run_1")
        said, _ = reader.communicate(timeout=60)
    assert said.strip() == "missing"
