"""Which compiler and XLA flags a spec may hold.

A flag is refused when it reads or writes a place of the building machine, takes a decision from its CPU, or makes the
object differ between two runs of one compiler. The option summaries of GCC and Clang are the source of the names.
"""

from __future__ import annotations

import re

from builder.spec.refusal import Refusal

_STAGES = frozenset(
    {"-c", "-S", "-E", "-M", "-MM", "-fsyntax-only", "-shared", "-static", "-pie", "-r", "-emit-llvm", "--analyze"}
)
_PATHS = ("-I", "-L", "-iquote", "-isystem", "-idirafter", "-include", "-imacros", "-iprefix", "-isysroot", "--sysroot")
_RECORDED = "leave it out: the image's labels say the compiler, its version and its flags"
_FORBIDDEN: tuple[tuple[str, str, str], ...] = (
    # prefix, what is wrong with it, what to do
    ("@", "reads flags from a file, which the spec's identity does not cover", "write the flags into the array"),
    ("-o", "names an output; kbuild names it", "leave it out: the object's name is the table's"),
    ("-B", "looks for compiler parts in another folder than the locked toolchain's", "leave it out"),
    ("-fprofile", "makes the object depend on a profile that a run left behind", "leave it out"),
    ("-fauto-profile", "makes the object depend on a profile that a run left behind", "leave it out"),
    ("-fbranch-probabilities", "makes the object depend on a profile that a run left behind", "leave it out"),
    ("--coverage", "makes the object write files when it runs", "leave it out"),
    ("-ftest-coverage", "makes the compiler write files of its own", "leave it out"),
    ("-fplugin", "loads code into the compiler that the lock does not name", "leave it out"),
    ("-specs", "replaces the locked compiler's own settings by a file", "leave it out"),
    ("--specs", "replaces the locked compiler's own settings by a file", "leave it out"),
    ("-wrapper", "runs another program in place of the locked compiler", "leave it out"),
    ("-fuse-ld", "links with another linker than the locked one", "leave it out"),
    ("-save-temps", "makes the compiler write files of its own", "leave it out"),
    ("-dump", "makes the compiler write files of its own", "leave it out"),
    ("-fdump", "makes the compiler write files of its own", "leave it out"),
    ("-MD", "makes the compiler write files of its own", "leave it out"),
    ("-MMD", "makes the compiler write files of its own", "leave it out"),
    ("-MF", "makes the compiler write files of its own", "leave it out"),
    ("-MJ", "makes the compiler write files of its own", "leave it out"),
    ("-gsplit-dwarf", "makes the compiler write files of its own", "leave it out"),
    ("-ftime-trace", "makes the compiler write files of its own", "leave it out"),
    ("-save-stats", "makes the compiler write files of its own", "leave it out"),
    ("-serialize-diagnostics", "makes the compiler write files of its own", "leave it out"),
    ("--serialize-diagnostics", "makes the compiler write files of its own", "leave it out"),
    ("-gen-reproducer", "makes the compiler write files of its own", "leave it out"),
    ("-foptimization-record", "makes the compiler write files of its own", "leave it out"),
    ("-fsave-optimization-record", "makes the compiler write files of its own", "leave it out"),
    ("-fmodules", "keeps a cache of modules, which outlives the build", "leave it out"),
    ("-fcs-profile", "makes the object depend on a profile that a run left behind", "leave it out"),
    ("-fmemory-profile", "makes the object depend on a profile that a run left behind", "leave it out"),
    ("-fpass-plugin", "loads code into the compiler that the lock does not name", "leave it out"),
    ("-resource-dir", "looks for compiler parts in another folder than the locked toolchain's", "leave it out"),
    ("--gcc-", "looks for compiler parts in another folder than the locked toolchain's", "leave it out"),
    ("-gcc-toolchain", "looks for compiler parts in another folder than the locked toolchain's", "leave it out"),
    ("--ld-path", "links with another linker than the locked one", "leave it out"),
    ("--config", "reads flags from a file, which the spec's identity does not cover", "write the flags into the array"),
    ("-target", "names a platform; kbuild compiles for each of the spec's own", "leave it out"),
    ("--target", "names a platform; kbuild compiles for each of the spec's own", "leave it out"),
    ("-frecord-", "puts the command line into the object, which says where it was made", _RECORDED),
    ("-grecord-", "puts the command line into the object, which says where it was made", _RECORDED),
    ("-fdebug-compilation-dir", "puts a folder of the building machine into the object", "leave it out"),
    ("-ffile-compilation-dir", "puts a folder of the building machine into the object", "leave it out"),
    ("-X", "hands a flag on without its reason being visible", "write -Wl, -Wa, or -Wp, with the flag itself"),
    ("-T", "replaces the linker's layout by a file", "leave it out"),
)
_FAST_MATH = frozenset(
    {
        "-Ofast",
        "-ffast-math",
        "-funsafe-math-optimizations",
        "-fassociative-math",
        "-freciprocal-math",
        "-ffinite-math-only",
        "-fno-signed-zeros",
        "-fcx-limited-range",
        "-fcx-fortran-rules",
        "-mrecip",
        "-mdaz-ftz",
        "-fsingle-precision-constant",
    }
)
_TUNED = re.compile(r"-m(arch|tune|cpu|fpu)=native")
_PASSED_ON = re.compile(r"-W[lap],")


