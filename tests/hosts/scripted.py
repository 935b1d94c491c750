"""Images in which a shell script stands in for the runtime: quick, and as dishonest as a test wants them.

`outputs` and `receipt` make what a runtime would leave, with every hash right, so that a script only has to say which
of several results it puts out, and when.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import io
import json
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import rfc8785
from safetensors.numpy import save

sys.path.insert(0, str(Path(__file__).parents[1] / "backends"))
from small_roots import EPOCH, shell_artifact

from builder.backends.roots import LayerBlob
from builder.hosts.host import Runnable
from builder.layers.codec import CODEC
from builder.layers.deb import read_deb
from builder.layers.entry import Entry, Kind, Layer
from builder.layers.order import ordered
from builder.layers.pack import pack
from builder.layers.root import root_entries
from builder.platforms import host_platform
from builder.store.blobs import Store

DIGEST = f"sha256:{'a' * 64}"
_GOLDEN = Path(__file__).parents[1] / "vectors/protocol/receipts"


def outputs(**tensors: Any) -> bytes:
    """The bytes of `outputs.safetensors`."""
    return save({name: np.asarray(value, np.float32) for name, value in tensors.items()})


def described(**tensors: Any) -> dict[str, Any]:
    """What a receipt says of them, by docs/protocol.md alone."""
    found = {}
    for name, value in sorted(tensors.items()):
        array = np.asarray(value, "<f4")
        header = rfc8785.dumps({"dtype": "float32", "name": name, "shape": list(array.shape)})
        data = struct.pack("<Q", len(header)) + header + array.tobytes()
        found[name] = {"dtype": "float32", "sha256": hashlib.sha256(data).hexdigest(), "shape": list(array.shape)}
    return {"sha256": _hash(found), "tensors": found}


def receipt(
    *, image: str = DIGEST, golden: str = "done", changes: Mapping[str, Any] | None = None, **tensors: Any
) -> bytes:
    """A receipt of these outputs; `changes` are made to its result before it is sealed."""
    document = copy.deepcopy(json.loads((_GOLDEN / f"{golden}.json").read_bytes()))
    document["result"] |= {"image": image, "index": None, "platform": host_platform()}
    if tensors:
        document["result"]["outputs"] = described(**tensors)
    document["result"] |= changes or {}
    return sealed(document)


def sealed(document: dict[str, Any]) -> bytes:
    """A receipt's bytes, both hashes made to fit."""
    document["sha256"] = _hash(document["result"])
    document["binding"] = _hash({"host": document["host"], "result": document["result"]})
    return rfc8785.dumps(document) + b"\n"


def blob(store: Store, entries: list[Entry]) -> Layer:
    return pack("test", ordered(entries, epoch=EPOCH), store, CODEC)


@functools.cache
def base(store: Store) -> Layer:
    """A root with a shell and a few programs."""
    item = shell_artifact(store)
    return blob(store, root_entries([read_deb(store.path(item.sha256), item)], epoch=EPOCH))


def layers(store: Store, script: str, files: Mapping[str, bytes] | None = None) -> tuple[Layer, ...]:
    """A shell, the script as `/opt/run`, and files beside it."""
    entries = [
        Entry(f"opt/{name}", Kind.FILE, 0o644, EPOCH, size=len(data), source=functools.partial(io.BytesIO, data))
        for name, data in {"run": script.encode(), **(files or {})}.items()
    ]
    return (base(store), blob(store, entries))


def image(store: Store, script: str, files: Mapping[str, bytes] | None = None, *, digest: str = DIGEST) -> Runnable:
    """An image that runs a script."""
    return Runnable(
        name="demo",
        platform=host_platform(),
        digest=digest,
        layers=tuple(LayerBlob(layer.digest[7:], layer.diff_id[7:]) for layer in layers(store, script, files)),
        entrypoint=("/usr/bin/sh", "-u", "/opt/run"),
        environment={"PATH": "/usr/bin", "PIN": "1"},
    )


def put(name: str) -> str:
    """The line of a script that puts out one of the results in `results`."""
    return f"cat /opt/{name}.outputs > /io/out/outputs.safetensors; cat /opt/{name}.receipt > /io/out/receipt.json"


def results(*, digest: str = DIGEST, **values: Any) -> dict[str, bytes]:
    """Files for an image: per name the outputs and the receipt of a run that gave `y` that value."""
    files = {}
    for name, value in values.items():
        files[f"{name}.outputs"] = outputs(y=value)
        files[f"{name}.receipt"] = receipt(image=digest, y=value)
    return files


def _hash(value: Any) -> str:
    return hashlib.sha256(rfc8785.dumps(value)).hexdigest()
