"""A second implementation of docs/protocol.md: hashes, canonical JSON, JSON inputs, result files, receipts.

Written from the document alone, with the standard library alone, and slow. It shares no line with the runtime or the
builder, so where all of them agree with the vectors, the document says what they do.
"""

import hashlib
import json
import math
import struct

WIDTHS = {
    "bool": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "bfloat16": 2, "float16": 2, "int32": 4, "uint32": 4,
    "float32": 4, "int64": 8, "uint64": 8, "float64": 8, "complex64": 8, "complex128": 16,
}  # fmt: skip
SAFETENSORS = {
    "BOOL": "bool", "I8": "int8", "U8": "uint8", "I16": "int16", "U16": "uint16", "BF16": "bfloat16", "F16": "float16",
    "I32": "int32", "U32": "uint32", "F32": "float32", "I64": "int64", "U64": "uint64", "F64": "float64",
    "C64": "complex64",
}  # fmt: skip


# --- canonical JSON: RFC 8785 without fractions


def canonical(value):
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        assert abs(value) <= 2**53 - 1
        return str(value)
    if isinstance(value, str):
        return '"' + "".join(map(escaped, value)) + '"'
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    keys = sorted(value, key=lambda key: list(struct.iter_unpack(">H", key.encode("utf-16-be"))))
    return "{" + ",".join(f"{canonical(key)}:{canonical(value[key])}" for key in keys) + "}"


def escaped(character):
    short = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}
    if character in short:
        return short[character]
    return f"\\u{ord(character):04x}" if ord(character) < 0x20 else character


def sha256(data):
    return hashlib.sha256(data).hexdigest()


# --- section 4


def header(name, dtype, shape):
    return canonical({"dtype": dtype, "name": name, "shape": shape})


def tensor(name, dtype, shape, body):
    """The hash of a tensor whose elements are these bytes."""
    if dtype != "string":
        assert len(body) == math.prod(shape) * WIDTHS[dtype]
    text = header(name, dtype, shape).encode()
    return sha256(struct.pack("<Q", len(text)) + text + body)


def strings(values):
    """The bytes of a string tensor's elements."""
    return b"".join(struct.pack("<Q", len(value.encode())) + value.encode() for value in values)


def tensor_set(tensors):
    """The hash of a set, from each tensor's name to dtype, shape and hash."""
    return sha256(canonical(tensors).encode())


# --- section 2: elements out of JSON


def element(dtype, text):
    """The bytes of one element, from the text of a JSON scalar."""
    value = json.loads(text)
    if dtype == "string":
        assert isinstance(value, str)
        return strings([value])
    if dtype == "bool":
        assert isinstance(value, bool)
        return bytes([value])
    assert not isinstance(value, bool)
    if dtype.startswith(("int", "uint")):
        assert value == int(value)
        return int(value).to_bytes(WIDTHS[dtype], "little", signed=dtype.startswith("int"))
    assert math.isfinite(value)
    body = floating(dtype, float(value))
    if isinstance(value, int):
        assert unfloating(dtype, body) == value
    return body


def floating(dtype, value):
    """binary64 to a float type, to nearest, ties to even; overflow is an error, which `struct` raises."""
    if dtype == "bfloat16":
        (bits,) = struct.unpack("<I", struct.pack("<f", value))
        kept, rest = divmod(bits, 1 << 16)
        kept += rest > 1 << 15 or (rest == 1 << 15 and kept % 2 == 1)
        assert kept & 0x7F80 != 0x7F80
        return struct.pack("<H", kept)
    return struct.pack({"float16": "<e", "float32": "<f", "float64": "<d"}[dtype], value)


def unfloating(dtype, body):
    if dtype == "bfloat16":
        return struct.unpack("<f", b"\0\0" + body)[0]
    return struct.unpack({"float16": "<e", "float32": "<f", "float64": "<d"}[dtype], body)[0]


# --- section 7


def outputs(data):
    """Tensors of a safetensors file: name to dtype, shape and bytes."""
    (length,) = struct.unpack_from("<Q", data)
    said = json.loads(data[8 : 8 + length])
    found = {}
    for name, item in said.items():
        begin, end = item["data_offsets"]
        found[name] = (SAFETENSORS[item["dtype"]], item["shape"], data[8 + length + begin : 8 + length + end])
    return found


# --- section 8


def receipt(data):
    """A receipt's document, if its form and its hashes are right."""
    document = json.loads(data)
    assert data == canonical(document).encode() + b"\n"
    result = document["result"]
    assert document["sha256"] == sha256(canonical(result).encode())
    assert document["binding"] == sha256(canonical({"host": document["host"], "result": result}).encode())
    for key in ("inputs", "prepared", "outputs"):
        if key in result:
            assert result[key]["sha256"] == tensor_set(result[key]["tensors"])
    assert (result["status"] == "ok") == ("outputs" in result) == ("error" not in result)
    return document
