"""The action that compiles one shared object of a kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from builder.backends.action import OUTPUT, Action, InputFile
from builder.platforms import Platform
from builder.store.artifact import Artifact

LINK_SPECS = "*linker:\nld\n\n"
"""A spec file (GCC manual, "Specifying Subprocesses"): link with ld itself. GCC's default, collect2, starts ld on its
own, out of reach of `-wrapper`, and does nothing else for ELF."""

_SPECS = "/in/link.specs"
_SOURCES = "/in/src"
_HEADERS = "/in/include"


def native_action(
    name: str,
    *,
    platform: Platform,
    compiler: str,
    toolchain: Sequence[Artifact],
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
        platform: to compile on and for.
        compiler: name of the driver in /usr/bin, such as `g++-14`.
        toolchain: the debs that hold it and all it needs.
        flags: the compiler's, then the table's.
        sources: path relative to the kernel's folder -> hex SHA-256; compiled in this order, other files among them
            (headers of the kernel) are for their `#include`s.
        headers: path below an include folder, such as `jaxlib/include/xla/ffi/api/ffi.h` -> hex SHA-256.
        include: folders of `headers` to search, such as `jaxlib/include`.
        specs: hex SHA-256 of `LINK_SPECS` in the store.
        epoch: seconds since 1970.
    """
    compiled = [path for path in sources if not path.endswith((".h", ".hh", ".hpp", ".inc"))]
    return Action(
        name=f"native {name}",
        platform=platform,
        root=tuple(item.sha256 for item in toolchain),
        inputs=(
            InputFile(_SPECS, specs),
            *(InputFile(f"{_SOURCES}/{path}", sha256) for path, sha256 in sources.items()),
            *(InputFile(f"{_HEADERS}/{path}", sha256) for path, sha256 in headers.items()),
        ),
        argv=(
            f"/usr/bin/{compiler}",
            f"-specs={_SPECS}",
            "-B/usr/bin/",  # so that as and ld are found by the driver, not by PATH, which a wrapper may not search
            "-shared",
            "-fPIC",
            *(f"-isystem{_HEADERS}/{folder}" for folder in include),
            *flags,
            f"-frandom-seed={name}",
            f"-ffile-prefix-map={_SOURCES}=.",
            f"-ffile-prefix-map={_HEADERS}=.",
            "-Wl,--build-id=sha1",
            "-o",
            f"{OUTPUT}/{name}.so",
            *(f"{_SOURCES}/{path}" for path in compiled),
        ),
        env=(("LC_ALL", "C.UTF-8"), ("PATH", "/usr/bin")),
        epoch=epoch,
    )
