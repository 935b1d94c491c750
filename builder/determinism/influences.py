"""The influence table: every factor known to move a bit. `docs/influences.md` is made from it."""

from __future__ import annotations

from typing import Final

from builder.determinism.influence import Influence, Seen
from builder.determinism.table import AMD64, ARM64

MODELS: Final = "CPU models under QEMU"
CORES: Final = "core counts"
HOSTILE: Final = "hostile surroundings"

_ENVIRONMENT: Final = "the variables are as the image states them, or the host is refused"
_MEASURED: Final = "measured with jaxlib 0.10.2 on x86-64"
_LAYERS: Final = "bytes of a layer, by the lock"

INFLUENCES: Final[tuple[Influence, ...]] = (
    # What the image is made of
    Influence(
        "os", "operating system and libc version", "every library call: libm's functions change between releases",
        (), _LAYERS, "libc's version is in the receipt", "", Seen.MOVED,
        "expm1f, tanhf, erff, log1pf and eleven more differ between glibc 2.36 and 2.41", "glibc 2.41: release notes",
    ),
    Influence(
        "python", "Python's version", "what a model computes while it is traced", (), _LAYERS,
        "its version is in the receipt", "", Seen.ELSEWHERE, "one Python per image: another is another image",
        "Python: what's new",
    ),
    Influence(
        "jaxlib", "versions of JAX and jaxlib", "every operation: they are the compiler", (), _LAYERS,
        "versions that the spec pins with == are those that are imported", "", Seen.ELSEWHERE,
        "one jaxlib per image: another is another image", "JAX: change log",
    ),
    Influence(
        "native-code", "compiler and flags of native code", "native objects: contraction, reordering, vectorising",
        (), "compiled by the locked toolchain into a layer; flags that name the builder's CPU are refused", "", "",
        Seen.MOVED, "-ffp-contract=fast against off", "GCC manual: optimize options",
    ),
    Influence(
        "weights", "the weights", "everything", (), _LAYERS, "", "", Seen.MOVED, "one bit of one weight",
        "a test plants it",
    ),
    Influence(
        "program", "the traced program", "everything", (), "code in a layer, traced by the image's own JAX",
        "its StableHLO is hashed into the receipt", "", Seen.MOVED, "another program has another hash",
        "docs/protocol.md",
    ),
    Influence(
        "constants", "arrays closed over instead of passed", "folded at compile time, by other code than at run time",
        (), "weights are arguments of the program", "", "", Seen.MOVED,
        "exp and a product, folded and not", _MEASURED,
    ),
    # What a run is given
    Influence(
        "inputs", "the inputs", "everything", (), "", "hashed into the receipt", "", Seen.MOVED,
        "other inputs", "docs/protocol.md",
    ),
    Influence(
        "seed", "the seed", "random draws", (), "part of the spec", "in the receipt", "", Seen.MOVED, "another seed",
        "JAX: pseudorandom numbers",
    ),
    Influence(
        "prng", "the generator of random numbers, and how it is split", "random draws",
        ("JAX_DEFAULT_PRNG_IMPL", "JAX_THREEFRY_PARTITIONABLE"), "", _ENVIRONMENT, "", Seen.MOVED,
        "rbg for threefry2x32, and threefry unpartitioned", _MEASURED,
    ),
    Influence(
        "x64", "64-bit types on or off", "every array of Python numbers", ("JAX_ENABLE_X64",), "", _ENVIRONMENT, "",
        Seen.MOVED, "1/3 has other bits, and random draws too", _MEASURED,
    ),
    Influence(
        "matmul-precision", "default precision of products", "products on accelerators",
        ("JAX_DEFAULT_MATMUL_PRECISION",), "", _ENVIRONMENT, "", Seen.STILL, "a CPU ignores it", _MEASURED,
    ),
    # How XLA compiles
    Influence(
        "fma-contraction", "instruction set that XLA compiles for",
        "everything with a product and a sum: whether it is fused, and vector lanes of sums",
        ("xla_cpu_max_isa",), "", "the CPU has every feature of the declared level", MODELS, Seen.MOVED,
        "SSE4_2 for AVX2: exp, sums, softmax, FFT, random normals", _MEASURED, AMD64,
    ),
    Influence(
        "vector-width", "vector width that LLVM prefers", "sums and matrix-vector products",
        ("xla_cpu_prefer_vector_width",), "", _ENVIRONMENT, MODELS, Seen.MOVED, "128 for 256: gemv, full sum",
        _MEASURED, AMD64,
    ),
    Influence(
        "rsqrt-approximation", "hardware estimates, and arithmetic that differs by CPU",
        "rsqrt and what is built on it; YNNPACK's products",
        ("xla_cpu_enable_platform_dependent_math",), "", _ENVIRONMENT, MODELS, Seen.MOVED,
        "rsqrt, layer normalisation", _MEASURED,
    ),
    Influence(
        "fast-math", "transformations that floating point does not allow", "everything",
        ("xla_cpu_enable_fast_math",), "the compiler's own flags for it are refused where the spec forbids them",
        _ENVIRONMENT, "", Seen.MOVED, "sums, softmax, gelu, subnormal numbers", _MEASURED,
    ),
    Influence(
        "fast-min-max", "min and max that drop NaN or the sign of zero", "max, min, clamp, pooling",
        ("xla_cpu_enable_fast_min_max",), "", _ENVIRONMENT, "", Seen.STILL,
        "max, min, clamp, relu, reductions and pooling over NaN and -0 kept their bits", _MEASURED,
    ),
    Influence(
        "llvm-ftz", "code generation that assumes flushing", "subnormal numbers", ("xla_cpu_ftz",), "", _ENVIRONMENT,
        "", Seen.STILL, "XLA's run time flushes whatever the flag says: see flush-to-zero", _MEASURED,
    ),
    Influence(
        "compiler", "everything else in XLA's code generation", "everything", (),
        "jaxlib is a layer; the flags are pinned", "", MODELS, Seen.ELSEWHERE,
        "scheduling follows the host's CPU model; no case of moved bits is known", _MEASURED,
    ),
    # Libraries that pick code at run time
    Influence(
        "ynnpack", "YNNPACK's sums and convolutions",
        "sums over rows, columns and everything: split by thread count; convolutions over 1152 values each: by CPU",
        ("xla_cpu_experimental_ynn_fusion_type",), "", _ENVIRONMENT, CORES, Seen.MOVED,
        "sums, layer normalisation, softmax; a 3x3 convolution of 128 channels on EPYC-Rome and Haswell", _MEASURED,
    ),
    Influence(
        "matmul-dispatch", "oneDNN's kernels", "products with a transposed left side, convolutions",
        ("TENSORFLOW_USE_CUSTOM_CONTRACTION_KERNEL", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"), "", _ENVIRONMENT,
        MODELS, Seen.MOVED, "SSE41 for AVX2; and by cache sizes, with AVX2: a convolution on EPYC-Rome", _MEASURED,
        AMD64,
    ),
    Influence(
        "cache-sizes", "sizes of the CPU's caches",
        "what Eigen does in one thread: products over more than 320 values each that are transposed on their left, as"
        " gradients of weights are, or complex",
        (), "", "the sizes are in the receipt; whoever compiles the program names such products in a note", MODELS,
        Seen.MOVED,
        "4 rows and columns over 4096 values, with 48 KiB of L1 against 32; no setting holds it. Real ones stay if what"
        " is transposed goes through jax.lax.optimization_barrier: YNNPACK does these. In several threads Eigen takes"
        " 320 values at a time wherever L1 has 32 KiB", _MEASURED,
    ),
    Influence(
        "sme", "Arm's matrix extension", "YNNPACK's products over long sums", (),
        "the profile refuses a CPU that has it", "the CPU has none, under the profile", MODELS,
        Seen.ELSEWHERE, "minilm on QEMU's `max` with SME and without: products over 1536 values",
        "measured with jaxlib 0.10.2 on arm64", ARM64,
    ),
    Influence(
        "sys", "/sys, from which libraries read topology and caches", "YNNPACK's choice of kernels on Arm", (),
        "", "", "", Seen.STILL, "no difference on x86-64; on Arm it ends with an error", "XNNPACK: cpuinfo",
    ),
    Influence(
        "lapack-dispatch", "OpenBLAS's kernels", "cholesky, solve, svd, eigh: SciPy's OpenBLAS serves XLA",
        ("OPENBLAS_CORETYPE",), "", _ENVIRONMENT, MODELS, Seen.MOVED, "Nehalem for Haswell: all four", _MEASURED,
    ),
    Influence(
        "lapack-threads", "OpenBLAS's threads", "eigh", ("OPENBLAS_NUM_THREADS",), "", _ENVIRONMENT, CORES,
        Seen.MOVED, "2 threads asked for on one core are one thread", _MEASURED,
    ),
    Influence(
        "openmp", "threads of OpenMP loops", "native code that uses OpenMP", ("OMP_NUM_THREADS",), "", _ENVIRONMENT,
        CORES, Seen.STILL, "nothing in JAX uses OpenMP", "OpenMP 5.2, section 21.1",
    ),
    Influence(
        "libm-dispatch", "glibc's variants of exp, log, pow, sin and more", "NumPy's and Python's functions",
        ("GLIBC_TUNABLES",), "", "which variants were picked is in the receipt", MODELS, Seen.MOVED,
        "without AVX2 and FMA: exp, sin, pow of doubles", "glibc manual: hardware capability tunables", AMD64,
    ),
    Influence(
        "numpy-dispatch", "NumPy's vector loops", "what `load` and `prepare` compute in NumPy",
        ("NPY_DISABLE_CPU_FEATURES",), "", _ENVIRONMENT, MODELS, Seen.MOVED, "exp and log1p, with AVX-512 let go",
        "NumPy: CPU build options",
    ),
    # The process
    Influence(
        "threads", "size of XLA's thread pool", "products that Eigen splits; sums, under YNNPACK",
        ("NPROC", "PJRT_NPROC"), "", _ENVIRONMENT, CORES, Seen.MOVED, "1 for 2: a transposed product",
        _MEASURED,
    ),
    Influence(
        "affinity", "cores that the process may use", "libraries that count them", (),
        "every pool's size is pinned", "in the receipt", CORES, Seen.MOVED,
        "eigh, while OpenBLAS had two threads", _MEASURED,
    ),
    Influence(
        "flush-to-zero", "subnormal numbers flushed", "subnormal numbers",
        (), "XLA flushes on every thread of its own, on both platforms, whatever its flags",
        "the main thread keeps them", "", Seen.MOVED, "a thread's mode set by hand; inside XLA nothing turns it off",
        _MEASURED,
    ),
    Influence(
        "rounding-mode", "direction of rounding", "everything", (), "XLA sets it to nearest on its threads",
        "the main thread rounds to nearest, before and after", "", Seen.MOVED, "upwards, set by hand: Python and NumPy",
        "IEEE 754-2019, section 4.3",
    ),
    Influence(
        "hash-seed", "seed of Python's string hashes", "what a model builds by walking a set", ("PYTHONHASHSEED",), "",
        _ENVIRONMENT, "", Seen.MOVED, "a set of strings", "Python: command line and environment",
    ),
    Influence(
        "locale", "locale", "formats, collation, names of files", ("LANG", "LC_ALL"),
        "the image has no other locale than C", _ENVIRONMENT, HOSTILE, Seen.STILL,
        "Python stays in the C locale until a model asks for another, and there is none", "locale(7)",
    ),
    Influence(
        "time-zone", "time zone", "what a model makes of local time", ("TZ",), "", _ENVIRONMENT, HOSTILE, Seen.MOVED,
        "a date read while loading", "tzset(3)",
    ),
    Influence(
        "environment", "variables that leak in", "whatever reads them",
        ("PATH", "HOME", "JAX_PLATFORMS", "PYTHONDONTWRITEBYTECODE", "PYTHONNOUSERSITE", "PYTHONPATH",
         "PYTHONSAFEPATH"),
        "a run starts with the image's environment only", "variables that a library acts on are refused", HOSTILE,
        Seen.MOVED, "a model that reads one", "environ(7)",
    ),
    Influence(
        "memory-layout", "address randomisation and alignment", "loops that peel to an alignment", (), "", "",
        HOSTILE, Seen.STILL, "XLA's buffers are aligned to 64 bytes", _MEASURED,
    ),
    # Accelerators, which no image uses yet
    Influence(
        "tf32", "TF32 in products", "products on NVIDIA GPUs", (), "no image uses a GPU", "", "", Seen.ELSEWHERE,
        "a CPU has none", "JAX: jax_default_matmul_precision",
    ),
    Influence(
        "autotuning", "cuDNN and GEMM autotuning", "products and convolutions on GPUs", (), "no image uses a GPU", "",
        "", Seen.ELSEWHERE, "a CPU has none", "XLA: persisted autotuning",
    ),
    Influence(
        "gpu-atomics", "operations on GPUs that add in any order", "scatter, reductions on GPUs", (),
        "no image uses a GPU", "", "", Seen.ELSEWHERE, "a CPU has none", "XLA: determinism on GPU",
    ),
    Influence(
        "tpu", "bfloat16 passes and compiler versions of TPUs", "products on TPUs", (), "no image uses a TPU", "", "",
        Seen.ELSEWHERE, "a CPU has none", "JAX: jax_default_matmul_precision",
    ),
)  # fmt: skip
