"""Bytes as stored to NDJSON text and back: plain, gzip (all members), zstd (all frames), in a
stream. The content says which, never the name. Nothing here knows what a line means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, BinaryIO, NamedTuple

import zstandard
from isal import igzip_lib, isal_zlib

from app.domain.errors import LakeError

BLOCK = 32 << 20
"""Bytes of text looked at together. Memory is a few of these, whatever an object's size."""
PIECE = 8 << 20
"""Bytes of plain text read at a time: fewer than an allocator gives back to the system, so that the
same memory is used again and again. In pieces of 32 MB reading costs five times as much.
"""
_READ = 1 << 20
_ZSTD_READ = 2 << 10
"""2 KB of zstd are at most 64 MB of text, and no slower to read than larger pieces."""
_HEAD = 4096

_GZIP_ERROR: Any = igzip_lib.IsalError  # its stub says: an instance
_GZIP_LEVEL = 2
_ZSTD_LEVEL = 3

_FOREIGN = {
    b"PAR1": "Parquet",
    b"ORC": "ORC",
    b"Obj\x01": "Avro",
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x04\x22\x4d\x18": "lz4",
    b"\xff\x06\x00\x00sNaPpY": "snappy",
    b"\x89LZO": "lzop",
    b"LZIP": "lzip",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"%PDF": "PDF",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


class ContentError(LakeError):
    """An object's bytes cannot be read as NDJSON. The message never quotes them."""

    code = "content"


class UnknownCodecError(ContentError):
    """Neither text nor a compression that is known here."""

    code = "unknown_codec"


class DamagedContentError(ContentError):
    """The compressed stream is cut short, fails its checksum, or is followed by other bytes."""

    code = "damaged_content"


class LimitExceededError(ContentError):
    """More text than the limits allow."""

    code = "limit_exceeded"


class Codec(StrEnum):
    """How an object's text is stored."""

    NONE = "none"
    GZ = "gz"
    ZST = "zst"


@dataclass(frozen=True, slots=True)
class Limits:
    """What an object may cost before it is refused by name."""

    line: int = 64 << 20
    """Bytes of one line."""
    ratio: int = 1000
    """Bytes of text for a stored byte, once there are more than 64 MB of text."""
    total: int = 1 << 42
    """Bytes of text of one object."""


DEFAULT_LIMITS = Limits()


class Block(NamedTuple):
    """Whole lines: data[start:end]. Only an object's last block may end without a newline."""

    data: bytes
    start: int
    end: int


def decoded(
    read: Callable[[int], bytes], *, limits: Limits = DEFAULT_LIMITS
) -> tuple[Codec, Iterator[bytes]]:
    """The codec of a stream, and its text in chunks. `read(size)` gives b'' at the end.

    UnknownCodecError at once; DamagedContentError or LimitExceededError while reading: a stream
    that ends without an error was consumed to its last byte.
    """
    head = read(PIECE)
    while len(head) < _HEAD and (more := read(PIECE)):
        head += more
    codec = sniffed(head)
    if codec is Codec.NONE:
        return codec, _limited(_plain(head, read), read=None, limits=limits)
    stored = _Stored(head, read)
    stream = _gunzipped(stored) if codec is Codec.GZ else _unzstd(stored)
    return codec, _checked(_limited(stream, read=stored, limits=limits))


def sniffed(head: bytes) -> Codec:
    """The codec of content that begins so. UnknownCodecError for what is no NDJSON."""
    if head.startswith(b"\x1f\x8b"):
        return Codec.GZ
    if head.startswith(b"\x28\xb5\x2f\xfd") or _skippable(head):
        return Codec.ZST
    for magic, name in _FOREIGN.items():
        if head.startswith(magic):
            raise UnknownCodecError(f"The content is {name}, which is not read here.")
    if b"\0" in head[:_HEAD]:
        raise UnknownCodecError(
            "The content holds NUL bytes: neither UTF-8 text nor a known codec."
        )
    return Codec.NONE


def suffix_warning(uri: str, codec: Codec) -> str | None:
    """What to say of a name that promises another codec than the content has."""
    promised = Codec.NONE
    if uri.endswith(".gz"):
        promised = Codec.GZ
    elif uri.endswith((".zst", ".zstd")):
        promised = Codec.ZST
    if promised is codec:
        return None
    return f"The name promises codec {promised.value}, the content is {codec.value}."


def blocks(chunks: Iterator[bytes], *, limits: Limits = DEFAULT_LIMITS) -> Iterator[Block]:
    """Cut text at newlines without copying it. A line across two chunks is a block of its own."""
    carried: list[bytes] = []
    length = 0
    for chunk in chunks:
        first = chunk.find(b"\n") + 1
        if not first:
            carried.append(chunk)
            length += len(chunk)
        else:
            start = 0
            if carried:
                carried.append(chunk[:first])
                length += first
                start = first
        if length > limits.line:
            raise LimitExceededError(f"A line is longer than {limits.line} bytes.")
        if not first:
            continue
        if carried:
            line = b"".join(carried)
            yield Block(line, 0, len(line))
        end = chunk.rfind(b"\n") + 1
        if end > start:
            yield Block(chunk, start, end)
        carried = [chunk[end:]] if end < len(chunk) else []
        length = len(chunk) - end
    if carried:
        line = b"".join(carried)
        yield Block(line, 0, len(line))


class Encoder:
    """Writes text to `sink` as stored bytes: the same text gives the same bytes. Text of length
    zero gives an empty object, whatever the codec.
    """

    __slots__ = ("_codec", "_compressor", "_sink")

    def __init__(self, sink: BinaryIO, codec: Codec) -> None:
        self._sink = sink
        self._codec = codec
        self._compressor: Any = None

    def write(self, piece: bytes | memoryview) -> None:
        """Take a piece of text."""
        if not len(piece):
            return
        if self._codec is Codec.NONE:
            self._sink.write(piece)
            return
        if self._compressor is None:
            self._compressor = _compressor(self._codec)
        self._sink.write(self._compressor.compress(piece))

    def finish(self) -> None:
        """Write what is left. The sink stays open."""
        if self._compressor is not None:
            self._sink.write(self._compressor.flush())
            self._compressor = None


def _compressor(codec: Codec) -> Any:
    if codec is Codec.GZ:
        # Window bits 31: a gzip header without a name and with time 0.
        return isal_zlib.compressobj(_GZIP_LEVEL, isal_zlib.DEFLATED, 31)
    return zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compressobj()


def _skippable(head: bytes) -> bool:
    return len(head) >= 4 and head[0] & 0xF0 == 0x50 and head[1:4] == b"\x2a\x4d\x18"


class _Stored:
    """Stored bytes in pieces, and how many were taken."""

    __slots__ = ("_head", "_read", "taken")

    def __init__(self, head: bytes, read: Callable[[int], bytes]) -> None:
        self._head = memoryview(head)
        self._read = read
        self.taken = 0

    def pieces(self, size: int) -> Iterator[bytes]:
        """Pieces of at most `size` bytes, to the end."""
        data = self._head
        self._head = memoryview(b"")
        while len(data):
            for start in range(0, len(data), size):
                piece = bytes(data[start : start + size])
                self.taken += len(piece)
                yield piece
            data = memoryview(self._read(_READ))


def _plain(head: bytes, read: Callable[[int], bytes]) -> Iterator[bytes]:
    while head:
        # What is short is most often the last: a look for more need not take much memory.
        size = PIECE if len(head) == PIECE else _READ
        yield head
        head = read(size)


def _limited(chunks: Iterator[bytes], *, read: _Stored | None, limits: Limits) -> Iterator[bytes]:
    """The chunks, as long as they keep within the limits."""
    total = 0
    for chunk in chunks:
        total += len(chunk)
        if total > limits.total:
            raise LimitExceededError(f"The text is longer than {limits.total} bytes.")
        if read is not None and total > max(64 << 20, limits.ratio * read.taken):
            raise LimitExceededError(f"The text is more than {limits.ratio} times its stored size.")
        yield chunk


def _checked(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The chunks of a compressed stream, whose text must be text and not compressed again."""
    head = b""
    held: list[bytes] = []
    for chunk in chunks:
        if len(head) < _HEAD:
            head += chunk[:_HEAD]
            held.append(chunk)
            if len(head) < _HEAD:
                continue
            _require_text(head)
            yield from held
        else:
            yield chunk
    if len(head) < _HEAD:
        _require_text(head)
        yield from held


def _require_text(head: bytes) -> None:
    if sniffed(head) is not Codec.NONE:
        raise UnknownCodecError("The content is compressed twice.")


def _gunzipped(stored: _Stored) -> Iterator[bytes]:
    member: Any = None
    waiting = b""
    for piece in stored.pieces(_READ):
        waiting += piece
        while waiting:
            if member is None:
                waiting = waiting.lstrip(b"\0")  # padding between and after members is allowed
                if len(waiting) < 2:
                    break
                if not waiting.startswith(b"\x1f\x8b"):
                    raise DamagedContentError("Other bytes follow the last gzip member.")
                member = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
            yield from _inflated(member, waiting)
            waiting = member.unused_data if member.eof else b""
            if member.eof:
                member = None
    if member is not None or waiting:
        raise DamagedContentError("The gzip stream is cut short.")


def _inflated(member: Any, data: bytes) -> Iterator[bytes]:
    try:
        while True:
            text = member.decompress(data, BLOCK)
            data = b""
            if text:
                yield text
            if member.eof or member.needs_input:
                return
    except _GZIP_ERROR as err:
        raise DamagedContentError("The gzip stream is damaged.") from err


def _unzstd(stored: _Stored) -> Iterator[bytes]:
    frame: Any = None
    texts: list[bytes] = []
    size = 0
    for piece in stored.pieces(_ZSTD_READ):
        waiting = piece
        while waiting:
            frame = frame or zstandard.ZstdDecompressor().decompressobj()
            try:
                text = frame.decompress(waiting)
            except zstandard.ZstdError as err:
                raise DamagedContentError("The zstd stream is damaged.") from err
            waiting = frame.unused_data if frame.eof else b""
            if frame.eof:
                frame = None
            if text:
                texts.append(text)
                size += len(text)
        if size >= _READ:
            yield b"".join(texts)
            texts, size = [], 0
    if frame is not None:
        raise DamagedContentError("The zstd stream is cut short.")
    if texts:
        yield b"".join(texts)
