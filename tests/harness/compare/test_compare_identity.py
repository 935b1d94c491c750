"""The canonical hash, taken outside: the published vectors, and agreement with the runtime's own."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from compare_samples import tensors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn
from safetensors.numpy import save

from builder.errors import IntegrityError
from builder.harness.compare.differ import CHUNK
from builder.harness.compare.formats import FORMATS
from builder.harness.compare.identity import describe
from kernels.runtime.tensors import describe_all

PROTOCOL = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text()
VECTORS = [
    (name, dtype, json.loads(shape), bytes.fromhex(data) if data else b"", digest)
    for name, dtype, shape, data, digest in re.findall(
        r"^\| `(\w+)` \| `(\w+)` `(\[[^`]*\])` \| (?:`([0-9a-f]*)`|\(none\)) \| `([0-9a-f]{64})` \|$",
        PROTOCOL,
        re.MULTILINE,
    )
    if dtype != "string"  # of which there are no outputs
]
CONTAINER = {form.name: name for name, form in FORMATS.items()}


def test_the_documents_vectors_are_found() -> None:
    assert len(VECTORS) >= 5


@pytest.mark.parametrize(("name", "dtype", "shape", "data", "digest"), VECTORS)
def test_vectors(tmp_path: Path, *, name: str, dtype: str, shape: list[int], data: bytes, digest: str) -> None:
    (tmp_path / "outputs.safetensors").write_bytes(tensors({name: (CONTAINER[dtype], shape, data)}))
    assert describe(tmp_path)["tensors"] == {name: {"dtype": dtype, "shape": shape, "sha256": digest}}


def test_vector_of_a_set(tmp_path: Path) -> None:
    (expected,) = re.findall(
        r"^The set of only the first of these has the hash\n`([0-9a-f]{64})`", PROTOCOL, re.MULTILINE
    )
    (tmp_path / "x").write_bytes(tensors({"x": ("F32", [2], bytes.fromhex("0000803f000020c0"))}))
    assert describe(tmp_path / "x")["sha256"] == expected


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=4).filter(lambda name: name != "__metadata__" and _unicode(name)),
        st.sampled_from(["bool", "int8", "uint16", "float16", "float32", "float64", "complex64", "int64"]).flatmap(
            lambda dtype: stn.arrays(dtype, stn.array_shapes(min_dims=0, min_side=0, max_side=3))
        ),
        max_size=4,
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_agrees_with_the_runtime(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    (tmp_path / "outputs.safetensors").write_bytes(save(arrays))
    assert describe(tmp_path) == describe_all(arrays)


def _unicode(name: str) -> bool:
    return not any(0xD800 <= ord(char) < 0xE000 for char in name)


def test_agrees_with_the_runtime_beyond_one_chunk(tmp_path: Path) -> None:
    array = np.arange(CHUNK // 2 + 3, dtype=np.uint16)
    (tmp_path / "x").write_bytes(save({"x": array}))
    assert describe(tmp_path / "x") == describe_all({"x": array})


def test_a_boolean_of_two_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(tensors({"x": ("BOOL", [3], b"\0\1\2")}))
    with pytest.raises(IntegrityError, match="other than 0 and 1"):
        describe(tmp_path / "x")
