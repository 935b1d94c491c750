"""Grouping: what becomes one operation, and that no bit moves by it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from kernels.runtime.portable import fused_in_place
from kernels.runtime.portable.flatten import flatten
from kernels.runtime.portable.grouping import Fusion, alone, grouped
from kernels.runtime.portable.transform import portable

X = np.linspace(-2, 2, 48, dtype=np.float32).reshape(8, 6)
V = np.linspace(1, 2, 6, dtype=np.float32)


def planned(function, *args, plan=grouped):
    """Names of the steps; groups as tuples of theirs."""
    closed = jax.make_jaxpr(function)(*args)
    steps = plan(flatten(closed.jaxpr, closed.consts))
    return [tuple(one.op for one in step.steps) if isinstance(step, Fusion) else step.name for step in steps]


def layernorm(x, scale):
    centred = x - jnp.mean(x, -1, keepdims=True)
    return centred / jnp.sqrt(jnp.mean(centred * centred, -1, keepdims=True) + 1e-6) * scale


def masked_softmax(x, mask):
    return jax.nn.softmax(jnp.where(mask[:, None], x * 2, -jnp.inf))


def test_norms_and_softmax_are_one_operation():
    assert len(planned(layernorm, X, V)) == 1
    (only,) = planned(masked_softmax, X, np.ones(8, bool))
    assert only == ("mul", "select_n", "reduce_max", "max", "sub", "exp", "reduce_sum", "div")


def test_what_may_have_nans_of_its_own_is_not_selected_within_a_group():
    steps = planned(lambda x, p: jnp.exp(lax.select(p, x, x[::-1])), X, X > 0)
    assert steps == ["rev", "select_n", ("exp",)]  # a selection keeps the payload, the machine would not


def test_gradients_of_a_norm_are_few():
    steps = planned(jax.grad(lambda x, v: jnp.sum(layernorm(x, v) ** 2), argnums=(0, 1)), X, V)
    assert sum(isinstance(step, tuple) for step in steps) <= 2


def test_broadcasts_and_stated_values_are_never_arrays():
    closed = jax.make_jaxpr(lambda x, v: (x + v) * 2.0 + jnp.exp(v)[None, :])(X, V)
    *_, last = grouped(flatten(closed.jaxpr, closed.consts))
    assert {view.axes for view in last.operands} == {(0, 1), (1,), ()}


def test_contractions_stand_between_groups():
    steps = planned(lambda x, w: jnp.tanh(jnp.tanh(x * 2 + 1) @ w) - 1, X, X.T)
    assert steps == [("mul", "add", "tanh"), "dot_general", ("tanh", "sub")]


def test_two_chains_that_meet_become_one():
    assert planned(lambda x, y: jnp.exp(x) * 2 + jnp.sin(y) * 3, X, X) == [("exp", "mul", "sin", "mul", "add")]


def test_a_group_never_waits_for_itself():
    def function(x):  # the product needs the exponential, and the sum needs both: one group would be a cycle
        grown = jnp.exp(x)
        return grown + (grown @ x.T) @ x

    assert planned(function, X) == [("exp",), "transpose", "dot_general", "dot_general", ("add",)]


def test_movement_alone_stays_movement():
    assert planned(lambda x, p: lax.select(p, x, x[::-1]), X, X > 0) == ["rev", "select_n"]
    assert planned(lambda x, p, q: jnp.where(p & q, x * 2, -x), X, X > 0, X > 1) == [("and", "mul", "neg", "select_n")]


def test_views_are_made_for_what_is_not_fused():
    def function(x, p):
        zeros = jnp.zeros_like(x)
        return lax.select(p, zeros, x[::-1]), jnp.concatenate([zeros[:1], x]), zeros

    for got, stock in zip(portable(function)(X, X > 0), function(X, X > 0), strict=True):
        np.testing.assert_array_equal(got, stock)


def test_groups_do_not_cross_into_loops():
    steps = planned(lambda x: lax.scan(lambda c, r: (jnp.sin(c) + r, c), jnp.exp(x[0]), x)[0] * 2, X)
    assert [step for step in steps if isinstance(step, tuple)] == [("exp",), ("mul",)]


def test_empty_arrays_and_scalars():
    def function(x, s):
        return jnp.exp(x) + s, jnp.sum(x, 1), jnp.sin(s) * s

    empty, sums, scalar = portable(function)(np.zeros((3, 0), np.float32), np.float32(2))
    assert (empty.shape, sums.tolist()) == ((3, 0), [0, 0, 0])
    np.testing.assert_allclose(scalar, 2 * np.sin(np.float32(2)), rtol=1e-6)


def made_up(seed):
    """A function of random elementwise operations, broadcasts and row reductions over three arrays."""

    def function(x, v, s):
        random = np.random.RandomState(seed)
        values = [x, v, s, x[:, :1], v[None]]

        def any_of(shapes=None):
            fitting = [one for one in values if shapes is None or one.shape in shapes]
            return fitting[random.randint(len(fitting))]

        for _ in range(random.randint(5, 30)):
            one, other = any_of(), any_of()
            made = [
                lambda a, b: a + b,
                lambda a, b: a * b + a,
                lambda a, b: jnp.where(a < b, a, b * 0.5),
                lambda a, b: a / (b * b + 1),
                lambda a, _: jnp.tanh(a),
                lambda a, _: jnp.sum(a, -1, keepdims=True) if a.ndim else a,
                lambda a, _: jnp.max(a, -1, keepdims=True) if a.ndim else -a,
                lambda a, _: jnp.broadcast_to(a, (8, 6)) if a.shape != (1, 1) else jnp.sum(a, (0, 1)),
                lambda a, _: jnp.mean(a, 0) if a.ndim == 2 else a[..., None] if a.ndim else jnp.exp(-a * a),
                lambda a, _: a.reshape(-1) if a.size in {1, 6} else jnp.minimum(a, 1.0),
            ][random.randint(10)]
            if {1, 8} >= set(one.shape[:1]) or one.ndim < 2:
                try:
                    found = made(one, other)
                except (TypeError, ValueError):  # shapes that do not broadcast
                    continue
                if found.ndim <= 2:
                    values.append(found)
        return values[-1], values[len(values) // 2], [one for one in values[5:] if one.shape == (8, 6)][-1:]

    return function


def scores(a, b):
    return jnp.einsum("ij,kj->ik", a, b)


def taken(function, *args):
    """Of each fused operation, which of its operands' memory its results take."""
    traced = jax.make_jaxpr(portable(function))(*args)
    return [one.params["input_output_aliases"] for one in traced.eqns if "fused" in str(one.params.get("target_name"))]


