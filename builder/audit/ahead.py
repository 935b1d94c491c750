"""The programs in an image that were compiled ahead of time: what their code holds, and what made them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from builder.audit.emitted import emitted
from builder.audit.executable import MOST, read
from builder.audit.scan import FORMAT, Audit
from builder.audit.scan import load as load_audit
from builder.audit.schema import LIBRARY, Schema, extract
from builder.errors import IntegrityError
from builder.layers.entry import Kind, Layer
from builder.layers.unpack import read_layer
from builder.store.blobs import Store

RECORDS: Final = "audited-programs"
FOLDER: Final = "opt/kernel/aot/"
SUFFIX: Final = ".xla"
_FORMAT: Final = 2


@dataclass(frozen=True, slots=True)
class Program:
    """A program: its path in the image, what XLA compiled it for, and what its code holds.

    Attributes:
        path: in the image.
        layer: that it came with.
        module: XLA's name for it.
        target: triple and CPU, in LLVM's words.
        threads: that its work was cut for.
        calls: how many steps are computed by code outside of it, by kind and target.
        operations: of each emitted function, what it was emitted for.
        sha256: of its file, which receipts and labels call its code.
        code_sha256: of its machine code alone.
        program_sha256: of what it was emitted from, after all of XLA's passes.
        audit: of its machine code.
    """

    path: str
    layer: str
    module: str
    target: str
    threads: int
    calls: Mapping[str, int]
    operations: Mapping[str, tuple[str, ...]]
    sha256: str
    code_sha256: str
    program_sha256: str
    audit: Audit

    def dump(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def load(data: Mapping[str, Any]) -> Program:
    """What `Program.dump` gave."""
    operations: Mapping[str, tuple[str, ...]] = {symbol: tuple(names) for symbol, names in data["operations"].items()}
    return Program(**{**data, "operations": operations, "audit": load_audit(data["audit"])})


def is_program(path: str) -> bool:
    """Whether a file of an image is one, by its name."""
    return path.startswith(FOLDER) and path.endswith(SUFFIX)


def programs(store: Store, layer: Layer, library: Layer | None) -> tuple[Program, ...]:
    """Those of a layer, sorted by path; decoded once.

    Args:
        store: holds the image.
        layer: that they are in.
        library: the layer that holds XLA's library, which wrote them.

    Raises:
        IntegrityError: one is malformed, or of another jaxlib.
    """
    if library is None:
        raise IntegrityError(f"holds programs that XLA compiled, and no layer holds {LIBRARY}", where=layer.name)
    key = "-".join((str(FORMAT), str(_FORMAT), layer.diff_id[7:], library.diff_id[7:]))
    if record := store.recall(RECORDS, key):
        return tuple(load(item) for item in record["programs"])
    schema = _schema(store, library)
    found = tuple(sorted(_read(store, layer, schema), key=lambda item: item.path))
    store.remember(RECORDS, key, {"programs": [item.dump() for item in found]})
    return found


def _read(store: Store, layer: Layer, schema: Schema) -> Iterator[Program]:
    for entry, content in read_layer(store, layer):
        if entry.kind is not Kind.FILE or not is_program(entry.path):
            continue
        if entry.size > MOST:
            raise IntegrityError(f"a program of {entry.size:,} bytes; at most {MOST:,} are read", where=entry.path)
        data = content.read()
        made = emitted(read(data, schema))
        held = made.executable
        yield Program(
            path=entry.path,
            layer=layer.name,
            module=held.module,
            target=f"{held.target.triple}, {held.target.cpu}",
            threads=held.threads,
            calls=made.calls(),
            operations={symbol: kernel.operations for symbol, kernel in held.kernels.items()},
            sha256=hashlib.sha256(data).hexdigest(),
            code_sha256=held.code_sha256,
            program_sha256=held.program_sha256,
            audit=made.audit,
        )


def _schema(store: Store, layer: Layer) -> Schema:
    key = f"{_FORMAT}-{layer.diff_id[7:]}"
    if record := store.recall(RECORDS, key):
        return Schema(base64.b64decode(record["files"]))
    found = None
    for entry, content in read_layer(store, layer):
        if entry.kind is Kind.FILE and entry.path.endswith(LIBRARY):
            found = extract(content)
    if found is None:
        raise IntegrityError(f"holds no {LIBRARY}", where=layer.name)
    store.remember(RECORDS, key, {"files": base64.b64encode(found.files).decode()})
    return found


def described(program: Program, function: str) -> str:
    """An emitted function, and the operations and source lines that it was emitted for."""
    operations: Sequence[str] = program.operations.get(function, ())
    return f"{function}: {'; '.join(operations)}" if operations else function
