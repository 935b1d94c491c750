"""Running an image once on this machine, in a sandbox, by the execution protocol (docs/protocol.md).

What comes out is as untrusted as any code's output: only the protocol's files are taken, only regular ones, and the
receipt is held to its form before anyone relies on it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Mapping, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any

from builder.backends import bwrap
from builder.backends.roots import emulator, image_root
from builder.backends.sandbox import Emulator, Mount, Sandbox, command, root_names
from builder.backends.workplace import workplace
from builder.errors import EnvironmentFault, KbuildError, KernelError, UsageError
from builder.hosts.host import Runnable, RunResult
from builder.platforms import host_platform
from builder.progress import Progress
from builder.store.artifact import Artifact
from builder.store.atomic import faults, make_folder
from builder.store.blobs import Store

RECEIPT = "receipt.json"
RESULTS = ("outputs.safetensors", "outputs.json", RECEIPT)
"""The files of a run, the receipt last: where it is, the others are whole."""

_KIND = "runs"
_MOST_RECEIPT = 16 << 20
_SIGNALS = {
    4: "the CPU does not know an instruction that the image uses",
    9: "the process was killed: most often the machine ran out of memory",
}


def run(
    store: Store,
    image: Runnable,
    inputs: Sequence[Path],
    output: Path | None,
    *,
    tools: Sequence[Artifact] = (),
    cpu: str | None = None,
    progress: Progress,
) -> RunResult:
    """Run an image once.

    Args:
        store: has the image's layers and the tools.
        image: what to run.
        inputs: files for `/io/in`.
        output: folder for the results, made if it is missing; a folder of the store if None.
        tools: the lock's tools; needed where the image is for another platform, or a CPU is asked for.
        cpu: the QEMU CPU model to run on instead of this machine's CPU.
        progress: sees what the image prints as details.

    Raises:
        UsageError: an input is no file.
        KernelError: the kernel or its inputs are at fault, by the runtime's own words.
        EnvironmentFault: this machine cannot run it.
        KbuildError: the runtime has a bug.
    """
    runner = None
    if cpu or image.platform != host_platform():
        runner = Emulator(emulator(store, tools, host=host_platform(), guest=image.platform), cpu)
    program = bwrap.program()
    root = image_root(store, image.layers)
    with workplace(store) as place:
        results = place / "out"
        results.mkdir()
        results.chmod(0o755)
        mounts = [Mount(results, "/io/out", writable=True)]
        if inputs:
            mounts.append(Mount(_copied(inputs, place / "in"), "/io/in"))
        sandbox = Sandbox(
            root=root,
            names=root_names(root),
            argv=image.entrypoint,
            env={**image.environment, "KBUILD_IMAGE": image.digest},
            mounts=tuple(mounts),
            cwd=image.working_dir,
            topology=True,
            emulator=runner,
        )
        with progress.step(f"run {image.name}") as step:
            if runner:
                step.note(f"emulated{f' {cpu}' if cpu else ''}")
            ended = bwrap.execute(command(program, sandbox), watch=_lines(progress.detail))
        receipt = _receipt(results)
        if ended.status != 0:
            raise failure(image.name, ended, receipt)
        if receipt is None or receipt["result"].get("status") != "ok":
            raise KernelError("the image ended well but left no receipt that says so", where=image.name)
        return RunResult(_delivered(store, results, output), receipt)


def failure(name: str, ended: bwrap.Ended, receipt: Mapping[str, Any] | None) -> KbuildError:
    """A failed run as an error: the receipt's own words, or else the end of what was printed.

    Args:
        name: of the image.
        ended: how its process ended.
        receipt: what `_receipt` accepted.
    """
    families: dict[int, type[KbuildError]] = {2: KernelError, 3: EnvironmentFault, 70: KbuildError}
    error = receipt["result"].get("error") if receipt else None
    if isinstance(error, dict) and ended.status in families:
        message, hint = str(error.get("message", "failed")), error.get("hint")
        where = f"{name}, {error.get('step', 'run')}"
        return families[ended.status](message, where=where, hint=str(hint) if hint else None)
    said = "\n".join(f"    {line}" for line in ended.output.rstrip().splitlines()[-30:])
    said = f":\n{said}" if said else ""
    if ended.status in families:
        return families[ended.status](f"the runtime failed{said}", where=name)
    signal = ended.status - 128  # what bubblewrap makes of a signal's number
    if signal in _SIGNALS:
        return EnvironmentFault(f"{_SIGNALS[signal]}{said}", where=name)
    how = f"was ended by signal {signal}" if signal > 0 else f"ended with status {ended.status}"
    return KernelError(f"the runtime {how}{said}", where=name)


def _copied(inputs: Sequence[Path], folder: Path) -> Path:
    """Copies of the inputs, which nobody changes while the image reads them, under names of their own."""
    folder.mkdir()
    folder.chmod(0o755)
    for index, path in enumerate(inputs):
        target = folder / path.name
        if target.exists():
            target = folder / f"{index}-{path.name}"
        try:
            if not path.is_file():
                raise UsageError("no such file" if not path.exists() else "not a file", where=str(path))
            with path.open("rb") as source, target.open("xb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
        except PermissionError as error:
            raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from error
        target.chmod(0o644)
    return folder


def _receipt(results: Path) -> dict[str, Any] | None:
    """The receipt, if there is one of the right form."""
    source = _opened(results / RECEIPT)
    if source is None:
        return None
    with source:
        data = source.read(_MOST_RECEIPT + 1)
    try:
        receipt = json.loads(data) if len(data) <= _MOST_RECEIPT else None
    except (ValueError, RecursionError):
        return None
    return receipt if _well_formed(receipt) else None


def _well_formed(receipt: Any) -> bool:
    """Whether a receipt has the parts that kbuild reads, and its hash is that of its result."""
    import rfc8785  # noqa: PLC0415

    if not isinstance(receipt, dict) or not isinstance(result := receipt.get("result"), dict):
        return False
    described = result.get("outputs", {"tensors": {}})
    outputs = described.get("tensors") if isinstance(described, dict) else None
    if not isinstance(outputs, dict) or not all(
        isinstance(item, dict) and {"dtype", "shape", "sha256"} <= item.keys() for item in outputs.values()
    ):
        return False
    try:
        return bool(receipt.get("sha256") == hashlib.sha256(rfc8785.dumps(result)).hexdigest())
    except (rfc8785.CanonicalizationError, RecursionError):
        return False


def _opened(path: Path) -> BufferedReader | None:
    """A regular file that an image left, never what a link of it leads to."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        return None
    return os.fdopen(handle, "rb")


