"""The plan is a pure function: which layers, in which order, and exactly which of them a change touches."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plan_samples import (
    AMD64,
    ARM64,
    ARTIFACTS,
    BOTH,
    SAMPLE,
    Case,
    changed,
    deb,
    member,
    placed,
    source,
    weights,
    wheel,
)

import builder.plan.make
from builder.errors import LockError
from builder.lock.model import Codec
from builder.plan.make import LARGE_WHEEL, of, python_of
from builder.plan.model import LayerKind
from builder.plan.numerics import libraries

ALL = {"base", "jaxlib", "numpy", "wheels", "runtime", "bytecode", "weights net", "native", "kernel"}

BARE = """\
schema = 1

[kernel]
name = "bare"
version = "1.0.0"
entry = "model:forward"
platforms = ["linux/arm64"]

[inputs.x]
dtype = "float32"

[outputs.y]
dtype = "float32"
"""


@pytest.fixture(autouse=True)
def on_amd64(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is planned for interpreters depends on the machine; here it is always this one."""
    monkeypatch.setattr(builder.plan.make, "host_platform", lambda: AMD64)


def test_layers_lie_from_what_changes_least_to_what_changes_most() -> None:
    for platform in SAMPLE.plan().platforms:
        assert [(layer.name, layer.kind) for layer in platform.layers] == [
            ("base", LayerKind.BASE),
            ("jaxlib", LayerKind.WHEEL),
            ("numpy", LayerKind.WHEEL),
            ("wheels", LayerKind.WHEELS),
            ("runtime", LayerKind.RUNTIME),
            ("bytecode", LayerKind.BYTECODE),
            ("weights net", LayerKind.WEIGHTS),
            ("native", LayerKind.NATIVE),
            ("kernel", LayerKind.KERNEL),
        ]


def test_what_each_layer_is_made_of() -> None:
    layers = {layer.name: layer for layer in SAMPLE.plan().platforms[0].layers}
    names = {name: [item.name for item in layer.artifacts] for name, layer in layers.items()}
    assert names == {
        "base": ["libc6", "python3.13-minimal", "python3"],
        "jaxlib": ["jaxlib"],
        "numpy": ["numpy"],
        "wheels": ["absl-py", "jax"],
        "runtime": [],
        "bytecode": ["libc6", "python3.13-minimal", "python3", "absl-py", "jax", "jaxlib", "numpy"],
        "weights net": ["net"],
        "native": ["jaxlib"],
        "kernel": [],
    }
    assert all(item.platforms != (ARM64,) for layer in layers.values() for item in layer.artifacts)
    assert [item.name for item in layers["native"].compiler] == ["g++-14"]
    assert [item.path for item in layers["kernel"].files] == [
        "opt/kernel/data.json", "opt/kernel/environment.json", "opt/kernel/model.py", "opt/kernel/spec.json",
    ]  # fmt: skip
    (native,) = layers["native"].native
    assert native.flags == ("-march=x86-64-v3", "-O2", "-ffp-contract=off", "-DX=1")
    assert (native.name, [item.path for item in native.sources]) == ("op", ["op.cc"])


def test_a_kernel_without_wheels_weights_or_native_code() -> None:
    bare = Case(text=BARE, artifacts=tuple(item for item in ARTIFACTS if item.kind == "deb"), native={})
    plan = bare.plan()
    (only,) = plan.platforms
    assert only.platform == ARM64
    assert [layer.name for layer in only.layers] == ["base", "runtime", "bytecode", "kernel"]
    assert {item.platforms for layer in only.layers for item in (*layer.artifacts, *layer.interpreter)} == {(ARM64,)}
    assert [item.platforms for item in plan.tools] == [(AMD64,)], "tools are those of the machine that builds"


def test_bytecode_is_compiled_by_the_machines_own_platform_where_the_image_is_for_it_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interpreters() -> list[set[tuple[str, ...]]]:
        layers = SAMPLE.plan().layers()
        return [{item.platforms for item in layer.interpreter} for layer in layers if layer.interpreter]

    assert interpreters() == [{(AMD64,)}, {(AMD64,)}]
    monkeypatch.setattr(builder.plan.make, "host_platform", lambda: ARM64)
    assert interpreters() == [{(ARM64,)}, {(ARM64,)}]


