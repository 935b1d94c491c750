from __future__ import annotations

import hashlib
import os

import pytest
from fake_index import ANY, ARM, TARGETS, X86, FakeIndex, serving

from builder.errors import FetchError, IntegrityError, ResolveError
from builder.lock.merge import merged
from builder.lock.python import RUNTIME_REQUIREMENTS, checked, resolve_wheels
from builder.machine import Machine
from builder.platforms import NAMES
from builder.progress import Silent
from builder.spec.model import PythonTable
from builder.store.artifact import Artifact
from builder.store.blobs import Store


class Resolver:
    def __init__(self, index: FakeIndex, machine: Machine, store: Store) -> None:
        self.index, self.machine, self.store = index, machine, store
        index.runtime()

    def __call__(self, *requirements: str, exclude: tuple[str, ...] = (), url: str | None = None, **fields):
        found = resolve_wheels(
            PythonTable(requirements=requirements, exclude=exclude),
            fields.pop("targets", TARGETS),
            machine=self.machine,
            environ=self.index.environ(url),
            store=self.store,
            progress=Silent(),
            **fields,
        )
        return [item for item in merged(found) if item.name not in RUNTIME_REQUIREMENTS]


@pytest.fixture
def resolve(index: FakeIndex, machine: Machine, store: Store) -> Resolver:
    return Resolver(index, machine, store)


def by_platform(items: list[Artifact]) -> dict[str, dict[str, str]]:
    return {platform: {item.name: item.version for item in items if platform in item.platforms} for platform in NAMES}


def test_a_pure_wheel_is_one_artifact_for_both_platforms(resolve: Resolver, index: FakeIndex) -> None:
    path = index.wheel("thing")
    assert resolve("thing") == [
        Artifact(
            kind="wheel",
            name="thing",
            version="1.0",
            architecture="all",
            registry="pypi",
            path="thing/thing-1.0-py3-none-any.whl",
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            size=path.stat().st_size,
            roles=("image",),
            platforms=("linux/amd64", "linux/arm64"),
        )
    ]


def test_each_platform_gets_its_best_wheel(resolve: Resolver, index: FakeIndex) -> None:
    tags = [
        X86,
        "cp313-cp313-manylinux_2_17_x86_64.manylinux2014_x86_64",
        "cp312-abi3-manylinux_2_28_x86_64",
        "cp313-cp313-musllinux_1_2_x86_64",
        "cp313-cp313-macosx_11_0_arm64",
        "cp313-cp313-win_amd64",
        "cp312-cp312-manylinux_2_28_aarch64",
        "cp39-abi3-manylinux_2_17_aarch64",
        "cp313-cp313-manylinux_2_99_aarch64",
        ANY,
    ]
    for tag in tags:
        index.wheel("thing", tag=tag)
    first, second = resolve("thing")
    assert first.path == f"thing/thing-1.0-{X86}.whl"
    assert (first.architecture, first.platforms) == ("amd64", ("linux/amd64",))
    assert second.path == "thing/thing-1.0-cp39-abi3-manylinux_2_17_aarch64.whl"
    assert (second.architecture, second.platforms) == ("arm64", ("linux/arm64",))


def test_the_runtime_comes_along_and_jax_does_not(index: FakeIndex, machine: Machine, store: Store) -> None:
    index.runtime()
    found = resolve_wheels(
        PythonTable(), TARGETS[:1], machine=machine, environ=index.environ(), store=store, progress=Silent()
    )
    assert {item.name for item in found} == set(RUNTIME_REQUIREMENTS)


def test_platforms_agree_on_versions_where_they_can(resolve: Resolver, index: FakeIndex) -> None:
    index.wheel("thing", "1.0", tag=X86)
    index.wheel("thing", "1.0", tag=ARM)
    index.wheel("thing", "2.0", tag=X86)
    assert by_platform(resolve("thing")) == {"linux/amd64": {"thing": "1.0"}, "linux/arm64": {"thing": "1.0"}}


def test_platforms_part_where_they_must(resolve: Resolver, index: FakeIndex) -> None:
    index.wheel("thing", "1.0", tag=ARM)
    index.wheel("thing", "2.0", tag=X86)
    assert by_platform(resolve("thing")) == {"linux/amd64": {"thing": "2.0"}, "linux/arm64": {"thing": "1.0"}}


def test_markers_are_the_images_own(resolve: Resolver, index: FakeIndex) -> None:
    for name in ("arm", "intel", "mac", "old"):
        index.wheel(name)
    found = resolve(
        "arm; platform_machine == 'aarch64'",
        "intel; platform_machine == 'x86_64'",
        "mac; sys_platform == 'darwin'",
        "old; python_version < '3.13'",
    )
    assert by_platform(found) == {"linux/amd64": {"intel": "1.0"}, "linux/arm64": {"arm": "1.0"}}


def test_kept_versions_stay_while_they_satisfy(resolve: Resolver, index: FakeIndex) -> None:
    for version in ("1.0", "1.1", "2.0"):
        index.wheel("thing", version)
    keep = {target.platform: {"thing": "1.1"} for target in TARGETS}
    assert {item.version for item in resolve("thing", keep=keep)} == {"1.1"}
    assert {item.version for item in resolve("thing!=1.1", keep=keep)} == {"2.0"}


