"""The pins of an image's environment: per row the value's rule, why it is there, and where that is known from.

A row of the closed world is set under every profile; a numeric row only under `pinned`. Rows that name platforms are
left out elsewhere. Values that follow the declared CPU are capped at it, so that a newer CPU takes the same code path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from builder.platforms import Platform
from builder.spec.model import Spec

Rule = Callable[[Spec], str | None]
"""A pin's value for a spec; None leaves the pin out."""

AMD64: Final[tuple[Platform, ...]] = ("linux/amd64",)
ARM64: Final[tuple[Platform, ...]] = ("linux/arm64",)
EVERY: Final[tuple[Platform, ...]] = ("linux/amd64", "linux/arm64")

WIDE: Final = frozenset({"int64", "uint64", "float64", "complex128"})
"""Types that JAX narrows to 32 bits unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Pin:
    """One variable of the environment, or one flag of XLA.

    `numeric` rows move result bits; the others close the world that a kernel runs in. `source` says where the effect
    was measured or is documented.
    """

    name: str
    kind: Literal["variable", "xla"]
    rule: Rule
    why: str
    source: str
    numeric: bool = True
    platforms: tuple[Platform, ...] = EVERY


def _always(value: str) -> Rule:
    return lambda _: value


def _threads(spec: Spec) -> str:
    return str(spec.determinism.threads)


def _by_level(values: Mapping[str, str]) -> Rule:
    """A value that follows the declared level of x86-64; a level without one leaves the pin out."""
    return lambda spec: values.get(spec.hardware.cpu.amd64)


def _x64(spec: Spec) -> str:
    tensors = [*spec.inputs.values(), *spec.outputs.values()]
    return "true" if any(tensor.dtype in WIDE for tensor in tensors) else "false"


_MEASURED = "measured with jaxlib 0.10.2"

CLOSED: Final[tuple[Pin, ...]] = (
    Pin(
        "PATH", "variable", _always("/usr/local/bin:/usr/bin:/bin"),
        "programs come from the image", "execve(2)", numeric=False,
    ),
    Pin(
        "HOME", "variable", _always("/tmp"),  # noqa: S108 - inside the image, where it is private and empty
        "the image is read-only; caches that a library insists on go where a run may write", "environ(7)",
        numeric=False,
    ),
    Pin("LANG", "variable", _always("C.UTF-8"), "one locale", "locale(7)", numeric=False),
    Pin(
        "LC_ALL", "variable", _always("C.UTF-8"),
        "number formats, collation and the encoding of file names", "locale(7)", numeric=False,
    ),
    Pin("TZ", "variable", _always("UTC"), "one time zone", "tzset(3)", numeric=False),
    Pin(
        "PYTHONHASHSEED", "variable", _always("0"),
        "the order of sets of strings, and so of whatever a model builds by walking one",
        "Python: command line and environment", numeric=False,
    ),
    Pin(
        "PYTHONPATH", "variable", _always("/opt/kbuild"),
        "where the runtime is", "kbuild: layout of the image", numeric=False,
    ),
    Pin(
        "PYTHONDONTWRITEBYTECODE", "variable", _always("1"),
        "the image is read-only and holds its bytecode", "Python: command line and environment", numeric=False,
    ),
    Pin(
        "PYTHONNOUSERSITE", "variable", _always("1"),
        "no module comes from a home folder", "Python: command line and environment", numeric=False,
    ),
    Pin(
        "PYTHONSAFEPATH", "variable", _always("1"),
        "no module comes from the folder that the process was started in", "Python: command line and environment",
        numeric=False,
    ),
    Pin(
        "JAX_PLATFORMS", "variable", _always("cpu"),
        "no other back end is looked for", "JAX: configuration options", numeric=False,
    ),
    Pin(
        "JAX_ENABLE_X64", "variable", _x64,
        "a declared 64-bit type means 64 bits; without one, Python's numbers stay 32-bit as JAX has them by default",
        "JAX: default dtypes and the X64 flag", numeric=False,
    ),
)  # fmt: skip

NUMERIC: Final[tuple[Pin, ...]] = (
    Pin(
        "NPROC", "variable", _threads,
        "size of XLA's thread pool, whatever the cores; reductions and FFTs may be split by it", _MEASURED,
    ),
    Pin("PJRT_NPROC", "variable", _threads, "the same, where PJRT asks first", _MEASURED),
    Pin("OMP_NUM_THREADS", "variable", _threads, "sums in OpenMP loops are split by it", "OpenMP 5.2, section 21.1"),
    Pin(
        "OPENBLAS_NUM_THREADS", "variable", _always("1"),
        "SciPy's OpenBLAS serves XLA's linear algebra and blocks by thread, of which it makes no more than there are"
        " cores: with 2, eigh on one core had other bits", _MEASURED,
    ),
    Pin(
        "OPENBLAS_CORETYPE", "variable",
        _by_level({"x86-64-v2": "Nehalem", "x86-64-v3": "Haswell", "x86-64-v4": "SkylakeX"}),
        "OpenBLAS picks kernels by CPU: Nehalem against the host's own moved cholesky, svd and solve", _MEASURED,
        platforms=AMD64,
    ),
    Pin(
        "OPENBLAS_CORETYPE", "variable", _always("ARMV8"),
        "the same on Arm, where a newer core would bring kernels of another vector length",
        "OpenBLAS: dynamic_arm64.c", platforms=ARM64,
    ),
    Pin(
        "TENSORFLOW_USE_CUSTOM_CONTRACTION_KERNEL", "variable", _always("0"),
        "products and convolutions that fall to Eigen stay there: oneDNN goes by instruction set and cache sizes"
        " (a convolution on EPYC-Rome against Haswell, both capped at AVX2)", _MEASURED,
    ),
    Pin(
        "ONEDNN_MAX_CPU_ISA", "variable",
        _by_level({"x86-64-v2": "SSE41", "x86-64-v3": "AVX2", "x86-64-v4": "AVX512_CORE"}),
        "whatever else may reach oneDNN: it has other bits per instruction set", _MEASURED,
        platforms=AMD64,
    ),
    Pin(
        "DNNL_MAX_CPU_ISA", "variable",
        _by_level({"x86-64-v2": "SSE41", "x86-64-v3": "AVX2", "x86-64-v4": "AVX512_CORE"}),
        "the same under oneDNN's older name", _MEASURED, platforms=AMD64,
    ),
    Pin(
        "GLIBC_TUNABLES", "variable",
        _by_level({
            "x86-64-v2": "glibc.cpu.hwcaps=-AVX,-AVX2,-FMA,-FMA4,-AVX512F,-AVX512VL,-AVX512BW,-AVX512DQ,-AVX512CD",
            "x86-64-v3": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX512DQ,-AVX512CD",
        }),
        "libm picks exp, log, pow, sin and more by CPU, and the loader picks libraries from glibc-hwcaps folders",
        "glibc manual: hardware capability tunables; measured on glibc 2.36", platforms=AMD64,
    ),
    Pin(
        "NPY_DISABLE_CPU_FEATURES", "variable",
        _by_level({
            "x86-64-v2": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
            "x86-64-v3": "X86_V4 AVX512_ICL AVX512_SPR",
            "x86-64-v4": "AVX512_ICL AVX512_SPR",
        }),
        "NumPy picks loops by CPU; these are its dispatched groups since 2.4", "NumPy: CPU build options",
        platforms=AMD64,
    ),
    Pin(
        "NPY_DISABLE_CPU_FEATURES", "variable", _always("ASIMDHP ASIMDDP ASIMDFHM SVE"),
        "the same on Arm: no architecture version makes all of these mandatory, and SVE's length is the host's choice",
        "NumPy: CPU build options", platforms=ARM64,
    ),
    Pin(
        "JAX_DEFAULT_MATMUL_PRECISION", "variable", _always("highest"),
        "no product is rounded to fewer bits than its operands have", "JAX: jax_default_matmul_precision",
    ),
    Pin(
        "JAX_DEFAULT_PRNG_IMPL", "variable", _always("threefry2x32"),
        "integer arithmetic with the same bits everywhere; the other generators belong to a back end",
        "JAX: pseudorandom numbers",
    ),
    Pin(
        "JAX_THREEFRY_PARTITIONABLE", "variable", _always("true"),
        "how a random array is cut decides its numbers", "JAX: pseudorandom numbers",
    ),
    Pin(
        "xla_cpu_max_isa", "xla", _by_level({"x86-64-v2": "SSE4_2", "x86-64-v3": "AVX2", "x86-64-v4": "AVX512"}),
        "code that XLA makes follows the host's instruction set: vector width and FMA contraction", _MEASURED,
        platforms=AMD64,
    ),
    Pin(
        "xla_cpu_prefer_vector_width", "xla",
        _by_level({"x86-64-v2": "128", "x86-64-v3": "256", "x86-64-v4": "256"}),
        "matrix-vector products and reductions have other bits per width", _MEASURED, platforms=AMD64,
    ),
    Pin(
        "xla_cpu_enable_platform_dependent_math", "xla", _always("false"),
        "no hardware estimate of 1/sqrt, which vendors build differently; one arithmetic in all of YNNPACK's kernels",
        _MEASURED,
    ),
    Pin(
        "xla_cpu_experimental_ynn_fusion_type", "xla", _always("-reduce,-individual_convolution"),
        "YNNPACK splits sums over rows and over everything by thread count, which XLA's own loops do not, and sums of"
        " convolutions over a thousand values and more by CPU, which Eigen does not", _MEASURED,
    ),
    Pin(
        "xla_cpu_ftz", "xla", _always("false"),
        "no code is made on the assumption that subnormal numbers are flushed (XLA's threads flush them all the same)",
        _MEASURED,
    ),
    Pin(
        "xla_cpu_enable_fast_math", "xla", _always("false"),
        "no transformation that real numbers allow and floating point does not", "XLA: debug options",
    ),
    Pin(
        "xla_cpu_enable_fast_min_max", "xla", _always("false"),
        "min and max treat NaN and signed zero as IEEE 754 does", "XLA: debug options",
    ),
)  # fmt: skip

GUARANTEES: Final[Mapping[str, Mapping[str, str]]] = {
    "rsqrt-approximation": {"xla_cpu_enable_platform_dependent_math": "false"},
    "fast-math": {"xla_cpu_enable_fast_math": "false", "xla_cpu_enable_fast_min_max": "false"},
    "tf32": {},
}
"""What `hardware.forbid` may name, and the XLA flags that rule it out. A CPU has no TF32 to begin with."""

UNAVOIDABLE: Final[Mapping[str, str]] = {
    "flush-to-zero": "XLA flushes subnormal numbers on every CPU thread of its own, whatever its flags say",
}
"""What `hardware.forbid` may name and no pin rules out, only the profile `portable`, with the reason.

(Inside of a call MXCSR is 0x9fe2, which has FTZ and DAZ set, with jaxlib 0.10.2 and `xla_cpu_ftz=false`.)
"""

STRICT_COMPILER: Final = frozenset({"fast-math"})
"""What fast-math flags of the compiler let in."""