def test_platforms_share_what_is_the_same_on_both() -> None:
    names = [layer.name for layer in SAMPLE.plan().layers()]
    assert len(names) == len(set(SAMPLE.layer_keys(AMD64).values()) | set(SAMPLE.layer_keys(ARM64).values()))
    assert sorted(name for name in names if names.count(name) == 1) == [
        "jaxlib", "numpy", "runtime", "weights net", "wheels",
    ]  # fmt: skip


def test_labels_come_from_spec_and_lock() -> None:
    plan = SAMPLE.plan()
    assert dict(plan.annotations) == {
        "org.kbuild.compiler": "gcc 1.0",
        "org.kbuild.compiler.flags": "-O2 -ffp-contract=off",
        "org.kbuild.format": "1",
        "org.kbuild.jax": "0.10.2",
        "org.kbuild.jaxlib": "0.10.2",
        "org.kbuild.profile": "pinned",
        "org.kbuild.spec": SAMPLE.lock.spec,
        "org.opencontainers.image.description": "a tiny one",
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.opencontainers.image.title": "tiny",
        "org.opencontainers.image.version": "1.0.0",
    }
    assert list(plan.annotations) == sorted(plan.annotations)
    assert {item.platform: dict(item.labels.items() - plan.annotations.items()) for item in plan.platforms} == {
        AMD64: {
            "org.kbuild.compiler.target": "x86_64-linux-gnu",
            "org.kbuild.native.op": "-march=x86-64-v3 -O2 -ffp-contract=off -DX=1",
        },
        ARM64: {
            "org.kbuild.compiler.target": "aarch64-linux-gnu",
            "org.kbuild.native.op": "-march=armv8-a -O2 -ffp-contract=off -DX=1",
        },
    }
    assert all(list(item.labels) == sorted(item.labels) for item in plan.platforms)
    assert not [name for name in without_native(SAMPLE).plan().annotations if "compiler" in name]
    silent = SAMPLE.writing('description = "a tiny one"\nlicense = "Apache-2.0"\n', "").plan().annotations
    assert not {"org.opencontainers.image.description", "org.opencontainers.image.licenses"} & set(silent)


@pytest.mark.parametrize(
    ("other", "label"),
    [
        (SAMPLE.replacing(deb("g++-14", version="1.1", roles=("toolchain",))), "org.kbuild.compiler"),
        (SAMPLE.writing('"-O2"', '"-O3"'), "org.kbuild.compiler.flags"),
        (SAMPLE.writing('"-DX=1"', '"-DX=2"'), "org.kbuild.native.op"),
        (SAMPLE.but(text=SAMPLE.text + '[hardware]\ncpu = { amd64 = "x86-64-v4" }\n'), "org.kbuild.native.op"),
    ],
)
def test_another_compiler_or_flag_is_another_image_by_its_labels_alone(other: Case, label: str) -> None:
    """So it has another digest even if the objects happen to be the same."""
    before, after = (case.plan().platforms[0].labels for case in (SAMPLE, other))
    assert before[label] != after[label]


RECIPE = """\
flags = ["-ffp-contract=off"]
allow = ["mode"]
[[library]]
name = "portable-v3"
folders = ["native/vector"]
platform = "linux/amd64"
march = "x86-64-v3"
flags = ["-O2"]
[[library]]
name = "referee"
folders = ["referee"]
platform = "linux/amd64"
march = "x86-64-v3"
flags = ["-O1"]
[[library]]
name = "portable"
folders = ["native/vector"]
platform = "linux/arm64"
march = "armv8-a"
flags = ["-O2"]
"""
OPERATIONS = (
    placed("portable/native/common.h"),
    placed("portable/native/sort.cc"),
    placed("portable/native/vector/dot.cc"),
    placed("portable/referee/dot.cc"),
)
PORTABLE = SAMPLE.but(
    text=SAMPLE.text + '[determinism]\nprofile = "portable"\n', libraries=libraries(RECIPE, OPERATIONS)
)


