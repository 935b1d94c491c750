from __future__ import annotations

import hashlib
import io
import random
import shutil
import subprocess
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import EnvironmentFault, IntegrityError
from builder.layers import codec
from builder.lock.model import Codec

GOLDEN_20_MIB = "c0df258b444e98cb21d2055388aa7dc2c5b806b09d97bdc9dc07f2555b2ed7a2"
"""Several jobs of libzstd's multi-threaded mode, which are of 8 MiB at this level."""


def packed(data: bytes, *, threads: int = 1, piece: int = 2**20) -> bytes:
    stream = codec.compressor(codec.CODEC, len(data), threads=threads)
    parts = [stream.compress(data[at : at + piece]) for at in range(0, len(data), piece)]
    return b"".join([*parts, stream.flush()])


def content() -> bytes:
    chance = random.Random(20)
    words = [chance.randbytes(chance.randrange(3, 90)) for _ in range(3000)]
    return b"".join(chance.choices(words, k=500_000))[: 20 * 2**20]


@pytest.fixture(scope="module")
def twenty() -> bytes:
    return content()


@pytest.mark.parametrize(("threads", "piece"), [(1, 2**20), (2, 2**20), (4, 2**20), (2, 4097), (64, 2**25)])
def test_golden_frame_whatever_threads_and_write_sizes(twenty: bytes, threads: int, piece: int) -> None:
    assert hashlib.sha256(packed(twenty, threads=threads, piece=piece)).hexdigest() == GOLDEN_20_MIB


def test_the_single_threaded_mode_would_give_other_bytes(twenty: bytes) -> None:
    """Why `threads` is never 0: if this ever fails, the distinction in the specification is moot."""
    single = zstandard.ZstdCompressor(level=3, threads=0, write_checksum=True).compress(twenty)
    assert single != packed(twenty)


def test_a_frame_declares_what_the_specification_says() -> None:
    facts = zstandard.get_frame_parameters(packed(b"abc" * 1000))
    assert (facts.content_size, facts.has_checksum, facts.dict_id) == (3000, True, 0)


@pytest.mark.skipif(shutil.which("zstd") is None, reason="needs the zstd program")
def test_the_zstd_program_reads_it(tmp_path: Path) -> None:
    blob = tmp_path / "x.zst"
    blob.write_bytes(packed(b"hello" * 10000))
    assert subprocess.run(["zstd", "-dcq", blob], capture_output=True, check=True).stdout == b"hello" * 10000


@given(st.binary(max_size=5000), st.integers(1, 999))
def test_round_trip(data: bytes, piece: int) -> None:
    blob = packed(data, piece=piece)
    assert codec.decompressed(io.BytesIO(blob), size=len(data)).read() == data
    stream = codec.decompressed(io.BytesIO(blob))
    assert b"".join(iter(lambda: stream.read(piece), b"")) == data


def test_a_lock_with_another_codec_is_refused() -> None:
    codec.check(codec.CODEC)
    for other in (Codec(version="1.5.6", level=3), Codec(version=codec.LIBZSTD, level=19)):
        with pytest.raises(EnvironmentFault, match=f"zstd {other.version} at level {other.level}; this kbuild writes"):
            codec.check(other)


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("ZSTD_VERSION", (1, 5, 6), "this Python has libzstd 1.5.6"),
        ("__version__", "0.23.0", "through zstandard 0.23.0"),
        ("backend", "cffi", r"0.25.0 \(cffi\)"),
    ],
)
def test_another_build_of_the_library_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: object, found: str
) -> None:
    monkeypatch.setattr(zstandard, name, value)
    codec._self_test.cache_clear()
    with pytest.raises(EnvironmentFault, match=found) as caught:
        codec.compressor(codec.CODEC, 1)
    assert "zstandard==0.25.0" in caught.value.diagnostics()


def test_a_library_that_compresses_otherwise_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same version numbers, other bytes: here level 4 stands in for a patched libzstd."""
    real = codec._compressor
    monkeypatch.setattr(codec, "_compressor", lambda level, size, threads: real(level + 1, size, threads))
    codec._self_test.cache_clear()
    with pytest.raises(EnvironmentFault, match="compresses the test vector to"):
        codec.check(codec.CODEC)
    monkeypatch.undo()
    codec.check(codec.CODEC)


def test_the_test_vector_is_that_of_the_specification() -> None:
    page = (Path(__file__).parents[2] / "docs" / "layer-format.md").read_text()
    assert codec._GOLDEN in page
    noise = hashlib.shake_256(b"kbuild codec").digest(2**18)
    vector = bytearray()
    for i in range(8000):
        a = 37 * i * i % 2**18
        vector += noise[a : a + 16 + 2 * noise[a]]
    assert codec._vector() == vector[: 2**21]
    assert len(codec._vector()) == 2**21


def frame(data: bytes, **options: bool) -> bytes:
    return zstandard.ZstdCompressor(**{"write_content_size": True, "write_checksum": True} | options).compress(data)


def test_hostile_frames_are_refused() -> None:
    good = frame(b"".join(b"%d " % number for number in range(20_000)))
    lying = bytearray(packed(b"y" * 70_000))
    assert lying[4] >> 6 == 2  # RFC 8878, 3.1.1.1.1: a content size of 4 bytes, after the window descriptor if any
    at = 5 if lying[4] & 0x20 else 6
    lying[at : at + 4] = (69_000).to_bytes(4, "little")
    cases = {
        "not a zstd blob": [b"", b"PK\3\4", good[:3], b"\x1f\x8b" + bytes(50)],
        "does not declare": [frame(b"x" * 100_000, write_content_size=False)],
        "not of its declared size": [good[:-50], good[:20], good[:15] + b"\xff" * 40, good + frame(b"more")],
        "malformed": [good[:-4] + b"abcd", good + b"trailing", bytes(lying)],
    }
    for why, blobs in cases.items():
        for blob in blobs:
            with pytest.raises(IntegrityError, match=why) as caught:
                codec.decompressed(io.BytesIO(blob), where="layer 3").read()
            assert caught.value.where == "layer 3"


def test_a_bomb_is_refused_before_it_goes_off() -> None:
    bomb = frame(bytes(50_000_000))
    assert len(bomb) < 10_000
    with pytest.raises(IntegrityError, match="of 50000000 bytes of content, not 1000"):
        codec.decompressed(io.BytesIO(bomb), size=1000)
    stream = codec.decompressed(io.BytesIO(bomb), size=50_000_000)
    assert len(stream.read(10)) == 10  # and no more than asked for


def test_a_frame_with_a_huge_window_is_refused() -> None:
    options = zstandard.ZstdCompressionParameters(window_log=30, write_content_size=True)
    huge = zstandard.ZstdCompressor(compression_params=options).compressobj(size=2**28)
    start = huge.compress(bytes(2**20))
    start += huge.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    with pytest.raises(IntegrityError, match=r"malformed|memory"):
        codec.decompressed(io.BytesIO(start)).read()


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_damaged_frame_never_gives_other_content(at: int, value: int) -> None:
    data = b"".join(b"%d " % number for number in range(3000))
    blob = bytearray(packed(data))
    blob[at % len(blob)] = value
    try:
        found = codec.decompressed(io.BytesIO(bytes(blob))).read()
    except IntegrityError:
        return
    assert found == data