def compiler(flag: str) -> Refusal | None:  # noqa: PLR0911 - one per rule
    """Why a compiler flag is refused, if it is."""
    if not flag.startswith(("-", "@")):
        return Refusal(
            f"{flag!r} is not a flag", "start it with '-'; write a flag and its value as one string, such as '-DX=1'"
        )
    if any(char.isspace() or not char.isprintable() for char in flag):
        return Refusal(f"{flag!r} holds white space", "write one flag per string")
    if _TUNED.match(flag):
        return Refusal(
            f"{flag!r} takes a decision from the building machine's CPU", "declare the CPU in [hardware.cpu] instead"
        )
    if flag in _STAGES:
        return Refusal(f"{flag!r} chooses what the compiler makes; kbuild makes one shared object", "leave it out")
    for prefix in _PATHS:
        if flag.startswith(prefix):
            return _path(flag, flag[len(prefix) :].removeprefix("="))
    for prefix, wrong, instead in _FORBIDDEN:
        if flag.startswith(prefix):
            return Refusal(f"{flag!r} {wrong}", instead)
    if _PASSED_ON.match(flag):
        return _passed_on(flag)
    return None


def fast_math(flag: str) -> bool:
    """Whether a compiler flag lets results depart from IEEE 754 arithmetic in the order that the source states."""
    return flag.partition("=")[0] in _FAST_MATH or flag == "-ffp-contract=fast"


def xla(name: str, value: object) -> Refusal | None:
    """Why an XLA flag is refused, if it is; its name's shape is the model's to check."""
    if name.startswith("xla_dump_"):
        return Refusal(f"{name!r} makes XLA write files beside the outputs", "leave it out")
    if name.endswith(("_cache_dir", "_results_from", "_results_to")):
        return Refusal(f"{name!r} names a place outside the image", "leave it out")
    if isinstance(value, str) and not re.fullmatch(r"[A-Za-z0-9_.,:;+=/-]+", value):
        return Refusal(
            f"the value {value!r} of {name!r} does not survive XLA_FLAGS, which is split at white space and quotes",
            "use letters, digits and . , : ; + = / - _ only",
        )
    return None


def _path(flag: str, path: str) -> Refusal | None:
    if not path:
        return Refusal(f"{flag!r} has no path", "write the flag and its path as one string, such as '-Iinclude'")
    if path.startswith("/") or ".." in path.split("/"):
        return Refusal(f"{flag!r} leads out of the kernel's folder", "use a path below it, such as '-Iinclude'")
    return None


def _passed_on(flag: str) -> Refusal | None:
    """Flags for the linker, assembler or preprocessor behind a comma."""
    for part in flag.split(",")[1:]:
        value = part.partition("=")[2] or part
        if part.startswith("@") or part in {"-o", "-T", "-L", "--plugin"} or value.startswith("/"):
            return Refusal(f"{flag!r} leads out of the kernel's folder", "leave it out")
        for prefix in _PATHS:
            if part.startswith(prefix) and _path(flag, part[len(prefix) :]):
                return _path(flag, part[len(prefix) :])
        if part.startswith("--build-id") and value not in {"none", "sha1", "md5", "--build-id"}:
            return Refusal(f"{flag!r} gives every object another identity", "use --build-id=sha1 or --build-id=none")
    return None
