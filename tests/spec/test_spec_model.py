"""What the model accepts and refuses, value by value."""

from typing import get_args

import pytest
from pydantic import ValidationError

from builder.spec import flags, sources
from builder.spec.identity import identity
from builder.spec.model import EXACT, DType, Spec, bytes_of
from builder.spec.refusal import Refusal


def spec_of(**tables):
    base = {
        "schema": 1,
        "kernel": {"name": "k", "version": "1.0.0", "entry": "model:f"},
        "inputs": {"x": {"dtype": "float32", "shape": ["n", 2]}},
        "outputs": {"y": {"dtype": "float32"}},
    }
    for key, value in tables.items():
        base[key] = {**base.get(key, {}), **value} if key == "kernel" else value
    return Spec.model_validate(base)


def refused(**tables):
    with pytest.raises(ValidationError) as caught:
        spec_of(**tables)
    return [(error["loc"], error["msg"]) for error in caught.value.errors()]


def test_arrays_arrive_as_lists_and_stay_strict():
    assert spec_of(python={"requirements": ["numpy"]}).python.requirements == ("numpy",)
    assert refused(python={"requirements": "numpy"})[0][0] == ("python", "requirements")
    assert refused(determinism={"threads": "2"})[0][0] == ("determinism", "threads")
    assert refused(determinism={"threads": True})[0][0] == ("determinism", "threads")
    assert refused(determinism={"threads": 2.0})[0][0] == ("determinism", "threads")
    assert refused(kernel={"name": 3})[0][0] == ("kernel", "name")


def test_the_same_spec_from_json():
    spec = spec_of(xla={"flags": {"xla_a": True, "xla_b": 1}}, hardware={"forbid": ["tf32"]})
    again = Spec.model_validate_json(spec.model_dump_json(by_alias=True))
    assert again == spec
    assert again.xla.flags["xla_a"] is True
    assert type(again.xla.flags["xla_b"]) is int


def test_frozen():
    with pytest.raises(ValidationError):
        spec_of().kernel.name = "other"


@pytest.mark.parametrize("value", [True, 1.0, "1", 2, 0, None])
def test_the_schema_is_the_integer_one(value):
    with pytest.raises(ValidationError) as caught:
        Spec.model_validate({"schema": value})
    assert ("schema",) in [error["loc"] for error in caught.value.errors()]


@pytest.mark.parametrize(
    ("text", "size"), [("1KiB", 1024), ("3MiB", 3 * 2**20), ("1GiB", 2**30), ("16TiB", 16 * 2**40)]
)
def test_bytes_of(text, size):
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "1", "1GB", "GiB", "-1GiB", "1.5GiB", "1 GiB", "٣GiB", "1gib"])
def test_bytes_of_refuses(text):
    with pytest.raises(ValueError, match="not a size"):
        bytes_of(text)
    assert refused(hardware={"memory": text})[0][0] == ("hardware", "memory")


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../x.py", "a/../b.py", "a//b.py", "./a.py", "a/", "", "~/x", "a\\b", "C:/x", "a\x00b", "."]
)
def test_paths_that_are_not_below_the_folder(path):
    assert refused(kernel={"files": [path]})[0][0] == ("kernel", "files", 0)
    assert refused(native={"op": {"sources": [path]}})[0][0] == ("native", "op", "sources", 0)
    assert refused(native={"op": {"sources": ["a.c"], "headers": [path]}})[0][0] == ("native", "op", "headers", 0)
    assert refused(examples={"e": {"inputs": path}})[0][0] == ("examples", "e", "inputs")
    assert refused(weights={"w": {"source": f"file:{path}"}})[0][0] == ("weights", "w", "source")
    assert refused(weights={"w": {"source": f"pypi:a==1#{path}"}})[0][0] == ("weights", "w", "source")


