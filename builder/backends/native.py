"""The action that compiles one shared object of a kernel.

Whichever machine builds, the compiler gets the same headers in the same order at the same paths, and the same start-up
files and libraries: each folder is named, none is left to what a native or a cross compiler would search by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from builder.backends.action import OUTPUT, Action, InputFile, NixpkgsRoot
from builder.lock.nar import bare
from builder.plan.compiler import Compiler
from builder.platforms import NAMES

LINK_SPECS = "*linker:\nld\n\n"
"""A spec file (GCC manual, "Specifying Subprocesses"): link with ld itself. GCC's default, collect2, starts ld on its
own, out of reach of `-wrapper`, and does nothing else for ELF."""

_SPECS = "/in/link.specs"
_WHEEL = "/in/zig.whl"
_SOURCES = "/in/src"
_HEADERS = "/in/include"
_NOT_COMPILED = (".h", ".hh", ".hpp", ".inc")

_ZIG = """\
mkdir /tmp/zig && cd /tmp/zig
/usr/bin/busybox unzip -q /in/zig.whl -x '*/libc/include/*bsd*' '*/libc/include/*windows*' '*/libc/include/*darwin*' \
'*/libc/include/*wasi*' '*/libc/mingw/*' '*/libc/wasi/*' '*/libc/musl/*'
/usr/bin/busybox chmod +x ziglang/zig
cd /
exec /tmp/zig/ziglang/zig "$@"
"""
"""Unpacks Zig, but for other systems' C libraries, and becomes it."""

_ZIG_CPUS = {
    "x86-64-v2": "x86_64_v2",
    "x86-64-v3": "x86_64_v3",
    "x86-64-v4": "x86_64_v4",
    "armv8-a": "generic",
    "armv8.2-a": "generic+v8_2a",
    "armv9-a": "generic+v9a",
}
"""What Zig, which names processors and features as LLVM does, calls the values of `hardware.cpu`."""


def native_action(
    name: str,
    *,
    compiler: Compiler,
    flags: Sequence[str],
    sources: Mapping[str, str],
    headers: Mapping[str, str],
    include: Sequence[str],
    specs: str,
    epoch: int,
) -> Action:
    """Describe the compilation of one `[native.NAME]` table to `NAME.so`.

    Paths of the sandbox do not reach the object: they are mapped away, for debug information and `__FILE__` alike. The
    build ID is a hash of the object's own content.

    Args:
        name: of the table.
        compiler: from the lock.
        flags: the target's `-march`, the compiler table's, then this table's.
        sources: path relative to the kernel's folder -> hex SHA-256; compiled in this order, other files among them
            (headers of the kernel) are for their `#include`s.
        headers: path below an include folder, such as `jaxlib/include/xla/ffi/api/ffi.h` -> hex SHA-256.
        include: folders of `headers` to search, such as `jaxlib/include`.
        specs: hex SHA-256 of `LINK_SPECS` in the store.
        epoch: seconds since 1970.
    """
    plain_c = all(path.endswith((".c", *_NOT_COMPILED)) for path in sources)
    begin = _beginning(compiler, plain_c=plain_c)
    inputs = [InputFile(f"{_SOURCES}/{path}", sha256) for path, sha256 in sources.items()]
    inputs += [InputFile(f"{_HEADERS}/{path}", sha256) for path, sha256 in headers.items()]
    if compiler.name == "gcc" and compiler.nixpkgs is None:
        inputs.insert(0, InputFile(_SPECS, specs))
    if compiler.archive is not None:
        inputs.insert(0, InputFile(_WHEEL, compiler.archive.sha256))
    return Action(
        name=f"native {name}",
        platform=compiler.platform,
        root=tuple(item.sha256 for item in compiler.root),
        inputs=tuple(inputs),
        argv=(
            *begin,
            "-shared",
            "-fPIC",
            *(f"-isystem{_HEADERS}/{folder}" for folder in include),
            *_system_headers(compiler, plain_c=plain_c),
            *_for_cpu(compiler, _placed(flags)),
            *_closing(compiler, name, flags),
            f"-ffile-prefix-map={_SOURCES}=.",
            f"-ffile-prefix-map={_HEADERS}=.",
            "-Wl,--build-id=sha1",
            "-o",
            f"{OUTPUT}/{name}.so",
            *(f"{_SOURCES}/{path}" for path in sources if not path.endswith(_NOT_COMPILED)),
        ),
        env=(*_environment(compiler), ("LC_ALL", "C.UTF-8"), ("PATH", "/usr/bin")),
        epoch=epoch,
        nixpkgs=_nixpkgs(compiler),
    )


_FOLDERS = ("-I", "-iquote", "-isystem", "-idirafter", "-include", "-imacros", "-L")


def _placed(flags: Sequence[str]) -> tuple[str, ...]:
    """Flags whose paths, relative to the kernel's folder as in the spec, are where its files are in the sandbox."""
    return tuple(
        next((f"{name}{_SOURCES}/{flag.removeprefix(name)}" for name in _FOLDERS if flag.startswith(name)), flag)
        for flag in flags
    )


_ENVIRONMENTS = {
    "zig": (("HOME", "/tmp"), ("ZIG_GLOBAL_CACHE_DIR", "/tmp/zig-cache"), ("ZIG_LOCAL_CACHE_DIR", "/tmp/zig-cache"))  # noqa: S108 - the sandbox's own
}


