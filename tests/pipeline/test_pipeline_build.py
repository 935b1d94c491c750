"""The steps of a build that need no network and no compiler: which lock, in which order, and what is recorded."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import EnvironmentFault, IntegrityError, LockError, NotReproducible, SpecError
from builder.layers import codec
from builder.layers.entry import Layer
from builder.layers.pack import pack
from builder.layers.packages import PackageReader
from builder.layers.tree import file_entries
from builder.lock import file
from builder.lock.model import FORMAT, Built, Index, Lock
from builder.machine import Machine
from builder.oci.config import ImageConfig
from builder.oci.image import Image, PlatformImage, assemble
from builder.pipeline import build as building
from builder.pipeline import layers as layering
from builder.pipeline.backend import embedded
from builder.pipeline.fetching import bring, dates
from builder.pipeline.layers import Workshop
from builder.pipeline.snapshot import Snapshot, runtime
from builder.plan.model import LayerKind, LayerPlan, Plan
from builder.plan.numerics import VERSION
from builder.plan.runtime import Runtime
from builder.plan.sources import Sources
from builder.progress import Silent
from builder.resources import shipped
from builder.spec.identity import canonical, identity
from builder.spec.load import loads
from builder.store.artifact import Artifact
from builder.store.blobs import Store
from kernels.runtime.receipt import NUMERICS

EPOCH = 1_789_199_741

TEXT = """\
schema = 1

[kernel]
name = "tiny"
version = "1.0.0"
entry = "model:forward"
platforms = ["linux/amd64"]

[inputs.x]
dtype = "float32"

[outputs.y]
dtype = "float32"
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    folder = tmp_path / "kernel"
    folder.mkdir()
    (folder / "model.py").write_text("def forward(params, inputs, key):\n    return inputs\n")
    (folder / "net.bin").write_text("weights")
    (folder / "spec.toml").write_text(TEXT)
    return folder / "spec.toml"


@pytest.fixture
def machine(store: Store) -> Machine:
    return Machine(store=store.root, jobs=2, offline=True)


def index(registry: str, date: str) -> Index:
    return Index(registry=registry, suite="trixie", path=f"dists/{date[:4]}/InRelease", sha256=f"{1:064x}", size=1,
                 date=date)  # fmt: skip


def locked(of: str, *artifacts: Artifact, **fields: object) -> Lock:
    values = {
        "spec": f"sha256:{identity(loads(of, 'spec')).removeprefix('sha256:')}", "format": FORMAT, "epoch": EPOCH,
        "codec": codec.CODEC, "index": (index("debian", "2026-09-12T07:55:41Z"),), "artifact": artifacts,
    }  # fmt: skip
    return Lock(**values | fields)


DEB = Artifact(
    kind="deb", name="libc6", version="2.41-12", architecture="amd64", registry="debian",
    path="pool/main/g/glibc/libc6_2.41-12_amd64.deb", sha256=f"{2:064x}", size=5, roles=("image",),
    platforms=("linux/amd64",),
)  # fmt: skip


def build(spec: Path, store: Store, machine: Machine, *, only_locked: bool = False) -> object:
    return building.build(spec, spec.with_suffix(".lock"), machine=machine, store=store, backend=embedded(store),
                          progress=Silent(), locked=only_locked)  # fmt: skip


def test_locked_without_a_lock_writes_none(spec: Path, store: Store, machine: Machine) -> None:
    with pytest.raises(LockError, match="no lock") as caught:
        build(spec, store, machine, only_locked=True)
    assert caught.value.where == str(spec.with_suffix(".lock"))
    assert sorted(path.name for path in spec.parent.iterdir()) == ["model.py", "net.bin", "spec.toml"]


def test_offline_without_a_lock_writes_none(spec: Path, store: Store, machine: Machine) -> None:
    with pytest.raises(EnvironmentFault):
        build(spec, store, machine)
    assert not spec.with_suffix(".lock").exists()


def test_a_lock_of_another_spec(spec: Path, store: Store, machine: Machine) -> None:
    file.write(spec.with_suffix(".lock"), locked(TEXT.replace("tiny", "other"), DEB))
    with pytest.raises(LockError) as caught:
        build(spec, store, machine)
    assert "kbuild lock" in (caught.value.hint or "")


def test_missing_packages_offline_are_all_named(store: Store, machine: Machine) -> None:
    other = DEB.model_copy(update={"name": "zlib1g", "sha256": f"{3:064x}"})
    with pytest.raises(EnvironmentFault) as caught:
        bring([DEB, other], locked(TEXT, DEB, other), machine, store, Silent())
    said = caught.value.diagnostics()
    assert "libc6" in said
    assert "zlib1g" in said