def test_a_glob_whose_meaning_depends_on_the_python_version():
    assert "selects folders" in refused(kernel={"files": ["data/**"]})[0][1]
    assert "mixes" in refused(kernel={"files": ["a**.py"]})[0][1]
    assert spec_of(kernel={"files": ["data/**/*.json"]})


@pytest.mark.parametrize(
    ("table", "key", "values"),
    [
        ("kernel", "files", ["*.py", "*.py"]),
        ("kernel", "platforms", ["linux/amd64", "linux/amd64"]),
        ("os", "packages", ["python3", "python3"]),
        ("os", "allow_scripts", ["0" * 64, "0" * 64]),
        ("python", "requirements", ["numpy", "numpy"]),
        ("python", "exclude", ["scipy", "scipy"]),
        ("hardware", "forbid", ["tf32", "tf32"]),
    ],
)
def test_duplicates(table, key, values):
    assert refused(**{table: {key: values}}) == [((table, key, 1), f"{values[0]!r} stands twice in this array")]


def test_duplicates_in_native_tables():
    assert refused(native={"op": {"sources": ["a.c", "b.c", "a.c"]}})[0][0] == ("native", "op", "sources", 2)


@pytest.mark.parametrize("table", ["inputs", "outputs"])
def test_inputs_and_outputs_are_not_empty(table):
    assert refused(**{table: {}})[0][0] == (table,)


@pytest.mark.parametrize("key", ["files", "platforms"])
def test_a_kernel_has_files_and_platforms(key):
    assert refused(kernel={key: []})[0][0] == ("kernel", key)


@pytest.mark.parametrize("dimension", [0, -1, True, 1.5, "a b", "", "1x", None, EXACT + 1])
def test_a_dimension_is_a_positive_length_or_a_name(dimension):
    found = refused(inputs={"x": {"dtype": "float32", "shape": [dimension]}})
    assert [loc for loc, _ in found] == [("inputs", "x", "shape", 0)]


@pytest.mark.parametrize("requirement", ["numpy", "jax==0.10.2", "a[b,c]>=1,<2; python_version < '3.13'", "A.b_c~=1.0"])
def test_requirements(requirement):
    assert spec_of(python={"requirements": [requirement]})


@pytest.mark.parametrize(
    ("requirement", "says"),
    [
        ("jax=0.10.2", "not a requirement"),
        ("", "not a requirement"),
        ("jax ==", "not a requirement"),
        ("jax @ https://example.org/jax.whl", "an address"),
        ("jax @ file:///jax.whl", "an address"),
        ("git+https://example.org/x", "not come from the index"),
        ("https://example.org/x.whl", "not come from the index"),
        ("./x.whl", "not come from the index"),
        ("/x.whl", "not come from the index"),
        ("-r requirements.txt", "not come from the index"),
    ],
)
def test_requirements_that_name_no_wheel_of_the_index(requirement, says):
    ((loc, message),) = refused(python={"requirements": [requirement]})
    assert loc == ("python", "requirements", 0)
    assert says in message


def test_a_project_stands_once():
    ((loc, message),) = refused(python={"requirements": ["Foo.Bar>=1", "foo-bar<2"]})
    assert loc == ("python", "requirements", 1)
    assert "required twice" in message
    assert spec_of(python={"requirements": ["a==1; python_version < '3.12'", "a==2; python_version >= '3.12'"]})
    assert refused(python={"requirements": ["a_b"], "exclude": ["A.B"]})[0][0] == ("python", "exclude", 0)


@pytest.mark.parametrize("text", ["mit", "Apache 2", "GPL", "see LICENSE"])
def test_licences_are_spdx(text):
    assert refused(kernel={"license": text})[0][0] == ("kernel", "license")


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("pypi:Some_Pkg==0.1.0#some/w.bin", sources.WheelMember("some-pkg", "0.1.0", "some/w.bin")),
        (f"https://example.org/a/b.bin#sha256={'a' * 64}", sources.Address("https://example.org/a/b.bin", "a" * 64)),
        ("file:weights/w.npz", sources.LocalFile("weights/w.npz")),
    ],
)
def test_weights_sources(text, source):
    assert sources.parse(text) == source
    assert spec_of(weights={"w": {"source": text}})


