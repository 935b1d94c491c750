"""`kbuild init`: what it writes works, and it writes all or nothing."""

import json
import os
import subprocess
import sys

import pytest

from builder.errors import EnvironmentFault, UsageError
from builder.spec.files import check_files
from builder.spec.identity import identity
from builder.spec.load import load
from builder.spec.scaffold import scaffold


def test_what_it_writes_is_a_spec_whose_files_are_there(tmp_path):
    files = scaffold("my-net", tmp_path / "my-net")
    assert files[0] == tmp_path / "my-net" / "spec.toml"
    assert sorted(files) == sorted(path for path in (tmp_path / "my-net").rglob("*") if path.is_file())
    spec = load(files[0])
    assert spec.kernel.name == "my-net"
    assert check_files(spec, tmp_path / "my-net") == []
    assert [path.name for path in tmp_path.iterdir()] == ["my-net"]


def test_every_line_that_is_commented_out_is_right(tmp_path):
    (path, *_) = scaffold("k", tmp_path / "k")
    text = path.read_text()
    chosen = text.replace("# [weights.net]", "[weights.net]").replace("# [native.op]", "[native.op]")
    chosen = chosen.replace("# sources =", "sources =").replace('# source = "file', 'source = "file')
    chosen = chosen.replace("# prepare =", "prepare =")
    path.write_text(chosen)
    spec = load(path)
    assert set(spec.weights) == {"net"}
    assert set(spec.native) == {"op"}
    assert spec.kernel.prepare == "model:prepare"


MODEL = """
import json, sys
sys.path.insert(0, sys.argv[1])
import jax, numpy as np, model
document = json.load(open(sys.argv[1] + "/examples/inputs.json"))
inputs = {name: np.array(value, np.float32) for name, value in document.items()}
outputs = jax.jit(model.forward)(model.load({}), inputs, jax.random.key(0))
weights = model.load({})
print(json.dumps({
    "outputs": {name: [str(value.dtype), value.shape] for name, value in outputs.items()},
    "weights": [float(weights["w1"][0, 0]).hex(), float(weights["w2"][-1, -1]).hex(), str(weights["w1"].dtype)],
    "spread": float(np.std(outputs["y"])),
}))
"""


def test_the_model_runs_and_its_weights_are_exact(tmp_path):
    scaffold("k", tmp_path / "k")
    run = subprocess.run(
        [sys.executable, "-c", MODEL, str(tmp_path / "k")],
        capture_output=True, text=True, timeout=100, check=True, env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    said = json.loads(run.stdout)
    assert said["outputs"] == {"y": ["float32", [3, 2]]}
    first = ((2654435761 * 1) % 2**32 >> 16) / 2**16 - 0.5
    last = ((2654435761 * 232) % 2**32 >> 16) / 2**16 - 0.5
    assert said["weights"] == [first.hex(), last.hex(), "float32"]
    assert said["spread"] > 0.01


def test_same_name_same_bytes_whatever_the_umask(tmp_path):
    scaffold("k", tmp_path / "a")
    before = os.umask(0o077)
    try:
        scaffold("k", tmp_path / "b")
    finally:
        os.umask(before)
    for path in (tmp_path / "a").rglob("*"):
        other = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert path.is_dir() or path.read_bytes() == other.read_bytes()
        assert other.stat().st_mode & 0o077 == 0
    assert identity(load(tmp_path / "a" / "spec.toml")) == identity(load(tmp_path / "b" / "spec.toml"))


@pytest.mark.parametrize(
    "name", ["", "My Net", "../x", "/x", "a/b", ".hidden", "-x", "x-", "a" * 65, "größe", 'x"\ny', "x\n"]
)
def test_a_name_is_a_name(tmp_path, name):
    with pytest.raises(UsageError, match="is not a name"):
        scaffold(name, tmp_path / "k")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_name_is_set_right(tmp_path):
    with pytest.raises(UsageError) as caught:
        scaffold("My Net", tmp_path / "k")
    assert caught.value.hint.startswith("write 'my-net'")


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    before = sorted(tmp_path.rglob("*"))
    for name in ("full", "file", "link"):
        with pytest.raises(UsageError, match="exists and is not empty"):
            scaffold("k", tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_folder_may_be_there(tmp_path):
    (tmp_path / "k").mkdir()
    assert load(scaffold("k", tmp_path / "k")[0])


def test_a_parent_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="there is no folder"):
        scaffold("k", tmp_path / "a" / "b")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_parent_that_may_not_be_written(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(EnvironmentFault):
        scaffold("k", tmp_path / "k")
