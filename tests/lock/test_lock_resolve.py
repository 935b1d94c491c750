from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from debian_archive import NOW, Mirror, serve, suite_files
from debian_archive import universe as universe_of
from fake_index import ARM, X86, FakeIndex
from lock_samples import SAMPLE
from pysequoia import Tsk

from builder.errors import EnvironmentFault, ResolveError, UsageError
from builder.lock import drift, file
from builder.lock import resolve as module
from builder.lock.debian.archive import Archive
from builder.lock.debian.solver import resolve as solve
from builder.lock.keep import Keeping
from builder.lock.model import CODEC, FORMAT, Lock
from builder.lock.resolve import ALL, Upgrade, resolve
from builder.machine import Machine, from_environment
from builder.progress import Silent
from builder.spec.identity import identity
from builder.spec.model import Spec
from builder.store.blobs import Store

DEBS = """
base-files 13
base-passwd 3
libc-bin 2.41-12; Depends: libc6
libc6 2.41-12; Multi-Arch: same
libstdc++6 14.2.0-19; Depends: libc6; Multi-Arch: same
python3 3.13.5-1; Depends: python3.13
python3.13 3.13.5-2; Depends: python3.13-minimal (= 3.13.5-2), tzdata
python3.13-minimal 3.13.5-2; Depends: libc6
tzdata 2026a; Architecture: all
curl 8.14; Depends: libc6
gcc-14 14.2.0-19; Depends: binutils, libc6-dev
g++-14 14.2.0-19; Depends: gcc-14 (= 14.2.0-19), libstdc++-14-dev (= 14.2.0-19)
libstdc++-14-dev 14.2.0-19; Depends: libc6-dev, libstdc++6; Multi-Arch: same
binutils 2.44
binutils-aarch64-linux-gnu 2.44
binutils-x86-64-linux-gnu 2.44
clang-19 1:19.1.7-3; Depends: libc6-dev
lld-19 1:19.1.7-3
libc6-dev 2.41-12; Depends: libc6, libc-dev-bin, linux-libc-dev; Multi-Arch: same
libc-dev-bin 2.41-12; Multi-Arch: foreign
linux-libc-dev 6.12; Architecture: all
qemu-user 1:10.0.2
busybox-static 1:1.37.0-6
"""
CROSS = {
    "amd64": """
gcc-14-aarch64-linux-gnu 14.2.0-19cross1
g++-14-aarch64-linux-gnu 14.2.0-19cross1; Depends: gcc-14-aarch64-linux-gnu (= 14.2.0-19cross1)
""",
    "arm64": """
gcc-14-x86-64-linux-gnu 14.2.0-18cross1
g++-14-x86-64-linux-gnu 14.2.0-18cross1; Depends: gcc-14-x86-64-linux-gnu (= 14.2.0-18cross1)
""",
}
"""The one is built from the same version as the other's own compiler, the other lags behind."""
SYSROOT = {
    "libc6": "2.41-12", "libc6-dev": "2.41-12", "libstdc++-14-dev": "14.2.0-19", "libstdc++6": "14.2.0-19",
    "linux-libc-dev": "6.12",
}  # fmt: skip
NATIVE = SYSROOT | {
    "base-files": "13", "base-passwd": "3", "binutils": "2.44", "g++-14": "14.2.0-19", "gcc-14": "14.2.0-19",
    "libc-dev-bin": "2.41-12",
}  # fmt: skip
BASE = {"base-files": "13", "base-passwd": "3"}
CROSSING = BASE | {
    "binutils-aarch64-linux-gnu": "2.44", "gcc-14-aarch64-linux-gnu": "14.2.0-19cross1",
    "g++-14-aarch64-linux-gnu": "14.2.0-19cross1",
}  # fmt: skip
CROSSINGS = {"linux/amd64": CROSSING, "linux/arm64": {}}
TOOLS = {"qemu-user": "1:10.0.2", "busybox-static": "1:1.37.0-6"}
UPDATED = """
tzdata 2026b; Architecture: all
python3.13 3.13.6-1; Depends: python3.13-minimal (= 3.13.6-1), tzdata
python3.13-minimal 3.13.6-1; Depends: libc6
"""
PLAIN: dict[str, Any] = {
    "schema": 1,
    "kernel": {"name": "net", "version": "1.0.0", "entry": "model:run"},
    "python": {"requirements": ("thing",)},
    "weights": {"net": {"source": "file:net.bin"}},
    "inputs": {"x": {"dtype": "float32"}},
    "outputs": {"y": {"dtype": "float32"}},
}


def spec(**tables: Any) -> Spec:
    return Spec.model_validate(PLAIN | tables)


