"""The files that a spec names: chosen the same everywhere, and all of them there."""

import os

import pytest
from spec_samples import FULL, MINIMAL

from builder.spec.files import check_files, kernel_files
from builder.spec.findings import SpecErrors
from builder.spec.load import load

MODEL = "import jax\n\n\ndef forward(params, inputs, key):\n    return inputs\n"


@pytest.fixture
def kernel(tmp_path):
    """A function that writes a kernel's folder and loads its spec."""

    def make(text=MINIMAL, **files):
        (tmp_path / "spec.toml").write_text(text)
        for name, content in {"model.py": MODEL, **files}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return load(tmp_path / "spec.toml"), tmp_path

    return make


def test_files_are_chosen_by_glob_sorted_without_spec_and_lock(kernel):
    text = MINIMAL.replace("[inputs.x]", 'files = ["**/*"]\n[inputs.x]', 1)
    spec, folder = kernel(
        text, **{"spec.lock": "", "b/a.json": "", "b-a.json": "", "b/__pycache__/x.pyc": "", ".hid": ""}
    )
    assert list(kernel_files(spec, folder)) == [".hid", "b-a.json", "b/a.json", "model.py"]
    assert check_files(spec, folder) == []


def test_another_spec_name_has_another_lock(kernel):
    text = MINIMAL.replace("[inputs.x]", 'files = ["*"]\n[inputs.x]', 1)
    spec, folder = kernel(text, **{"big.toml": "", "big.lock": "", "spec.lock": ""})
    assert list(kernel_files(spec, folder, name="big.toml")) == ["model.py", "spec.lock", "spec.toml"]


def test_missing_files_are_findings_with_places(kernel):
    spec, folder = kernel(FULL, **{"examples.json": "", "native/opp.cc": ""})
    found = check_files(spec, folder)
    assert [(f.message, f.source_line[f.column - 1 :][: f.length]) for f in found] == [
        ("model.py defines no 'load'", '"model:load"'),
        ("model.py defines no 'prepare'", '"model:prepare"'),
        ("'data/**/*.json' matches no file", '"data/**/*.json"'),
        ("there is no file 'native/op.cc'", '"native/op.cc"'),
        ("there is no file 'weights/w.safetensors'", '"file:weights/w.safetensors"'),
        ("there is no file 'one.json'", '"one.json"'),
    ]
    assert found[3].hint == "did you mean 'native/opp.cc'?"
    assert found[0].path == str(folder / "spec.toml")


@pytest.mark.parametrize(
    ("source", "message", "hint"),
    [
        ("def forwrd(): pass", "model.py defines no 'forward'", "did you mean 'model:forwrd'?"),
        ("x = forward", "model.py defines no 'forward'", "define it in model.py"),
        ("", "model.py defines no 'forward'", "define it in model.py"),
    ],
)
def test_functions_are_looked_for(kernel, source, message, hint):
    (finding,) = check_files(*kernel(**{"model.py": source}))
    assert (finding.message, finding.hint) == (message, hint)


@pytest.mark.parametrize(
    "source",
    [
        "from other import *",
        "from other import forward",
        "from other import f as forward",
        "forward = g()",
        "(a, forward) = g()",
        "forward: object = g()",
        "if True:\n    forward = 1",
        "this is no Python",
        "class forward: pass",
    ],
)
def test_what_cannot_be_told_is_not_refused(kernel, source):
    assert check_files(*kernel(**{"model.py": source})) == []


def test_a_module_that_is_not_there(kernel):
    spec, folder = kernel(**{"mode.py": ""})
    (folder / "model.py").unlink()
    (finding,) = check_files(spec, folder)
    assert finding.message == "there is no model.py among the kernel's files"
    assert finding.hint == "did you mean 'mode:forward'?"


def test_links_stay_inside(kernel, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "secret.py"
    outside.write_text("x = 1")
    spec, folder = kernel()
    (folder / "inside.py").symlink_to("model.py")
    assert check_files(spec, folder) == []
    (folder / "link.py").symlink_to(outside)
    with pytest.raises(SpecErrors, match="a link out of the kernel's folder"):
        kernel_files(spec, folder)
    (finding,) = check_files(spec, folder)
    assert "link.py" in finding.message


def test_a_linked_folder_is_not_followed_out(kernel, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "w.safetensors").write_text("")
    spec, folder = kernel(MINIMAL + '[weights.w]\nsource = "file:weights/w.safetensors"\n')
    (folder / "weights").symlink_to(outside)
    (finding,) = check_files(spec, folder)
    assert "a link out" in finding.message


def test_odd_names_are_refused(kernel):
    spec, folder = kernel()
    (folder / os.fsdecode(b"a\xff.py")).write_text("")
    (folder / "a\nb.py").write_text("")
    assert len(check_files(spec, folder)) == 2
