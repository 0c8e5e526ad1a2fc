"""The key store: signing keys, digest keys, and one data key a DSAR or run that can be shredded.

No key leaves it but inside an object that does one thing with it. Never in Postgres, never printed.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.audit.files import write_durably
from app.audit.keyfolder import KeyFolder
from app.audit.signing import Signer
from app.domain.errors import ClearlakeError, UsageError
from app.domain.failpoints import failpoint
from app.domain.identifiers import Identifier

_SEAL_VERSION = b"\x01"
_NONCE_BYTES = 12
_TAG_BYTES = 16


class SealBrokenError(ClearlakeError):
    """Sealed bytes that were altered, or belong to another row or key."""

    code: ClassVar[str] = "seal_broken"


class KeyInUseError(ClearlakeError):
    """A digest key that rows still need, or that new rows get."""

    code: ClassVar[str] = "key_in_use"


@dataclass(frozen=True, slots=True)
class Sealer:
    """Seals and opens bytes under one data key (AES-256-GCM)."""

    cipher: AESGCM = field(repr=False)

    def seal(self, plaintext: bytes, *, aad: str) -> bytes:
        """Version byte, 96-bit random nonce, ciphertext and tag. `aad`: the id of the row it is
        for; it opens nowhere else.
        """
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _SEAL_VERSION + nonce + self.cipher.encrypt(nonce, plaintext, aad.encode())

    def open(self, sealed: bytes, *, aad: str) -> bytes:
        """What was sealed for this row. SealBrokenError."""
        start = len(_SEAL_VERSION) + _NONCE_BYTES
        if len(sealed) < start + _TAG_BYTES or not sealed.startswith(_SEAL_VERSION):
            raise SealBrokenError("These are not sealed bytes.")
        nonce = sealed[len(_SEAL_VERSION) : start]
        try:
            return self.cipher.decrypt(nonce, sealed[start:], aad.encode())
        except InvalidTag as err:
            raise SealBrokenError("The sealed bytes were altered, or are another row's.") from err


@dataclass(frozen=True, slots=True)
class Commitments:
    """Identifiers to commitments under the salt of one case. Once shredded, nothing matches."""

    salt: bytes = field(repr=False)

    def of(self, identifier: Identifier) -> str:
        """HMAC-SHA-256(salt, kind, value) in hex."""
        return _keyed(self.salt, identifier)


@dataclass(frozen=True, slots=True, order=True)
class KeyedDigest:
    """A look-up key for an identifier: pseudonymous personal data, and treated so."""

    generation: int
    digest: str


@dataclass(frozen=True, slots=True)
class Digester:
    """The digest keys that live, newest first."""

    keys: tuple[tuple[int, bytes], ...] = field(repr=False)

    @property
    def generations(self) -> tuple[int, ...]:
        """Their numbers, newest first."""
        return tuple(number for number, _ in self.keys)

    def of(self, identifier: Identifier) -> KeyedDigest:
        """The digest that a new row gets."""
        return self.all_of(identifier)[0]

    def all_of(self, identifier: Identifier) -> tuple[KeyedDigest, ...]:
        """The digests under which older rows may stand too, newest first."""
        return tuple(KeyedDigest(n, _keyed(key, identifier)) for n, key in self.keys)


@dataclass(frozen=True, slots=True)
class KeyStore:
    """The keys of one installation. Ids of data keys are ids of DSARs and runs, never personal."""

    folder: KeyFolder

    @classmethod
    def open(cls, folder: Path) -> KeyStore:
        """Make or check the folder (0700). SettingsError when others may look into it."""
        return cls(KeyFolder.open(folder))

    # --- signing ---------------------------------------------------------------------------

    def signer(self) -> Signer:
        """The current signing key; the first call makes it."""
        return self._signer(self._newest("signing"))

    def rotate_signing(self) -> Signer:
        """A new signing key. Older private keys are destroyed, their public keys stay."""
        signer = self._signer(self._next("signing"))
        failpoint("keys.rotated")
        for old in self.folder.numbers("signing", shredded=False)[:-1]:
            self.folder.shred(_numbered("signing", old))
        return signer

    def public_keys(self) -> dict[str, bytes]:
        """Every public key that ever signed here: key id to PEM."""
        found = self.folder.folder.glob("signing-*.pub.pem")
        return {
            p.name.removeprefix("signing-").removesuffix(".pub.pem"): p.read_bytes()
            for p in sorted(found)
        }

    def public_key_path(self, key_id: str) -> Path:
        """Where the PEM of that public key stands."""
        return self.folder.folder / f"signing-{key_id}.pub.pem"

    # --- data keys -------------------------------------------------------------------------

    def create(self, key_id: str) -> None:
        """Make the data key of a DSAR or run unless it is there. KeyMissingError once shredded."""
        self.folder.ensure(_data(key_id))

    def sealer(self, key_id: str) -> Sealer:
        """For many rows. KeyMissingError when shredded or never made."""
        return Sealer(AESGCM(self.secret(key_id, purpose="seal")))

    def seal(self, key_id: str, plaintext: bytes, *, aad: str) -> bytes:
        """Seal bytes for the row `aad`. KeyMissingError when shredded or never made."""
        return self.sealer(key_id).seal(plaintext, aad=aad)

    def open_sealed(self, key_id: str, sealed: bytes, *, aad: str) -> bytes:
        """What was sealed for the row `aad`. KeyMissingError, SealBrokenError."""
        return self.sealer(key_id).open(sealed, aad=aad)

    def commitments(self, key_id: str) -> Commitments:
        """Commitments whose salt goes when this key is shredded."""
        return Commitments(self.secret(key_id, purpose="commitments"))

    def secret(self, key_id: str, *, purpose: str) -> bytes:
        """256 bits for one purpose (`tombstones`), the same on every call, gone with the key."""
        key = self.folder.read(_data(key_id))
        return hmac.new(key, f"clearlake/1/{purpose}".encode(), hashlib.sha256).digest()

    def shred(self, key_id: str) -> None:
        """Destroy a data key and all that hangs on it, for good. Twice is a success."""
        self.folder.shred(_data(key_id))

    # --- digest keys -----------------------------------------------------------------------

    def digester(self) -> Digester:
        """Every living generation, newest first; the first call makes the first."""
        numbers = self.folder.numbers("digest", shredded=False) or [self._newest("digest")]
        keys = [(n, self.folder.read(_numbered("digest", n))) for n in reversed(numbers)]
        return Digester(tuple(keys))

    def rotate_digest(self) -> int:
        """A new generation, for new rows; the older ones live until their last row ends."""
        return self._next("digest")

    def destroy_digest(self, generation: int, *, rows: int) -> None:
        """Destroy a generation that `rows` rows still use: KeyInUseError unless that is none.
        Twice is a success.
        """
        if rows:
            raise KeyInUseError(f"Digest key {generation} is still needed by {rows} rows.")
        if generation == self._newest("digest"):
            raise KeyInUseError(f"Digest key {generation} is the newest: rotate first.")
        self.folder.shred(_numbered("digest", generation))

    def _newest(self, kind: str) -> int:
        living = self.folder.numbers(kind, shredded=False)
        # None living: whoever else sees that makes the same number, and one of the two wins.
        return living[-1] if living else self._make_after(kind, living)

    def _next(self, kind: str) -> int:
        return self._make_after(kind, self.folder.numbers(kind, shredded=False))

    def _make_after(self, kind: str, living: Sequence[int]) -> int:
        number = max([*living, *self.folder.numbers(kind, shredded=True)], default=0) + 1
        self.folder.ensure(_numbered(kind, number))
        return number

    def _signer(self, number: int) -> Signer:
        signer = Signer.of_seed(self.folder.read(_numbered("signing", number)))
        path = self.public_key_path(signer.key_id)
        if not path.exists():
            write_durably(path, signer.public_pem)
        return signer


def _numbered(kind: str, number: int) -> str:
    return f"{kind}-{number:06}"


def _data(key_id: str) -> str:
    if not key_id[:1].isalnum():
        raise UsageError("The id of a data key begins with a letter or a digit.")
    return f"data-{key_id}"


def _keyed(key: bytes, identifier: Identifier) -> str:
    parts = [p.encode("utf-8", "surrogatepass") for p in (identifier.kind.value, identifier.value)]
    # Each part with its length: no two identifiers make the same message.
    message = b"".join(len(p).to_bytes(4, "big") + p for p in parts)
    return hmac.new(key, message, hashlib.sha256).hexdigest()
