"""The image's own statement of its environment, and what is made of a process that has another."""

import json

import pytest

from builder.determinism.table import CLOSED, NUMERIC
from kernels.runtime import check, environment
from kernels.runtime.errors import KernelError

PINNED = {"HOME": "/tmp", "NPROC": "2", "XLA_FLAGS": "--xla_cpu_ftz=false"}


def lost(pinned, environ):
    """Lines of the requirements that an environment does not meet."""
    return [str(item) for item in check.variables(pinned, environ) if not item.met]


def test_an_image_has_what_it_was_built_for(tiny):
    pinned = environment.read(tiny.root)
    assert pinned == tiny.environment()
    assert pinned["JAX_PLATFORMS"] == "cpu"
    assert lost(pinned, pinned) == []


def test_what_does_not_act_on_results_may_be_added():
    added = {
        "KBUILD_IMAGE": "sha256:0",
        "PWD": "/",
        "HOSTNAME": "h",
        "TERM": "xterm",
        "container": "podman",
        "SHLVL": "0",
    }
    assert lost(PINNED, PINNED | added) == []


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("NPROC", None, "variable NPROC: needs '2', found none"),
        ("NPROC", "8", "variable NPROC: needs '2', found '8'"),
        ("HOME", "/root", "variable HOME: needs '/tmp', found '/root'"),
        ("XLA_FLAGS", "--xla_cpu_ftz=false --xla_cpu_max_isa=AVX512", "variable XLA_FLAGS: needs "),
        ("XLA_FLAGS", "", "variable XLA_FLAGS: needs '--xla_cpu_ftz=false', found ''"),
    ],
)
def test_a_variable_that_is_not_as_pinned(name, value, reason):
    changed = {key: text for key, text in PINNED.items() if key != name}
    if value is not None:
        changed[name] = value
    (problem,) = lost(PINNED, changed)
    assert problem.startswith(reason)


@pytest.mark.parametrize(
    "name",
    [
        "XLA_FLAGS", "JAX_DEBUG_NANS", "TF_ENABLE_ONEDNN_OPTS", "OMP_SCHEDULE", "OPENBLAS_VERBOSE", "GOTO_NUM_THREADS",
        "MKL_CBWR", "DNNL_DEFAULT_FPMATH_MODE", "ONEDNN_VERBOSE", "NPY_PROMOTION_STATE", "GLIBC_TUNABLES", "LD_PRELOAD",
        "LD_LIBRARY_PATH", "PYTHONINSPECT", "MALLOC_ARENA_MAX", "NPROC", "PJRT_NPROC",
    ],
)  # fmt: skip
def test_a_variable_that_has_leaked_in(name):
    (line,) = lost({}, {name: ""})
    assert line.startswith(f"variable {name}: needs none, found one: start the image with the environment")


def test_whatever_the_table_pins_would_be_a_leak_where_it_does_not():
    """A variable worth pinning for its bits is worth refusing where no pin holds it still."""
    names = {pin.name for pin in (*CLOSED, *NUMERIC) if pin.kind == "variable" and pin.numeric}
    assert all(lost({}, {name: "x"}) for name in names)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "Expecting value"),
        (b"[]", "not an object of strings"),
        (b'{"A":1}', "not an object of strings"),
        (b'{"A":"1","A":"1"}', "not canonical JSON"),
        (b'{"B":"1","A":"1"}', "not canonical JSON"),
        (b'{"A":"1"}\n', "not canonical JSON"),
        (b'{"A":"\\ud800"}', "surrogates not allowed"),
        (b"\xff", "decode"),
        (b"[" * 100_000, "recursion"),
        (json.dumps({"A": "x" * environment.LONGEST}).encode(), "more than 1048576 bytes"),
    ],
)
def test_a_broken_statement_is_one_error(tiny, data, reason):
    (tiny.folder / "environment.json").write_bytes(data)
    with pytest.raises(KernelError, match=r"environment\.json is no environment") as caught:
        environment.read(tiny.root)
    assert reason in caught.value.message


def test_no_statement_is_one_error(tiny):
    (tiny.folder / "environment.json").unlink()
    with pytest.raises(KernelError, match=r"environment\.json: No such file"):
        environment.read(tiny.root)
