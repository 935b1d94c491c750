"""The execution protocol, version 1 (docs/protocol.md): initialise, input, execute, output.

Work is ordered so that what fails, fails early: nothing heavy is imported before the host and the inputs are known to
be good. A failure is reported under the step that it belongs to, whenever it is found.

Where programs are compiled ahead of time a start is a tenth of a second, so what such a run imports keeps its records
as named tuples: to define a dataclass takes 0.4 ms, and there would be nineteen.
"""

from __future__ import annotations

import gc
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kernels.runtime import accelerator, check, declared, environment, folder, host, memory
from kernels.runtime.errors import HostError, InputError, KernelError, RunError, Step
from kernels.runtime.receipt import Draft, plain

if TYPE_CHECKING:  # NumPy takes longer to import than all checks before it, JAX longer than all else
    from kernels.runtime.aot.shelf import Ready, Shelf
    from kernels.runtime.kernel import Kernel
    from kernels.runtime.program import Call, Here
    from kernels.runtime.tensors import Array, Tensor

DONE: Final = 0
IMAGE_VARIABLE = "KBUILD_IMAGE"
"""Whoever starts the image may state its digest here; the receipt repeats it."""
INDEX_VARIABLE = "KBUILD_INDEX"
"""The same for the index over all platforms that the image was taken from."""
TRACE_REQUEST = ".trace.json"
"""A file among the inputs by which the outside asks for a trace; it is no input."""


class Places(NamedTuple):
    """The image's root, the folder of inputs and the folder for results."""

    root: Path
    source: Path
    target: Path


class _StepError(Exception):
    """A fault, together with the step that it belongs to."""

    def __init__(self, step: Step, fault: RunError) -> None:
        super().__init__(step, fault)
        self.step = step
        self.fault = fault


def run(places: Places, environ: Mapping[str, str]) -> int:
    """Run the image's kernel once.

    Args:
        places: where the image, its inputs and its results are.
        environ: the environment to check; normally the process's own.

    Returns:
        The exit code: 0 done, 2 inputs or kernel at fault, 3 host refused. The receipt is written in every case in
        which the target can be written to.
    """
    draft = Draft(image=_stated(environ, IMAGE_VARIABLE), index=_stated(environ, INDEX_VARIABLE))
    try:
        _steps(places, environ, draft)
        folder.put(places.target / folder.RECEIPT, draft.done())
    except _StepError as stopped:
        return _failed(places, draft, stopped.step, stopped.fault)
    except RunError as fault:
        return _failed(places, draft, "output", fault)
    return DONE


def _steps(places: Places, environ: Mapping[str, str], draft: Draft) -> None:
    with _uncollected():
        with _step("initialise", draft):
            folder.clear(places.target)
            spec = declared.read(places.root)
            draft.kernel(spec)
            observed = accelerator.seen(host.observe(), spec.cuda)
            draft.host(observed.described())
            pinned = environment.read(places.root)
            check.admit(spec, observed, pinned, environ)
            draft.admitted(observed.platform, pinned)
            check.require_modules()
        with _step("input", draft):
            bound: dict[str, int] = {}
            inputs = _inputs(places.source, spec, bound)
            from kernels.runtime.tensors import describe_all  # noqa: PLC0415  # NumPy: see above

            draft.say("inputs", describe_all(inputs))
        with _step("initialise", draft, "load"):
            from kernels.runtime import kernel  # noqa: PLC0415  # not before the inputs are good

            draft.say("versions", versions := kernel.versions(spec))
            shelf = _shelf(spec, places.root, observed.platform, pinned, versions)
            loaded = None if shelf else kernel.load(spec, places.root)
            preparation = kernel.preparation(spec, places.root)
    with _step("execute", draft, "prepare"):
        arrays = kernel.arguments(preparation, spec, inputs)
        if preparation.prepare is not None:
            draft.say("prepared", describe_all(arrays))
    with _step("execute", draft, "compile"):
        computation, call = _computation(shelf, loaded, spec, places.root, arrays)
        draft.say("program", computation.identity)
        if computation.code is not None:
            draft.say("code", computation.code)
        _require_ieee()
    with _step("execute", draft):
        results = computation.run()
        _require_ieee()
    with _step("output", draft):
        from kernels.runtime import outputs  # noqa: PLC0415  # NumPy: see above
        from kernels.runtime.preview import preview  # noqa: PLC0415

        outputs.validate(results, spec.outputs, bound)
        outputs.write(places.target, results)
        draft.say("outputs", described := describe_all(results))
        for name, array in results.items():
            draft.show(name, preview(name, array))
    if (places.source / TRACE_REQUEST).exists():
        with _step("output", draft, "trace"):
            call = call or _call(loaded, spec, places.root, arrays)
            _trace(places, spec, draft, call, described["tensors"])
    if (peak := memory.peak()) > spec.memory:
        print(  # noqa: T201
            f"note: the run took {peak} bytes of memory; the spec's hardware.memory is {spec.memory}", file=sys.stderr
        )