def test_the_portable_profile_compiles_the_runtimes_operations_by_their_own_recipe() -> None:
    amd64, arm64 = ({layer.name: layer for layer in item.layers} for item in PORTABLE.plan().platforms)
    layer = amd64["numerics"]
    assert [item.name for item in layer.native] == ["portable-v3", "referee"]
    assert layer.native[0].flags == ("-march=x86-64-v3", "-O2", "-ffp-contract=off"), "no flag of the spec's"
    assert [item.path for item in layer.native[0].sources] == [
        "portable/native/common.h",
        "portable/native/vector/dot.cc",
    ]
    assert layer.native[0].allowed == ("mode",)
    assert [item.path for item in layer.native[1].sources] == ["portable/native/common.h", "portable/referee/dot.cc"]
    assert [item.name for item in layer.artifacts] == ["jaxlib"], "for XLA's headers"
    assert layer.driver == amd64["native"].driver
    assert [item.name for item in arm64["numerics"].native] == ["portable"]
    assert PORTABLE.plan().platforms[0].labels["org.kbuild.numerics"] == "1"


def test_a_kernels_flags_do_not_reach_the_runtimes_operations() -> None:
    assert changed(PORTABLE, PORTABLE.writing('"-O2"', '"-O1"')) == {"native", "kernel"}
    edited = libraries(RECIPE, (*OPERATIONS[:2], placed("portable/native/vector/dot.cc", "edited"), OPERATIONS[3]))
    assert changed(PORTABLE, PORTABLE.but(libraries=edited)) == {"numerics"}


def test_equal_inputs_give_equal_plans() -> None:
    assert Case().plan() == Case().plan()
    assert Case().layer_keys() == Case().layer_keys()
    assert changed(SAMPLE, SAMPLE) == set()


def without_native(case: Case) -> Case:
    start, stop = case.text.index("[native.op]"), case.text.index("[weights.net]")
    return case.but(text=case.text[:start] + case.text[stop:], native={})


