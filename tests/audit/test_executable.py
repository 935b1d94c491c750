"""What XLA serialised, taken apart with the schema that its own library carries."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.audit.binary import parse
from builder.audit.executable import Executable, differing, read
from builder.audit.scan import audit_content
from builder.audit.schema import LIBRARY, Schema, extract, of_wheel
from builder.errors import IntegrityError
from builder.store.blobs import Store


def test_every_object_is_machine_code_of_a_kernel(found: dict[str, Executable]) -> None:
    assert set(found) == {"counted", "inverse", "looped", "mlp"}
    for item in found.values():
        assert item.objects
        assert list(item.objects) == sorted(item.objects)
        for symbol, content in item.objects.items():
            binary, audited = parse(content), audit_content(content)
            assert binary is not None
            assert audited is not None
            assert binary.relocatable
            assert symbol in binary.names
            assert audited.instructions > 3
            assert symbol in item.kernels


def test_a_kernel_is_named_to_its_operation_and_line(found: dict[str, Executable]) -> None:
    source = Path(__file__).with_name("xla_samples.py")
    lines = source.read_text().splitlines()
    (kernel,) = found["inverse"].kernels.values()
    number = next(place for place, line in enumerate(lines, 1) if "rsqrt(x)" in line)
    assert f"jit(inverse)/rsqrt ({source}:{number})" in kernel.operations
    number = next(place for place, line in enumerate(lines, 1) if "jnp.cos" in line)
    named = [name for kernel in found["looped"].kernels.values() for name in kernel.operations]
    assert any(name.endswith(f"cos ({source}:{number})") for name in named), "within a loop too"


def test_what_a_library_computes_is_listed(found: dict[str, Executable]) -> None:
    products = [item for item in found["mlp"].calls if any("dot_general" in name for name in item.operations)]
    assert len(products) == 3
    assert not found["inverse"].calls


def test_flags_are_those_that_the_compiler_saw(found: dict[str, Executable], flags: dict[str, str]) -> None:
    item = found["mlp"]
    assert len(item.flags) > 250
    assert differing(item, flags) == {}
    assert item.flags["xla_cpu_enable_fast_math"] == "false"
    wanted = {"xla_cpu_max_isa": "SSE4_2", "xla_cpu_ftz": "true", "xla_cpu_experimental_ynn_fusion_type": "+reduce",
              "xla_cpu_prefer_vector_width": "256.0", "xla_cpu_no_such": "1"}  # fmt: skip
    parted = differing(item, wanted)
    assert set(parted) == {"xla_cpu_max_isa", "xla_cpu_ftz", "xla_cpu_experimental_ynn_fusion_type", "xla_cpu_no_such"}
    assert parted["xla_cpu_max_isa"] == ("SSE4_2", "AVX2")
    assert parted["xla_cpu_no_such"] == ("1", None)


def test_what_the_code_was_made_for(found: dict[str, Executable]) -> None:
    for name, item in found.items():
        assert item.module == f"jit_{name}"
        assert item.threads == 2
        assert item.target.triple.split("-")[0] in {"x86_64", "aarch64"}
        assert item.target.cpu
        assert all(feature[:1] in {"+", "-"} for feature in item.target.features)
    assert len({item.code_sha256 for item in found.values()}) == len(found)
    assert len({item.program_sha256 for item in found.values()}) == len(found)


def test_a_wheel_is_searched_once(tmp_path: Path, schema: Schema) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as wheel:
        wheel.writestr(LIBRARY, b"\x7fELF" + b"\n\x09xla/x.proto\x12\x01" + schema.files + bytes(99))
    store = Store(tmp_path / "store")
    sha256 = store.add(content.getvalue())
    first = of_wheel(store, sha256)
    assert first == schema, "which holds the same files, each whole"
    store.blob_path(sha256).unlink()
    assert of_wheel(store, sha256) == first


@pytest.mark.parametrize("content", [b"", b"\x7fELF" + bytes(5000), b"\n\x20xla/service/cpu/executable.proto\x12"])
def test_a_library_without_descriptors_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="does not carry"):
        extract(io.BytesIO(content))


def test_a_blob_that_is_no_wheel_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with pytest.raises(IntegrityError, match="is no wheel"):
        of_wheel(store, store.add(b"PK"))


def test_descriptors_that_are_cut_are_refused(schema: Schema) -> None:
    for end in range(1000, len(schema.files), 9999):
        with pytest.raises(IntegrityError, match="does not carry"):
            extract(io.BytesIO(schema.files[:end]))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(st.data())
def test_bent_bytes_are_refused_or_some_executable(
    samples: dict[str, bytes], schema: Schema, data: st.DataObject
) -> None:
    content = bytearray(samples[data.draw(st.sampled_from(sorted(samples)))])
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    for _ in range(data.draw(st.integers(1, 4))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = read(bytes(content), schema)
    except IntegrityError:
        return
    assert len(found.code_sha256) == 64


@pytest.mark.parametrize("content", [b"", b"\x00", b"\xff" * 100, b"\x05abc", b"\x01a\x12\x03abc"])
def test_what_is_no_executable_is_refused(schema: Schema, content: bytes) -> None:
    with pytest.raises(IntegrityError):
        read(content, schema)
