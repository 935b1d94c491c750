"""Which LLVM a jaxlib has, from the text of its library."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import jaxlib
import pytest

from builder.audit.llvm import _STEP, extract, of_wheel
from builder.audit.schema import LIBRARY
from builder.errors import IntegrityError
from builder.store.blobs import Store


@pytest.mark.parametrize("before", [0, 7, _STEP - 20, _STEP - 5, _STEP, 2 * _STEP - 1])
def test_it_is_found_wherever_it_lies(before: int) -> None:
    content = b"\x7f" * before + b"  LLVM version 23.0.0git\n  " + bytes(99)
    assert extract(io.BytesIO(content)) == "23.0.0git"


@pytest.mark.parametrize("content", [b"", b"LLVM version ", b"LLVM version of x\n" * 9, b"LLVM version 1" + b"2" * 99])
def test_a_library_that_does_not_say(content: bytes) -> None:
    with pytest.raises(IntegrityError, match="which LLVM"):
        extract(io.BytesIO(content))


def test_of_this_jaxlib() -> None:
    with Path(jaxlib.__file__).with_name("libjax_common.so").open("rb") as content:
        assert int(extract(content).partition(".")[0]) >= 20


def test_of_a_wheel(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with zipfile.ZipFile(tmp_path / "wheel", "w") as wheel:
        wheel.writestr(LIBRARY, b"LLVM version 23.0.0git\n")
    sha256 = store.add((tmp_path / "wheel").read_bytes())
    assert of_wheel(store, sha256) == "23.0.0git"
    with pytest.raises(IntegrityError, match="no wheel"):
        of_wheel(store, store.add(b"nothing"))
