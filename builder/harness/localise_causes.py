"""Which influences can make one operation give other bits: a table, and how what is known of two hosts orders it.

A row says which operations an influence acts on, and by which of a host's facts it may show. The influence table knows
what sets it. An order is not a proof: the proof is a run with that influence pinned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from builder.determinism.influences import INFLUENCES
from builder.harness.compare.model import Element, TensorDiff

EVERY: Final = frozenset({"*"})

SUMS: Final = frozenset(
    {"reduce_sum", "reduce_prod", "reduce_window_sum", "cumsum", "cumprod", "cumlogsumexp", "scatter_add", "psum"}
)
PRODUCTS: Final = frozenset({"dot_general", "conv_general_dilated", "ragged_dot_general", "scaled_matmul"})
LINEAR: Final = frozenset(
    {"cholesky", "svd", "lu", "lu_pivots_to_permutation", "qr", "geqrf", "eig", "eigh", "schur", "hessenberg",
     "householder_product", "triangular_solve", "tridiagonal", "tridiagonal_solve", "ormqr"}
)  # fmt: skip
CURVES: Final = frozenset(
    {"exp", "exp2", "expm1", "log", "log1p", "tanh", "tan", "sin", "cos", "sinh", "cosh", "asin", "acos", "atan",
     "atan2", "asinh", "acosh", "atanh", "erf", "erfc", "erf_inv", "logistic", "pow", "cbrt", "lgamma", "digamma",
     "integer_pow", "igamma", "igammac", "regularized_incomplete_beta", "bessel_i0e", "bessel_i1e"}
)  # fmt: skip
DRAWS: Final = frozenset(
    {"random_bits", "random_seed", "random_split", "random_fold_in", "threefry2x32", "rng_uniform", "random_gamma",
     "rng_bit_generator"}
)  # fmt: skip
ESTIMATES: Final = frozenset({"rsqrt", "sqrt"})
"""XLA makes x / sqrt(y) into x * rsqrt(y) where it compiles the two together."""

EXTREMES: Final = frozenset(
    {"max", "min", "clamp", "reduce_max", "reduce_min", "reduce_window_max", "reduce_window_min", "cummax", "cummin",
     "argmax", "argmin", "select_and_scatter_add", "select_and_gather_add"}
)  # fmt: skip

FUSED: Final = frozenset({"fma-contraction", "rsqrt-approximation"})
"""What acts on several operations that are compiled as one."""

FOREIGN: Final = frozenset({"ffi_call", "pure_callback", "io_callback", "custom_call"})


@dataclass(frozen=True, slots=True)
class Row:
    """One influence, by its name in the influence table; `facts` are keys of a receipt's `host`."""

    influence: str
    acts_on: frozenset[str]
    facts: frozenset[str]
    why: str

    @property
    def knobs(self) -> frozenset[str]:
        """Variables of the environment, or flags of XLA without their dashes, that set it."""
        return PINS[self.influence]


PINS: Final[Mapping[str, frozenset[str]]] = {one.name: frozenset(one.pins) for one in INFLUENCES}
"""What sets each influence."""

_CPU: Final = frozenset({"features", "cpu"})
_CACHES: Final = frozenset({"caches_kernel", "caches_cpu"})
_CORES: Final = frozenset({"cores"})

TABLE: Final[tuple[Row, ...]] = (
    Row(
        "flush-to-zero", frozenset(), frozenset(),
        "one host gives zero where the other gives a subnormal number: one flushes these",
    ),
    Row(
        "matmul-dispatch", PRODUCTS, _CPU,
        "oneDNN picks kernels by instruction set, and blocks by the sizes of caches",
    ),
    Row(
        "cache-sizes", PRODUCTS, _CACHES,
        "Eigen in one thread cuts sums over hundreds of products by the sizes of caches, and nothing pins these",
    ),
    Row("lapack-dispatch", LINEAR, _CPU, "OpenBLAS, by way of SciPy, picks kernels by CPU"),
    Row("lapack-threads", LINEAR, _CORES, "OpenBLAS splits work by thread, and makes no more than there are cores"),
    Row(
        "rsqrt-approximation", ESTIMATES | PRODUCTS, _CPU,
        "the CPU's own estimate is refined, and estimates differ between makers; YNNPACK's products follow the CPU",
    ),
    Row(
        "threads", SUMS | PRODUCTS | frozenset({"fft", "argmax", "argmin", "sort"}), _CORES,
        "work is split by the size of the thread pool, and each split rounds in another order",
    ),
    Row(
        "ynnpack", SUMS, _CORES, "YNNPACK splits sums by the size of the thread pool"
    ),
    Row(
        "vector-width", SUMS | PRODUCTS | frozenset({"fft"}), _CPU,
        "partial sums stand in vector lanes, so more lanes add in another order",
    ),
    Row(
        "fma-contraction", CURVES | SUMS | PRODUCTS | frozenset({"mul", "add", "sub", "fft"}) | ESTIMATES,
        frozenset({"features"}),
        "where the instruction set has fused multiply-add, a product is not rounded before it is added",
    ),
    Row(
        "fast-math", CURVES | SUMS | frozenset({"div", "mul", "add", "sub"}) | ESTIMATES, frozenset(),
        "the compiler may reorder and approximate",
    ),
    Row(
        "fast-min-max", EXTREMES, frozenset(), "the compiler may drop NaN or the sign of zero"
    ),
    Row("prng", DRAWS, frozenset(), "random bits follow from the generator and from how it is split"),
    Row(
        "native-code", FOREIGN, _CPU | frozenset({"libc"}),
        "code outside of XLA: its own dispatch, its compiler's flags, the floating-point mode that it sets",
    ),
    Row("openmp", FOREIGN, _CORES, "sums in OpenMP loops are split by thread"),
    Row("libm-dispatch", FOREIGN, frozenset({"libm"}), "glibc picks variants of its functions by CPU"),
    Row("numpy-dispatch", FOREIGN, frozenset({"features"}), "NumPy picks loops by CPU"),
    Row("compiler", EVERY, _CPU, "XLA compiles this for the CPU that it finds"),
)  # fmt: skip