def test_what_is_in_the_store_is_not_asked_for(store: Store, machine: Machine) -> None:
    sha256 = store.add(b"12345")
    bring([DEB.model_copy(update={"sha256": sha256})], locked(TEXT, DEB), machine, store, Silent())


def test_the_snapshot_archive_is_asked_for_the_newest_index_of_each_registry() -> None:
    moments = ["2026-09-12T07:55:41Z", "2026-11-21T02:10:46Z", "2025-01-01T00:00:00Z"]
    indexes = [index("debian", date) for date in moments] + [index("debian-security", moments[0])]
    lock = locked(TEXT, DEB, index=tuple(indexes))
    assert dates(lock) == {"debian": moments[1], "debian-security": moments[0]}


PORTABLE = TEXT + '[determinism]\nprofile = "portable"\n'


def test_the_runtime_is_every_module_that_the_profile_has_use_for(store: Store) -> None:
    root = shipped("kernels")
    found = {item.path: item for item in runtime(loads(TEXT, "spec.toml"), store).modules}
    every = {root / "__init__.py", *(root / "runtime").rglob("*.py")}
    paths = {f"opt/kbuild/kernels/{path.relative_to(root).as_posix()}" for path in every}
    assert set(found) == {path for path in paths if "/portable/" not in path and "/aot/" not in path}
    main = found["opt/kbuild/kernels/runtime/__main__.py"]
    assert store.verified(main.sha256, main.size).read_bytes() == (root / "runtime" / "__main__.py").read_bytes()
    with_programs = PORTABLE + "\n[aot]\n"
    assert {item.path for item in runtime(loads(with_programs, "spec.toml"), store).modules} == paths


def test_documents_are_the_spec_and_each_platforms_environment(store: Store) -> None:
    parsed = loads(TEXT.replace('["linux/amd64"]', '["linux/amd64", "linux/arm64"]'), "spec.toml")
    found = runtime(parsed, store).documents
    amd64, arm64 = found["linux/amd64"], found["linux/arm64"]
    assert [item.path for item in amd64] == ["opt/kernel/spec.json", "opt/kernel/environment.json"]
    assert amd64[0] == arm64[0]
    assert amd64[1] != arm64[1], "oneDNN's pin is of one platform"
    assert store.verified(amd64[0].sha256).read_bytes() == canonical(parsed)


def test_the_portable_profile_brings_the_operations_of_each_platform(store: Store) -> None:
    parsed = loads(PORTABLE.replace('["linux/amd64"]', '["linux/amd64", "linux/arm64"]'), "spec.toml")
    found = runtime(parsed, store).libraries
    assert {item.name for item in found["linux/amd64"]} == {"portable", "portable-v3", "portable-v4", "referee"}
    assert {item.name for item in found["linux/arm64"]} == {"portable", "referee"}
    for item in (*found["linux/amd64"], *found["linux/arm64"]):
        assert "-ffp-contract=off" in item.flags
        assert all(store.has(source.sha256) for source in item.sources)
    assert runtime(loads(TEXT, "spec.toml"), store).libraries == {}


def test_image_and_receipts_name_the_same_version_of_the_specification() -> None:
    assert str(NUMERICS) == VERSION


def test_a_kernels_own_library_may_not_stand_in_for_one_of_them(store: Store) -> None:
    text = PORTABLE + '[native.referee]\nsources = ["op.cc"]\n'
    with pytest.raises(SpecError, match="referee"):
        runtime(loads(text, "spec.toml"), store)


# Making layers side by side


def planned(name: str, size: int = 0) -> LayerPlan:
    item = DEB.model_copy(update={"name": name, "size": size})
    return LayerPlan(name, LayerKind.WHEEL, "linux/amd64", EPOCH, 1, codec.CODEC, "3.13", artifacts=(item,))


def made(name: str) -> Layer:
    return Layer(name, *(f"sha256:{1:064x}",) * 3, 1, 1, 1, "type")


@pytest.fixture
def workshop(store: Store) -> Workshop:
    return Workshop(store, PackageReader(store, 1), embedded(store)([], PackageReader(store, 1), ()), Silent())


