"""The functions of one number: fast and referee agree on every narrow number, and are as accurate as the page says."""

import re
from decimal import Decimal
from pathlib import Path

import jax
import numpy as np
import pytest
import scipy.special
from agreement import LEVELS, assert_one_value, bits, every, numbers

from kernels.runtime.portable import fused, fused_codes, library
from kernels.runtime.portable.fused import Operand, Step

FUNCTIONS = tuple(fused_codes.FUNCTIONS)
SPECIAL = ("erf", "erfc", "erf_inv", "lgamma", "digamma", "bessel_i0e", "bessel_i1e")
OTHERS = ("neg", "abs", "sign", "floor", "ceil", "sqrt", "square")
TRUE = {
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "logistic": scipy.special.expit,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "erf": scipy.special.erf,
    "erfc": scipy.special.erfc,
    "erf_inv": scipy.special.erfinv,
    "cbrt": np.cbrt,
    "lgamma": lambda x: np.where(x == -np.inf, np.inf, scipy.special.gammaln(x)),
    "digamma": lambda x: np.where(x == 0, np.nan, scipy.special.digamma(x)),
    "bessel_i0e": scipy.special.i0e,
    "bessel_i1e": scipy.special.i1e,
}
"""In binary64, where the last digits don't matter."""


@pytest.fixture(scope="module", autouse=True)
def _binary64():
    with jax.enable_x64(True):
        yield


def all_of(names, *operands):
    """Each of these functions of the operands, in one program."""
    dtype = np.dtype(operands[0].dtype)
    args = tuple(range(len(operands)))
    return fused.call(
        operands[0].shape,
        [Operand(each, (0,)) for each in operands],
        [Step(name, args, dtype) for name in names],
        range(len(args), len(args) + len(names)),
    )


def sample(count, seed=0):
    """Binary32 numbers of every size, and many of ordinary size."""
    random = np.random.default_rng(seed)
    anything = random.integers(0, 1 << 32, count, np.uint32).view(np.float32)
    ordinary = (random.standard_normal(count) * 4).astype(np.float32)
    unit = random.uniform(-1, 1, count).astype(np.float32)
    return np.concatenate([anything, ordinary, unit, numbers((100,), "float32", seed, 1)])


def units(found, true):
    """How far results are from the true values, in units in the last place of binary32; infinite for a wrong kind."""
    with np.errstate(over="ignore", invalid="ignore"):
        near = true.astype(np.float32)
        far = np.abs(found.astype(np.float64) - true) / np.spacing(np.abs(near)).astype(np.float64)
    plain = np.isfinite(near) & np.isfinite(found)
    same = (np.isnan(found) & np.isnan(near)) | (found == near)
    signs = (near != 0) | (found != 0) | (np.signbit(near) == np.signbit(found))
    return np.where(plain & signs, far, np.where(same & signs, 0, np.inf))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_every_narrow_number(dtype):
    x = np.arange(1 << 16, dtype=np.uint16).view(jax.numpy.dtype(dtype))
    assert_one_value(every(lambda x: all_of(FUNCTIONS + OTHERS, x), x))


def test_a_sample_of_binary32():
    assert_one_value(every(lambda x: all_of(FUNCTIONS + OTHERS, x), sample(20_000)))


def test_a_sample_of_pairs():
    x = numbers((8_000,), "float32", 1, 0.2)
    y = numbers((8_000,), "float32", 2, 0.2)
    whole = np.concatenate([x, x]), np.concatenate([y, np.round(y)])
    found = every(lambda x, y: all_of(["pow", "atan2"], x, y), *whole)
    assert_one_value(found)
    with np.errstate(all="ignore"):
        wide = [each.astype(np.float64) for each in whole]
        assert units(np.asarray(found[0][0]), np.power(*wide)).max() < 0.501
        assert units(np.asarray(found[0][1]), np.arctan2(*wide)).max() < 0.501


@pytest.mark.parametrize("name", FUNCTIONS)
def test_accuracy(name):
    x = sample(50_000)
    (found,) = all_of([name], x)
    with np.errstate(all="ignore"):
        true = TRUE[name](x.astype(np.float64))
    if name in {"erf_inv", "bessel_i1e"}:
        true = np.where(x == 0, x, true)  # SciPy's lose the sign of a zero
    worst = units(np.asarray(found), true)
    assert worst.max() < {"exp": 0.65, "tanh": 2.3, "logistic": 1.5}.get(name, 0.501), x[worst.argmax()]