LOADED: Final[tuple[Row, ...]] = (
    Row("numpy-dispatch", EVERY, frozenset({"features"}), "NumPy picks loops by CPU"),
    Row("libm-dispatch", EVERY, frozenset({"libm"}), "glibc picks variants of its functions by CPU"),
    Row("hash-seed", EVERY, frozenset(), "something walks a set of strings"),
    Row("locale", EVERY, frozenset(), "something reads the locale"),
    Row("time-zone", EVERY, frozenset(), "something reads the local time"),
    Row("environment", EVERY, frozenset(), "something reads the environment"),
)  # fmt: skip
"""What can move values that a kernel's own Python computes before the program begins, in `load` and `prepare`."""

CHANGED: Final[Mapping[str, tuple[str, str]]] = {
    "parameter": ("weights", "the hosts were given different weights"),
    "input": ("inputs", "the hosts were given different inputs, or `prepare` made different ones of them"),
    "key": ("seed", "the hosts were given different seeds"),
    "constant": ("constants", "the model's own Python code made different constants while it was traced"),
}
"""By what a value that the program begins with is."""

PROGRAM: Final = ("program", "the hosts were given different programs, or traced them by different versions of JAX")


@dataclass(frozen=True, slots=True)
class Suspect:
    """An influence that may be the cause; `seen` says what in the two receipts speaks for it, if anything does."""

    influence: str
    why: str
    seen: tuple[str, ...] = ()


def suspects(
    primitives: Iterable[str],
    diffs: Sequence[TensorDiff],
    receipts: tuple[Mapping[str, Any], Mapping[str, Any]],
    *,
    fused: bool = False,
) -> tuple[Suspect, ...]:
    """Influences that can act on these operations, likeliest first.

    Args:
        primitives: of the operations that gave other bits.
        diffs: what they gave, compared.
        receipts: of both runs.
        fused: whether the operations agree when each is compiled alone.
    """
    names = frozenset(one.partition(" ")[0] for one in primitives)  # of an ffi_call, what is called stands behind it
    knobs, facts = differing(*receipts)
    found: list[tuple[int, Suspect]] = []
    for row in TABLE:
        flushed = row.influence == "flush-to-zero" and any(map(_flushes, diffs))
        if not (flushed or row.acts_on & names or row.acts_on is EVERY):
            continue
        seen = tuple(sorted(knobs & row.knobs)) + tuple(sorted(facts & row.facts))
        # What the values show is stronger than a variable that differs, and that than a fact about the machine.
        weight = (8 if flushed else 0) + (4 if knobs & row.knobs else 0) + (1 if facts & row.facts else 0)
        weight += 2 if fused and row.influence in FUSED else 0
        found.append((weight, Suspect(row.influence, row.why, seen)))
    return tuple(suspect for _, suspect in sorted(found, key=lambda item: -item[0]))


def argued(roles: Iterable[str], receipts: tuple[Mapping[str, Any], Mapping[str, Any]]) -> tuple[Suspect, ...]:
    """Influences that can change what the program begins with: first those that are nothing but that.

    Args:
        roles: what differs: keys of `CHANGED`.
        receipts: of both runs.
    """
    named = frozenset(roles)
    found = [Suspect(*CHANGED[role]) for role in CHANGED if role in named]
    if named == {"key"}:
        return tuple(found)
    knobs, facts = differing(*receipts)
    rows = [(row, (*sorted(knobs & row.knobs), *sorted(facts & row.facts))) for row in LOADED]
    return (*found, *(Suspect(row.influence, row.why, seen) for row, seen in rows if seen))


def differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
    """Variables and flags that two receipts' environments don't share, and facts that their hosts don't."""
    return frozenset(_odd(_knobs(a), _knobs(b))), frozenset(_odd(_part(a, "host"), _part(b, "host")))


def _odd(a: Mapping[str, Any], b: Mapping[str, Any]) -> set[str]:
    return {name for name in a.keys() | b.keys() if a.get(name) != b.get(name)}


def _part(receipt: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    found: Any = receipt
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _knobs(receipt: Mapping[str, Any]) -> dict[str, str]:
    environment = dict(_part(receipt, "result", "profile", "environment"))
    flags = str(environment.pop("XLA_FLAGS", "")).split()
    return environment | {flag.partition("=")[0].lstrip("-"): flag.partition("=")[2] for flag in flags}


def _flushes(diff: TensorDiff) -> bool:
    """Whether some element is zero on one host and subnormal on the other, among the two elements that a diff keeps."""
    return any(_flushed(element, diff.dtype_a) for element in (diff.first, diff.worst) if element is not None)


def _flushed(element: Element, dtype: str | None) -> bool:
    from builder.harness.compare.formats import FORMATS  # noqa: PLC0415

    form = next((form for form in FORMATS.values() if form.name == dtype and form.kind == "float"), None)
    if form is None:
        return False
    sign = 1 << (8 * form.width - 1)
    for a, b in zip(element.a_bits.split(","), element.b_bits.split(","), strict=True):
        low, high = sorted((int(a, 16) & ~sign, int(b, 16) & ~sign))
        if low == 0 < high < 1 << form.fraction:
            return True
    return False