def test_as_much_as_can_be_is_kept(resolve: Resolver, index: FakeIndex) -> None:
    for version in ("1.0", "2.0"):
        for name in ("a", "b", "c", "d", "e"):
            index.wheel(name, version)
        index.wheel("pair", version, requires=(f"twin=={version}",))
        index.wheel("twin", version)
    index.wheel("new", requires=("c>=2",))
    old = dict.fromkeys(("a", "b", "c", "d", "e", "pair", "twin"), "1.0")
    keep = {target.platform: old for target in TARGETS}
    names = ("a", "b", "c", "d", "e")
    assert by_platform(resolve(*names, "pair", keep=keep))["linux/amd64"] == old
    found = by_platform(resolve(*names, "pair==2.0", "new", keep=keep))
    assert found["linux/amd64"] == old | {"c": "2.0", "pair": "2.0", "twin": "2.0", "new": "1.0"}
    assert found["linux/arm64"] == found["linux/amd64"]


def test_a_yanked_release_is_not_chosen_but_kept(resolve: Resolver, index: FakeIndex) -> None:
    index.wheel("thing", "1.0")
    index.wheel("thing", "2.0", yanked=True)
    assert {item.version for item in resolve("thing")} == {"1.0"}
    keep = {target.platform: {"thing": "2.0"} for target in TARGETS}
    assert {item.version for item in resolve("thing", keep=keep)} == {"2.0"}


def test_excluded_projects_are_left_out_by_any_spelling(resolve: Resolver, index: FakeIndex) -> None:
    index.wheel("thing", requires=("big-dep",))
    assert [item.name for item in resolve("thing", exclude=("Big_Dep",))] == ["thing"]


def test_the_runtime_cannot_be_excluded(resolve: Resolver) -> None:
    with pytest.raises(ResolveError, match="numpy cannot be excluded"):
        resolve(exclude=("NumPy",))


def test_a_local_version_keeps_its_name(resolve: Resolver, index: FakeIndex) -> None:
    index.wheel("thing", "1.0+cpu")
    assert [item.path for item in resolve("thing")] == ["thing/thing-1.0+cpu-py3-none-any.whl"]


@pytest.mark.parametrize(
    ("prepare", "requirement", "told"),
    [
        (lambda index: index.sdist("thing"), "thing", "no usable wheels"),
        (lambda index: index.wheel("thing", tag="cp313-cp313-macosx_11_0_arm64"), "thing", "platform tag"),
        (lambda index: index.wheel("thing", tag="cp312-cp312-manylinux_2_17_x86_64"), "thing", "ABI|Python"),
        (lambda index: index.wheel("thing", tag=X86), "thing", "linux/arm64|platform tag"),
        (lambda index: index.wheel("thing"), "thing>=2", r"only thing==1\.0 is available"),
        (lambda index: index.wheel("thing"), "thign", "thign was not found"),
        (lambda index: index.wheel("thing", yanked=True), "thing", "yanked"),
    ],
    ids=["only-sdist", "other-system", "other-python", "other-platform", "too-old", "unknown", "yanked"],
)
def test_what_cannot_be_met_is_said(resolve: Resolver, index: FakeIndex, prepare, requirement: str, told: str) -> None:
    prepare(index)
    with pytest.raises(ResolveError, match=told) as caught:
        resolve(requirement)
    assert caught.value.exit_code == 2
    assert "python.requirements for linux/" in (caught.value.where or "")
    assert caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "-r /etc/passwd",
        "--index-url https://evil.example.org/simple",
        "thing\n--index-url https://evil.example.org/simple",
        "thing @ https://evil.example.org/thing-1.0-py3-none-any.whl",
        "thing @ file:///etc/passwd",
        "git+https://evil.example.org/thing",
        "./thing",
        "thing==",
        "",
    ],
)
def test_a_requirement_is_nothing_else(text: str) -> None:
    with pytest.raises(ResolveError):
        checked([text])


@pytest.mark.parametrize("sizes", [True, False])
def test_a_size_that_the_index_does_not_tell_is_measured(
    resolve: Resolver, index: FakeIndex, store: Store, *, sizes: bool
) -> None:
    path = index.wheel("thing", files={"thing/data": os.urandom(100_000)})
    with serving(index.simple, sizes=sizes) as url:
        (found,) = resolve("thing", url=url)
    assert found.size == path.stat().st_size
    assert store.has(found.sha256)


def test_a_mirror_that_serves_other_bytes_than_it_lists(resolve: Resolver, index: FakeIndex) -> None:
    path = index.wheel("thing")
    listed = (index.simple / "thing" / "index.html").read_text()
    index.wheel("thing", files={"thing/evil.py": b"import os"})
    (index.simple / "thing" / "index.html").write_text(listed)
    with serving(index.simple) as url, pytest.raises(IntegrityError, match="other bytes"):
        resolve("thing", url=url)
    assert path.exists()


def test_an_index_that_is_gone(resolve: Resolver, free_port: int) -> None:
    with pytest.raises(FetchError):
        resolve("thing", url=f"http://127.0.0.1:{free_port}")


@pytest.mark.network
def test_the_real_index(machine: Machine, store: Store) -> None:
    def answer() -> tuple[Artifact, ...]:
        found = resolve_wheels(
            PythonTable(requirements=("opt-einsum==3.4.0",)),
            TARGETS,
            machine=machine,
            environ=os.environ,
            store=store,
            progress=Silent(),
        )
        return merged(found)

    found = answer()
    assert found == answer()
    pure = next(item for item in found if item.name == "opt-einsum")
    # The hash that the project's release has on the index.
    assert pure.sha256 == "69bb92469f86a1565195ece4ac0323943e83477171b91d24c35afe028a90d7cd"
    assert pure.path == "opt-einsum/opt_einsum-3.4.0-py3-none-any.whl"
    assert sorted(item.platforms for item in found if item.name == "numpy") == [("linux/amd64",), ("linux/arm64",)]
    assert len({item.version for item in found if item.name == "numpy"}) == 1
