from __future__ import annotations

import hashlib
import io
import stat
import struct
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import IntegrityError, KbuildError, ResolveError
from builder.lock.members import member

NAME = "net/model/model.safetensors"
CONTENT = bytes(range(256)) * 40


def wheel(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return wheel(tmp_path / "net.whl", {NAME: CONTENT, "net/__init__.py": b"", "net/tokenizer.json": b"{}" * 9})


def sample() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(NAME, CONTENT)
        archive.writestr("net/__init__.py", b"x = 1\n" * 30)
    return buffer.getvalue()


SAMPLE = sample()


def test_a_member_is_hashed(good: Path) -> None:
    found = member(good, NAME, where="net")
    assert (found.path, found.sha256, found.size) == (NAME, hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))


def test_a_missing_member_is_met_with_what_there_is(good: Path) -> None:
    with pytest.raises(ResolveError) as caught:
        member(good, "model.safetensors", where="net")
    assert caught.value.hint == f"did you mean {NAME}?"
    with pytest.raises(ResolveError) as caught:
        member(good, "net/tokeniser.json", where="net")
    assert "net/tokenizer.json" in (caught.value.hint or "")
    with pytest.raises(ResolveError) as caught:
        member(good, "zzz", where="net")
    assert (caught.value.hint or "").startswith(f"its largest files are {NAME}")
    with pytest.raises(ResolveError):
        member(good, "net/", where="net")


def test_names_in_a_message_are_harmless(tmp_path: Path) -> None:
    path = wheel(tmp_path / "net.whl", {"a\x1b[2J/model.bin": b""})
    with pytest.raises(ResolveError) as caught:
        member(path, "model.bin", where="net")
    assert "\x1b" not in caught.value.diagnostics()


@pytest.mark.parametrize("name", ["../model.bin", "/model.bin", "a/../b", "a//b"])
def test_a_name_that_climbs_is_refused_even_if_it_is_asked_for(tmp_path: Path, name: str) -> None:
    with pytest.raises(IntegrityError):
        member(wheel(tmp_path / "net.whl", {name: b"x"}), name, where="net")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_stands_twice_names_nothing(tmp_path: Path) -> None:
    path = tmp_path / "net.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(NAME, b"one")
        archive.writestr(NAME, b"two")
    with pytest.raises(IntegrityError, match="twice"):
        member(path, NAME, where="net")


def test_a_link_is_no_weights(tmp_path: Path) -> None:
    path = tmp_path / "net.whl"
    link = zipfile.ZipInfo(NAME)
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(IntegrityError, match="no regular file"):
        member(path, NAME, where="net")


def test_a_bomb_is_refused_before_it_goes_off(tmp_path: Path) -> None:
    path = wheel(tmp_path / "net.whl", {NAME: bytes(70 << 20)})
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\1\2")
    struct.pack_into("<L", data, at + 24, 0xFFFFFFF0)  # 4 GiB, it says
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="a bomb"):
        member(path, NAME, where="net")


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    data = bytearray(SAMPLE)
    data[data.index(b"PK\1\2") + 8] |= 1
    path = tmp_path / "net.whl"
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="encrypted"):
        member(path, NAME, where="net")


@given(st.integers(0, len(SAMPLE) - 1))
def test_a_truncated_wheel_is_refused(length: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.whl"
        path.write_bytes(SAMPLE[:length])
        with pytest.raises(IntegrityError):
            member(path, NAME, where="net")


@given(st.integers(0, len(SAMPLE) - 1), st.integers(1, 255))
def test_a_damaged_wheel_is_refused_or_holds_what_it_held(position: int, difference: int) -> None:
    data = bytearray(SAMPLE)
    data[position] ^= difference
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.whl"
        path.write_bytes(data)
        try:
            found = member(path, NAME, where="net")
        except KbuildError as error:
            assert error.exit_code in (2, 4)  # noqa: PT017
        else:
            assert found.sha256 == hashlib.sha256(CONTENT).hexdigest()
