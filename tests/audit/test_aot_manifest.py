"""What a manifest of compiled programs may say: nothing but what is so."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
import rfc8785

from builder.audit.manifest import Asked, Found, read, require_true
from builder.errors import IntegrityError

WEIGHTS = "opt/kernel/weights/net/weights.safetensors"
STORED = "opt/kernel/aot/parameters.bin"
CODE = hashlib.sha256(b"code").hexdigest()
BYTES = hashlib.sha256(bytes(128)).hexdigest()

SAID: dict[str, Any] = {
    "aot": 1,
    "platform": "linux/amd64",
    "cpu": "x86-64-v3",
    "compiled_on": "Haswell",
    "environment": {"NPROC": "2"},
    "versions": {"jax": "0.10.2", "jaxlib": "0.10.2", "python": "3.13.5"},
    "seed": 7,
    "stored": BYTES,
    "parameters": [
        {"dtype": "float32", "shape": [4, 4], "file": WEIGHTS, "offset": 100},
        {"dtype": "float64", "shape": [8], "file": STORED, "offset": 64},
    ],
    "handlers": [{"library": "net", "symbol": "scale_f32", "name": "net.scale"}],
    "programs": [
        {
            "file": "0.xla",
            "code": CODE,
            "program": f"sha256:{CODE}",
            "arrays": {"x": {"dtype": "float32", "shape": [3, 4]}},
            "arguments": [["parameter", 0], ["parameter", 1], ["array", "x"], ["key"]],
            "outputs": [["y", {"dtype": "float32", "shape": [3]}]],
            "foreign": False,
        }
    ],
}
FILES = {
    "manifest.json": Found(2000, "0" * 64),
    "parameters.bin": Found(128, BYTES),
    "0.xla": Found(4, CODE),
}
ASKED = Asked(
    told={"platform": "linux/amd64", "cpu": "x86-64-v3", "compiled_on": "Haswell", "environment": {"NPROC": "2"},
          "seed": 7},
    versions={"jax": "0.10.2", "jaxlib": "0.10.2"},
    programs=({"x": ("float32", (3, 4))},),
    weights={WEIGHTS: 164},
    libraries=frozenset({"net"}),
)  # fmt: skip


def changed(*path: str | int, to: Any) -> bytes:
    """The manifest with one value in place of another."""
    said = copy.deepcopy(SAID)
    place: Any = said
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    return rfc8785.dumps(said)


def test_what_is_so_may_be_said() -> None:
    require_true(read(rfc8785.dumps(SAID)), FILES, ASKED)


@pytest.mark.parametrize(
    ("path", "to", "message"),
    [
        (("platform",), "linux/arm64", "platform: linux/arm64 where linux/amd64 was asked for"),
        (("cpu",), "x86-64-v2", "cpu: x86-64-v2 where x86-64-v3 was asked for"),
        (("compiled_on",), "max", "compiled_on: max where Haswell was asked for"),
        (("environment",), {"NPROC": "3"}, "environment: "),
        (("versions", "jaxlib"), "0.10.1", "the version of jaxlib: 0.10.1 where 0.10.2 was asked for"),
        (("versions",), {"jax": "0.10.2"}, "the version of jaxlib: None"),
        (("seed",), 8, "seed: 8 where 7 was asked for"),
        (("stored",), CODE, f"parameters.bin: its hash is {BYTES}, not {CODE}"),
        (("programs", 0, "code"), BYTES, f"0.xla: its hash is {CODE}, not {BYTES}"),
        (("programs", 0, "file"), "1.xla", "'1.xla' in place of 0.xla"),
        (("programs", 0, "file"), "../../lib/net.so", "'../../lib/net.so' in place of 0.xla"),
        (("programs", 0, "arrays", "x", "shape"), [2, 4], "0.xla: is for other arrays than asked for"),
        (("programs", 0, "arguments", 0), ["parameter", 2], "0.xla: takes parameter 2 of 2"),
        (("programs", 0, "arguments", 2), ["array", "z"], "0.xla: takes 'z', which is none of its arrays"),
        (("programs",), [], "0 programs where 1 were asked for"),
        (("parameters", 0, "offset"), 101, f"parameter 0: ends at byte 165 of {WEIGHTS}, which has 164"),
        (("parameters", 1, "shape"), [9], f"parameter 1: ends at byte 136 of {STORED}, which has 128"),
        (("parameters", 0, "shape"), [2**50] * 32, "parameter 0: ends at byte "),
        (("parameters", 0, "file"), "/etc/passwd", "parameter 0: is said to be in /etc/passwd"),
        (("parameters", 0, "file"), f"opt/../{WEIGHTS}", "parameter 0: is said to be in opt/../"),
        (("parameters", 0, "file"), "opt/kernel/aot/manifest.json", "which holds no weights"),
        (("handlers", 0, "library"), "../../../tmp/x", "the library '../../../tmp/x', which the image has not"),
    ],
)
def test_what_is_not_so_is_refused(path: tuple[str | int, ...], to: Any, message: str) -> None:
    with pytest.raises(IntegrityError) as caught:
        require_true(read(changed(*path, to=to)), FILES, ASKED)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("path", "to", "message"),
    [
        (("aot",), 2, "aot: "),
        (("seed",), -1, "seed: "),
        (("seed",), 1.5, "seed: "),
        (("seed",), True, "seed: "),
        (("more",), 1, "more: "),
        (("stored",), "00", "stored: "),
        (("stored",), CODE + "\n", "stored: "),
        (("parameters", 0, "offset"), -1, "parameters.0.offset: "),
        (("parameters", 0, "offset"), "1", "parameters.0.offset: "),
        (("parameters", 0, "shape"), [-4, -4], "parameters.0.shape.0: "),
        (("parameters", 0, "shape"), [1] * 33, "parameters.0.shape: "),
        (("parameters", 0, "dtype"), "float31", "parameters.0.dtype: "),
        (("parameters", 0, "dtype"), "string", "parameters.0.dtype: "),
        (("handlers", 0, "symbol"), "a b", "handlers.0.symbol: "),
        (("programs", 0, "program"), CODE, "programs.0.program: "),
        (("programs", 0, "arguments", 0), ["parameter", -1], "programs.0.arguments.0."),
        (("programs", 0, "arguments", 0), ["file", "x"], "programs.0.arguments.0."),
        (("programs", 0, "foreign"), 1, "programs.0.foreign: "),
    ],
)
def test_what_is_malformed_is_refused_and_named(path: tuple[str | int, ...], to: Any, message: str) -> None:
    with pytest.raises(IntegrityError) as caught:
        read(changed(*path, to=to))
    assert message in caught.value.message


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{}", b"[]", b"null", b"\xff", b"[" * 100_000, json.dumps(SAID).encode(), rfc8785.dumps(SAID) + b"\n",
        rfc8785.dumps(SAID).replace(b'"aot":1', b'"aot":1,"aot":1'), rfc8785.dumps(SAID).replace(b":7,", b":1e999,"),
        bytes((16 << 20) + 1),
    ],
)  # fmt: skip
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        read(data)


def drop(name: str) -> Callable[[dict[str, Found]], None]:
    return lambda files: files.pop(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("0.xla"), "0.xla: the compiler left no such file"),
        (drop("parameters.bin"), "parameters.bin: the compiler left no such file"),
        (lambda files: files.update({"1.xla": files["0.xla"]}), "1.xla: a file that nothing names"),
    ],
)
def test_files_are_those_that_are_named(change: Callable[[dict[str, Found]], None], message: str) -> None:
    files = dict(FILES)
    change(files)
    with pytest.raises(IntegrityError) as caught:
        require_true(read(rfc8785.dumps(SAID)), files, ASKED)
    assert message in caught.value.message


def test_many_findings_are_counted() -> None:
    said = copy.deepcopy(SAID)
    said["parameters"] *= 10
    for item in said["parameters"]:
        item["offset"] = 1000
    with pytest.raises(IntegrityError, match="and 12 more"):
        require_true(read(rfc8785.dumps(said)), FILES, ASKED)