def sample_64(count, seed=0):
    """Binary64 numbers of every size, and many of ordinary size."""
    random = np.random.default_rng(seed)
    anything = random.integers(0, 1 << 64, count, np.uint64).view(np.float64)
    parts = [anything, *(random.standard_normal(count) * size for size in (1e-9, 1, 30, 400, 1e7))]
    edges = [
        0,
        1,
        2,
        0.5,
        709.78,
        709.79,
        710.4,
        745.1,
        746,
        5e-324,
        1e-310,
        2.0**20,
        2.0**30,
        2.0**1023,
        np.inf,
        np.nan,
    ]
    return np.concatenate([*parts, 1 + parts[1], random.uniform(-1, 1, count), edges, np.negative(edges)])


def test_a_sample_of_binary64():
    assert_one_value(every(lambda x: all_of(FUNCTIONS + OTHERS, x), sample_64(1500)))


def test_a_sample_of_pairs_of_binary64():
    random = np.random.default_rng(3)
    x, y = random.permutation(sample_64(1500)), random.permutation(sample_64(1500, 1))
    with np.errstate(invalid="ignore"):
        x, y = np.concatenate([x, np.abs(x)]), np.concatenate([np.round(y), y / 100])
    found = every(lambda x, y: all_of(["pow", "atan2"], x, y), x, y)
    assert_one_value(found)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(found[0][0], np.power(x, y), rtol=1e-15, atol=5e-324)
        np.testing.assert_allclose(found[0][1], np.arctan2(x, y), rtol=1e-15, atol=5e-324)


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 60, reason="needs a type that is wider than binary64")
@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in SPECIAL])
def test_accuracy_of_binary64(name):
    x = sample_64(10_000)
    found = np.asarray(all_of([name], x)[0])
    with np.errstate(all="ignore"):
        wide = x.astype(np.longdouble)
        true = 1 / (1 + np.exp(-wide)) if name == "logistic" else TRUE[name](wide)
        near = true.astype(np.float64)
        far = np.abs(found - true) / np.spacing(np.abs(near))
    plain = np.isfinite(near) & (np.abs(near) > np.finfo(np.float64).tiny)
    assert far[plain].max() < 0.51, x[plain][far[plain].argmax()]
    np.testing.assert_allclose(found[~plain], near[~plain], rtol=0, atol=5e-324)


VALUES = [line.split() for line in (Path(__file__).parent / "special_values.txt").read_text().splitlines()[1:]]
WORST = {"erf": 0.6, "erfc": 0.65, "erf_inv": 0.7, "lgamma": 0.8, "digamma": 0.52, "bessel_i0e": 2.5, "bessel_i1e": 2}


@pytest.mark.parametrize("name", SPECIAL)
def test_accuracy_of_special_functions(name):
    rows = [row for row in VALUES if row[0] == name]
    x = np.array([float.fromhex(row[1]) for row in rows])
    for row, found in zip(rows, np.asarray(all_of([name], x)[0]), strict=True):
        far = abs(Decimal(float(found)) - Decimal(row[-1]))
        assert far < max(WORST[name] * np.spacing(abs(float(row[-1]))), 2.0**-62), row


ITERATED = {
    "igamma": 20,
    "igammac": 80,
    "igamma_grad_a": 100,
    "zeta": 4,
    "polygamma": 8,
    "regularized_incomplete_beta": 100,
}


@pytest.mark.parametrize("name", ITERATED)
def test_accuracy_of_functions_that_go_on(name):
    rows = [row for row in VALUES if row[0] == name]
    operands = np.array([[float.fromhex(one) for one in row[1:-1]] for row in rows]).T
    for row, found in zip(rows, np.asarray(all_of([name], *operands)[0]), strict=True):
        most = ITERATED[name] * np.spacing(abs(float(row[-1])))
        assert abs(Decimal(float(found)) - Decimal(row[-1])) < most, row
    assert_one_value(every(lambda *x: all_of([name], *x), *operands))


def test_functions_that_go_on_at_their_edges():
    nan, inf = np.nan, np.inf
    a = np.array([0.0, 0, 0, 1, 1, inf, inf, 1, -1, nan, 1e-300, 1e30, 1e30])
    x = np.array([0.0, 0.5, inf, 0, inf, 2, inf, -1, 2, 1, 1, 2e30, 5e29])
    found = every(lambda a, x: all_of(["igamma", "igammac", "igamma_grad_a", "zeta", "polygamma"], a, x), a, x)
    assert_one_value(found)
    np.testing.assert_array_equal(found[0][0], [nan, 1, 1, 0, 1, 0, 1, nan, nan, nan, 1, 1, 0])
    assert (np.asarray(found[0][1])[[1, 2, 3, 4, 5, 11, 12]] == [0, 0, 1, 0, 1, 0, 1]).all()
    x, q = np.array([2.0, 3, 1, 0.5, 2, 2.5, inf, 2]), np.array([-1.0, -1, 2, 2, inf, -1.5, 2, nan])
    (zeta,) = all_of(["zeta"], x, q)
    np.testing.assert_array_equal(zeta, [inf, nan, inf, nan, 0, nan, nan, nan])
    b = np.array([0.0, 1, 0, 1, 1, 2, 2, inf])
    (beta,) = all_of(
        ["regularized_incomplete_beta"], np.array([1.0, 0, 0, 1, 1, 2, 2, 1]), b, np.array([0.3] * 5 + [0, 1, 0.5])
    )
    np.testing.assert_allclose(beta, [0, 1, nan, 0.3, 0.3, 0, 1, 1], rtol=1e-15)


