"""The key store: private, safe to share between processes, and what is shredded stays so."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.audit.keyfolder import KEY_BYTES
from app.audit.keys import Commitments, KeyInUseError, KeyStore, SealBrokenError
from app.audit.signing import signature_holds
from app.domain.errors import KeyMissingError, SettingsError, UsageError
from app.domain.identifiers import Identifier, Kind

ANNA = Identifier(Kind.USER_ID, "usr_01ANNA")
identifiers = st.builds(Identifier, st.sampled_from(Kind), st.text(max_size=8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def keys(folder: Path) -> KeyStore:
    return KeyStore.open(folder)


@pytest.fixture
def wide_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


# --- who may look --------------------------------------------------------------------------------


@pytest.mark.usefixtures("wide_umask")
def test_folder_and_files_are_private_whatever_the_umask_is(folder: Path) -> None:
    keys = KeyStore.open(folder)
    keys.signer()
    keys.create("run_1")
    keys.shred("run_1")
    keys.create("run_2")
    keys.digester()
    folders = [folder, *(p for p in folder.rglob("*") if p.is_dir())]
    assert {stat.S_IMODE(p.stat().st_mode) for p in folders} == {0o700}
    assert {stat.S_IMODE(p.stat().st_mode) for p in folder.rglob("*") if p.is_file()} == {0o600}


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o777, 0o701])
def test_a_folder_that_others_may_enter_is_refused_with_what_to_do(folder: Path, mode: int) -> None:
    folder.mkdir(mode=0o700)
    folder.chmod(mode)
    with pytest.raises(SettingsError, match="chmod 700"):
        KeyStore.open(folder)


def test_a_key_that_others_may_read_is_refused_with_what_to_do(folder: Path) -> None:
    keys = KeyStore.open(folder)
    keys.create("run_1")
    (folder / "data" / "data-run_1.key").chmod(0o640)
    with pytest.raises(SettingsError, match="chmod 600"):
        keys.seal("run_1", b"x", aad="row")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    os.chown(folder, 65534, 65534)
    with pytest.raises(SettingsError, match="belongs to another user"):
        KeyStore.open(folder)


def test_a_link_in_place_of_a_key_is_not_followed(folder: Path, tmp_path: Path) -> None:
    keys = KeyStore.open(folder)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(bytes(KEY_BYTES))
    (folder / "data" / "data-run_1.key").symlink_to(elsewhere)
    with pytest.raises(SettingsError):
        keys.seal("run_1", b"x", aad="row")


def test_a_damaged_key_is_named_and_never_used(folder: Path) -> None:
    keys = KeyStore.open(folder)
    keys.create("run_1")
    (folder / "data" / "data-run_1.key").write_bytes(b"short")
    with pytest.raises(SettingsError, match="damaged"):
        keys.seal("run_1", b"x", aad="row")


@pytest.mark.parametrize("name", ["", "../run_1", "a/b", ".hidden", "a..b", "a\n", "x" * 200])
def test_a_name_that_could_leave_the_folder_is_refused(keys: KeyStore, name: str) -> None:
    for act in (keys.create, keys.shred):
        with pytest.raises(UsageError):
            act(name)


def test_no_secret_is_printed(keys: KeyStore, folder: Path) -> None:
    keys.create("run_1")
    shown = repr(keys) + repr(keys.signer()) + repr(keys.digester())
    shown += repr(keys.sealer("run_1")) + repr(keys.commitments("run_1"))
    for path in folder.rglob("*.key"):
        secret = path.read_bytes()
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown
    assert "salt" not in shown


# --- sealing -------------------------------------------------------------------------------------


@given(plaintext=st.binary(max_size=64), row=st.text(max_size=8), flip=st.integers(min_value=0))
def test_what_is_sealed_opens_for_its_row_only_and_any_other_bit_breaks_it(
    tmp_path_factory: pytest.TempPathFactory, plaintext: bytes, row: str, flip: int
) -> None:
    keys = KeyStore.open(tmp_path_factory.getbasetemp() / "sealing")
    keys.create("run_1")
    sealed = keys.seal("run_1", plaintext, aad=row)
    assert keys.open_sealed("run_1", sealed, aad=row) == plaintext
    with pytest.raises(SealBrokenError):
        keys.open_sealed("run_1", sealed, aad=row + "x")
    altered = bytearray(sealed)
    altered[(flip // 8) % len(sealed)] ^= 1 << (flip % 8)
    with pytest.raises(SealBrokenError):
        keys.open_sealed("run_1", bytes(altered), aad=row)


def test_sealing_twice_never_gives_the_same_bytes(keys: KeyStore) -> None:
    keys.create("run_1")
    assert len({keys.seal("run_1", b"same", aad="row") for _ in range(100)}) == 100


def test_another_key_does_not_open_it(keys: KeyStore) -> None:
    keys.create("run_1")
    keys.create("run_2")
    with pytest.raises(SealBrokenError):
        keys.open_sealed("run_2", keys.seal("run_1", b"x", aad="row"), aad="row")


@pytest.mark.parametrize("sealed", [b"", b"\x01", b"\x02" + bytes(40)])
def test_bytes_that_were_never_sealed_are_refused(keys: KeyStore, sealed: bytes) -> None:
    keys.create("run_1")
    with pytest.raises(SealBrokenError):
        keys.open_sealed("run_1", sealed, aad="row")


def test_a_key_that_was_never_made_is_missing(keys: KeyStore) -> None:
    with pytest.raises(KeyMissingError):
        keys.seal("run_1", b"x", aad="row")


def test_making_a_key_again_keeps_it(keys: KeyStore, folder: Path) -> None:
    keys.create("run_1")
    sealed = keys.seal("run_1", b"x", aad="row")
    keys.create("run_1")
    assert KeyStore.open(folder).open_sealed("run_1", sealed, aad="row") == b"x"


def test_each_purpose_has_its_own_secret_and_keeps_it(keys: KeyStore) -> None:
    keys.create("run_1")
    found = {keys.secret("run_1", purpose=p) for p in ("tombstones", "seal", "tombstones")}
    assert {len(s) for s in found} == {32}
    assert len(found) == 2


# --- signing keys --------------------------------------------------------------------------------


def test_the_signing_key_stays_until_it_is_rotated(keys: KeyStore, folder: Path) -> None:
    first = keys.signer()
    assert KeyStore.open(folder).signer().key_id == first.key_id
    second = keys.rotate_signing()
    assert keys.signer().key_id == second.key_id != first.key_id


def test_old_public_keys_stay_and_old_private_keys_go(keys: KeyStore, folder: Path) -> None:
    first = keys.signer()
    signature = first.sign(b"{}")
    second = keys.rotate_signing()
    assert set(keys.public_keys()) == {first.key_id, second.key_id}
    assert signature_holds(b"{}", signature, public_pem=keys.public_keys()[first.key_id])
    assert [p.name for p in folder.glob("signing-*.key")] == ["signing-000002.key"]
    assert keys.public_key_path(second.key_id).read_bytes() == second.public_pem


# --- digest keys ---------------------------------------------------------------------------------


def test_new_rows_get_the_newest_generation_and_old_rows_are_still_found(keys: KeyStore) -> None:
    old = keys.digester().of(ANNA)
    assert keys.rotate_digest() == 2
    new = keys.digester().of(ANNA)
    assert (old.generation, new.generation) == (1, 2)
    assert old.digest != new.digest
    assert keys.digester().all_of(ANNA) == (new, old)


def test_of_many_who_need_the_first_keys_at_once_all_get_the_same(tmp_path: Path) -> None:
    for n in range(20):
        keys = KeyStore.open(tmp_path / str(n))
        together = Barrier(8)

        def first(keys: KeyStore = keys, together: Barrier = together) -> tuple[str, object]:
            together.wait()
            return keys.signer().key_id, keys.digester().keys

        with ThreadPoolExecutor(8) as pool:
            found = [f.result() for f in [pool.submit(first) for _ in range(8)]]
        assert len(set(found)) == 1
        assert len(keys.digester().keys) == 1


def test_a_digest_key_in_use_is_not_destroyed(keys: KeyStore) -> None:
    keys.digester()
    keys.rotate_digest()
    with pytest.raises(KeyInUseError, match="3 rows"):
        keys.destroy_digest(1, rows=3)
    with pytest.raises(KeyInUseError, match="newest"):
        keys.destroy_digest(2, rows=0)
    keys.destroy_digest(1, rows=0)
    keys.destroy_digest(1, rows=0)
    assert [d.generation for d in keys.digester().all_of(ANNA)] == [2]


# --- commitments ---------------------------------------------------------------------------------


@given(st.lists(identifiers, unique=True, max_size=8))
def test_different_identifiers_have_different_commitments(found: list[Identifier]) -> None:
    commitments = Commitments(bytes(32))
    assert len({commitments.of(i) for i in found}) == len(found)


def test_a_commitment_is_bound_to_its_case(keys: KeyStore) -> None:
    keys.create("run_1.s1")
    keys.create("run_1.s2")
    one, other = keys.commitments("run_1.s1").of(ANNA), keys.commitments("run_1.s2").of(ANNA)
    assert one != other
    assert keys.commitments("run_1.s1").of(ANNA) == one
