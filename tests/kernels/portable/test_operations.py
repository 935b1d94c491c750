"""Lists of operations: a run leaves one, two of them tell where they part, and the referee says who was right there."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rfc8785
from safetensors.numpy import save_file

from builder.errors import IntegrityError, UsageError
from builder.harness.localise_model import Found
from builder.harness.operations import dispute, listed
from builder.harness.trace_merkle import head, leaf_hash
from builder.hosts.receipt import read
from kernels.runtime import trace_referee
from kernels.runtime.errors import InputError
from kernels.runtime.trace_walk import Leaf

HERE = Path(__file__).parent
X = {"x": np.linspace(-2, 2, 20, dtype=np.float32).reshape(5, 4)}


@pytest.fixture
def asked(image_of, source, libraries, tmp_path):
    """A function from a request to the run that answers it."""
    image = image_of(HERE / "disputed")
    (image.folder / "lib").symlink_to(libraries)
    save_file(X, source / "x.safetensors")

    def ask(name, **request):
        (source / ".trace.json").write_text(json.dumps({"version": 1, **request}))
        (tmp_path / name).mkdir()
        return image.call(source, out=tmp_path / name)

    return ask


def planted(folder, index, to):
    """The folder of a host that gave something else at one entry, and says so all the way up: a copy, changed."""
    shutil.copytree(folder, to)
    trace, receipt = (json.loads((to / name).read_bytes()) for name in ("trace.json", "receipt.json"))
    leaves = trace["window"]["leaves"]
    leaves[index]["outputs"] = ["0" * 64]
    trace["chunks"] = [leaf_hash(rfc8785.dumps(leaf)).hex() for leaf in leaves]
    trace["root"] = receipt["result"]["operations"]["root"] = head(list(map(bytes.fromhex, trace["chunks"]))).hex()
    data = rfc8785.dumps(trace) + b"\n"
    receipt["trace"]["sha256"] = hashlib.sha256(data).hexdigest()
    receipt["sha256"] = hashlib.sha256(rfc8785.dumps(receipt["result"])).hexdigest()
    whole = {"host": receipt["host"], "result": receipt["result"]}
    receipt["binding"] = hashlib.sha256(rfc8785.dumps(whole)).hexdigest()
    (to / "trace.json").write_bytes(data)
    (to / "receipt.json").write_bytes(rfc8785.dumps(receipt) + b"\n")
    return to


def test_a_dispute_from_beginning_to_end(asked, tmp_path):
    ran = asked("a", mode="operations")
    assert ran.code == 0, ran.stderr
    receipt = read(ran.out / "receipt.json")
    trace = listed(ran.out)
    assert trace.starts == ()  # every entry is listed
    assert (receipt.result.operations.leaves, receipt.result.operations.root) == (trace.leaves, trace.root)
    assert dispute(ran.out, ran.out, None).lines() == [f"all {trace.leaves} operations are equal"]

    dots = [n for n, leaf in enumerate(trace.window.leaves) if leaf.primitive == "ffi_call portable.dot"]
    assert len(dots) == 3  # one per pass
    other = planted(ran.out, dots[1], tmp_path / "b")
    found = dispute(ran.out, other, None)
    assert (found.parted.found, found.parted.index, found.parted.among) == (Found.OPERATION, dots[1], 1)
    assert "/i1/" in found.parted.start
    assert "x @ one" in (HERE / "disputed/model.py").read_text().splitlines()[found.parted.operation.source.line - 1]

    path = found.parted.start
    judged = asked("referee", mode="referee", equations=[path])
    assert judged.code == 0, judged.stderr
    # What the list adds to the hashed part is all that it changes in it.
    assert ran.receipt["result"] == judged.receipt["result"] | {"operations": ran.receipt["result"]["operations"]}
    settled = dispute(ran.out, other, judged.out)
    assert settled.right == (True, False)
    assert settled.lines()[-2:] == ["  a gave what the referee gives", "  b did not give what the referee gives"]
    assert dispute(other, ran.out, judged.out).document()["referee"] == {"a": False, "b": True}

    command = [sys.executable, "-m", "builder", "diff", ran.out, other, "--referee", judged.out]
    said = subprocess.run([*command, "--json"], capture_output=True, check=False)
    assert said.returncode == 0, said.stderr  # the outputs are equal: only the list was changed
    assert json.loads(said.stdout)["operations"] == settled.document()
    shown = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    assert "equal operands, other results: ffi_call portable.dot" in shown
    assert "b did not give what the referee gives" in shown

    elsewhere = planted(ran.out, dots[0], tmp_path / "c")
    with pytest.raises(UsageError, match="was not asked about"):
        dispute(ran.out, elsewhere, judged.out)
    with pytest.raises(UsageError, match="nothing to judge"):
        dispute(ran.out, ran.out, judged.out)
    (other / "trace.json").write_bytes((ran.out / "trace.json").read_bytes())
    with pytest.raises(IntegrityError, match="not the one that the receipt names"):
        dispute(ran.out, other, None)


def test_the_referee_has_no_movement():
    with pytest.raises(InputError, match="'3' is reshape, which the referee has not"):
        trace_referee.judged(Leaf("3", "reshape", None, (), ()))


def test_only_portable_kernels_have_lists(tiny, source):
    save_file({"x": np.zeros(4, np.float32)}, source / "x.safetensors")
    (source / ".trace.json").write_text('{"version":1,"mode":"operations"}')
    ran = tiny.call(source)
    assert ran.code == 2
    assert "a trace in mode 'operations' is of portable kernels; this one is pinned" in ran.stderr
