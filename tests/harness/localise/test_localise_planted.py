"""Causes that were planted, each to be found where it was planted: the operation, its line, and why it may be."""

import platform
from pathlib import Path

import pytest

from builder.harness.localise_model import Found

PLANTED = Path(__file__).with_name("planted.py")
PLAIN = {"NPROC": "2"}
CAPPED = PLAIN | {"XLA_FLAGS": "--xla_cpu_max_isa=AVX2"}

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the causes are those of x86-64")


def line_of(text):
    lines = PLANTED.read_text().splitlines()
    (number,) = [number for number, line in enumerate(lines, 1) if line.strip().startswith(text)]
    return number


def is_at(found, primitive, text):
    assert found.first is not None, found.notes
    assert found.first.primitive == primitive, found.lines()
    assert (found.first.source.file, found.first.source.line) == ("planted.py", line_of(text)), found.lines()


def is_operation(found, primitive, text, cause):
    is_at(found, primitive, text)
    assert (found.found, found.confirmed, found.inputs_equal, found.fusion) == (Found.OPERATION, True, True, False)
    assert found.suspects[0].influence == cause
    assert all(diff.equal for diff in found.inputs)
    assert any(diff.differing for diff in found.outputs)


def test_threads(planted, worker):
    found = planted("threads", worker(PLAIN), worker({"NPROC": "1"}))
    is_operation(found, "reduce_sum", "total = jnp.sum(", "threads")
    assert found.suspects[0].seen == ("NPROC",)
    assert found.first.inputs == (("float32", (512 * 512,)),)
    assert found.first.outputs == (("float32", ()),)
    (total,) = found.outputs
    assert 1 <= total.largest < 100


def test_what_parts_alone_but_not_together_is_not_taken_for_the_first(planted, worker):
    """Compiled alone the first sum moves, since XLA then gives it to another library; in the program it does not."""
    found = planted("misleading", worker(PLAIN), worker({"NPROC": "1"}))
    is_operation(found, "reduce_sum", "moved = jnp.sum(", "threads")
    (note,) = [note for note in found.notes if note.startswith("compiled alone, the first operation that differs is")]
    assert f"planted.py:{line_of('steady = jnp.sum(')}" in note


@pytest.mark.qemu
def test_estimate_of_the_reciprocal_root(planted, worker):
    found = planted("estimate", worker(PLAIN), worker(PLAIN, ("qemu-x86_64-static", "-cpu", "Haswell")))
    is_operation(found, "rsqrt", "root = jax.lax.rsqrt(", "rsqrt-approximation")
    assert found.outputs[0].largest <= 2


def test_fma_inside_of_one_operation(planted, worker):
    found = planted("curve", worker(CAPPED), worker(PLAIN | {"XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2"}))
    is_operation(found, "tanh", "bent = jnp.tanh(", "fma-contraction")


def test_fma_by_fusion_of_two(planted, worker):
    """Neither the product nor the sum moves alone, on any pass; together they do, on the first."""
    found = planted("contraction", worker(CAPPED), worker(PLAIN | {"XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2"}))
    assert (found.found, found.fusion, found.inputs_equal) == (Found.SEGMENT, True, True)
    assert [one.primitive for one in found.operations] == ["mul", "add"]
    assert [one.path.split("/")[-2] for one in found.operations] == ["i0", "i0"]
    is_at(found, "add", "state = state * weight + x")
    called = f"is called from planted.py:{line_of('state, first = jax.lax.scan(')} in contraction"
    assert any(called in note for note in found.notes)
    assert found.suspects[0].influence == "fma-contraction"
    assert "each operation compiled alone gives the same bits on both" in found.notes


def test_dispatch_of_matrix_products(planted, worker):
    found = planted("product", worker(CAPPED), worker(CAPPED | {"DNNL_MAX_CPU_ISA": "SSE41"}))
    is_operation(found, "dot_general", "made = jnp.einsum(", "matmul-dispatch")
    assert found.suspects[0].seen == ("DNNL_MAX_CPU_ISA",)


def test_dispatch_of_lapack(planted, worker):
    haswell, nehalem = (worker(PLAIN | {"OPENBLAS_CORETYPE": core}) for core in ("Haswell", "Nehalem"))
    found = planted("factor", haswell, nehalem)
    is_operation(found, "cholesky", "lower = jnp.linalg.cholesky(", "lapack-dispatch")
    assert found.suspects[0].seen == ("OPENBLAS_CORETYPE",)


def test_flush_to_zero(planted, worker):
    found = planted("flush", worker(PLAIN), worker(PLAIN), flush=True)
    is_operation(found, "pure_callback", "scaled = jax.pure_callback(", "flush-to-zero")


def test_a_bit_of_a_weight(planted, worker):
    found = planted("weights", worker(PLAIN), worker(PLAIN), flip=True)
    assert (found.found, [one.path for one in found.operations]) == (Found.ARGUMENT, ["params['scale']['b']"])
    assert [suspect.influence for suspect in found.suspects] == ["weights"]
    (weight,) = found.outputs
    assert (weight.differing, weight.largest, weight.first.index) == (1, 1, (5,))


def test_a_seed(planted, worker):
    found = planted("draw", worker(PLAIN), worker(PLAIN), seed=2)
    assert (found.found, [one.path for one in found.operations]) == (Found.ARGUMENT, ["key"])
    assert [suspect.influence for suspect in found.suspects] == ["seed"]


def test_few_questions_are_asked(planted, worker):
    found = planted("threads", worker(PLAIN), worker({"NPROC": "1"}))
    assert found.runs == 2  # hashes; whether it holds in the program, and the values
    assert found.compared <= found.leaves.bit_length() + 2