def _trace(places: Places, spec: declared.Declared, draft: Draft, call: Call, outputs: Mapping[str, Any]) -> None:
    from kernels.runtime import trace  # noqa: PLC0415  # only for those who ask

    recorded = trace.record(places.source / TRACE_REQUEST, places.target, call, trace.Plain(spec.profile, outputs))
    draft.traced(recorded.summary)
    if recorded.operations is not None:
        draft.say("operations", recorded.operations)


def _shelf(
    spec: declared.Declared, root: Path, platform: str, pinned: Mapping[str, str], versions: Mapping[str, str]
) -> Shelf | None:
    """The programs that were compiled at build, if the spec asks for them."""
    if spec.aot is None:
        return None
    from kernels.runtime.aot import shelf  # noqa: PLC0415  # NumPy: see above

    return shelf.opened(spec, spec.aot, root, platform=platform, environment=pinned, versions=versions)


def _call(loaded: Kernel | None, spec: declared.Declared, root: Path, arrays: Mapping[str, Array]) -> Call:
    """The entry with what it is called with, for what is compiled or taken to pieces on this host."""
    from kernels.runtime import kernel, program  # noqa: PLC0415  # JAX: see above

    return program.call(loaded or kernel.load(spec, root), spec, arrays)


def _computation(
    shelf: Shelf | None, loaded: Kernel | None, spec: declared.Declared, root: Path, arrays: Mapping[str, Array]
) -> tuple[Ready | Here, Call | None]:
    """What computes: a program of the image, or a call compiled on this host, then with that call."""
    if shelf and (ready := shelf.ready(arrays)):
        return ready, None
    from kernels.runtime import program  # noqa: PLC0415  # JAX: see above

    call = _call(loaded, spec, root, arrays)
    return program.here(call), call


def _stated(environ: Mapping[str, str], variable: str) -> str | None:
    digest = environ.get(variable, "")
    return digest if re.fullmatch(r"sha256:[0-9a-f]{64}", digest) else None


def _inputs(source: Path, spec: declared.Declared, bound: dict[str, int]) -> dict[str, Tensor]:
    from kernels.runtime.reading import read_folder  # noqa: PLC0415  # NumPy: see above
    from kernels.runtime.shapes import mismatches  # noqa: PLC0415

    wanted = ", ".join(f"{name} ({table})" for name, table in spec.inputs.items())
    if not source.exists() and spec.inputs:
        raise InputError(
            f"there is no {source}; this kernel needs {wanted}",
            hint=f"run it with --input or --set, or mount a folder of .safetensors, .npz or .json files at {source}",
        )
    found = read_folder(source, spec.inputs, spec.memory) if source.exists() else {}
    if wrong := mismatches(found, spec.inputs, bound):
        raise InputError("; ".join(wrong), hint=f"this kernel takes {wanted}" if wanted else None)
    return found


def _require_ieee() -> None:
    # A library built with -ffast-math switches the CPU to flushing when it is loaded.
    if not (host.rounds_to_nearest() and host.keeps_denormals()):
        raise KernelError(
            "the kernel's code changed the CPU's floating-point mode", hint="compile native code without -ffast-math"
        )


@contextmanager
def _uncollected() -> Iterator[None]:
    """No search for cycles of garbage while modules are imported and parameters loaded: it is a twelfth of a start."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # nor ever again among what has been imported
        gc.enable()


@contextmanager
def _step(step: Step, draft: Draft, duration: str | None = None) -> Iterator[None]:
    started = time.perf_counter_ns()
    try:
        yield
    except RunError as fault:
        raise _StepError(step, fault) from fault
    except MemoryError as error:
        raise _StepError(step, HostError("this host ran out of memory")) from error
    finally:
        draft.took(duration or step, time.perf_counter_ns() - started)


def _failed(places: Places, draft: Draft, step: Step, fault: RunError) -> int:
    print(plain(f"error: {step}: {fault.message}"), file=sys.stderr)  # noqa: T201  # this is the program's voice
    if fault.hint:
        print(plain(f"hint: {fault.hint}"), file=sys.stderr)  # noqa: T201
    folder.discard(places.target)
    try:
        folder.put(places.target / folder.RECEIPT, draft.failed(step, fault))
    except HostError as unwritable:
        print(plain(f"note: no receipt: {unwritable.message}"), file=sys.stderr)  # noqa: T201
    return fault.exit_code
