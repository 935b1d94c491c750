"""The transform: what it goes through, what it refuses and where, and that it computes what JAX does."""

from pathlib import Path

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from kernels.runtime.errors import HostError, KernelError
from kernels.runtime.portable import library
from kernels.runtime.portable.grouping import alone
from kernels.runtime.portable.transform import portable
from kernels.runtime.trace_program import source_of

unheard_of = jax.extend.core.Primitive("unheard_of")
unheard_of.def_abstract_eval(lambda x: x)

X = np.linspace(-2, 2, 24, dtype=np.float32).reshape(4, 6)


def same_bits(one, other):
    """Equal structure, types, shapes and bits."""
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def through_everything(x, w):
    @jax.checkpoint
    def layer(x, w):
        return jnp.tanh(x * w) + x

    @jax.custom_jvp
    def doubled(x):
        return x + x

    doubled.defjvp(lambda primals, tangents: (doubled(*primals), tangents[0] * 3))

    def step(x, w):
        x = lax.cond(jnp.sum(x) > 0, lambda: layer(x, w), lambda: doubled(jnp.sin(x)))
        return lax.while_loop(lambda s: jnp.max(jnp.abs(s)) > 1, jax.jit(lambda s: s / 2), x), jnp.max(x)

    return lax.scan(step, x, w)


def test_every_nesting_of_calls_loops_and_branches():
    def nested(x, w):
        return jax.vmap(through_everything, (0, None))(x, w)

    w = X[:3, :, None].repeat(4, 2).transpose(0, 2, 1)[:, 0]
    for got, stock in zip(jax.tree.leaves(portable(nested)(X, w)), jax.tree.leaves(nested(X, w)), strict=True):
        np.testing.assert_allclose(got, stock, rtol=1e-5, atol=1e-6)
    same_bits(jax.jit(portable(nested))(X, w), portable(nested)(X, w))
    same_bits(jax.jit(portable(nested, alone))(X, w), portable(nested)(X, w))


@jax.custom_batching.custom_vmap
def batched_by_hand(x):
    return jnp.exp(x) * 2


@batched_by_hand.def_vmap
def _batched(size, batched, x):
    return batched_by_hand(x), batched[0]


@jax.custom_vjp
def with_its_own_gradient(x):
    return jnp.sin(x) + 1


with_its_own_gradient.defvjp(lambda x: (with_its_own_gradient(x), x), lambda x, g: (g * x,))