@pytest.mark.parametrize(
    "text",
    [
        "pypi:a#b", "pypi:a==1", "pypi:a==1#", "pypi:a>=1#b", "pypi:==1#b", "pypi:a==x y#b", "pypi:a==not-a-version!#b",
        "https://example.org/a", f"https://example.org/a#sha256={'A' * 64}", "https://example.org/a#sha256=ab",
        f"https://user:pw@example.org/a#sha256={'a' * 64}", f"http://example.org/a#sha256={'a' * 64}",
        f"https://example.org/a b#sha256={'a' * 64}", f"https://example.org/a#b#sha256={'a' * 64}",
        "file:", "ftp://x/y", "weights.bin", "", "hf:org/model",
    ],
)  # fmt: skip
def test_weights_sources_refused(text):
    assert isinstance(sources.parse(text), Refusal)
    assert refused(weights={"w": {"source": text}})[0][0] == ("weights", "w", "source")


@pytest.mark.parametrize(
    ("table", "version"),
    [
        ({}, "14"), ({"name": "gcc"}, "14"), ({"name": "clang"}, "19"), ({"name": "zig"}, "0.17"),
        ({"name": "zig", "version": "0.15.2"}, "0.15.2"), ({"version": "13"}, "13"),
    ],
)  # fmt: skip
def test_a_compiler_has_a_version_of_its_own(table, version):
    assert spec_of(compiler=table).compiler.version == version


NIXPKGS = {"rev": "0" * 40, "attribute": "gcc14"}


def test_a_compiler_of_nixpkgs():
    kernel = spec_of().kernel.model_dump() | {"platforms": ("linux/amd64",)}
    plain = spec_of(kernel=kernel)
    assert "nixpkgs" not in plain.compiler.model_dump(), "whoever does without keeps the spec's identity"
    pinned = spec_of(kernel=kernel, compiler={"nixpkgs": NIXPKGS})
    assert pinned.compiler.nixpkgs.attribute == "gcc14"
    assert identity(plain) != identity(pinned)
    for changed in ({"rev": "f" * 40}, {"attribute": "llvmPackages_19.clang"}):
        assert identity(spec_of(kernel=kernel, compiler={"nixpkgs": NIXPKGS | changed})) != identity(pinned)


@pytest.mark.parametrize(
    "changed",
    [{"rev": "nixos-25.05"}, {"rev": "0" * 39}, {"rev": "G" * 40}, {"rev": None}, {"attribute": ""}, {"attribute": " "},
     {"attribute": "a."}, {"attribute": ".a"}, {"attribute": "${x}"}, {"attribute": 'a"b'}, {"attribute": "1a"},
     {"more": 1}],
)  # fmt: skip
def test_a_pin_that_is_none(changed):
    assert refused(compiler={"nixpkgs": NIXPKGS | changed})[0][0] == ("compiler", "nixpkgs", *changed)


@pytest.mark.parametrize("name", ["tcc", "", 1, ["gcc"], {"gcc": 1}, None])
def test_a_compiler_that_is_none(name):
    assert refused(compiler={"name": name})[0][0] == ("compiler", "name")


@pytest.mark.parametrize(
    "flag",
    [
        "-O2", "-O3", "-ffp-contract=off", "-march=x86-64-v3", "-mtune=generic", "-std=c++20", "-DX=1", "-Iinclude",
        "-I.", "-fno-exceptions", "-fopenmp", "-lm", "-Wl,-z,now", "-Wl,-Bsymbolic", "-Wl,--build-id=sha1", "-Wall",
        "-frandom-seed=1", "-g", "-fno-math-errno", "-mno-avx512f", "-fPIC",
    ],
)  # fmt: skip
def test_compiler_flags(flag):
    assert flags.compiler(flag) is None
    assert spec_of(compiler={"flags": [flag]})