@given(sizes=st.lists(st.integers(0, 100), min_size=1, max_size=8, unique=True), jobs=st.integers(1, 4))
def test_results_stand_in_the_order_asked_for(sizes: list[int], jobs: int) -> None:
    missing = [planned(f"layer{size}", size) for size in sizes]
    begun: list[int] = []

    def make(plan: LayerPlan, _: object) -> Layer:
        begun.append(plan.artifacts[0].size)
        return made(plan.name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layering, "make", make)
        found = building._parallel(missing, None, jobs)
    assert [layer.name for layer in found] == [plan.name for plan in missing]
    assert sorted(begun) == sorted(sizes)
    assert begun[0] == max(sizes) or jobs > 1


def test_the_first_failure_stops_what_has_not_begun(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    failed = threading.Event()

    def make(plan: LayerPlan, _: object) -> Layer:
        begun.append(plan.name)
        if plan.name == "layer90":
            failed.set()
            raise IntegrityError("is corrupt", where=plan.name)
        failed.wait(10)
        threading.Event().wait(0.05)
        return made(plan.name)

    monkeypatch.setattr(layering, "make", make)
    missing = [planned(f"layer{size}", size) for size in range(10, 100, 10)]
    with pytest.raises(IntegrityError, match="is corrupt"):
        building._parallel(missing, workshop, jobs=1)
    assert len(begun) < len(missing)


# What the lock records


@pytest.fixture
def image(store: Store) -> Image:
    layer = pack("kernel", file_entries({"opt/kernel/model.py": b"x = 1\n"}, epoch=EPOCH), store, codec.CODEC)
    return assemble(store, {"linux/amd64": PlatformImage((layer,), ImageConfig(EPOCH, {}, {}))}, {})


def record(image: Image, folder: Path, before: Built | None, *, only_locked: bool = False) -> tuple[Lock, Lock]:
    """The lock that a build goes on with, and the one that is then on disk."""
    lock = locked(TEXT, DEB, image=before)
    path = folder / "spec.lock"
    file.write(path, lock)
    taken = Snapshot(loads(TEXT, "spec.toml"), lock, path, Sources((), {}, ()), Runtime((), {}))
    plan = Plan("tiny", "1.0.0", EPOCH, f"sha256:{7:064x}", (), (), {})
    return building._record(taken, plan, image, locked=only_locked, progress=Silent()), file.read(path)


def built(image: Image, sources: int = 7, **fields: object) -> Built:
    platforms = {name: item.digest for name, item in image.manifests.items()}
    return Built(**{"sources": f"sha256:{sources:064x}", "index": image.digest, "platforms": platforms} | fields)


def test_the_first_build_is_recorded(image: Image, tmp_path: Path) -> None:
    found, written = record(image, tmp_path, None)
    assert found == written
    assert written.image == built(image)


def test_the_same_digest_again_writes_nothing(image: Image, tmp_path: Path) -> None:
    found, written = record(image, tmp_path, built(image))
    assert found == written
    assert written.image == built(image)


def test_other_sources_give_a_new_record(image: Image, tmp_path: Path) -> None:
    before = built(image, 8, index=f"sha256:{1:064x}")
    assert record(image, tmp_path, before)[1].image == built(image)


def test_another_digest_for_the_same_sources_is_refused(image: Image, tmp_path: Path) -> None:
    before = built(image, index=f"sha256:{1:064x}", platforms={"linux/amd64": f"sha256:{2:064x}"})
    with pytest.raises(NotReproducible, match="linux/amd64") as caught:
        record(image, tmp_path, before)
    assert f"sha256:{1:064x}" in caught.value.message
    assert image.digest in caught.value.message
    assert file.read(tmp_path / "spec.lock").image == before, "the record stands"
    assert caught.value.exit_code == 5


def test_locked_leaves_the_lock_alone(image: Image, tmp_path: Path) -> None:
    found, written = record(image, tmp_path, None, only_locked=True)
    assert found.image is None
    assert written.image is None


def test_locked_still_refuses_another_digest(image: Image, tmp_path: Path) -> None:
    with pytest.raises(NotReproducible):
        record(image, tmp_path, built(image, index=f"sha256:{1:064x}"), only_locked=True)


def test_a_lock_that_cannot_be_written_does_not_lose_the_build(
    image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., None] = file.write
    calls: list[object] = []

    def write(path: Path, lock: Lock) -> None:
        calls.append(lock)
        if len(calls) > 1:
            raise EnvironmentFault("read-only")
        real(path, lock)

    monkeypatch.setattr(file, "write", write)
    found, written = record(image, tmp_path, None)
    assert len(calls) == 2
    assert found == written
    assert found.image is None