def test_results_take_the_memory_of_what_nothing_reads_again(monkeypatch):
    functions = {
        "softmax": (lambda a, b: jax.nn.softmax(scores(a, b)), ((0, 0),)),
        "of an argument": (lambda a, _: jax.nn.softmax(a), ()),
        "read in the end": (lambda a, b: (x := scores(a, b)) + jnp.exp(x - x.max(1, keepdims=True)), ()),
        "a result too": (lambda a, b: (x := scores(a, b), jax.nn.softmax(x)), ()),
        "read by others": (lambda a, b: jax.nn.softmax(x := scores(a, b)) @ lax.sort(x), ()),
        "an axis of one": (lambda a, b: jax.nn.softmax(scores(a, b)[None]), ((0, 0),)),
    }
    args = np.random.default_rng(0).standard_normal((2, 16, 16)).astype(np.float32)
    plain = {name: jax.tree.leaves(jax.jit(portable(function))(*args)) for name, (function, _) in functions.items()}
    monkeypatch.setattr(fused_in_place, "LEAST", 0)
    for name, (function, expected) in functions.items():
        assert taken(function, *args) == [expected], name
        found = jax.tree.leaves(jax.jit(lambda *args, function=function: portable(function)(*args))(*args))
        one_by_one = jax.tree.leaves(portable(function)(*args))
        for a, b, c in zip(plain[name], found, one_by_one, strict=True):
            assert np.asarray(a).tobytes() == np.asarray(b).tobytes() == np.asarray(c).tobytes(), name


def test_small_arrays_keep_their_own_memory():
    assert taken(lambda a, b: jax.nn.softmax(scores(a, b)), X, X) == [()]


@pytest.mark.parametrize("seed", range(12))
def test_no_bit_moves(seed, monkeypatch):
    monkeypatch.setattr(fused_in_place, "LEAST", 0)
    args = X, V, np.float32(0.75)
    one, other = (jax.jit(portable(made_up(seed), plan))(*args) for plan in (grouped, alone))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.shape == b.shape
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(made_up(seed)(*args)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
