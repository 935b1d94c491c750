"""The action that compiles a kernel's programs ahead of time; `kernels.runtime.aot.build` says what it does inside.

XLA generates code for the CPU that it finds, and records its features, so the compiler runs on an emulated CPU, the
same one whoever builds: a wheel of jaxlib cannot be told of another. The emulator is an input like any other and the
command a program of the builder's own platform, so a backend need not know of it. Nor does Python see anything of the
builder's CPU: what it is told of caches and cores by the machine outside reaches no program (tests/e2e/test_aot.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from builder.backends.action import OUTPUT, Action, InputFile
from builder.plan.aot import Compilation
from builder.platforms import Platform

_IMAGE = "/in/image"
_WHEELS = "/in/wheels"
_EMULATOR = "/in/emulator"
_BUSYBOX = "/in/busybox"

_SCRIPT = f"""\
{_BUSYBOX} mkdir /tmp/site
cd /tmp/site
for wheel in {_WHEELS}/*; do {_BUSYBOX} unzip -q -o "$wheel"; done
cd /
exec {_EMULATOR} "$@"
"""
"""Unpacks the wheels, which is quick where nothing is emulated, and becomes the emulator. Python finds their modules in
one folder: JAX's and what it needs have no other members that are used here."""


def aot_action(
    *,
    platform: Platform,
    host: Platform,
    compilation: Compilation,
    root: Sequence[str],
    wheels: Mapping[str, str],
    files: Mapping[str, str],
    emulator: str,
    busybox: str,
) -> Action:
    """Describe the compilation of a platform's programs.

    Its epoch is 0, for nothing of it reaches them.

    Args:
        platform: of the image.
        host: of the machine that builds.
        compilation: under which CPU, in which environment.
        root: hex SHA-256 of the image's debs, in the lock's order.
        wheels: the image's, file name -> hex SHA-256.
        files: what else the image has and compiling needs, path below its root -> hex SHA-256.
        emulator: hex SHA-256 of a static qemu-user that runs on `host` what is of `platform`.
        busybox: hex SHA-256 of a static BusyBox of `host`.
    """
    own = {"HOME": "/tmp", "PYTHONPATH": f"/tmp/site:{_IMAGE}/opt/kbuild"}  # noqa: S108 - the sandbox's own
    return Action(
        name="programs",
        platform=host,
        root=tuple(root),
        inputs=(
            InputFile(_BUSYBOX, busybox, executable=True),
            InputFile(_EMULATOR, emulator, executable=True),
            *(InputFile(f"{_WHEELS}/{name}", sha256) for name, sha256 in sorted(wheels.items())),
            *(InputFile(f"{_IMAGE}/{path}", sha256) for path, sha256 in sorted(files.items())),
        ),
        argv=(
            *(_BUSYBOX, "sh", "-euc", _SCRIPT, "sh", "-cpu", compilation.cpu.model),
            *("/usr/bin/python3", "-s", "-P", "-B", "-m", "kernels.runtime.aot.build"),
            *(_IMAGE, OUTPUT, platform, compilation.level, compilation.cpu.model),
        ),
        env=tuple(sorted((dict(compilation.environment) | own).items())),
        epoch=0,
    )