@pytest.mark.parametrize(
    "flag",
    [
        "-march=native", "-mtune=native", "-mcpu=native", "-mcpu=native+sve", "--target=x86_64-linux-musl", "-target",
        "--gcc-toolchain=/usr", "--gcc-install-dir=/x", "-resource-dir=/x", "--ld-path=/usr/bin/ld", "--config=x",
        "-fpass-plugin=x.so", "-fmodules-cache-path=x", "-ftime-trace", "-fsave-optimization-record", "-gsplit-dwarf",
        "-fcs-profile-generate", "-frecord-gcc-switches", "-grecord-gcc-switches", "-grecord-command-line",
        "-ffile-compilation-dir=/x", "-fdebug-compilation-dir=/x", "-emit-llvm",
        "@flags", "-o", "-ox.so", "-I/usr/include", "-I../x", "-I",
        "-isystem/usr/include", "-isystem", "-include/etc/x.h", "--sysroot=/", "-L/usr/lib", "-B/x", "-Bx", "-c", "-E",
        "-fprofile-use", "-fprofile-generate=/x", "-fprofile-dir=x", "-fauto-profile=x", "-fbranch-probabilities",
        "--coverage", "-fplugin=x.so", "-specs=x", "-wrapper", "-save-temps", "-fdump-tree-all", "-dumpdir", "-MD",
        "-MFx", "-Xlinker", "-Tx.ld", "-fuse-ld=gold", "-Wl,--build-id=uuid", "-Wl,--build-id=0xff", "-Wl,@x",
        "-Wl,-rpath,/usr/lib", "-Wl,-rpath=/usr/lib", "-Wl,-L/usr/lib", "-Wp,-I/usr/include", "-Wl,-o,x", "x.c", "",
        " ", "-O2 -g", "-DX=\n",
    ],
)  # fmt: skip
def test_compiler_flags_that_open_the_build(flag):
    assert flags.compiler(flag) is not None
    assert refused(compiler={"flags": ["-O2", flag]})[0][0] == ("compiler", "flags", 1)
    assert refused(native={"op": {"sources": ["a.c"], "flags": [flag]}})[0][0] == ("native", "op", "flags", 0)


@pytest.mark.parametrize(
    "flag", ["-ffast-math", "-Ofast", "-funsafe-math-optimizations", "-ffp-contract=fast", "-mrecip=all"]
)
def test_fast_math_only_outside_the_pinned_profile(flag):
    assert refused(compiler={"flags": [flag]})[0][0] == ("compiler", "flags", 0)
    assert refused(native={"op": {"sources": ["a.c"], "flags": [flag]}})[0][0] == ("native", "op", "flags", 0)
    assert spec_of(compiler={"flags": [flag]}, determinism={"profile": "none"})


@pytest.mark.parametrize(
    "chosen",
    [
        {"cpu_max_isa": "AVX2"},
        {"--xla_cpu_max_isa": "AVX2"},
        {"xla_CPU": True},
        {"xla_a": "b c"},
        {"xla_a": ""},
        {"xla_a": "x\ty"},
        {"xla_a": "'x'"},
        {"xla_a": 1.5},
        {"xla_a": 2**53},
        {"xla_dump_to": "/tmp"},
        {"xla_gpu_per_fusion_autotune_cache_dir": "/x"},
    ],
)
def test_xla_flags_refused(chosen):
    assert refused(xla={"flags": chosen})[0][0][:2] == ("xla", "flags")


def test_strings_need_something_that_prepares_them():
    text = {"text": {"dtype": "string", "shape": ["n"]}}
    assert refused(inputs=text)[0][0] == ("inputs", "text", "dtype")
    assert spec_of(inputs=text, kernel={"prepare": "model:prepare"})