CHANGES = {
    "the model": (SAMPLE.but(code=(source("model.py", "edited"), source("data.json"))), {"kernel"}),
    "a file more": (SAMPLE.but(code=(*SAMPLE.code, source("more.py"))), {"kernel"}),
    "a file renamed": (SAMPLE.but(code=(SAMPLE.code[0], replace(SAMPLE.code[1], path="d.json"))), {"kernel"}),
    "native source": (SAMPLE.but(native={"op": (source("op.cc", "edited"),)}), {"native"}),
    "a native source more": (SAMPLE.but(native={"op": (source("op.cc"), source("two.cc"))}), {"native"}),
    "a flag of the compiler": (SAMPLE.writing('"-O2"', '"-O3"'), {"native", "kernel"}),
    "the order of flags": (SAMPLE.writing('"-O2", "-ffp-contract=off"', '"-ffp-contract=off", "-O2"'),
                           {"native", "kernel"}),
    "a flag of one object": (SAMPLE.writing('"-DX=1"', '"-DX=2"'), {"native", "kernel"}),
    "the compiler's version": (SAMPLE.replacing(deb("g++-14", version="1.1", roles=("toolchain",))), {"native"}),
    "the same compiler, asked for more exactly": (SAMPLE.writing("[compiler]\n", '[compiler]\nversion = "14.2"\n'),
                                                  {"kernel"}),
    "the cpu": (SAMPLE.but(text=SAMPLE.text + '[hardware]\ncpu = { amd64 = "x86-64-v4" }\n'), {"native", "kernel"}),
    "the headers": (SAMPLE.writing('"jaxlib/include"', '"jaxlib/include/xla"'), {"native", "kernel"}),
    "the compiler's bytes": (SAMPLE.replacing(deb("g++-14", "patched", roles=("toolchain",))), {"native"}),
    "an interpreter's package": (SAMPLE.replacing(deb("python3.13-minimal", "patched")), {"base", "bytecode"}),
    "a library": (SAMPLE.replacing(deb("libc6", "patched")), {"base", "bytecode"}),
    "a package more": (SAMPLE.adding(deb("libgomp1")), {"base", "bytecode"}),
    "the order of packages": (SAMPLE.but(artifacts=(ARTIFACTS[2], *ARTIFACTS[:2], *ARTIFACTS[3:])),
                              {"base", "bytecode"}),
    "allowed scripts": (SAMPLE.but(text=f'{SAMPLE.text}[os]\nallow_scripts = ["{0:064}"]\n'),
                        {"base", "bytecode", "kernel"}),
    "a small wheel's bytes": (SAMPLE.replacing(wheel("absl-py", "new")), {"wheels", "bytecode"}),
    "a small wheel more": (SAMPLE.adding(wheel("zipp")), {"wheels", "bytecode"}),
    "a large wheel more": (SAMPLE.adding(wheel("scipy", size=40 << 20)), {"scipy", "bytecode"}),
    "a large wheel's bytes": (SAMPLE.replacing(wheel("numpy", "new", size=20 << 20)), {"numpy", "bytecode"}),
    "the wheel with the headers": (SAMPLE.replacing(wheel("jaxlib", "new", size=80 << 20, version="0.10.2")),
                                   {"jaxlib", "bytecode", "native"}),
    "weights": (SAMPLE.replacing(weights("net", "trained")), {"weights net"}),
    "the weights' file name": (SAMPLE.replacing(weights("net").model_copy(update={"path": "other.safetensors"})),
                               {"weights net"}),
    "weights more": (SAMPLE.adding(weights("more")), {"weights more"}),
    "the runtime": (SAMPLE.but(runtime=(placed("opt/kbuild/kernels/runtime/__main__.py", "new"),)),
                    {"runtime", "bytecode"}),
    "the spec's seed": (SAMPLE.but(text=SAMPLE.text + "[determinism]\nseed = 1\n"), {"kernel"}),
    "the description": (SAMPLE.writing("a tiny one", "another"), {"kernel"}),
    "no native code": (without_native(SAMPLE), {"kernel"}),
    "the epoch": (SAMPLE.but(epoch=SAMPLE.epoch + 1), ALL),
    "the format": (SAMPLE.but(format=2), ALL),
    "the codec's version": (SAMPLE.but(codec=Codec(version="1.5.8", level=3)), ALL),
    "the codec's level": (SAMPLE.but(codec=Codec(version="1.5.7", level=4)), ALL),
    "a deb of the other platform": (SAMPLE.replacing(deb("libc6", "patched", platform=ARM64)), set()),
    "an emulator": (SAMPLE.replacing(deb("qemu-user-static", "new", roles=("tools",))), set()),
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_touches_exactly_its_layers(what: str) -> None:
    after, layers = CHANGES[what]
    assert changed(SAMPLE, after) == layers


def test_what_is_inside_an_archive_of_weights_counts() -> None:
    inside = weights("net").model_copy(update={"member": member("a/model.safetensors")})
    before = SAMPLE.replacing(inside)
    for other in (member("b/model.safetensors"), member("a/model.safetensors", "other bytes")):
        after = SAMPLE.replacing(inside.model_copy(update={"member": other}))
        assert changed(before, after) == {"weights net"}


def test_one_platforms_flags_leave_the_other_alone() -> None:
    after = SAMPLE.but(text=SAMPLE.text + '[hardware]\ncpu = { arm64 = "armv9-a" }\n')
    assert changed(SAMPLE, after, AMD64) == {"kernel"}, "its spec says so, and nothing else"
    assert changed(SAMPLE, after, ARM64) == {"kernel", "native"}


@pytest.mark.parametrize(("size", "layer"), [(LARGE_WHEEL, "wheels"), (LARGE_WHEEL + 1, "edge")])
def test_the_threshold_of_a_large_wheel(size: int, layer: str) -> None:
    layers = SAMPLE.adding(wheel("edge", size=size)).plan().platforms[0].layers
    holding = [item.name for item in layers if "edge" in [wheel.name for wheel in item.artifacts]]
    assert holding == [layer, "bytecode"]


@given(sizes=st.lists(st.integers(0, 4 * LARGE_WHEEL), max_size=12))
def test_every_wheel_is_in_one_layer_and_large_ones_are_alone(sizes: list[int]) -> None:
    wheels = [wheel(f"w{number}", size=size) for number, size in enumerate(sizes)]
    case = SAMPLE.but(artifacts=(*(item for item in ARTIFACTS if item.kind == "deb"), *wheels))
    kinds = (LayerKind.WHEEL, LayerKind.WHEELS)
    for platform in case.plan().platforms:
        layers = [layer for layer in platform.layers if layer.kind in kinds]
        assert sorted(item.name for layer in layers for item in layer.artifacts) == sorted(w.name for w in wheels)
        for layer in layers:
            alone = layer.kind is LayerKind.WHEEL
            assert layer.artifacts
            assert all((item.size > LARGE_WHEEL) is alone for item in layer.artifacts)
            assert not alone or len(layer.artifacts) == 1
        assert [layer.name for layer in layers] == sorted(w.name for w in wheels if w.size > LARGE_WHEEL) + (
            ["wheels"] if any(w.size <= LARGE_WHEEL for w in wheels) else []
        )


@given(st.permutations([item for item in ARTIFACTS if item.kind != "deb"]))
def test_the_order_of_wheels_and_weights_in_a_lock_says_nothing(order: list) -> None:
    shuffled = SAMPLE.but(artifacts=(*(item for item in ARTIFACTS if item.kind == "deb"), *order))
    assert shuffled.layer_keys() == SAMPLE.layer_keys()


@given(st.permutations(SAMPLE.code), st.permutations(BOTH))
def test_the_order_of_files_and_platforms_says_nothing(code: list, platforms: list) -> None:
    named = ", ".join(f'"{platform}"' for platform in platforms)
    case = SAMPLE.but(code=tuple(code)).writing("[compiler]", f"[compiler]\n# {named}")
    case = case.writing('entry = "model:forward"', f'entry = "model:forward"\nplatforms = [{named}]')
    assert [item.platform for item in case.plan().platforms] == [AMD64, ARM64]
    keys = case.layer_keys()
    assert {name: key for name, key in keys.items() if name != "kernel"} == {
        name: key for name, key in SAMPLE.layer_keys().items() if name != "kernel"
    }


@pytest.mark.parametrize(
    ("names", "python"),
    [
        (["python3.11-minimal", "python3"], "3.11"),
        (["libpython3.13-minimal", "python3-minimal", "python3.13", "python3.13-minimal"], "3.13"),
        (["python3.9-minimal"], "3.9"),
    ],
)
def test_the_images_python(names: list[str], python: str) -> None:
    lock = SAMPLE.but(artifacts=tuple(deb(name) for name in names)).lock
    assert python_of(lock, AMD64) == python


@pytest.mark.parametrize(
    "artifacts",
    [
        (),
        (deb("libc6"), deb("python3"), deb("python3-minimal"), deb("libpython3.13-minimal")),
        (deb("python3.13-minimal", platform=ARM64),),
        (deb("python3.13-minimal", roles=("toolchain",)),),
        (wheel("python3.13-minimal"),),
    ],
)
def test_an_image_without_python_is_refused(artifacts: tuple) -> None:
    case = SAMPLE.but(artifacts=artifacts)
    with pytest.raises(LockError, match="no Python interpreter") as caught:
        python_of(case.lock, AMD64)
    assert "os.packages" in (caught.value.hint or "")
    with pytest.raises(LockError):
        case.plan()


def test_artifacts_are_chosen_by_kind_role_and_platform() -> None:
    lock = SAMPLE.lock
    assert [item.name for item in of(lock, ARM64, "deb", "image")] == ["libc6", "python3.13-minimal", "python3"]
    assert [item.name for item in of(lock, ARM64, "deb", "toolchain")] == ["g++-14"]
    assert of(lock, AMD64, "wheel", "toolchain") == ()


def test_the_digest_of_sources_tells_roles_paths_and_contents_apart() -> None:
    one, two = source("a.cc"), source("b.cc")
    sample = SAMPLE.sources
    digests = {
        variant.digest()
        for variant in (
            replace(sample, code=(one, two)),
            replace(sample, code=(one,), local=(two,)),
            replace(sample, code=(one,), native={"op": (two,)}),
            replace(sample, code=(one,), native={"other": (two,)}),
            replace(sample, code=(replace(one, sha256=two.sha256), two)),
            replace(sample, code=(replace(one, path="c.cc"), two)),
        )
    }
    assert len(digests) == 6
    assert replace(sample, code=(one, two)).digest() == replace(sample, code=(two, one)).digest()
