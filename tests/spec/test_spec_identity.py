"""Identity is what a spec means: no spelling of the file moves it, and every field does."""

import hashlib
import json

import pytest
from spec_samples import FULL, MINIMAL

from builder.spec.identity import canonical, identity
from builder.spec.load import loads
from builder.spec.model import Spec

OTHER = {
    "kernel.name": "other",
    "kernel.version": "1.2.4",
    "kernel.description": "",
    "kernel.license": "MIT",
    "kernel.entry": "model:other",
    "kernel.load": None,
    "kernel.prepare": "model:other",
    "kernel.files": ["*.py"],
    "kernel.platforms": ["linux/arm64", "linux/amd64"],
    "os.distribution": None,
    "os.release": "trixie",
    "os.updates": True,
    "os.packages": ["python3"],
    "os.allow_scripts": [],
    "python.requirements": ["jax==0.10.2"],
    "python.exclude": [],
    "compiler.name": None,
    "compiler.version": "14",
    "compiler.flags": [],
    "native.op.sources": ["op.cc"],
    "native.op.flags": [],
    "native.op.headers": [],
    "xla.flags.xla_a": 1,
    "xla.flags.xla_b": 4,
    "xla.flags.xla_c": "y",
    "determinism.profile": "pinned",
    "determinism.threads": 4,
    "determinism.seed": 0,
    "determinism.randomness": None,
    "hardware.cpu.amd64": "x86-64-v3",
    "hardware.cpu.arm64": "armv8-a",
    "hardware.memory": "3GiB",
    "hardware.accelerator": "cuda",
    "hardware.forbid": [],
    "weights.w.source": "file:w.npz",
    "inputs.text.dtype": "float32",
    "inputs.text.shape": [],
    "inputs.text.description": "",
    "outputs.y.dtype": "float64",
    "outputs.y.shape": ["batch"],
    "outputs.y.description": "",
    "examples.one.inputs": "two.json",
    "examples.one.outputs": None,
}
"""Another value for each field of the full spec."""

ONE_VALUE = {"os.distribution", "compiler.name", "determinism.randomness"}
"""Fields that have no other value yet."""


def leaves(data, path=()):
    for key, value in data.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield ".".join((*path, key))


def changed(path, value):
    data = json.loads(canonical(loads(FULL, "full")))
    *tables, key = path.split(".")
    table = data
    for name in tables:
        table = table[name]
    assert key in table
    table[key] = value
    return Spec.model_validate(data)


def test_vectors():
    minimal = canonical(loads(MINIMAL, "minimal"))
    assert minimal.startswith(b'{"compiler":{"flags":["-O2","-ffp-contract=off"],"name":"gcc","version":"14"},')
    assert identity(loads(MINIMAL, "minimal")) == "sha256:" + hashlib.sha256(minimal).hexdigest()
    assert identity(loads(MINIMAL, "minimal")) == MINIMAL_IDENTITY
    assert identity(loads(FULL, "full")) == FULL_IDENTITY


def test_the_table_above_names_every_field():
    names = set(leaves(json.loads(canonical(loads(FULL, "full"))))) - {"schema"}
    assert names == set(OTHER)


@pytest.mark.parametrize("path", sorted(set(OTHER) - ONE_VALUE))
def test_every_field_moves_it(path):
    assert identity(changed(path, OTHER[path])) != FULL_IDENTITY


@pytest.mark.parametrize("table", ["native", "weights", "examples"])
def test_a_table_that_is_gone_moves_it(table):
    assert identity(changed(table, {})) != FULL_IDENTITY


def dotted(text):
    head = 'schema = 1\nkernel.name = "tiny"\nkernel."version" = \'1.0.0\'\nkernel.entry = """model:forward"""\n\n'
    return head + text[text.index("[inputs.x]") :]


@pytest.mark.parametrize(
    "respell",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "# a comment\n\n" + text.replace("\n", "  # x\n"),
        lambda text: text.replace(" = ", "="),
        dotted,
        lambda text: "\n[".join([text.split("\n[")[0], *reversed(text.split("\n[")[1:])]),
        lambda text: text + '[os]\nrelease = "trixie"\npackages = ["python3",]\n[native]\n',
        lambda text: text.replace("4]", "0x4]"),
    ],
)
def test_no_spelling_moves_it(respell):
    assert respell(MINIMAL) != MINIMAL
    assert identity(loads(respell(MINIMAL), "other name")) == MINIMAL_IDENTITY


MINIMAL_IDENTITY = "sha256:988bdfb0483c090350aa15958f876a7804442f52eecaa40fcf035c5f9a8756f8"
FULL_IDENTITY = "sha256:b4436bddd76152e2db510d8602dd59a7dd611d3f5193f2c2549df8e077e83645"


@pytest.mark.parametrize(
    "text",
    [
        '[determinism]\nunpin = ["threads"]\n',
        '[hardware]\nfeatures.amd64 = ["avx512f"]\n',
        '[hardware]\nwithout.arm64 = ["sve"]\n',
    ],
)
def test_what_is_left_out_while_empty_moves_it_once_it_is_there(text):
    assert identity(loads(MINIMAL + text, "more")) != MINIMAL_IDENTITY
