"""What a kernel's own code may not hold: found, it fails the build."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from builder.audit.binary import Unreadable
from builder.audit.scan import FORMAT, Audit, Finding, audit, load
from builder.audit.traits import MEANINGS, REFUSED
from builder.errors import KernelError
from builder.layers.entry import Entry, Kind
from builder.store.blobs import Store

RECORDS: Final = "audited"
_SHOWN: Final = 8
_NAMED: Final = 4


def audited(path: Path, sha256: str, store: Store) -> Audit | None:
    """The audit of an ELF file with that hash, made once; see `builder.audit.scan.audit`."""
    key = f"{FORMAT}-{sha256}"
    if record := store.recall(RECORDS, key):
        return load(record)
    made = audit(path)
    if made:
        store.remember(RECORDS, key, made.dump())
    return made


def refused(made: Audit, allowed: Collection[str] = ()) -> tuple[Finding, ...]:
    """What of an audit fails a build. Pure."""
    return tuple(item for item in made.findings if item.trait in REFUSED and item.trait not in allowed)


def require_clean(
    entries: Iterable[Entry],
    store: Store,
    *,
    sources: Mapping[str, Sequence[str]],
    allowed: Mapping[str, Collection[str]],
) -> None:
    """Raise `KernelError` unless every library holds only instructions that give the same bits everywhere.

    Args:
        entries: compiled files, each with a source that can be opened.
        store: remembers what was found.
        sources: for each library's name (without `.so`) what it was compiled from, for people.
        allowed: traits that a library of that name may have.
    """
    for entry in entries:
        if entry.kind is not Kind.FILE or entry.source is None:
            continue
        with entry.source() as content:
            sha256 = store.add(content.read())
        name = Path(entry.path).stem
        try:
            made = audited(store.verified(sha256), sha256, store)
        except Unreadable as error:
            raise KernelError(
                f"the compiler made {Path(entry.path).name}, which {error}", where=f"[native.{name}]"
            ) from None
        if made is None:
            if not entry.path.endswith(".so"):
                continue  # neither a library nor a program: nothing could call it
            raise KernelError("the compiler made no library whose code can be read", where=f"[native.{name}]")
        if found := refused(made, allowed.get(name, ())):
            raise _error(name, sources.get(name, ()), found)


def _error(name: str, sources: Sequence[str], found: tuple[Finding, ...]) -> KernelError:
    lines = [
        f"  {item.mnemonic} in {readable(item.function)}" + (f", {item.count} times" if item.count > 1 else "")
        for item in found[:_SHOWN]
    ]
    if len(found) > _SHOWN:
        lines.append(f"  and {len(found) - _SHOWN} more")
    traits = dict.fromkeys(item.trait for item in found)
    why = "; ".join(MEANINGS[trait] for trait in traits)
    files = [path for path in sources if not path.endswith((".h", ".hh", ".hpp", ".inc"))]
    compiled = ", ".join(files) if len(files) <= _NAMED else f"one of {len(files)} files"
    message = f"compiled code holds instructions that do not give the same bits on every CPU or on every call: {why}"
    return KernelError(
        "\n".join((message, *lines)),
        where=f"[native.{name}]" + (f" ({compiled})" if compiled else ""),
        hint="use an exact operation in the source, or allow the trait in that table if it cannot reach a result",
    )


def readable(function: str) -> str:
    """A function's name as its source has it, where the linker's name is C++'s."""
    if not function.startswith("_Z"):
        return function
    from itanium_demangler import parse  # noqa: PLC0415 - only to name a culprit

    try:
        return str(parse(function) or function)
    except Exception:  # noqa: BLE001 - a name that it doesn't know may raise anything; the linker's name will do
        return function
