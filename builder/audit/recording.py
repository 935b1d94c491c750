"""Recording which of an image's doubtful instructions a run reaches: the image runs twice on an emulated CPU.

The first run tells which blocks of code were run at all, and where libraries were mapped; the second, of which the
emulator logs only the functions found so, how often each was called. Addresses are not random, so that both runs have
the same; a run that has others ends as soon as it maps a library elsewhere, and is tried again.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

from builder.audit.binary import Binary, read
from builder.audit.image import Contents, Library
from builder.audit.reached import (
    LOOKED_FOR,
    Block,
    Executed,
    Mapped,
    Reached,
    Recording,
    counted,
    executed,
    filtered,
    load,
    within,
)
from builder.audit.scan import FORMAT, sweep, trait_of
from builder.audit.traits import Trait
from builder.backends.limit import ENDLESS, Limit
from builder.backends.roots import image_root
from builder.backends.workplace import workplace
from builder.errors import EnvironmentFault, KbuildError
from builder.hosts.host import Conditions, Runnable
from builder.hosts.local import Log, run
from builder.progress import Progress
from builder.store.artifact import Artifact
from builder.store.blobs import Store, hash_file

RECORDS: Final = "reached"
_FORMAT: Final = 1
_PIPE: Final = "qemu"
_LOADER: Final = "ld-linux"
_ATTEMPTS: Final = 8
"""At a run whose addresses are those of the first: the emulator's own threads move them in one run of three or so."""
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Function:
    """A function that is followed: the file that it is in, and where it begins there."""

    library: Library
    binary: Binary
    file: Path
    start: int

    @property
    def resolver(self) -> bool:
        """Whether the loader asks it which code to use."""
        return self.start in self.binary.resolvers

    def places(self, begin: int) -> dict[Trait, list[int]]:
        """Addresses of its instructions by trait, if it begins at this address; a resolver's is its first."""
        code = next(item for item in self.binary.code if item.address <= self.start < item.address + item.size)
        with self.file.open("rb") as file:
            file.seek(code.offset + self.start - code.address)
            content = file.read(self.binary.end(self.start) - self.start)
        found: dict[Trait, list[int]] = {}
        for mnemonic, addresses in sweep(self.binary.machine, content, begin)[1].items():
            if (trait := trait_of(self.binary.machine, mnemonic)) in LOOKED_FOR:
                found.setdefault(trait, []).extend(addresses)
        if self.resolver:
            found.setdefault(Trait.DISPATCH, []).append(begin)
        return found


def recorded(
    store: Store,
    image: Runnable,
    held: Contents,
    inputs: Sequence[Path],
    *,
    cpu: str,
    tools: Sequence[Artifact],
    progress: Progress,
) -> Recording:
    """What a run with these inputs reaches; recorded once for each image, inputs and CPU.

    Args:
        store: has the image's layers and the tools.
        image: what to run.
        held: what its audit found.
        inputs: files for `/io/in`.
        cpu: the QEMU model to run on; code that dispatches by the CPU may go other ways on another.
        tools: the lock's tools, which hold the emulator.
        progress: sees two runs.

    Raises:
        KernelError: the run fails.
        EnvironmentFault: this machine cannot run it, or the two runs did not map the same libraries.
    """
    key = _key(image, inputs, cpu)
    if record := store.recall(RECORDS, key):
        return load(record)

    def logged(items: str, parse: Callable[[Iterable[bytes]], _T], *more: str, limit: Limit = ENDLESS) -> _T:
        with workplace(store) as place, _parsed(place / _PIPE, parse) as parsed:
            run(
                store, image, inputs, place / "out", tools=tools, progress=progress, limit=limit,
                conditions=Conditions(cpu=cpu, randomised=False),
                log=Log(("-d", items, "-D", f"/io/log/{_PIPE}", *more), place),
            )  # fmt: skip
        return parsed.value

    first = logged("in_asm,strace", executed)
    root = image_root(store, image.layers)
    functions = _functions(root, _real(root, image.entrypoint[0]), first, held)
    ends = {begin: begin + item.binary.end(item.start) - item.start for begin, item in functions.items()}
    entered = [
        _Entered(begin, functions[begin], blocks, functions[begin].places(begin))
        for begin, blocks in within(first.blocks, ends).items()
    ]
    watched = {item.begin for item in entered if item.counted()}
    needed = {item.function.library.path for item in entered if item.counted()}
    expected = {item.path: item.begin for item in first.mapped if _real(root, item.path) in needed}

    def counts() -> Counter[int] | None:
        """None if this run had a library elsewhere; it ends when that is seen."""
        stop = threading.Event()

        def parse(log: Iterable[bytes]) -> Counter[int] | None:
            found = counted(log, expected)
            if found is None:
                stop.set()
            return found

        try:
            return logged("exec,strace", parse, "-dfilter", filtered(watched), limit=Limit(stop=stop))
        except KbuildError:
            if stop.is_set():
                return None
            raise

    calls: Counter[int] | None = Counter()
    if watched:
        calls = next((made for _ in range(_ATTEMPTS) if (made := counts()) is not None), None)
    if calls is None:
        raise EnvironmentFault(
            f"in each of {_ATTEMPTS} runs a library was elsewhere than in the first, so that calls cannot be counted",
            hint="try again on a machine that lets a process ask for addresses that are not random",
        )
    rows = sorted((row for item in entered for row in item.rows(calls)), key=_order)
    mapped_paths = sorted({item.library.path for item in functions.values()})
    found = Recording(cpu, tuple(mapped_paths), tuple(rows))
    store.remember(RECORDS, key, found.dump())
    return found


