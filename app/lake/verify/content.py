"""What bytes are, told from the bytes and never from the name; and compressed ones opened whole:
every gzip member, every zstd frame, an end that comes too early refused.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from enum import StrEnum
from typing import BinaryIO, Protocol, cast

import zstandard
from isal import igzip_lib, isal_zlib

from app.domain.errors import LakeError

BLOCK = 4 << 20
LONGEST_LINE = 512 << 20
_FEED = 256 << 10
_IN_MEMORY = 64 << 20
_ZSTD = b"\x28\xb5\x2f\xfd"
_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"


class Form(StrEnum):
    """Forms that can be read, those that need no reading, and the rest."""

    TEXT = "text"
    GZIP = "gzip"
    ZSTD = "zstd"
    PARQUET = "parquet"
    AVRO = "avro"
    PUFFIN = "puffin"
    BINARY = "binary"
    """Known to hold text as it is (a SQLite catalog, a checksum file)."""
    UNKNOWN = "unknown"


_MAGIC = (
    (_GZIP, Form.GZIP),
    (_ZSTD, Form.ZSTD),
    (b"PAR1", Form.PARQUET),
    (b"Obj\x01", Form.AVRO),
    (b"PFA1", Form.PUFFIN),
    (b"SQLite format 3\x00", Form.BINARY),
    (b"crc\x00", Form.BINARY),
    (b"BZh", Form.UNKNOWN),
    (b"\xfd7zXZ\x00", Form.UNKNOWN),
    (b"PK\x03\x04", Form.UNKNOWN),
    (b"\x04\x22\x4d\x18", Form.UNKNOWN),
    (b"\xff\x06\x00\x00sNaPpY", Form.UNKNOWN),
    (b"ORC\n", Form.UNKNOWN),
    (b"\xff\xfe", Form.UNKNOWN),
    (b"\xfe\xff", Form.UNKNOWN),
)


class Readable(Protocol):
    """Bytes, read once from the front."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes; b'' at the end."""
        ...


def form_of(head: bytes) -> Form:
    """The form of what begins so. `head`: 64 KB, or all there is."""
    for magic, form in _MAGIC:
        if head.startswith(magic):
            return form
    if head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F:
        return Form.ZSTD
    return Form.UNKNOWN if b"\x00" in head else Form.TEXT


class Opened:
    """A stream whose first bytes were looked at; reading still starts at the front."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._head = _full(stream, 64 << 10)
        self.form = form_of(self._head)

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes; b'' at the end."""
        if self._head:
            head, self._head = self._head, b""
            if 0 <= size < len(head):
                head, self._head = head[:size], head[size:]
            return head + self._stream.read() if size < 0 else head
        return self._stream.read(size)

    def text(self) -> Iterator[bytes]:
        """The decompressed bytes, piece by piece."""
        if self.form is Form.GZIP:
            return _gunzipped(self)
        if self.form is Form.ZSTD:
            return _unzstded(self)
        return iter(lambda: self.read(BLOCK), b"")

    def whole(self) -> BinaryIO:
        """All bytes, seekable: in memory, or beyond 64 MB in a nameless temporary file."""
        spool = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115  the caller closes it
        while piece := self.read(BLOCK):
            spool.write(piece)
        spool.seek(0)
        return cast("BinaryIO", spool)


class Digested:
    """A stream, and the SHA-256 of all of it."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes; b'' at the end."""
        data = self._stream.read(size)
        self._digest.update(data)
        return data

    def hexdigest(self) -> str:
        """Of everything, what was not read yet included."""
        while self.read(1 << 20):
            pass
        return self._digest.hexdigest()


def _full(stream: Readable, size: int) -> bytes:
    parts = []
    while size > 0 and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _gunzipped(stream: Readable) -> Iterator[bytes]:
    data = stream.read(_FEED)
    while data:
        member = isal_zlib.decompressobj(wbits=31)
        try:
            while not member.eof:
                piece = member.decompress(data, BLOCK)
                data = member.unconsumed_tail
                if piece:
                    yield piece
                elif not data and not member.eof:
                    data = stream.read(_FEED)
                    if not data:
                        raise LakeError("A gzip member ends too early.")
        except (igzip_lib.IsalError, EOFError) as err:  # type: ignore[misc]  # its stub says instance
            raise LakeError("A gzip member is damaged.") from err
        data = (member.unused_data or b"") + (stream.read(_FEED) if not member.unused_data else b"")
        while data and not data.strip(b"\x00"):
            data = stream.read(_FEED)
        if len(data) < len(_GZIP):
            data += stream.read(_FEED)
        if data and not data.startswith(_GZIP):
            raise LakeError("Something that is not gzip follows a gzip member.")


def _unzstded(stream: Readable) -> Iterator[bytes]:
    opener = zstandard.ZstdDecompressor(max_window_size=1 << 31)
    data = stream.read(_FEED)
    while data:
        frame = opener.decompressobj()
        try:
            while True:
                if piece := frame.decompress(data):
                    yield piece
                if frame.eof:
                    break
                data = stream.read(_FEED)
                if not data:
                    raise LakeError("A zstd frame ends too early.")
        except zstandard.ZstdError as err:
            raise LakeError("A zstd frame is damaged.") from err
        data = frame.unused_data or stream.read(_FEED)


def line_blocks(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in blocks of about 4 MB, each ending at a newline but the last."""
    kept: list[bytes] = []
    size = 0
    for piece in pieces:
        kept.append(piece)
        size += len(piece)
        if size < BLOCK:
            continue
        cut = piece.rfind(b"\n") + 1
        if not cut:
            if size > LONGEST_LINE:
                raise LakeError("A line is longer than 512 MB.")
            continue
        kept[-1] = piece[:cut]
        yield b"".join(kept)
        kept = [piece[cut:]] if cut < len(piece) else []
        size = len(piece) - cut
    if size:
        yield b"".join(kept)


def without_mark(line: bytes) -> tuple[bytes, bytes]:
    """A first line's byte order mark, if any, and the rest."""
    return (_BOM, line[len(_BOM) :]) if line.startswith(_BOM) else (b"", line)
