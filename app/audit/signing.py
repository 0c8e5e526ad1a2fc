"""Detached Ed25519 signatures (RFC 8032) over the exact bytes of a file, as openssl checks them.

Beside `report.json` stands `report.json.sig`: 64 raw bytes. Where keys live: app.audit.keys.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from app.audit.files import write_durably
from app.domain.errors import UsageError
from app.domain.failpoints import failpoint

ALGORITHM = "Ed25519"
SIGNATURE_BYTES = 64


@dataclass(frozen=True, slots=True)
class Signer:
    """A private signing key in memory. The same bytes always get the same signature."""

    private: Ed25519PrivateKey = field(repr=False)
    key_id: str

    @classmethod
    def of_seed(cls, seed: bytes) -> Signer:
        """The key that these 32 bytes are."""
        private = Ed25519PrivateKey.from_private_bytes(seed)
        return cls(private, _key_id(private.public_key()))

    @property
    def public_pem(self) -> bytes:
        """The public key as PEM (SubjectPublicKeyInfo)."""
        return self.private.public_key().public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        )

    def sign(self, data: bytes) -> bytes:
        """The 64 bytes of the signature."""
        return self.private.sign(data)


def key_id_of(public_pem: bytes) -> str:
    """The first 16 hex digits of the SHA-256 of the key's SPKI DER. UsageError: not such a key."""
    return _key_id(_public_key(public_pem))


def signature_holds(data: bytes, signature: bytes, *, public_pem: bytes) -> bool:
    """Whether exactly these bytes were signed with the private half of this key."""
    try:
        _public_key(public_pem).verify(signature, data)
    except InvalidSignature:
        return False
    return True


def signature_path(path: Path) -> Path:
    """Where the signature of a file stands."""
    return path.with_name(path.name + ".sig")


def write_signed(path: Path, data: bytes, *, signer: Signer) -> None:
    """Write the file and its signature. Twice is the same; a crash between leaves no file that
    looks signed and is not.
    """
    failpoint("report.before_signature")
    write_durably(signature_path(path), signer.sign(data))
    failpoint("report.after_signature")
    write_durably(path, data)
    failpoint("report.after_file")


def _public_key(public_pem: bytes) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(public_pem)
    except (ValueError, UnsupportedAlgorithm) as err:
        raise UsageError("The key is not a PEM public key (BEGIN PUBLIC KEY).") from err
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError("The key is not an Ed25519 public key.")
    return key


def _key_id(key: Ed25519PublicKey) -> str:
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()[:16]
