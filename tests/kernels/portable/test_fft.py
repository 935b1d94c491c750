"""Fourier transforms: every fast library gives the referee's bits, and the values are NumPy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import assert_one_value, bits, every, numbers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jax import lax

from kernels.runtime.errors import KernelError
from kernels.runtime.portable import fft, portable

KINDS = {"FFT": np.fft.fftn, "IFFT": np.fft.ifftn, "RFFT": np.fft.rfftn, "IRFFT": np.fft.irfftn}
EPS = {"float32": 2.0**-24, "float64": 2.0**-53}
LENGTHS = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 18, 20, 61, 64, 66, 67, 74, 100, 121, 128, 134, 192, 256, 1000, 1024)
SOME = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


def transform(x, kind, lengths):
    (y,) = fft.fft([x], {"fft_type": getattr(lax.FftType, kind), "fft_lengths": tuple(lengths)})
    return y


def operand(kind, batch, lengths, dtype, *, seed=0, special=0.0):
    last = lengths[-1] // 2 + 1 if kind == "IRFFT" else lengths[-1]
    shape = (*batch, *lengths[:-1], last)
    x = numbers(shape, dtype, seed, special)
    if kind == "RFFT":
        return x
    return np.stack([x, numbers(shape, dtype, seed + 1, special)], -1).view(f"c{2 * x.itemsize}")[..., 0]


def parts(x):
    """Complex values as what they are made of, which is what has bits."""
    return x.view(x.real.dtype) if np.iscomplexobj(x) else x


@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_length(kind, dtype):
    operands = [operand(kind, (), (n,), dtype, seed=n) for n in LENGTHS]
    operands += [operand(kind, (17,), (n,), dtype, seed=n) for n in LENGTHS[:18]]

    def function(operands):
        return [transform(x, kind, (n,)) for x, n in zip(operands, (*LENGTHS, *LENGTHS[:18]), strict=True)]

    found = every(function, operands)
    assert_one_value(jax.tree.map(parts, found))
    for x, y, n in zip(operands, found[0], LENGTHS, strict=False):
        precise = KINDS[kind](x.astype("c16" if np.iscomplexobj(x) else "f8"), (n,), (-1,))
        assert np.abs(y - precise).max() <= 12 * EPS[dtype] * np.abs(precise).max(), n


@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("kind", KINDS)
def test_several_axes(kind, dtype):
    cases = (((2,), (6, 5, 8)), ((), (4, 3, 7)), ((3,), (33, 18)), ((), (1, 1)), ((2, 2), (1, 40)), ((0,), (4, 4)))
    operands = [operand(kind, batch, lengths, dtype) for batch, lengths in cases]

    def function(operands):
        return [transform(x, kind, lengths) for x, (_, lengths) in zip(operands, cases, strict=True)]

    found = every(function, operands)
    assert_one_value(jax.tree.map(parts, found))
    for x, y, (_, lengths) in zip(operands[:5], found[0], cases, strict=False):
        precise = KINDS[kind](x.astype("c16" if np.iscomplexobj(x) else "f8"), lengths, range(-len(lengths), 0))
        assert np.abs(y - precise).max() <= 12 * EPS[dtype] * np.abs(precise).max()


@SOME
@given(
    st.sampled_from([*KINDS]),
    st.sampled_from([*EPS]),
    st.lists(st.sampled_from([1, 2, 3, 4, 9, 16, 22, 67]), min_size=1, max_size=2),
    st.integers(0, 99),
    st.sampled_from([0.02, 0.3]),
)
def test_special_values(kind, dtype, lengths, seed, special):
    x = operand(kind, (2,), lengths, dtype, seed=seed, special=special)
    found = every(lambda x: transform(x, kind, lengths), x)
    assert_one_value(jax.tree.map(parts, found))
    words = bits(parts(found[0]))
    assert set(words[np.isnan(parts(found[0]))]) <= {0x7FC00000, 0x7FF8000000000000}  # G2


@pytest.mark.slow
@pytest.mark.parametrize("dtype", EPS)
def test_long_transforms(dtype):
    for n in (2**16, 3**9, 10007, 2 * 3 * 5 * 7 * 11 * 13):
        for kind, reference in KINDS.items():
            x = operand(kind, (), (n,), dtype)
            found = every(lambda x, kind=kind, n=n: transform(x, kind, (n,)), x)
            assert_one_value(jax.tree.map(parts, found))
            precise = reference(x.astype("c16" if np.iscomplexobj(x) else "f8"), (n,), (-1,))
            assert np.abs(found[0] - precise).max() <= 30 * EPS[dtype] * np.abs(precise).max()


def test_a_line_of_a_batch_is_as_alone():
    for n in (16, 100, 256):
        x = operand("FFT", (21,), (n,), "float32")
        whole = np.asarray(jax.jit(lambda x, n=n: transform(x, "FFT", (n,)))(x))
        alone = np.asarray(jax.jit(lambda x, n=n: transform(x, "FFT", (n,)))(x[19]))
        np.testing.assert_array_equal(bits(parts(whole[19])), bits(parts(alone)))


@pytest.mark.parametrize(
    ("x", "kind", "lengths", "said"),
    [
        (np.ones(4, "f2"), "RFFT", (4,), "no RFFT of float16"),
        (np.ones(4, "f4"), "FFT", (4,), "no FFT of float32"),
        (np.ones((2, 0), "c8"), "FFT", (0,), "length 0"),
        (np.ones(7, "c8"), "IRFFT", (8,), "7 elements for length 8"),
    ],
)
def test_what_is_not_defined_is_refused(x, kind, lengths, said):
    with pytest.raises(KernelError, match=said):
        transform(jax.numpy.asarray(x), kind, lengths)


def test_what_jax_makes_of_them_under_the_transform():
    x, y = numbers((9, 14), "float32", 1), numbers((9, 14), "float32", 2)

    def transformed(x, y):
        return (
            jnp.fft.irfft(jnp.fft.rfft(x) * jnp.fft.rfft(y)),
            jnp.fft.hfft(x),
            jax.grad(lambda x: jnp.sum(jnp.abs(jnp.fft.fft(x)) ** 2))(x),
            jax.grad(lambda x: jnp.sum(jnp.fft.irfft2(jnp.fft.rfft2(x)) ** 3))(x),
        )

    ours, theirs = jax.jit(portable(transformed))(x, y), jax.jit(transformed)(x, y)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max()), ours, theirs)
