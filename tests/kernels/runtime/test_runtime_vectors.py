"""The protocol's golden vectors, held by two implementations that share no line: the runtime, and `second`."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import second
from safetensors.numpy import save

from kernels.runtime import canonical
from kernels.runtime.declared import Table
from kernels.runtime.errors import InputError
from kernels.runtime.json_tensors import JsonError, from_json, strict_json
from kernels.runtime.tensors import TEXT, Text, describe, describe_all, little_endian, numpy_dtype

REPOSITORY = Path(__file__).parents[3]
VECTORS = REPOSITORY / "tests/vectors/protocol"
DOCUMENT = (REPOSITORY / "docs/protocol.md").read_text(encoding="utf-8")
RECEIPTS = json.loads((VECTORS / "receipts/expected.json").read_text())


def rows(name):
    return json.loads((VECTORS / name).read_text(encoding="utf-8"))


def tensor_of(dtype, shape, body):
    """A tensor of the runtime's from its elements' bytes."""
    if dtype != TEXT:
        return np.frombuffer(body, numpy_dtype(dtype).newbyteorder("<")).reshape(shape)
    values = []
    while body:
        length = int.from_bytes(body[:8], "little")
        values.append(body[8 : 8 + length].decode())
        body = body[8 + length :]
    return Text(tuple(shape), tuple(values))


def body_of(tensor):
    return second.strings(tensor.values) if isinstance(tensor, Text) else little_endian(tensor).tobytes()


@pytest.mark.parametrize("row", rows("tensors.json"), ids=lambda row: f"{row['dtype']}: {row['about']}")
def test_a_tensors_hash(row):
    name, dtype, shape, body = row["name"], row["dtype"], row["shape"], bytes.fromhex(row["bytes"])
    assert second.header(name, dtype, shape) == row["header"]
    assert second.tensor(name, dtype, shape, body) == row["sha256"]
    assert describe(name, tensor_of(dtype, shape, body)) == {"dtype": dtype, "shape": shape, "sha256": row["sha256"]}


def test_no_two_of_them_are_equal_and_every_type_is_there():
    found = rows("tensors.json")
    assert len({row["sha256"] for row in found}) == len(found)
    assert {row["dtype"] for row in found} >= set(second.WIDTHS) - {"uint16"} | {TEXT}


@pytest.mark.parametrize("row", rows("sets.json"), ids=lambda row: ",".join(row["tensors"]) or "none")
def test_a_sets_hash(row):
    assert second.canonical(row["tensors"]) == row["canonical"]
    assert second.tensor_set(row["tensors"]) == canonical.sha256(row["tensors"]) == row["sha256"]


def test_one_hash_that_no_program_of_this_project_made():
    """By printf and sha256sum."""
    assert rows("tensors.json")[0]["sha256"] == "0f23ef226ea3b0ce21ea68fe1479436648e65a1b23fc4132f4d701c79d4e5ec4"
    assert rows("sets.json")[0]["sha256"] == "d94b2a9df320a5e745fa0d760219891ed820cc08fe7b78b8bfcf0f1dace240b8"


def test_the_document_shows_some_of_them():
    known = {
        (row["name"], row["dtype"], str(row["shape"]), row["bytes"]): row["sha256"] for row in rows("tensors.json")
    }
    shown = re.findall(r"^\| `(.*)` \| `(\w+)` `(\[.*\])` \| (.*) \| `([0-9a-f]{64})` \|$", DOCUMENT, re.MULTILINE)
    assert len(shown) > 5
    for name, dtype, shape, body, digest in shown:
        assert known[name, dtype, shape, "" if body == "(none)" else body.strip("`")] == digest
    assert rows("sets.json")[0]["sha256"] in DOCUMENT


@pytest.mark.parametrize("row", rows("canonical.json"), ids=lambda row: row["json"])
def test_canonical_json(row):
    value = json.loads(row["json"])
    assert second.canonical(value) == canonical.dumps(value).decode() == row["canonical"]


@pytest.mark.parametrize("row", rows("json_elements.json")["accepted"], ids=lambda row: f"{row['dtype']} {row['json']}")
def test_an_element_out_of_json(row):
    made = from_json("x", strict_json(row["json"].encode()), {"x": Table(row["dtype"], ())})
    assert body_of(made).hex() == second.element(row["dtype"], row["json"]).hex() == row["bytes"]


@pytest.mark.parametrize("row", rows("json_elements.json")["refused"], ids=lambda row: f"{row['dtype']} {row['json']}")
def test_an_element_that_is_refused(row):
    with pytest.raises((InputError, JsonError)):
        from_json("x", strict_json(row["json"].encode()), {"x": Table(row["dtype"], ())})


def test_a_file_of_results():
    row = rows("results.json")
    data = bytes.fromhex(row["outputs.safetensors"])
    read = second.outputs(data)
    tensors = {name: tensor_of(*item) for name, item in read.items()}
    for described in (
        {name: {"dtype": d, "shape": s, "sha256": second.tensor(name, d, s, b)} for name, (d, s, b) in read.items()},
        describe_all(tensors)["tensors"],
    ):
        assert described == row["tensors"]
        assert second.tensor_set(described) == row["sha256"]
    assert save(tensors) == data  # the library orders them as the document says


@pytest.mark.parametrize("name", RECEIPTS)
def test_a_receipt(name):
    data = (VECTORS / "receipts" / name).read_bytes()
    document = second.receipt(data)
    assert canonical.dumps(document) + b"\n" == data
    hashes = {"sha256": document["sha256"], "binding": document["binding"], "file": hashlib.sha256(data).hexdigest()}
    assert hashes == RECEIPTS[name]


def test_what_receipts_are_compared_by():
    """Another host or a trace leaves `sha256` alone; another host moves `binding`."""
    done, traced, elsewhere = (RECEIPTS[f"{name}.json"] for name in ("done", "traced", "elsewhere"))
    assert done["sha256"] == traced["sha256"] == elsewhere["sha256"]
    assert done["binding"] == traced["binding"] != elsewhere["binding"]