class World:
    """A Debian archive, a Python index, a kernel's folder, and someone who resolves."""

    def __init__(self, mirror: Mirror, key: Tsk, index: FakeIndex, machine: Machine, store: Store) -> None:
        self.mirror, self.key, self.index, self.store = mirror, key, index, store
        self.machine = replace(
            machine, debian_mirror=mirror.url, debian_security_mirror=mirror.url, pypi_index=index.simple.as_uri()
        )
        self.folder = index.root.parent / "kernel"
        self.folder.mkdir()
        (self.folder / "net.bin").write_bytes(b"weights")
        index.runtime()
        for tag in (X86, ARM):
            index.wheel("thing", "1.0", tag)
        self.publish()

    def publish(self, updates: str = "", date: str = "Sat, 12 Sep 2026 07:55:41 UTC") -> None:
        """Sign the archive anew."""
        both = {name: DEBS + cross for name, cross in CROSS.items()}
        self.mirror.files.clear()
        self.mirror.files |= suite_files(self.key, both)
        for name, text in (("updates", updates), ("security", "")):
            content = {"amd64": text, "arm64": text}
            names = {"codename": f"trixie-{name}", "suite": f"stable-{name}"}
            self.mirror.files |= suite_files(self.key, content, **names, date=date)

    def __call__(self, value: Spec | None = None, previous: Lock | None = None, upgrade: Upgrade = None) -> Lock:
        return resolve(
            value or spec(),
            self.folder,
            machine=self.machine,
            store=self.store,
            progress=Silent(),
            previous=previous,
            upgrade=upgrade,
            now=NOW,
        )


@pytest.fixture(scope="module")
def key() -> Tsk:
    return Tsk.generate("Archive in Miniature <archive@example.org>")