def _environment(compiler: Compiler) -> tuple[tuple[str, str], ...]:
    """What else the compiler's environment has.

    A compiler of nixpkgs is a script that adds flags of its own, for hardening and for finding libraries in the Nix
    store, unless it is told not to: the spec's flags are all, and libraries are the image's.
    """
    if compiler.nixpkgs is None:
        return _ENVIRONMENTS.get(compiler.name, ())
    salt = f"{NAMES[compiler.target].machine}_unknown_linux_gnu"
    return ((f"NIX_DONT_SET_RPATH_{salt}", "1"), ("NIX_HARDENING_ENABLE", ""), (f"NIX_HARDENING_ENABLE_{salt}", ""))


def _nixpkgs(compiler: Compiler) -> NixpkgsRoot | None:
    pinned = compiler.nixpkgs
    if pinned is None:
        return None
    return NixpkgsRoot(pinned.rev, bare(pinned.nar_hash), compiler.attribute, compiler.version)


def _beginning(compiler: Compiler, *, plain_c: bool) -> tuple[str, ...]:
    """The compiler, and what tells it where everything is."""
    if compiler.nixpkgs is not None:  # knows where its own things are
        names = {"gcc": ("gcc", "g++"), "clang": ("clang", "clang++")}[compiler.name]
        return (f"/usr/bin/{names[0 if plain_c else 1]}",)
    return {"gcc": _gcc, "clang": _clang, "zig": _zig}[compiler.name](compiler, plain_c=plain_c)


def _gcc(compiler: Compiler, *, plain_c: bool) -> tuple[str, ...]:
    """Gcc for C alone, g++ as soon as there is C++: it links libstdc++ and takes `.c` for C++."""
    prefix = f"{NAMES[compiler.target].gnu}-" if compiler.crossing else ""
    # A native driver under a wrapper does not search PATH for as and ld; a cross compiler is not to find native ones.
    tools = () if compiler.crossing else ("-B/usr/bin/",)
    driver = f"{prefix}{'gcc' if plain_c else 'g++'}-{compiler.series}"
    return (f"/usr/bin/{driver}", f"-specs={_SPECS}", *tools, *_libraries(compiler), "-nostdinc", *_no_cpp(plain_c))


def _clang(compiler: Compiler, *, plain_c: bool) -> tuple[str, ...]:
    driver = f"{'clang' if plain_c else 'clang++'}-{compiler.series}"
    # Before 16, Clang knew no SOURCE_DATE_EPOCH: __DATE__ was the clock's.
    dated = ("-Werror=date-time",) if int(compiler.series) < 16 else ()  # noqa: PLR2004 - the version
    return (
        f"/usr/bin/{driver}",
        f"--target={NAMES[compiler.target].gnu}",
        f"--ld-path=/usr/bin/ld.lld-{compiler.series}",
        *_libraries(compiler),
        "-nostdlibinc",
        *_no_cpp(plain_c),
        *dated,
    )


def _zig(compiler: Compiler, *, plain_c: bool) -> tuple[str, ...]:
    target = f"{NAMES[compiler.target].machine}-linux-gnu.{compiler.glibc}"
    return ("/usr/bin/busybox", "sh", "-euc", _ZIG, "zig", "cc" if plain_c else "c++", "-target", target,
            "-fno-sanitize=undefined")  # fmt: skip


def _closing(compiler: Compiler, name: str, flags: Sequence[str]) -> tuple[str, ...]:
    """What comes after a spec's own flags.

    Clang draws no random numbers, and records its flags only if asked to; a cross GCC has others than a native one. Zig
    links a C++ library with 4 MB of debug information, which is of use only to who asks for it.
    """
    if compiler.name == "gcc":
        return f"-frandom-seed={name}", "-gno-record-gcc-switches"
    if compiler.name == "clang":
        return ()
    debug = any(flag.startswith("-g") and flag != "-g0" for flag in flags)
    return ("-ffile-prefix-map=/tmp/zig/ziglang=zig",) if debug else ("-s",)


def _no_cpp(plain_c: bool) -> tuple[str, ...]:  # noqa: FBT001 - which language it is
    return () if plain_c else ("-nostdinc++",)


def _libraries(compiler: Compiler) -> tuple[str, ...]:
    """Where start-up files and libraries are: GCC's own, then the C library's."""
    gnu = NAMES[compiler.target].gnu
    folders = (f"/usr/lib/gcc/{gnu}/{compiler.library}/", f"/usr/lib/{gnu}/")
    return tuple(f"{flag}{folder}" for folder in folders for flag in ("-B", "-L"))


def _system_headers(compiler: Compiler, *, plain_c: bool) -> tuple[str, ...]:
    """The folders that a native compiler searches, in its order, after those of the kernel."""
    if compiler.name == "zig" or compiler.nixpkgs is not None:
        return ()
    gnu, series = NAMES[compiler.target].gnu, compiler.library
    cpp = f"/usr/include/c++/{series}"
    folders = [] if plain_c else [cpp, f"/usr/include/{gnu}/c++/{series}", f"{cpp}/backward"]
    if compiler.name == "gcc":
        folders.append(f"/usr/lib/gcc/{gnu}/{series}/include")
    # After those of Clang's own headers, which it finds itself.
    after = [f"/usr/include/{gnu}", "/usr/include"]
    return (*(f"-isystem{folder}" for folder in folders), *(f"-idirafter{folder}" for folder in after))


def _for_cpu(compiler: Compiler, flags: Sequence[str]) -> tuple[str, ...]:
    if compiler.name != "zig":
        return tuple(flags)
    return tuple(
        f"-mcpu={_ZIG_CPUS[cpu]}" if (cpu := flag.removeprefix("-march=")) != flag and cpu in _ZIG_CPUS else flag
        for flag in flags
    )