CALLS = {
    "custom_vjp": with_its_own_gradient,
    "its gradient": jax.grad(lambda x: jnp.sum(with_its_own_gradient(x))),
    "custom_vmap": batched_by_hand,
    "composite": lax.composite(lambda x: jnp.cos(x) * x, "theirs.cosine"),
    "linear_call": lambda x: jax.custom_derivatives.linear_call(lambda r, x: x / r, lambda r, t: t / r, 2 + x * x, x),
    "custom_root": lambda x: lax.custom_root(
        lambda y: y * y - x * x - 1, x, lambda f, y: lax.fori_loop(0, 9, lambda _, y: (y + (x * x + 1) / y) / 2, x + 3),
        lambda g, y: y / g(jnp.ones_like(y)),
    ),
    "platform_dependent": lambda x: lax.platform_dependent(x, cpu=jnp.tanh, default=unheard_of.bind),
    "integer powers": lambda x: x ** jnp.arange(6) + jnp.power(0.9, jnp.int32(3) + jnp.arange(4)[:, None]),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_calls_are_what_is_in_them(name):
    np.testing.assert_allclose(portable(CALLS[name])(X), CALLS[name](X), rtol=1e-5, atol=1e-6)


def test_derivatives_are_taken_first():
    def slope(x, w):
        return jax.grad(lambda x: jnp.sum(jnp.tanh(x * w) ** 2 + jax.nn.relu(x)))(x)

    np.testing.assert_allclose(portable(slope)(X, X), slope(X, X), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="differentiat"):
        jax.grad(lambda x: jnp.sum(portable(jnp.sin)(x)))(X)


def test_trees_keywords_and_weak_types():
    def function(tree, *, scale):
        return {"a": tree["x"] * scale, "n": None, "k": jax.random.key_data(tree["key"]), "i": tree["x"].shape[0]}

    got = portable(function)({"x": X, "key": jax.random.key(3)}, scale=2.0)
    assert got["a"].dtype == np.float32
    np.testing.assert_array_equal(got["a"], X * 2)
    assert got["n"] is None
    np.testing.assert_array_equal(got["k"], jax.random.key_data(jax.random.key(3)))


def test_constants_are_neither_folded_nor_part_of_a_fused_program():
    weights = jnp.asarray(X)

    def function(x):
        return x + jnp.exp(weights)

    text = jax.jit(portable(function)).lower(X).compile().as_text()
    assert text.count("custom_call_target") == 1  # exp is still to be computed, with the sum
    np.testing.assert_allclose(jax.jit(portable(function))(X), X + np.exp(X), rtol=1e-6)


def test_operations_bear_the_lines_that_asked_for_them():
    def function(x):
        grown = x @ x.T
        return jax.nn.softmax(grown)

    equations = jax.make_jaxpr(portable(function))(X).eqns
    sources = [source_of(one, Path(__file__).parent) for one in equations if one.primitive.name == "ffi_call"]
    first = function.__code__.co_firstlineno
    assert [(one.at.file, one.at.line) for one in sources] == [(Path(__file__).name, first + 1 + n) for n in range(2)]


def test_without_jit_it_runs_operation_by_operation():
    with jax.disable_jit():
        plain = portable(through_everything)(X[0], X[:3])
    same_bits(plain, jax.jit(portable(through_everything))(X[0], X[:3]))


def test_a_portable_function_within_another():
    inner = portable(jnp.exp)
    same_bits(portable(lambda x: inner(x) + 1)(X), portable(lambda x: jnp.exp(x) + 1)(X))


REFUSED = {
    "an unknown primitive": (lambda x: unheard_of.bind(x) + 1, "unheard_of of float32[4,6]"),
    "in a loop's body": (lambda x: lax.scan(lambda c, y: (unheard_of.bind(c), y), x[0], x), "unheard_of of float32[6]"),
    "in a branch": (lambda x: lax.cond(x[0, 0] > 0, lambda: unheard_of.bind(x), lambda: x), "unheard_of"),
    "an unknown type": (lambda x: x.astype(jnp.float8_e4m3fn), "to float8_e4m3fn[4,6]"),
    "another generator": (lambda x: x + jax.random.uniform(jax.random.key(0, impl="rbg")), "key<rbg>"),
    "what acts": (lambda x: jax.debug.print("{}", x), "debug_print"),
    "the host": (lambda x: jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x), "pure_callback"),
    "native code of others": (
        lambda x: jax.ffi.ffi_call("theirs", jax.ShapeDtypeStruct(x.shape, x.dtype))(x),
        "theirs of float32[4,6]",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_name_operation_types_and_line(case):
    function, named = REFUSED[case]
    with pytest.raises(KernelError) as caught:
        portable(function)(X)
    assert "portable numerics do not define" in caught.value.message
    assert named in caught.value.message
    assert f"{__file__}:{function.__code__.co_firstlineno} in " in caught.value.message


def test_nothing_runs_before_all_is_known(monkeypatch):
    ran = []
    monkeypatch.setattr(jax.extend.core, "jaxpr_as_fun", lambda traced: ran.append)
    with pytest.raises(KernelError):
        portable(lambda x: unheard_of.bind(jnp.sin(x)))(X)
    assert not ran


def test_a_dead_operation_is_not_refused():
    def function(x):
        unheard_of.bind(x)
        return x

    same_bits(portable(function)(X), X)


def test_a_cpu_below_the_floor_is_refused(monkeypatch):
    monkeypatch.setattr(library, "level", lambda: library.suited(library.V3 - {"fma"}))
    with pytest.raises(HostError, match="lacks fma"):
        portable(jnp.exp)(X)


def test_a_missing_library_is_refused(monkeypatch):
    monkeypatch.setattr(library, "level", lambda: "nowhere")
    with pytest.raises(KernelError, match="native library 'nowhere' does not load"):
        portable(jnp.exp)(X)