@pytest.fixture
def world(
    key: Tsk, index: FakeIndex, machine: Machine, store: Store, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    trusted = (key.extract_certificate(),)
    monkeypatch.setattr(module, "Archive", partial(Archive, certs=lambda: trusted))
    monkeypatch.setenv("UV_CACHE_DIR", str(index.root / "cache"))
    with serve({}) as mirror:
        yield World(mirror, key, index, machine, store)


def chosen(lock: Lock, role: str = "image", platform: str = "linux/amd64") -> dict[str, str]:
    return {item.name: item.version for item in lock.artifact if role in item.roles and platform in item.platforms}


def test_a_whole_lock(world: World, tmp_path: Path) -> None:
    lock = world()
    assert lock.spec == identity(spec())
    assert (lock.format, lock.codec, lock.image) == (FORMAT, CODEC, None)
    assert [item.suite for item in lock.index] == ["trixie", "trixie-updates", "trixie-security"]
    assert datetime.fromtimestamp(lock.epoch, UTC) == datetime(2026, 9, 12, 7, 55, 41, tzinfo=UTC)
    for platform in ("linux/amd64", "linux/arm64"):
        assert chosen(lock, "image", platform) == {
            "base-files": "13", "base-passwd": "3", "libc-bin": "2.41-12", "libc6": "2.41-12",
            "libstdc++6": "14.2.0-19", "python3": "3.13.5-1", "python3.13": "3.13.5-2",
            "python3.13-minimal": "3.13.5-2", "tzdata": "2026a", "ml-dtypes": "1.0", "net": "", "numpy": "1.0",
            "safetensors": "1.0", "thing": "1.0",
        }  # fmt: skip
        assert chosen(lock, "toolchain", platform) == NATIVE
        assert chosen(lock, "cross", platform) == CROSSINGS[platform]
        assert chosen(lock, "sysroot", platform) == SYSROOT
        assert chosen(lock, "tools", platform) == TOOLS
    (tzdata,) = (item for item in lock.artifact if item.name == "tzdata")
    assert tzdata.platforms == ("linux/amd64", "linux/arm64")
    assert drift.fits(spec(), lock) == []
    path = tmp_path / "spec.lock"
    file.write(path, lock)
    assert file.read(path) == lock


def test_the_same_registries_give_the_same_lock_whatever_was_there_before(world: World) -> None:
    first = world()
    shutil.rmtree(world.store.root)
    shutil.rmtree(world.index.root / "cache")
    world.machine = replace(world.machine, jobs=1)
    assert file.dumps(world()) == file.dumps(first)


def test_the_toolchain_is_locked_whether_or_not_the_kernel_compiles(world: World) -> None:
    lock = world(spec(native={"fast": {"sources": ("fast.c",)}}))
    assert (chosen(lock, "toolchain"), chosen(lock, "cross")) == (NATIVE, CROSSING)
    assert lock.artifact == world(spec()).artifact
    base = next(item for item in lock.artifact if item.name == "base-files")
    assert base.roles == ("cross", "image", "toolchain")


def test_one_platform_still_has_tools_for_every_builder(world: World) -> None:
    lock = world(spec(kernel=PLAIN["kernel"] | {"platforms": ("linux/arm64",)}))
    assert chosen(lock, "image", "linux/amd64") == {}
    assert "python3.13" in chosen(lock, "image", "linux/arm64")
    assert chosen(lock, "toolchain", "linux/amd64") == {}
    assert chosen(lock, "cross", "linux/amd64") == CROSSING
    assert chosen(lock, "toolchain", "linux/arm64") == NATIVE
    assert chosen(lock, "sysroot", "linux/amd64") == {}
    assert chosen(lock, "sysroot", "linux/arm64") == SYSROOT
    assert chosen(lock, "tools", "linux/amd64") == TOOLS


def test_a_cross_compiler_of_another_version_is_left_alone(world: World) -> None:
    lock = world(spec(kernel=PLAIN["kernel"] | {"platforms": ("linux/amd64",)}))
    assert chosen(lock, "toolchain", "linux/amd64") == NATIVE
    assert chosen(lock, "toolchain", "linux/arm64") == {}, "it runs the other's own, emulated"
    assert drift.fits(spec(kernel=PLAIN["kernel"] | {"platforms": ("linux/amd64",)}), lock) == []


def test_clang_is_one_program_for_every_target(world: World) -> None:
    asked = spec(compiler={"name": "clang"})
    lock = world(asked)
    for platform in ("linux/amd64", "linux/arm64"):
        assert {"clang-19": "1:19.1.7-3", "lld-19": "1:19.1.7-3"}.items() <= chosen(lock, "toolchain", platform).items()
        assert chosen(lock, "sysroot", platform) == SYSROOT
    assert drift.fits(asked, lock) == []
    with pytest.raises(ResolveError, match=r"no clang 18, but 19\.1\.7"):
        world(spec(compiler={"name": "clang", "version": "18"}))


def test_zig_is_a_wheel_of_one_version_for_builders_of_both_platforms(world: World) -> None:
    for version in ("0.16.0", "0.17.0", "0.17.1"):
        world.index.wheel("ziglang", version, "py3-none-manylinux_2_12_x86_64")
    for version in ("0.16.0", "0.17.0"):
        world.index.wheel("ziglang", version, "py3-none-manylinux_2_17_aarch64")
    asked = spec(compiler={"name": "zig"}, kernel=PLAIN["kernel"] | {"platforms": ("linux/arm64",)})
    with pytest.raises(ResolveError, match=r"no zig 0\.17\.1 for linux/arm64") as caught:
        world(asked)
    assert caught.value.where == "compiler.version"
    world.index.wheel("ziglang", "0.17.1", "py3-none-manylinux_2_17_aarch64")
    lock = world(asked)
    for platform in ("linux/amd64", "linux/arm64"):
        assert chosen(lock, "toolchain", platform) == {"ziglang": "0.17.1", "busybox-static": "1:1.37.0-6"}
        assert chosen(lock, "sysroot", platform) == {}
    assert drift.fits(asked, lock) == []
    with pytest.raises(ResolveError, match=r"no zig 0\.99 for"):
        world(spec(compiler={"name": "zig", "version": "0.99"}))


def test_an_archive_that_is_only_signed_anew_changes_nothing(world: World) -> None:
    first = world()
    world.publish(date="Sun, 20 Sep 2026 08:00:00 UTC")
    assert world(previous=first) is first
    assert world(previous=first, upgrade=ALL) is first
    assert world().epoch > first.epoch


def test_what_is_locked_stays_until_an_upgrade(world: World) -> None:
    first = world()
    world.publish(UPDATED, "Sun, 20 Sep 2026 08:00:00 UTC")
    world.index.wheel("thing", "2.0", X86)
    world.index.wheel("thing", "2.0", ARM)
    assert world(previous=first) is first
    changed = spec(os={"packages": ("python3", "curl")})
    more = world(changed, previous=first)
    assert drift.describe_change(first, more)[0].name == "spec"
    assert {change.name for change in drift.describe_change(first, more)} == {
        "spec", "epoch", "trixie", "trixie-updates", "trixie-security", "curl",
    }  # fmt: skip
    assert chosen(world(previous=first, upgrade=ALL)) == chosen(first) | {
        "thing": "2.0", "tzdata": "2026b", "python3.13": "3.13.6-1", "python3.13-minimal": "3.13.6-1",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tzdata", {"tzdata": "2026b"}),
        ("Thing", {"thing": "2.0"}),
        ("python3.13", {"python3.13": "3.13.6-1", "python3.13-minimal": "3.13.6-1"}),
        ("python3.13-minimal", {"python3.13": "3.13.6-1", "python3.13-minimal": "3.13.6-1"}),
    ],
)
def test_an_upgrade_of_one_moves_that_and_what_must_move_with_it(
    world: World, name: str, expected: dict[str, str]
) -> None:
    first = world()
    world.publish(UPDATED, "Sun, 20 Sep 2026 08:00:00 UTC")
    world.index.wheel("thing", "2.0", X86)
    world.index.wheel("thing", "2.0", ARM)
    assert chosen(world(previous=first, upgrade=frozenset({name}))) == chosen(first) | expected