def _delivered(store: Store, results: Path, output: Path | None) -> Path:
    """Put the results where they are wanted, each file as a whole."""
    if output is None:
        state = hashlib.sha256()
        for name in RESULTS:
            if source := _opened(results / name):
                with source:
                    state.update(f"{name}\0{hashlib.file_digest(source, 'sha256').hexdigest()}\n".encode())
        return store.directory(_KIND, state.hexdigest(), lambda folder: _put(results, folder))
    with faults(output):
        make_folder(output)
        _put(results, output)
    return output


def _put(results: Path, folder: Path) -> None:
    for name in reversed(RESULTS):
        (folder / name).unlink(missing_ok=True)
    for name in RESULTS:
        source = _opened(results / name)
        if source is None:
            continue
        part = folder / f".{name}.part"
        with source, part.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        part.replace(folder / name)


def _lines(tell: Callable[[str], object]) -> Callable[[bytes], None]:
    """Hand printed bytes on line by line; the last line is told at its end or never, for it is in the error then."""
    pending = bytearray()

    def watch(chunk: bytes) -> None:
        nonlocal pending
        *lines, rest = (pending + chunk).split(b"\n")
        pending = bytearray(rest[-(1 << 16) :])
        for line in lines:
            tell(line.decode(errors="replace"))

    return watch