def test_poles():
    x = np.array([0.0, -0.0, -1, -2, -1e300, -np.inf, np.inf, np.nan, 5e-324, -5e-324, 1, 2, 2.6e305])
    lgamma, digamma = (np.asarray(one) for one in all_of(["lgamma", "digamma"], x))
    least = 744.4400719213812
    np.testing.assert_array_equal(lgamma, [*[np.inf] * 7, np.nan, least, least, 0, 0, np.inf])
    np.testing.assert_array_equal(np.isnan(digamma), [*[True] * 6, False, True, *[False] * 5])
    np.testing.assert_array_equal(digamma[[6, 8, 9]], [np.inf, -np.inf, np.inf])
    assert not np.signbit(lgamma[10:12]).any()


def test_large_angles():
    """Those whose remainder needs the binary digits of 2/π far beyond the point."""
    x = np.array([2.0**30, 2.0**30 + 128, 1e22, 3.4e38, 2.0**127, 16367173 * 2.0**72, 1.5 * 2.0**90], np.float32)
    x = np.concatenate([x, -x])
    found = every(lambda x: all_of(["sin", "cos", "tan"], x), x)
    assert_one_value(found)
    for mine, true in zip(found[0], (np.sin, np.cos, np.tan), strict=True):
        assert units(np.asarray(mine), true(x.astype(np.float64))).max() < 0.501


def test_logarithms_next_to_the_middle_between_two_numbers():
    """Where the short way of AVX-512 alone would round to the other one."""
    words = "16c5ee7a 2423c085 2e492984 36e5459e 3f2f24ef 47321211 4fe4ab24 5ee8984e 6914cb96"
    hard = np.array([int(word, 16) for word in words.split()], np.uint32).view(np.float32)
    x = np.concatenate([hard, sample(10)[: 64 - len(hard)], hard])  # in vectors, and after the last whole one
    assert_one_value(every(lambda x: all_of(["log"], x), x))


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_binary32_number(name, monkeypatch):
    """All of them through every fast library; one in 61, which is all kinds alike, through the referee too."""
    few = np.arange(5, dtype=np.float32)
    step = 1 << 24
    levels = LEVELS[: LEVELS.index(library.level()) + 1]
    compiled = []
    for level in levels:
        monkeypatch.setattr(library, "level", lambda level=level: level)
        compiled.append(jax.jit(lambda x, level=level: all_of([name], x)[0]).lower(np.resize(few, step)).compile())
    rare = len(range(0, step, 61))
    with library.arbitrated():
        referee = jax.jit(lambda x: all_of([name], x)[0]).lower(np.resize(few, rare)).compile()
    for begin in range(0, 1 << 32, step):
        x = np.arange(begin, begin + step, dtype=np.uint32).view(np.float32)
        first, *others = [bits(function(x)) for function in compiled]
        assert all(np.array_equal(first, other) for other in others)
        place = begin // step % 61
        some = np.resize(x[place::61], rare)
        np.testing.assert_array_equal(bits(referee(some)), np.resize(first[place::61], rare))


@pytest.mark.parametrize("folder", ["native", "referee"])
def test_the_coefficients_are_those_of_the_page(folder):
    """Every table of the page stands in both sources, number for number."""
    sources = Path(library.__file__).parent / folder
    pages = Path(__file__).parents[3] / "docs/numerics"
    page = "".join((pages / name).read_text() for name in ("elementwise.md", "special.md"))
    number = r"-?0x1(?:\.[0-9a-f]+)?p[+-]\d+"
    text = "".join(path.read_text() for path in sorted(sources.glob("*.h")) + sorted(sources.glob("*.cc")))
    found = {float.fromhex(each) for each in re.findall(number, text)}
    wanted = {float.fromhex(each) for each in re.findall(number, page)}
    assert len(wanted) > 320
    assert wanted <= found