def test_an_upgrade_of_something_that_is_not_locked(world: World) -> None:
    first = world()
    with pytest.raises(UsageError, match="nope: not in the lock"):
        world(previous=first, upgrade=frozenset({"tzdata", "nope"}))


def test_a_version_that_the_archive_no_longer_has_moves_on(world: World) -> None:
    first = world()
    gone = first.model_copy(
        update={
            "artifact": tuple(
                item.model_copy(update={"version": "2025z"}) if item.name == "tzdata" else item
                for item in first.artifact
            )
        }
    )
    assert chosen(world(previous=gone)) == chosen(first)


def test_new_weights_and_nothing_else(world: World) -> None:
    first = world()
    (world.folder / "net.bin").write_bytes(b"better weights")
    (change,) = drift.describe_change(first, world(previous=first))
    assert (change.kind, change.name) == ("weights", "net")


def test_the_recorded_image_stays_with_an_unchanged_lock_only(world: World) -> None:
    built = world().model_copy(update={"image": SAMPLE.image})
    assert world(previous=built) is built
    assert world(spec(python={"requirements": ("thing==1.0",)}), previous=built).image is None


def test_what_no_one_offers(world: World) -> None:
    with pytest.raises(ResolveError, match="no-such-package"):
        world(spec(os={"packages": ("python3", "no-such-package")}))
    with pytest.raises(ResolveError, match="no Python"):
        world(spec(os={"packages": ("curl",)}))
    with pytest.raises(ResolveError, match="no gcc 99"):
        world(spec(compiler={"version": "99"}))


def test_offline_nothing_is_resolved(world: World) -> None:
    world.machine = replace(world.machine, offline=True)
    with pytest.raises(EnvironmentFault, match="offline"):
        world()


def test_kept_versions_come_first_and_give_way_when_they_must() -> None:
    everything = universe_of("a 1\nb 1\na 2; Depends: b (>= 2)\nb 2\nc 1; Depends: a (>= 2)")
    keeping = Keeping(everything, {"a": "1", "b": "1", "gone": "7"})

    def versions(*roots: str) -> list[str]:
        return [str(package) for package in solve(roots, keeping, implicit=())]

    assert versions("a", "b") == ["a 1", "b 1"]
    assert versions("c") == ["a 2", "b 2", "c 1"]
    assert [str(package) for package in solve(["a"], everything, implicit=())] == ["a 2", "b 2"]
    assert keeping.like("aa") == everything.like("aa")


@pytest.mark.network
def test_debian_and_the_index_as_they_are(tmp_path: Path, machine: Machine, store: Store) -> None:
    real = from_environment(os.environ | {"KBUILD_STORE": str(store.root)})
    small = spec(python={}, weights={}, native={"fast": {"sources": ("fast.c",)}})

    def once(previous: Lock | None) -> Lock:
        return resolve(
            small, tmp_path, machine=real, store=store, progress=Silent(), previous=previous, upgrade=None,
            now=datetime.now(UTC),
        )  # fmt: skip

    lock = once(None)
    assert once(lock) is lock
    for platform in ("linux/amd64", "linux/arm64"):
        assert {"libc6", "python3", "libpython3.13-stdlib", "numpy", "ml-dtypes"} <= chosen(
            lock, "image", platform
        ).keys()
        assert {"gcc-14", "g++-14", "libc6-dev", "binutils"} <= chosen(lock, "toolchain", platform).keys()
        assert {"g++-14", "libc6-dev"}.isdisjoint(chosen(lock, "cross", platform))
        assert {"libc6-dev", "libstdc++-14-dev", "libgcc-14-dev"} <= chosen(lock, "sysroot", platform).keys()
        assert "libc-dev-bin" not in chosen(lock, "sysroot", platform)
        assert chosen(lock, "tools", platform).keys() == TOOLS.keys()
    assert drift.fits(small, lock) == []
    assert drift.fits(spec(), lock) != []
