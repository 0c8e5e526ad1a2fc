"""Signatures: ours, cryptography's and openssl's agree; another byte or key does not."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from app.audit.signing import Signer, key_id_of, signature_holds, signature_path, write_signed
from app.domain.errors import SettingsError, UsageError

SIGNER = Signer.of_seed(bytes(range(32)))
OPENSSL = shutil.which("openssl")


def test_a_signature_is_64_bytes_that_cryptography_accepts() -> None:
    signature = SIGNER.sign(b"{}")
    key = load_pem_public_key(SIGNER.public_pem)
    assert isinstance(key, Ed25519PublicKey)
    key.verify(signature, b"{}")
    assert len(signature) == 64


def test_the_same_bytes_get_the_same_signature() -> None:
    assert SIGNER.sign(b"{}") == Signer.of_seed(bytes(range(32))).sign(b"{}")


def test_a_signature_holds_for_its_bytes_and_its_key_only() -> None:
    signature = SIGNER.sign(b"{}")
    other = Signer.of_seed(bytes(32)).public_pem
    assert signature_holds(b"{}", signature, public_pem=SIGNER.public_pem)
    assert not signature_holds(b"{ }", signature, public_pem=SIGNER.public_pem)
    assert not signature_holds(b"{}", signature[:-1], public_pem=SIGNER.public_pem)
    assert not signature_holds(b"{}", signature, public_pem=other)


def test_the_key_id_is_the_start_of_the_digest_of_the_der_form() -> None:
    der = load_pem_public_key(SIGNER.public_pem).public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    assert SIGNER.key_id == key_id_of(SIGNER.public_pem) == hashlib.sha256(der).hexdigest()[:16]


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"no key",
        X25519PrivateKey.generate()
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    ],
)
def test_another_kind_of_key_is_refused_by_name(pem: bytes) -> None:
    with pytest.raises(UsageError):
        key_id_of(pem)


def test_a_signer_does_not_print_its_key() -> None:
    assert bytes(range(32)).hex() not in repr(SIGNER)
    assert "rivate" not in repr(SIGNER)


def test_a_signed_file_is_private_and_its_signature_stands_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_signed(path, b"{}", signer=SIGNER)
    write_signed(path, b'{"a":1}', signer=SIGNER)
    signature = (tmp_path / "report.json.sig").read_bytes()
    assert signature_path(path).name == "report.json.sig"
    assert signature_holds(path.read_bytes(), signature, public_pem=SIGNER.public_pem)
    assert {p.name for p in tmp_path.iterdir()} == {"report.json", "report.json.sig"}
    assert {stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()} == {0o600}


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="gone"):
        write_signed(tmp_path / "gone" / "report.json", b"{}", signer=SIGNER)


_WRITER = """
import sys
from pathlib import Path
from app.audit.signing import Signer, write_signed
write_signed(Path(sys.argv[1]), b"{}", signer=Signer.of_seed(bytes(32)))
"""


@pytest.mark.parametrize("place", ["before_signature", "after_signature", "after_file"])
def test_killed_while_writing_it_leaves_no_unsigned_report_and_can_be_repeated(
    tmp_path: Path, place: str
) -> None:
    path = tmp_path / "report.json"
    command = [sys.executable, "-c", _WRITER, str(path)]
    kill = {**os.environ, "CLEARLAKE_FAILPOINTS": f"report.{place}=kill"}
    assert subprocess.run(command, env=kill, check=False).returncode == -signal.SIGKILL
    assert not path.exists() or signature_path(path).exists()
    assert subprocess.run(command, check=False).returncode == 0
    assert {p.name for p in tmp_path.iterdir()} == {"report.json", "report.json.sig"}


@pytest.mark.skipif(OPENSSL is None, reason="no openssl binary on this machine")
def test_openssl_accepts_the_signature_and_refuses_an_altered_file(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_signed(path, b'{"a":1}', signer=SIGNER)
    (tmp_path / "key.pem").write_bytes(SIGNER.public_pem)
    asked = "pkeyutl -verify -rawin -pubin -inkey key.pem -in report.json -sigfile report.json.sig"
    command = [OPENSSL or "", *asked.split()]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    path.write_bytes(b'{"a":2}')
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode != 0
