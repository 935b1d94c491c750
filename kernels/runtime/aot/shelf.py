"""The programs of an image, once it is sure that they were made for it: found by the arrays that there are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kernels.runtime.aot import parameters
from kernels.runtime.aot.manifest import FOLDER, Manifest, Program, read
from kernels.runtime.aot.shapes import fitting, none_fits
from kernels.runtime.declared import Aot, Declared
from kernels.runtime.errors import KernelError
from kernels.runtime.tensors import Array

if TYPE_CHECKING:  # jaxlib
    from kernels.runtime.aot.execute import Loaded

_AGAIN = "build the image again, or pull it again by its digest"


class Ready(NamedTuple):
    """One program with everything that it takes.

    `identity` is the lowered entry's hash and `code` that of the machine code, both as `sha256:<hex>`.
    """

    identity: str
    code: str
    program: Loaded
    parameters: list[Array]
    arrays: Mapping[str, Array]
    key: Array

    def run(self) -> dict[str, Array]:
        """Call it; see `kernels.runtime.aot.execute.Loaded.run`."""
        return self.program.run(self.parameters, self.arrays, self.key)


class Shelf(NamedTuple):
    """What an image has that was compiled for it, below its `root`; `key` are the random key's words."""

    aot: Aot
    key: tuple[int, int]
    manifest: Manifest
    root: Path

    def ready(self, arrays: Mapping[str, Array]) -> Ready | None:
        """The program for these arrays, loaded, or None if the spec lets the host compile another.

        Raises:
            InputError: there is none, and the spec asks to refuse.
            KernelError: the program or a parameter is not what the manifest says.
            HostError: there is too little memory, or the CPU is below the numeric specification's floor.
        """
        program = fitting(self.manifest.programs, arrays)
        if program is None:
            if self.aot.elsewhere:
                return None
            raise none_fits(self.aot, arrays)
        from kernels.runtime.aot.execute import Loaded  # noqa: PLC0415 - jaxlib; not before a program is wanted

        loaded = Loaded(program, _code(program, self.root), self.manifest.handlers)
        values = parameters.load(self.manifest.parameters, self.root)
        key = np.array(self.key, np.uint32)
        return Ready(program.program, f"sha256:{program.code}", loaded, values, arrays, key)


def opened(
    declared: Declared,
    aot: Aot,
    root: Path,
    *,
    platform: str,
    environment: Mapping[str, str],
    versions: Mapping[str, str],
) -> Shelf:
    """Read the manifest and hold it to what there is.

    Args:
        declared: what the spec asks for.
        aot: of that, what is to be compiled.
        root: of the image.
        platform: of this host.
        environment: the image's, which this process was found to have.
        versions: of what is installed in the image.

    Raises:
        KernelError: the programs are missing, or were made for something else; one line for each difference.
    """
    manifest = read(root)
    level = declared.cpu.get(platform.removeprefix("linux/"))
    differing = [
        f"{what}: made for {made}, found {found}"
        for what, made, found in (
            ("platform", manifest.platform, platform),
            ("CPU level", manifest.cpu, level),
            ("seed", manifest.seed, declared.seed),
            *(
                (f"variable {name}", manifest.environment.get(name), environment.get(name))
                for name in sorted(manifest.environment.keys() | environment.keys())
            ),
            *((name, manifest.versions.get(name), versions.get(name)) for name in ("jax", "jaxlib", "numpy", "python")),
        )
        if made != found
    ]
    if differing:
        lines = "".join(f"\n  {line}" for line in differing)
        raise KernelError(f"the image's compiled programs are not for this image{lines}", hint=_AGAIN)
    return Shelf(aot, declared.key, manifest, root)


def _code(program: Program, root: Path) -> bytes:
    """A program's bytes, held to the manifest's hash."""
    path = root / FOLDER / program.file
    try:
        data = path.read_bytes()
    except OSError as error:
        raise KernelError(f"{path}: {error.strerror}", hint=_AGAIN) from error
    if hashlib.sha256(data).hexdigest() != program.code:
        raise KernelError(f"{path} is not the program that was compiled for this image", hint=_AGAIN)
    return data
