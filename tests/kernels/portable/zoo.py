"""Small programs over everything that a portable kernel can do: every family, type, layout and awkward shape.

`PROGRAMS` maps names to functions and their inputs. They are written with plain JAX; `zoo_run.py` makes them portable.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from zoo_inputs import FLOATS, bfloat16, float16, float32, float64, floats, integers, ladder, pairs, positive, special


@dataclass(frozen=True)
class Program:
    """One of the zoo.

    Args:
        function: what to run.
        inputs: makes its arguments.
        rows: each row of the first argument alone decides the same row of every result.
        close: how far a result may be from the same function in binary64, relative to the largest value; None where
            that says nothing, as for random bits or chosen bases.
    """

    function: Callable
    inputs: Callable
    rows: bool = False
    close: float | None = 1e-4


PROGRAMS: dict[str, Program] = {}


def program(inputs, *, rows=False, close=1e-4, name=None):
    """Add a function to the zoo."""

    def add(function):
        label = name or function.__name__
        assert label not in PROGRAMS, label
        PROGRAMS[label] = Program(function, inputs, rows, close)
        return function

    return add


def several(cases, **options):
    """Add a function once per case: a dict from suffixes to makers of inputs."""

    def add(function):
        for suffix, inputs in cases.items():
            program(inputs, name=f"{function.__name__}_{suffix}", **options)(function)
        return function

    return add


def by_type(make, types=FLOATS):
    """Cases of one maker over types."""
    return {np.dtype(dtype).name: lambda dtype=dtype: make(dtype) for dtype in types}


def _loose(dtype):
    return {"float32": 1e-4, "float64": 1e-10, "bfloat16": 0.1, "float16": 0.02}[np.dtype(dtype).name]


# --- contractions ---------------------------------------------------------------------------------------------------


@several(by_type(lambda dtype: (floats((33, 65), dtype), floats((65, 17), dtype, 1))), rows=True, close=0.05)
def matmul(a, b):
    return a @ b


@program(lambda: (floats((13, 29)), floats((29, 37), float32, 1)))
def matmul_layouts(a, b):
    nn, tn = a @ b, jnp.einsum("km,kn->mn", a.T, b)
    return nn, tn, jnp.einsum("mk,nk->mn", a, b.T), jnp.einsum("km,nk->nm", a.T, b.T)


@program(lambda: (floats((3, 7, 11)), floats((3, 11, 5), float32, 1)), rows=False)
def matmul_batched(a, b):
    return a @ b, jnp.einsum("bmk,bkn->nmb", a, b)


@program(lambda: (floats((301, 127)), floats((127,), float32, 1), floats((301,), float32, 2)))
def gemv(a, x, y):
    return a @ x, y @ a, jnp.vdot(x, x), jnp.outer(x, x[:3])


@program(lambda: (floats((2, 100003)), floats((100003, 3), float32, 1)), rows=True)
def matmul_huge_k(a, b):
    return a @ b


@program(lambda: (floats((5, 0)), floats((0, 3)), floats((0, 4))))
def matmul_empty(a, b, c):
    return a @ b, c @ floats((4, 2)), jnp.zeros((0, 0)) @ c


@program(lambda: (floats((9, 31), bfloat16), floats((31, 6), bfloat16, 1)), close=0.05)
def matmul_widened(a, b):
    return lax.dot_general(a, b, (((1,), (0,)), ((), ())), preferred_element_type=float32)


@program(lambda: (integers((9, 31), 256, 0, np.int8), integers((31, 6), 256, 1, np.int8)), close=None)
def matmul_int8(a, b):
    return lax.dot_general(a, b, (((1,), (0,)), ((), ())), preferred_element_type=np.int32)


@program(pairs, close=None)
def matmul_special(a, b):
    return jnp.einsum("i,i->i", a, b), a.reshape(-1, 3) @ b.reshape(3, -1)[:, :40]


@program(lambda: (floats((23, 8)), floats((4, 8, 5), float32, 1), np.array([9, 0, 6, 3], np.int32)))
def experts(x, matrices, sizes):
    def loss(x, matrices):
        return jnp.sum(jax.nn.silu(lax.ragged_dot(x, matrices, sizes)) ** 2)

    return lax.ragged_dot(x, matrices, sizes), jax.grad(loss, argnums=(0, 1))(x, matrices)


@program(lambda: (floats((4, 3, 5, 2)), floats((5, 3, 6, 2), float32, 1)))
def matmul_many_axes(a, b):
    return jnp.einsum("abcd,cbed->ae", a, b), jnp.tensordot(a, b, ((2, 3), (0, 3)))


def _images(dtype=float32):
    return floats((2, 11, 9, 5), dtype), floats((3, 2, 5, 8), dtype, 1)


@several(by_type(_images), rows=True, close=0.05)
def conv(x, w):
    return lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


@program(lambda: (floats((2, 6, 13, 10)), floats((8, 3, 3, 2), float32, 1)), rows=True)
def conv_strided_grouped(x, w):
    return lax.conv_general_dilated(
        x, w, (2, 3), ((2, 1), (0, 3)), rhs_dilation=(2, 1), feature_group_count=2,
        dimension_numbers=("NCHW", "OIHW", "NCHW"),
    )  # fmt: skip


@program(lambda: (floats((1, 17, 4)), floats((5, 3, 4), float32, 1)))
def conv_transposed(x, w):
    return lax.conv_transpose(x, w, (3,), "VALID", dimension_numbers=("NWC", "WIO", "NWC"), transpose_kernel=True)


@program(_images)
def conv_gradients(x, w):
    return jax.grad(lambda x, w: jnp.sum(jnp.tanh(conv(x, w))), argnums=(0, 1))(x, w)


# --- reductions and order -------------------------------------------------------------------------------------------


@several(by_type(lambda dtype: (floats((31, 7, 53), dtype),)), close=0.05)
def sums(x):
    return jnp.sum(x), jnp.sum(x, 0), jnp.sum(x, 1), jnp.sum(x, 2), jnp.sum(x, (0, 2)), jnp.sum(x, (1, 2))


@program(lambda: (floats((100003,)), floats((3, 9001), float32, 1)))
def sums_long(x, y):
    return jnp.sum(x), jnp.sum(y, 1), jnp.sum(y, 0), jnp.mean(x), jnp.sum(x * x)


@program(lambda: (floats((0, 3)), floats((1,)), floats(())))
def sums_awkward(x, y, z):
    return jnp.sum(x), jnp.sum(x, 0), jnp.sum(x, 1), jnp.sum(y), jnp.sum(z), jnp.prod(x, 0), jnp.sum(x[:, :0], 1)


@program(lambda: (special(), special(float64)), close=None)
def sums_special(x, y):
    tiny = jnp.where(jnp.abs(x) < 1e-30, x, 0)
    return jnp.sum(x), jnp.sum(tiny), jnp.prod(tiny + 1), jnp.sum(y), jnp.sum(jnp.full((7,), -0.0, x.dtype))


@program(lambda: (floats((9, 41)), special(), special(float64)), close=None)
def extrema(x, y, z):
    return jnp.max(x, 1), jnp.min(x, 0), jnp.max(y), jnp.min(y[:12]), jnp.max(y[:2]), jnp.min(y[1::-1]), jnp.max(z)


@several(by_type(lambda dtype: (floats((9, 41), dtype), special(dtype))), close=None)
def argmaxima(x, y):
    return jnp.argmax(x, 1), jnp.argmin(x, 0), jnp.argmax(y), jnp.argmin(y), jnp.argmax(x)


@program(lambda: (floats((5, 33)), positive((5, 33), float32, 1)))
def cumulative(x, y):
    down = lax.cumsum(x, 1, reverse=True)
    return jnp.cumsum(x, 1), down, jnp.cumprod(y, 0), lax.cummax(x, 1), lax.cummin(x, 0), jnp.cumsum(x)


@program(lambda: (floats((4, 21), float32, 0, 16),), rows=True)
def logsumexp(x):
    return jax.nn.logsumexp(x, 1), jax.nn.log_softmax(x, 1), jnp.logaddexp(x, x[:, ::-1])


@program(lambda: (floats((2, 9, 8, 3)),), rows=True)
def pooling(x):
    window, strides = (1, 3, 2, 1), (1, 2, 2, 1)
    largest = lax.reduce_window(x, -jnp.inf, lax.max, window, strides, "SAME")
    return largest, lax.reduce_window(x, 0.0, lax.add, window, strides, "VALID")


@program(lambda: (floats((2, 9, 8, 3)),))
def pooling_gradients(x):
    def both(x):
        window, strides = (1, 3, 2, 1), (1, 2, 2, 1)
        largest = lax.reduce_window(x, -jnp.inf, lax.max, window, strides, "SAME")
        return jnp.sum(largest**2) + jnp.sum(lax.reduce_window(x, 0.0, lax.add, window, strides, "VALID") ** 3)

    return jax.grad(both)(x)


@program(lambda: (floats((7, 19)), special(), integers((40,), 5)), close=None)
def sorting(x, y, z):
    order = jnp.argsort(z)
    return jnp.sort(x, 1), jnp.argsort(y), jnp.sort(y), jnp.sort(z), order, lax.top_k(x, 4), jnp.median(x, axis=1)


@program(lambda: (floats((11, 3)), integers((200,), 11), floats((200, 3), float32, 1)))
def scatter(x, at, updates):
    return x.at[at].add(updates), x.at[at].max(updates), x.at[at].mul(updates), x.at[at].min(updates)


@program(lambda: (floats((50, 4)), integers((7, 6), 50), floats((7, 6, 4), float32, 1)))
def embedding_gradient(table, ids, weights):
    return jax.grad(lambda table: jnp.sum(jnp.sin(table[ids]) * weights))(table)


@program(lambda: (floats((90,)), integers((90,), 8)))
def segments(x, ids):
    return jax.ops.segment_sum(x, ids, 8), jax.ops.segment_max(x, ids, 8)


@program(lambda: (floats((6, 50)), floats((6, 50), float64, 1)))
def moments(x, y):
    return jnp.mean(x, 1), jnp.var(x, 1), jnp.std(x), jnp.var(y), jnp.linalg.norm(x, axis=1), jnp.average(x, 1, y[0])


# --- elementwise ----------------------------------------------------------------------------------------------------


@several(by_type(pairs), close=None)
def arithmetic(x, y):
    return x + y, x - y, x * y, x / y, x * y + x, jnp.maximum(x, y), jnp.minimum(x, y), lax.rem(x, y), -x, abs(x)


@several(by_type(pairs), close=None)
def comparisons(x, y):
    tests = x == y, x != y, x < y, x <= y, x > y, x >= y, jnp.isnan(x), jnp.isfinite(x), jnp.signbit(x)
    return (*tests, jnp.where(x < y, x, y), lax.clamp(y, x, y + 1), jnp.sign(x))


@several(by_type(lambda dtype: (ladder(dtype),)), close=None)
def rounding(x):
    return jnp.floor(x), jnp.ceil(x), jnp.round(x), lax.round(x, lax.RoundingMethod.AWAY_FROM_ZERO), jnp.trunc(x)


@several(by_type(lambda dtype: (ladder(dtype),)), close=None)
def exponentials(x):
    return jnp.exp(x), jnp.exp2(x), jnp.expm1(x), jnp.log(x), jnp.log1p(x), jnp.log2(x), jnp.log10(x)


@several(by_type(lambda dtype: (ladder(dtype),)), close=None)
def roots(x):
    return jnp.sqrt(x), lax.rsqrt(x), jnp.cbrt(x), 1 / x, x**2, x**3, x**-1, jnp.square(x), lax.integer_pow(x, 7)


@several(by_type(lambda dtype: (ladder(dtype),)), close=None)
def circular(x):
    return jnp.sin(x), jnp.cos(x), jnp.tan(x), jnp.arcsin(x), jnp.arccos(x), jnp.arctan(x)


@several(by_type(lambda dtype: (ladder(dtype),)), close=None)
def hyperbolic(x):
    return jnp.sinh(x), jnp.cosh(x), jnp.tanh(x), jnp.arcsinh(x), jnp.arccosh(x), jnp.arctanh(x)


@several(by_type(lambda dtype: (ladder(dtype),)), close=None)
def sigmoids(x):
    return jax.nn.sigmoid(x), jax.nn.softplus(x), jax.nn.gelu(x), jax.nn.silu(x), jax.nn.elu(x), jax.nn.selu(x)


@several(by_type(lambda dtype: (ladder(dtype),)), close=None)
def error_functions(x):
    return lax.erf(x), lax.erfc(x), lax.erf_inv(x), jax.nn.gelu(x, approximate=False)


@several(by_type(lambda dtype: (ladder(dtype),)), close=None)
def gamma_and_bessel_functions(x):
    return lax.lgamma(x), lax.digamma(x), lax.bessel_i0e(x), lax.bessel_i1e(x)


@several(by_type(pairs), close=None)
def incomplete_gamma_and_zeta(a, x):
    ordinary = abs(a) + 1.5, abs(x) + 0.25
    return [f(*v) for f in (lax.igamma, lax.igammac, lax.igamma_grad_a, lax.zeta) for v in ((a, x), ordinary)]


@several(by_type(pairs), close=None)
def beta_and_polygamma(a, x):
    return lax.betainc(abs(a), abs(x), jax.nn.sigmoid(x)), lax.betainc(x, a, x), lax.polygamma(jnp.round(a), x)


@program(lambda: (positive((40,), float32, 1, 4),), close=None)
def gamma_samples(a):
    key = jax.random.key(5)
    slope = jax.grad(lambda a: jnp.sum(jax.random.gamma(key, a)))(a)
    return slope, jax.random.beta(key, a, a), jax.random.loggamma(key, a), jax.random.poisson(key, a)


@several(by_type(lambda dtype: (lax.complex(*map(jnp.asarray, pairs(dtype))),), (float32, float64)), close=None)
def complex_functions(z):
    growing = lax.exp(z), lax.exp2(z), lax.expm1(z), lax.log(z), lax.log1p(z), lax.sqrt(z), lax.rsqrt(z)
    turning = lax.sin(z), lax.cos(z), lax.tan(z), lax.sinh(z), lax.cosh(z), lax.tanh(z)
    return growing, turning, lax.logistic(z), lax.sign(z), z ** z[::-1], jnp.prod(z.reshape(-1, 3), 1)


@several(by_type(pairs), close=None)
def total_order(x, y):
    grid = jnp.sort(x[:40])
    return jnp.searchsorted(grid, y), lax.lt_to_p.bind(x, y), lax.le_to_p.bind(x, y), lax.eq_to_p.bind(x, y)


@several(by_type(pairs, (float32, float64)), close=None)
def two_arguments(x, y):
    return lax.pow(x, y), jnp.arctan2(x, y), jnp.hypot(x, y), lax.nextafter(x, y), jnp.logaddexp(x, y)


@program(lambda: [ladder(dtype) for dtype in FLOATS], close=None)
def conversions(*xs):
    made = [x.astype(dtype) for x in xs for dtype in FLOATS]
    return made, [x.astype(dtype) for x in xs for dtype in (np.int32, np.int8, np.uint8, bool)]


@program(lambda: (integers((50,), 2**31), integers((50,), 2**63, 1, np.int64), integers((9,), 2, 0, bool)), close=None)
def conversions_of_integers(*xs):
    return [x.astype(dtype) for x in xs for dtype in FLOATS]


@program(lambda: (ladder(), ladder(float64)), close=None)
def reduced_precision(x, y):
    return lax.reduce_precision(x, 8, 7), lax.reduce_precision(x, 5, 10), lax.reduce_precision(y, 8, 23)


@program(lambda: (floats((1, 9)), floats((7, 1), float32, 1), floats(()), floats((3, 1, 9), float32, 2)))
def broadcasting(x, y, z, w):
    mixed = x * y + z
    return mixed, mixed[None] - w, jnp.exp(x) * y.T[:, :1], (x + w) * jnp.sum(w, 2, keepdims=True)


# --- patterns -------------------------------------------------------------------------------------------------------


@several(by_type(lambda dtype: (floats((6, 47), dtype, 0, 8),)), rows=True, close=0.05)
def softmax(x):
    return jax.nn.softmax(x)


@program(lambda: (floats((5, 12, 24)), floats((24,), float32, 1), floats((24,), float32, 2)), rows=True)
def layernorm(x, scale, shift):
    centred = x - jnp.mean(x, -1, keepdims=True)
    return centred / jnp.sqrt(jnp.mean(centred * centred, -1, keepdims=True) + 1e-6) * scale + shift


@program(lambda: (floats((5, 12, 24)), floats((24,), float32, 1), floats((24,), float32, 2)))
def layernorm_gradients(*args):
    return jax.grad(lambda *args: jnp.sum(jnp.sin(layernorm(*args))), argnums=(0, 1, 2))(*args)


@several(by_type(lambda dtype: (floats((5, 64), dtype), floats((64,), dtype, 1))), rows=True, close=0.05)
def rmsnorm(x, scale):
    return x * lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + np.asarray(1e-6, x.dtype)) * scale


def _attention(x, mask, w):
    batch, length, width = x.shape
    q, k, v = (jnp.reshape(x @ part, (batch, length, 4, width // 4)) for part in w)
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / np.float32(2)
    shares = jax.nn.softmax(jnp.where(mask[:, None, None, :], scores, -jnp.inf))
    return jnp.einsum("bhqk,bkhd->bqhd", shares, v).reshape(x.shape)


def _sequences():
    return floats((3, 10, 16)), integers((3, 10), 4, 1) != 0, floats((3, 16, 16), float32, 2, 2)


@program(_sequences)
def attention(x, mask, w):
    return _attention(x, mask.at[:, 0].set(True), w)


@program(_sequences)
def attention_gradients(x, mask, w):
    return jax.grad(lambda x, w: jnp.sum(attention(x, mask, w) ** 2), argnums=(0, 1))(x, w)


def _layers():
    return floats((4, 10)), floats((6, 10, 10), float32, 1), floats((6, 10), float32, 2)


@program(_layers, rows=True)
def layers_in_a_scan(x, w, b):
    def layer(x, one):
        return jax.nn.gelu(x @ one[0] + one[1]) + x, jnp.sum(x, -1)

    x, seen = lax.scan(layer, x, (w, b))
    return x, seen.T


@program(_layers)
def layers_gradients(x, w, b):
    return jax.grad(lambda *args: jnp.sum(layers_in_a_scan(*args)[0] ** 2), argnums=(0, 1, 2))(x, w, b)


@program(_layers)
def layers_rematerialised(x, w, b):
    def layer(x, one):
        return jnp.tanh(x @ one[0] + one[1]) + x, None

    return jax.grad(lambda w: jnp.sum(lax.scan(jax.checkpoint(layer), x, (w, b))[0] ** 2))(w)


@program(lambda: (floats((12, 3)), floats((3, 20), float32, 1), floats((5, 20), float32, 2), integers((5,), 4)))
def recurrent(xs, w, u, chosen):
    def cell(state, x):
        gates = x @ w + state[0] @ u
        i, f, g, o = jnp.split(gates, 4)
        memory = jax.nn.sigmoid(f + 1) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(memory), memory), memory[chosen]

    return lax.scan(cell, (jnp.zeros(5, float32), jnp.zeros(5, float32)), xs, reverse=True)


@program(lambda: (positive((5, 3), float32, 0, 4),), rows=True)
def newton(x):
    def body(state):
        root, _ = state
        return (root + x / root) / 2, jnp.max(jnp.abs(root * root - x), 1, keepdims=True)

    def one(x):
        return lax.while_loop(
            lambda s: s[2] & (s[1] < 9), lambda s: ((s[0] + x / s[0]) / 2, s[1] + 1, s[0] > 1), (x, 0, True)
        )[0]

    return jax.vmap(jax.vmap(one))(x), lax.fori_loop(0, 5, lambda _, s: body(s), (x, x[:, :1]))[0]


@program(lambda: (floats((6,)), floats((6, 6), float32, 1)))
def branches(x, w):
    def pick(x, row):
        grown = lax.cond(jnp.sum(x * row) > 0, lambda: jnp.sin(x), lambda: x @ w)
        return lax.switch(jnp.argmax(row) % 3, [jnp.cos, jnp.tanh, lambda x: x / 2], grown), jnp.max(grown)

    return lax.scan(pick, x, w)


@program(lambda: (floats((9, 5)), floats((5, 4), float32, 1), integers((9,), 4, 2)))
def cross_entropy_gradient(x, w, labels):
    def loss(w):
        chances = jax.nn.log_softmax(x @ w)
        return -jnp.mean(jnp.take_along_axis(chances, labels[:, None], 1))

    return jax.value_and_grad(loss)(w)


@program(lambda: (floats((7, 5)), floats((7, 5), float32, 1), positive((7, 5), float32, 2), floats((7, 5), float32, 3)))
def adam(p, m, v, g):
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    return p - 1e-3 * (m / (1 - 0.9**3)) / (jnp.sqrt(v / (1 - 0.999**3)) + 1e-8), m, v


@program(lambda: (floats((8, 6, 6, 3)), floats((3, 3, 3, 4), float32, 1), floats((4, 5), float32, 2)))
def network_gradients(x, w, v):
    def loss(w, v):
        seen = jax.nn.relu(conv(x, w))
        centred = seen - jnp.mean(seen, (0, 1, 2))
        normal = centred * lax.rsqrt(jnp.var(seen, (0, 1, 2)) + 1e-5)
        return jnp.mean(jax.nn.logsumexp(jnp.mean(normal, (1, 2)) @ v, 1))

    return jax.value_and_grad(loss, argnums=(0, 1))(w, v)


@jax.custom_vjp
def _clipped(x):
    return jnp.tanh(x)


_clipped.defvjp(lambda x: (_clipped(x), x), lambda x, g: (jnp.clip(g * jnp.cosh(x), -1, 1),))


@jax.custom_jvp
def _safe(x):
    return jnp.log(x)


_safe.defjvp(lambda primals, tangents: (_safe(primals[0]), tangents[0] / (primals[0] + 1)))


@program(lambda: (positive((13,)),))
def custom_derivatives(x):
    value, slope = jax.value_and_grad(lambda x: jnp.sum(_clipped(x) * _safe(x)))(x)
    return value, slope, jax.jvp(lambda x: _safe(x) * x, (x,), (x,)), _clipped(x)


@program(lambda: (floats((5,)),))
def second_derivatives(x):
    return jax.hessian(lambda x: jnp.sum(jnp.sin(x) * jnp.exp(x[::-1])))(x), jax.jacfwd(jnp.tanh)(x)


# --- linear algebra, transforms, complex ----------------------------------------------------------------------------


def _definite(dtype=float32):
    a = floats((2, 7, 7), dtype)
    return (np.einsum("bij,bkj->bik", *(np.round(a.astype(float64) * 16),) * 2) + 64 * np.eye(7)).astype(dtype)


@several(by_type(lambda dtype: (_definite(dtype), floats((2, 7, 3), dtype, 1)), (float32, float64)), close=0.01)
def factorisations(a, b):
    chol = jnp.linalg.cholesky(a)
    return chol, jax.scipy.linalg.solve_triangular(chol, b, lower=True), jnp.linalg.solve(a, b), jnp.linalg.inv(a)


@several(by_type(lambda dtype: (floats((2, 6, 6), dtype),), (float32, float64)), close=0.01)
def determinants(a):
    return jnp.linalg.det(a), jnp.linalg.slogdet(a), jax.scipy.linalg.lu(a[0])


@several(by_type(lambda dtype: (floats((2, 8, 5), dtype), floats((5, 8), dtype, 1)), (float32, float64)), close=None)
def orthogonal(a, b):
    wide = jnp.linalg.svd(b, full_matrices=False)
    return jnp.linalg.qr(a), jnp.linalg.qr(b), jnp.linalg.svd(a, compute_uv=False), wide, jnp.linalg.pinv(b)


@several(by_type(lambda dtype: (_definite(dtype),), (float32, float64)), close=None)
def eigenvalues(a):
    return jnp.linalg.eigh(a)


@program(lambda: (_definite()[0], floats((7, 2), float32, 1)), close=0.01)
def linear_gradients(a, b):
    def loss(a, b):
        return jnp.sum(jnp.linalg.solve(a, b) ** 2) + jnp.sum(jnp.log(jnp.diagonal(jnp.linalg.cholesky(a))))

    return jax.grad(loss, argnums=(0, 1))(a, b)


@several(by_type(lambda dtype: (floats((3, 16), dtype), floats((2, 7, 12), dtype, 1)), (float32, float64)), close=1e-3)
def transforms(x, y):
    spectrum = jnp.fft.rfft(x)
    return spectrum, jnp.fft.irfft(spectrum), jnp.fft.fft(y), jnp.fft.ifft(y), jnp.fft.rfft2(y), jnp.fft.fft(x[:, :11])


@several(by_type(lambda dtype: (floats((9,), dtype), floats((9,), dtype, 1, 4)), (float32, float64)), close=1e-3)
def complex_numbers(x, y):
    z = lax.complex(x, y)
    products = z * z, z + 1, jnp.conj(z), jnp.abs(z), jnp.real(z * jnp.conj(z)), jnp.vdot(z, z), jnp.outer(z, z) @ z
    return *products, z / (z + 2), jnp.sum(z), jnp.exp(z), z**3, z**-2, z == jnp.conj(z), -z, jnp.cumsum(z)


@program(pairs, close=None)
def complex_special(x, y):
    z, w = lax.complex(x, y), lax.complex(y[::-1], x)
    return z * w, z / w, jnp.abs(z), jnp.exp(z), z == w, z.astype(np.complex128), w - z


@program(lambda: (floats((2, 5, 5)), floats((2, 5, 5), float32, 1)), close=1e-3)
def complex_factors(x, y):
    z = lax.complex(x, y)
    solved = jnp.linalg.solve(z, jnp.conj(z)), jnp.linalg.det(z)
    return jnp.linalg.qr(z), solved, jnp.linalg.cholesky(z @ jnp.conj(jnp.swapaxes(z, 1, 2)) + 4 * jnp.eye(5))


@program(lambda: (floats((2, 5, 4)), floats((2, 5, 4), float32, 1)), close=None)
def complex_spectra(x, y):
    z = lax.complex(x, y)
    squares = jnp.conj(jnp.swapaxes(z, 1, 2)) @ z
    return jnp.linalg.eigh(squares), jnp.linalg.svd(z), jnp.linalg.svd(jnp.swapaxes(z, 1, 2), full_matrices=False)


@program(pairs, close=None)
def complex_inverse_functions(x, y):
    z = lax.complex(x, y)
    hyperbolic = jnp.arcsinh(z), jnp.arccosh(z), jnp.arctanh(z)
    return jnp.arcsin(z), jnp.arccos(z), jnp.arctan(z), *hyperbolic, jnp.cumprod(z[-9:])


@several(by_type(lambda dtype: [floats((2, 7), dtype, seed) for seed in range(3)], (float32, float64)), close=0.01)
def tridiagonal(lower, middle, upper):
    def solved(middle):
        return lax.linalg.tridiagonal_solve(lower, middle, upper, jnp.stack([middle, upper], 2))

    return solved(middle), jax.grad(lambda middle: jnp.sum(solved(middle + 2)))(middle)


@program(lambda: (floats((24,)),), close=1e-3)
def spectral_gradient(x):
    return jax.grad(lambda x: jnp.sum(jnp.abs(jnp.fft.rfft(x * jnp.sin(x))) ** 2))(x)


# --- random numbers and movement ------------------------------------------------------------------------------------


@program(lambda: (integers((), 99, 3, np.uint32),), close=None)
def random_numbers(seed):
    a, b, c, d, e = jax.random.split(jax.random.key(seed), 5)
    plain = jax.random.uniform(a, (17,), float32), jax.random.normal(b, (33,), float32), jax.random.bits(a, (3,))
    return (
        *plain,
        jax.random.bernoulli(d, 0.3, (19,)),
        jax.random.permutation(e, 12),
        jax.random.randint(c, (9,), -5, 77),
    )


@program(lambda: (integers((4,), 2**32, 3, np.uint32), floats((3, 40))), close=None)
def random_generators(key, x):
    algorithms = lax.RandomAlgorithm.RNG_THREE_FRY, lax.RandomAlgorithm.RNG_PHILOX
    drawn = [lax.rng_bit_generator(key, (3, 5), algorithm=one) for one in algorithms]
    return drawn, lax.approx_max_k(x, 4), lax.approx_min_k(x, 3)


@program(lambda: (integers((), 99, 3, np.uint32), floats((4, 9))), close=None)
def random_choices(seed, logits):
    a, b, c, d = jax.random.split(jax.random.key(seed), 4)
    drawn = (
        jax.random.categorical(a, logits),
        jax.random.gumbel(b, (7,), float32),
        jax.random.truncated_normal(c, -1.0, 2.0, (8,), float32),
    )
    return (*drawn, jax.random.exponential(d, (5,), float32))


@program(lambda: (integers((), 99, 3, np.uint32),), close=None)
def random_doubles(seed):
    key = jax.random.key(seed)
    return jax.random.exponential(key, (5,), float64), jax.random.uniform(key, (5,), float64)


@several(by_type(lambda dtype: (special(dtype), integers((5,), 40, 1))), close=None)
def movement(x, at):
    square = x[:16].reshape(4, 4)
    joined = jnp.concatenate(
        [x[::-2], square.T.ravel(), jnp.pad(square, ((1, 2), (0, 1)), constant_values=x[3]).ravel()]
    )
    picked = x[at], x.at[at].get(mode="fill"), lax.dynamic_slice(x, (at[0],), (4,)), jnp.roll(x, 3), jnp.tile(x, 2)
    stacked = lax.scan(lambda carry, one: (one, carry), x[0], x)
    chosen = jnp.where(jnp.arange(x.size) % 3 == 0, x, x[::-1])
    return joined, picked, stacked, chosen, lax.dynamic_update_slice(x, x[2:5], (at[1],)), x.at[3].set(x[5])


@program(lambda: (special(bfloat16), special(float16)), close=None)
def narrow_loops(x, y):
    taken = lax.cond(x[1] == x[0], lambda: (x, y[::-1]), lambda: (x[::-1], y))
    turned = lax.fori_loop(0, 3, lambda i, s: (jnp.roll(s[0], i), s[1] * s[1]), taken)
    return turned, lax.map(lambda one: one + one, x), lax.map(lambda one: one[::-1], y.reshape(-1, 1))


@program(lambda: (), close=None)
def counting():
    return (
        jnp.arange(7.0),
        jnp.arange(5, dtype=bfloat16),
        jnp.linspace(0, 1, 11),
        jnp.eye(3),
        jnp.ones((2, 0)),
        jnp.tri(4),
    )


@program(lambda: (special(), special(float64)[:16].reshape(2, 8)), close=None)
def layouts(x, y):
    wide = jnp.broadcast_to(x[:, None], (x.size, 3))
    return wide.T + x, (y.T * 2).T, y[:, ::2] + y[:, 1::2], jnp.sum(wide.T, 1), jnp.swapaxes(y, 0, 1) * jnp.ones((8, 2))