@dataclass(frozen=True, slots=True)
class _Entered:
    """A function that the run went into at `begin`: its blocks that ran, and where its instructions are by trait."""

    begin: int
    function: _Function
    blocks: Sequence[Block]
    places: Mapping[Trait, Sequence[int]]

    def counted(self) -> bool:
        """Whether its calls are: those that ran something, but for what the loader runs before all else."""
        loader = Path(self.function.library.path).name.startswith(_LOADER)
        return not loader and not self.function.resolver and any(self._ran(held) for held in self.places.values())

    def rows(self, calls: Mapping[int, int]) -> Iterator[Reached]:
        """One for each trait. What ran was called, if only from where the log does not tell it."""
        for trait, held in self.places.items():
            ran = self._ran(held)
            yield Reached(
                path=self.function.library.path,
                function=self.function.binary.function(self.function.start),
                trait=trait,
                resolver=self.function.resolver,
                calls=max(1, calls.get(self.begin, 0)) if ran and self.counted() else None,
                executed=ran,
                instructions=len(held),
            )

    def _ran(self, held: Sequence[int]) -> int:
        return len({address for block in self.blocks for address in block}.intersection(held))


def _order(row: Reached) -> tuple[int, str, str]:
    return list(Trait).index(row.trait), row.path, row.function


def _key(image: Runnable, inputs: Sequence[Path], cpu: str) -> str:
    whole = hashlib.sha256(f"{_FORMAT} {FORMAT} {image.digest} {cpu}".encode())
    for path in inputs:
        whole.update(path.name.encode() + b"\0" + bytes.fromhex(hash_file(path)[0]))
    return whole.hexdigest()


def _functions(root: Path, program: str, first: Executed, held: Contents) -> dict[int, _Function]:
    """By their addresses in the run, the functions of mapped files that hold what is looked for."""
    mapped = {_real(root, item.path): item for item in first.mapped}
    found: dict[int, _Function] = {}
    for library in held.libraries:
        starts = {item.start for item in library.audit.findings if item.trait in LOOKED_FOR and item.start}
        own = library.path == program or Path(library.path).name.startswith(_LOADER)
        if not starts or (library.path not in mapped and not own):
            continue
        binary = read(root / library.path)
        bias = (
            None if binary is None else _bias(binary, mapped.get(library.path), first, program=library.path == program)
        )
        if binary is not None and bias is not None:
            found |= {start + bias: _Function(library, binary, root / library.path, start) for start in starts}
    return found


def _bias(binary: Binary, mapped: Mapped | None, first: Executed, *, program: bool) -> int | None:
    """What to add to a file's addresses to have the run's; None if that is not known.

    The emulator itself maps the program, and its loader, whose entry is what runs first.
    """
    if mapped is None:
        if program:
            return 0 if binary.fixed else None
        return next(iter(first.blocks), binary.entry) - binary.entry
    shifts = (
        mapped.begin - mapped.offset - (code.address - code.offset)
        for code in binary.code
        if mapped.offset <= code.offset < mapped.offset + mapped.size
    )
    return next(shifts, None)


def _real(root: Path, path: str) -> str:
    """A path without symbolic links, as the image's layers have it."""
    return os.path.relpath(os.path.realpath(root / path.lstrip("/")), os.path.realpath(root))


class _Parsed(Generic[_T]):
    """What will have been made of a pipe's content when the `with` of it has ended."""

    value: _T


@contextmanager
def _parsed(path: Path, parse: Callable[[Iterable[bytes]], _T]) -> Iterator[_Parsed[_T]]:
    """Make a pipe, and parse what is written into it meanwhile, in a thread: a log can be larger than the disk."""
    os.mkfifo(path, 0o600)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writing = os.open(path, os.O_WRONLY)  # so that it has no end before its time, whoever else writes
    os.set_blocking(reading, True)
    result = _Parsed[_T]()

    def follow() -> _T:
        with os.fdopen(reading, "rb", buffering=1 << 20) as log:
            return parse(log)

    with ThreadPoolExecutor(1) as pool:
        making = pool.submit(follow)
        try:
            yield result
        finally:
            os.close(writing)
        result.value = making.result()
