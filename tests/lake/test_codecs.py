"""Stored bytes to text and back: all members and frames, to the last byte, within limits."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from app.lake.codecs import (
    DEFAULT_LIMITS,
    Codec,
    DamagedContentError,
    Encoder,
    LimitExceededError,
    Limits,
    UnknownCodecError,
    blocks,
    decoded,
    sniffed,
    suffix_warning,
)

TEXT = b"".join(b'{"n":%d,"t":"some text"}\n' % n for n in range(20_000))


def gz(text: bytes) -> bytes:
    return gzip.compress(text, mtime=0)


def zst(text: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=1).compress(text)


def stored(text: bytes, codec: Codec) -> bytes:
    sink = io.BytesIO()
    encoder = Encoder(sink, codec)
    for start in range(0, len(text), 5000):
        encoder.write(memoryview(text)[start : start + 5000])
    encoder.finish()
    return sink.getvalue()


def text_of(body: bytes, *, limits: Limits = DEFAULT_LIMITS) -> tuple[Codec, bytes]:
    codec, chunks = decoded(io.BytesIO(body).read, limits=limits)
    return codec, b"".join(chunks)


@pytest.mark.parametrize("codec", list(Codec))
def test_what_is_encoded_decodes_to_itself_and_is_the_same_bytes_each_time(codec: Codec) -> None:
    body = stored(TEXT, codec)
    assert text_of(body) == (codec, TEXT)
    assert stored(TEXT, codec) == body
    assert stored(b"", codec) == b""


def test_a_gzip_header_tells_neither_time_nor_name() -> None:
    body = stored(TEXT, Codec.GZ)
    assert body[3] == 0
    assert body[4:8] == b"\0\0\0\0"
    assert gzip.decompress(body) == TEXT


@pytest.mark.parametrize("pack", [gz, zst])
def test_all_members_and_frames_are_read(pack: Callable[[bytes], bytes]) -> None:
    parts = [TEXT[:1000], b"", TEXT[1000:300_000], TEXT[300_000:]]
    assert text_of(b"".join(pack(part) for part in parts))[1] == TEXT


def test_padding_and_skippable_frames_are_no_text() -> None:
    assert text_of(gz(b"a\n") + b"\0" * 600 + gz(b"b\n") + b"\0\0")[1] == b"a\nb\n"
    skippable = b"\x5a\x2a\x4d\x18\x04\0\0\0abcd"
    assert text_of(skippable + zst(b"a\n") + skippable) == (Codec.ZST, b"a\n")


@pytest.mark.parametrize(
    "body",
    [
        gz(TEXT)[:-1],
        gz(TEXT) + gz(TEXT)[:-9],
        gz(TEXT) + b"\x1f",
        gz(TEXT) + b"more",
        gz(TEXT)[:-8] + zlib.crc32(b"other").to_bytes(4, "little") + gz(TEXT)[-4:],
        b"\x1f\x8b\x08garbage",
        zst(TEXT)[:-1],
        zst(TEXT) + zst(TEXT)[:-3],
        zst(TEXT) + b"\0",
        zst(TEXT) + b"more bytes",
    ],
)
def test_a_stream_that_is_not_whole_is_refused(body: bytes) -> None:
    with pytest.raises(DamagedContentError):
        text_of(body)


@pytest.mark.parametrize(
    "body",
    [
        b"PAR1....",
        b"Obj\x01...",
        b"BZh91AY",
        b"\xfd7zXZ\x00...",
        '{"a":1}\n'.encode("utf-16"),
        '{"a":1}\n'.encode("utf-16-le"),
        '{"a":1}\n'.encode("utf-32"),
        b"\0" * 5000,
        gz(gz(TEXT)),
        zst(b"PAR1" + TEXT),
        gz('{"a":1}\n'.encode("utf-16-be")),
    ],
)
def test_what_is_not_text_is_refused_by_name(body: bytes) -> None:
    with pytest.raises(UnknownCodecError) as raised:
        text_of(body)
    assert raised.value.code == "unknown_codec"


def test_the_content_decides_and_a_wrong_suffix_is_said() -> None:
    assert sniffed(gz(b"x")) is Codec.GZ
    assert suffix_warning("s3://b/x.ndjson", Codec.GZ) is not None
    assert suffix_warning("s3://b/x.gz", Codec.NONE) is not None
    assert suffix_warning("s3://b/x.ndjson.zst", Codec.ZST) is None
    assert suffix_warning("s3://b/x.ndjson", Codec.NONE) is None


def test_limits_are_held() -> None:
    with pytest.raises(LimitExceededError):
        text_of(zst(b"a" * (80 << 20)), limits=Limits(ratio=100))
    with pytest.raises(LimitExceededError):
        text_of(TEXT, limits=Limits(total=1000))
    chunks = (b"a" * 100 for _ in range(20))
    with pytest.raises(LimitExceededError):
        list(blocks(chunks, limits=Limits(line=1000)))


@given(
    lines=st.lists(st.binary(max_size=12).map(lambda b: b.replace(b"\n", b""))),
    sizes=st.lists(st.integers(1, 9), min_size=1),
    ended=st.booleans(),
)
def test_blocks_are_whole_lines_in_order(lines: list[bytes], sizes: list[int], ended: bool) -> None:
    text = b"\n".join(lines) + (b"\n" if ended else b"")
    chunks, at, turn = [], 0, 0
    while at < len(text):
        size = sizes[turn % len(sizes)]
        chunks.append(text[at : at + size])
        at, turn = at + size, turn + 1
    cut = [b.data[b.start : b.end] for b in blocks(iter(chunks))]
    assert b"".join(cut) == text
    assert all(piece.endswith(b"\n") for piece in cut[:-1])
    assert all(cut)