@pytest.mark.parametrize(
    ("dtype", "says"),
    [("string", "a JAX function gives no strings"), ("complex128", "a .safetensors file holds no complex128")],
)
def test_outputs_that_no_run_could_give(dtype, says):
    assert refused(outputs={"y": {"dtype": "float32"}, "z": {"dtype": dtype}}) == [(("outputs", "z", "dtype"), says)]
    assert spec_of(inputs={"z": {"dtype": dtype}}, kernel={"prepare": "model:prepare"})


def test_every_other_type_can_be_an_output():
    for dtype in set(get_args(DType)) - {"string", "complex128"}:
        assert spec_of(outputs={"y": {"dtype": dtype}})


@pytest.mark.parametrize("seed", [-1, 2**53, 2**63])
def test_a_seed_is_a_number_that_json_carries_exactly(seed):
    assert refused(determinism={"seed": seed})[0][0] == ("determinism", "seed")
    assert spec_of(determinism={"seed": 2**53 - 1})


def test_a_feature_is_one_that_a_node_can_be_asked_for():
    spec = spec_of(hardware={"features": {"amd64": ["avx512vnni"]}, "without": {"arm64": ["sve"]}})
    assert (spec.hardware.features.amd64, spec.hardware.without.arm64) == (("avx512vnni",), ("sve",))
    for value in ("avx513", "sve", "", "AVX2"):
        ((loc, message),) = refused(hardware={"features": {"amd64": [value]}})
        assert loc == ("hardware", "features", "amd64", 0)
        assert message == f"{value!r} is not a CPU feature that kbuild knows"


@pytest.mark.parametrize(
    ("hardware", "loc", "message"),
    [
        (
            {"features": {"amd64": ["sha", "sha"]}},
            ("features", "amd64", 1),
            "'sha' stands twice in this array",
        ),
        (
            {"features": {"arm64": ["sve"]}, "without": {"arm64": ["sve"]}},
            ("without", "arm64", 0),
            "features needs 'sve', so no CPU could do",
        ),
        ({"without": {"amd64": ["sha", "avx2"]}}, ("without", "amd64", 1), "every CPU of level x86-64-v3 has 'avx2'"),
        (
            {"cpu": {"arm64": "armv9-a"}, "without": {"arm64": ["sve"]}},
            ("without", "arm64", 0),
            "every CPU of level armv9-a has 'sve'",
        ),
    ],
)
def test_no_cpu_is_asked_for_what_none_can_be(hardware, loc, message):
    assert refused(hardware=hardware) == [(("hardware", *loc), message)]


def test_an_accelerator_is_asked_for_before_what_it_must_be():
    cuda = {"driver": "550.54", "capability": "9.0"}
    assert spec_of(hardware={"accelerator": "cuda", "cuda": cuda}).hardware.cuda.capability == "9.0"
    assert refused(hardware={"cuda": {"driver": "550"}}) == [
        (("hardware", "cuda", "driver"), "there is no accelerator of which driver '550' could be asked")
    ]
    for key, value in (("driver", "new"), ("driver", "550."), ("capability", "9"), ("capability", "sm_90")):
        ((loc, _),) = refused(hardware={"accelerator": "cuda", "cuda": {key: value}})
        assert loc == ("hardware", "cuda", key)


def test_the_portable_profile_has_a_floor():
    portable = {"profile": "portable"}
    assert spec_of(determinism=portable, hardware={"cpu": {"amd64": "x86-64-v3"}})
    ((loc, message),) = refused(determinism=portable, hardware={"cpu": {"amd64": "x86-64-v2"}})
    assert (loc, message) == (("hardware", "cpu", "amd64"), "the profile 'portable' needs an x86-64-v3 CPU")


def test_features_that_nobody_asks_for_leave_the_identity_alone():
    plain, spelt = spec_of(), spec_of(hardware={"features": {}, "without": {"amd64": []}})
    assert identity(plain) == identity(spelt)
    assert "features" not in plain.model_dump()["hardware"]
    assert identity(spec_of(hardware={"features": {"amd64": ["sha"]}})) != identity(plain)
