"""The four steps: what a run leaves behind, and how each step fails."""

import hashlib
import json
import resource
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import rfc8785
from safetensors.numpy import save, save_file

from kernels.runtime import protocol
from kernels.runtime.preview import preview
from kernels.runtime.tensors import describe_all

REPOSITORY = Path(__file__).parents[3]
FOUR = {"x": np.array([0.0, 1.0, -2.5, 1e6], np.float32)}


@pytest.fixture
def run(source, capsys):
    """Run an image in this process, whose own environment is left out of it."""
    path, modules = list(sys.path), set(sys.modules)

    def call(image, **environ):
        places = protocol.Places(image.root, source, image.out)
        code = protocol.run(places, image.environment() | environ)
        sys.path[:] = path
        for name in set(sys.modules) - modules:
            if str(image.root) in (getattr(sys.modules[name], "__file__", None) or ""):
                del sys.modules[name]
        text = (image.out / "receipt.json").read_bytes()
        receipt = json.loads(text)
        assert text == rfc8785.dumps(receipt) + b"\n"
        assert receipt["sha256"] == hashlib.sha256(rfc8785.dumps(receipt["result"])).hexdigest()
        assert (receipt["result"]["status"] == "ok") == (code == 0) == (image.out / "outputs.safetensors").exists()
        return code, receipt, capsys.readouterr().err

    yield call
    jax.config.update("jax_enable_x64", False)


def fails(run, image, code, step, reason, **environ):
    found, receipt, stderr = run(image, **environ)
    error = receipt["result"]["error"]
    assert (found, error["exit"], error["step"]) == (code, code, step), stderr
    assert reason in error["message"]
    assert stderr.splitlines()[0] == f"error: {step}: {error['message'].splitlines()[0]}"
    return error


def test_a_run_as_the_image_does_it(tiny, source):
    """In its own process: nothing on stdout or stderr, and all that the receipt promises."""
    save_file(FOUR, source / "x.safetensors")
    for name in ("trace.json", "trace.safetensors", "outputs.safetensors"):
        (tiny.out / name).write_text("left by an earlier run")
    digest, index = "sha256:" + "5" * 64, "sha256:" + "6" * 64
    ran = tiny.call(source, tiny.environment() | {"KBUILD_IMAGE": digest, "KBUILD_INDEX": index})
    assert (ran.code, ran.stderr) == (0, "")
    assert sorted(path.name for path in tiny.out.iterdir()) == ["outputs.safetensors", "receipt.json"]
    receipt = ran.receipt
    result = receipt["result"]
    assert (result["image"], result["index"]) == (digest, index)
    assert result["kernel"] == {"name": "tiny", "version": "1.0.0"}
    assert result["seed"] == 42
    assert result["spec"] == "sha256:" + hashlib.sha256((tiny.folder / "spec.json").read_bytes()).hexdigest()
    assert result["inputs"] == describe_all(FOUR)
    assert result["outputs"] == describe_all(ran.outputs)
    assert result["profile"] == {"environment": tiny.environment(), "name": "pinned", "threads": 2}
    assert receipt["preview"] == {"y": preview("y", ran.outputs["y"])}
    assert set(result["versions"]) == {"jax", "jaxlib", "numpy", "python"}
    assert receipt["sha256"] == hashlib.sha256(rfc8785.dumps(result)).hexdigest()
    assert set(receipt["host"]) >= {"affinity", "caches_kernel", "cores", "cpu", "features", "kernel", "libc", "libm"}
    assert set(receipt["host"]) >= {"library_variants", "machine", "memory", "vendor", "family", "model", "stepping"}
    assert receipt["binding"] == hashlib.sha256(rfc8785.dumps({"host": receipt["host"], "result": result})).hexdigest()
    assert receipt["used"]["memory"] > 50 << 20
    assert receipt["used"]["threads"] > 2
    assert set(receipt["microseconds"]) == {"initialise", "input", "load", "prepare", "compile", "execute", "output"}


def test_the_random_key_holds_all_bits_of_the_seed(tiny, source, run):
    save_file(FOUR, source / "x.safetensors")
    seen = {}
    for seed in (42, 42 + (1 << 32)):
        tiny.write_spec(determinism={"seed": seed})
        assert run(tiny)[0] == 0
        seen[seed] = (tiny.out / "outputs.safetensors").read_bytes()
    assert seen[42] != seen[42 + (1 << 32)]
    assert seen[42] == save({"y": np.asarray(FOUR["x"] + jax.random.uniform(jax.random.key(42), (4,)))})


def test_a_second_run_is_the_same_bytes(tiny, source, run):
    (source / "x.json").write_text(json.dumps({"x": FOUR["x"].tolist()}))
    first = run(tiny)[1]
    bytes_ = (tiny.out / "outputs.safetensors").read_bytes()
    (source / "x.json").unlink()
    np.savez(source / "x.npz", **FOUR)
    second = run(tiny)[1]
    assert first["result"] == second["result"]  # whatever file the inputs came in
    assert (tiny.out / "outputs.safetensors").read_bytes() == bytes_


def test_the_program_is_named_by_what_it_computes(tiny, source, run):
    """Not by where its source is or how it is written: the hash of a kernel as a user would take it with JAX alone."""
    save_file(FOUR, source / "x.safetensors")
    code = (tiny.folder / "model.py").read_text()
    seen = []
    for text in (code, f"# moved down a line\n{code}", code.replace("+ jax", "- jax")):
        (tiny.folder / "model.py").write_text(text)
        seen.append(run(tiny)[1]["result"]["program"])
    assert seen[0] == seen[1] != seen[2]
    names: dict = {}
    exec(code, names)
    lowered = jax.jit(names["shake"]).lower({}, FOUR, jax.random.key(42))
    assert seen[0] == "sha256:" + hashlib.sha256(lowered.as_text().encode()).hexdigest()


def test_a_digest_of_another_form_counts_as_absent(tiny, source, run):
    save_file(FOUR, source / "x.safetensors")
    result = run(tiny, KBUILD_IMAGE="sha256:abc", KBUILD_INDEX="latest")[1]["result"]
    assert (result["image"], result["index"]) == (None, None)


# --- initialise


def test_a_lost_pin_refuses_the_host(tiny, run):
    error = fails(run, tiny, 3, "initialise", "this host may not run the kernel", NPROC="64")
    (unmet,) = error["unmet"]
    assert unmet == {"name": "variable NPROC", "needed": "'2'", "found": "'64'", "remedy": unmet["remedy"]}
    assert error["message"].splitlines()[1:] == [f"  variable NPROC: needs '2', found '64': {unmet['remedy']}"]


def test_a_variable_from_outside_refuses_the_host(tiny, run):
    fails(run, tiny, 3, "initialise", "variable LD_PRELOAD: needs none, found one", LD_PRELOAD="/x.so")


def test_a_broken_statement_of_the_environment(tiny, source):
    environ = tiny.environment()
    (tiny.folder / "environment.json").unlink()
    ran = tiny.call(source, environ)
    assert ran.code == 2
    assert ran.stderr.startswith(f"error: initialise: {tiny.folder}/environment.json: No such file")


def test_a_spec_that_needs_more_memory_refuses_the_host(tiny, run):
    tiny.write_spec(hardware={"memory": "900TiB"})
    fails(run, tiny, 3, "initialise", "memory: needs 989560464998400 bytes, found ")


def test_an_image_without_what_the_runtime_needs(tiny, source):
    save_file(FOUR, source / "x.safetensors")
    (tiny.root / "lib").mkdir()
    (tiny.root / "lib/numpy").symlink_to(Path(np.__file__).parent)
    command = [
        sys.executable,
        "-S",
        "-m",
        "kernels.runtime",
        "--root",
        tiny.root,
        "--input",
        source,
        "--output",
        tiny.out,
    ]
    environ = tiny.environment() | {"PYTHONPATH": f"{REPOSITORY}:{tiny.root}/lib"}
    (tiny.folder / "environment.json").write_bytes(rfc8785.dumps(environ))
    done = subprocess.run(command, env=environ, cwd="/", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: initialise: the image has no jax and safetensors\n"
        "hint: name jax and safetensors in the spec's python.requirements\n"
    )


def test_no_folder_for_results(tiny, source):
    ran = tiny.call(source, out=tiny.out / "absent")
    assert ran.code == 3
    assert ran.stderr.startswith(f"error: initialise: {ran.out} can't be written to: No such file or directory\nhint: ")
    assert "note: no receipt" in ran.stderr


def test_nothing_heavy_is_imported_before_it_must():
    """NumPy and JAX take most of a start; a wrong pin or input is told without them."""
    code = "import sys; import kernels.runtime.__main__; print(*{'numpy', 'jax', 'safetensors'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


# --- input


def test_no_folder_of_inputs_says_what_is_needed(tiny, source, run):
    source.rmdir()
    error = fails(run, tiny, 2, "input", "this kernel needs x (float32 [n])")
    assert error["hint"].endswith(f"files at {source}")


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("x.json", b'{"xs": [1]}', "x.json: 'xs' is not declared; did you mean 'x'?"),
        ("x.safetensors", save({"xs": np.zeros(4, np.float32)}), "'xs' is not declared; did you mean 'x'?"),
        ("x.json", b"{}", "'x' (float32 [n]) is missing"),
        ("x.safetensors", save({"x": np.zeros(4)}), "'x' is float64, not float32"),
        ("x.safetensors", save({"x": np.zeros((2, 2), np.float32)}), "which is not of the form float32 [n]"),
        ("x\x1b[2J\udcff.json", b"{", ".json: not JSON"),
    ],
)
def test_wrong_inputs(tiny, source, run, name, data, reason):  # noqa: PLR0917
    (source / name).write_bytes(data)
    _, receipt, stderr = run(tiny)
    error = receipt["result"]["error"]
    assert (error["step"], error["exit"]) == ("input", 2)
    assert reason in error["message"]
    assert "\x1b" not in stderr


# --- the kernel's code


@pytest.mark.parametrize(
    ("code", "step", "reason"),
    [
        ("import nothing_here", "initialise", "ModuleNotFoundError: No module named 'nothing_here' (model.py, line 1"),
        ("def other(): pass", "initialise", "model:shake: model.py has no function 'shake'"),
        ("def shake(p, i, k): return {", "initialise", "SyntaxError"),
        (
            "def shake(p, i, k): raise ValueError('no')",
            "execute",
            "model:shake: ValueError: no (model.py, line 1, in shake)",
        ),
        ("def shake(p, i, k): raise SystemExit(0)", "execute", "SystemExit"),
        ("def shake(p, i, k): return {'y': i['z']}", "execute", "KeyError: 'z'"),
        ("def shake(p, i, k): return i['x']", "execute", "not a dict of named arrays"),
        ("def shake(p, i, k): return {'y': k}", "execute", "model:shake: TypeError"),
        ("def shake(p, i, k): return {'y': {'z': i['x']}}", "output", "'y' is object, not float32"),
        ("def shake(p, i, k): return {'z': i['x']}", "output", "'y' (float32 [n]) is missing; 'z' is not declared"),
        ("def shake(p, i, k): return {'y': i['x'][:2]}", "output", "has length 2 along axis 0, but 'n' is 4 elsewhere"),
        ("def shake(p, i, k): return {'y': i['x'].astype('int32')}", "output", "'y' is int32, not float32"),
    ],
)
def test_a_faulty_kernel(tiny, source, run, code, step, reason):  # noqa: PLR0917
    save_file(FOUR, source / "x.safetensors")
    (tiny.folder / "model.py").write_text(code)
    fails(run, tiny, 2, step, reason)


def test_a_module_that_hides_behind_another(tiny, source, run):
    save_file(FOUR, source / "x.safetensors")
    (tiny.folder / "json.py").write_text("def dumps(p, i, k): return {'y': i['x']}")
    tiny.write_spec(kernel={"entry": "json:dumps"})
    fails(run, tiny, 2, "initialise", "'json' is another module")


def test_a_version_other_than_pinned(tiny, source, run):
    save_file(FOUR, source / "x.safetensors")
    tiny.write_spec(python={"requirements": ["jax==0.0.1"]})
    fails(run, tiny, 2, "initialise", "but the spec pins 0.0.1")


def test_prepare_and_load(tiny, source, run):
    """Strings go in, weights are read, and what `prepare` made is in the receipt."""
    (tiny.folder / "model.py").write_text("""if True:
        import numpy as np
        def load(weights):
            return {"scale": np.float32(weights["scale"].read_text())}
        def prepare(weights):
            return lambda inputs: {"length": np.array([len(text) for text in inputs["text"]], np.float32)}
        def shake(params, inputs, key):
            return {"y": inputs["length"] * params["scale"]}
    """)
    weights = source.parent / "scale.txt"
    weights.write_text("2.5")
    tiny.add_weights("scale", weights)
    tiny.spec["weights"] = {"scale": {"source": "file:scale.txt"}}
    tiny.spec["inputs"] = {"text": {"dtype": "string", "shape": ["n"]}}
    tiny.write_spec(kernel={"load": "model:load", "prepare": "model:prepare"})
    (source / "text.json").write_text('{"text": ["", "éa"]}')
    code, receipt, _ = run(tiny)
    assert code == 0
    assert receipt["result"]["prepared"] == describe_all({"length": np.float32([0, 2])})
    assert receipt["result"]["outputs"] == describe_all({"y": np.float32([0, 5])})


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("lambda w: lambda i: {'x': np.zeros(4)}", "gave float64 at ['x'], but 64-bit types are off"),
        ("lambda w: lambda i: {'x': np.array(['a'])}", "which JAX can't take"),
        ("lambda w: lambda i: [1]", "gave list, not a dict"),
        ("lambda w: lambda i: {'\\ud800': i['x']}", "the name '\\ud800', which is not Unicode"),
        ("lambda w: lambda i: 1 / 0", "ZeroDivisionError"),
        ("lambda w: 3", "not a function of the inputs"),
        ("lambda w: w['absent']", "KeyError: 'absent'"),
    ],
)
def test_a_faulty_prepare(tiny, source, run, code, reason):
    save_file(FOUR, source / "x.safetensors")
    (tiny.folder / "model.py").write_text(
        f"import numpy as np\nprepare = {code}\ndef shake(p, i, k): return {{'y': i['x']}}"
    )
    tiny.write_spec(kernel={"prepare": "model:prepare"})
    _, receipt, _ = run(tiny)
    assert reason in receipt["result"]["error"]["message"]


def test_64_bit_types_are_on_where_they_are_declared(tiny, source, run):
    (source / "x.json").write_text('{"x": [0.1]}')
    tiny.spec["inputs"]["x"]["dtype"] = tiny.spec["outputs"]["y"]["dtype"] = "float64"
    tiny.write_spec()
    (tiny.folder / "model.py").write_text("def shake(p, i, k): return {'y': i['x'] / 3}")
    code, receipt, _ = run(tiny)
    assert code == 0
    assert receipt["result"]["x64"] is True
    assert receipt["result"]["outputs"] == describe_all({"y": np.float64([0.1]) / 3})


# --- output


def test_more_memory_than_declared_is_said_and_no_fault(tiny, source, run):
    """The runtime can't limit itself, so whoever wrote the spec must hear of it."""
    save_file(FOUR, source / "x.safetensors")
    tiny.write_spec(hardware={"memory": "1MiB"})
    code, receipt, stderr = run(tiny)
    assert code == 0
    assert stderr.startswith("note: the run took ")
    assert stderr.endswith("bytes of memory; the spec's hardware.memory is 1048576\n")
    assert receipt["used"]["memory"] > 1 << 20


def test_results_that_can_not_be_put_in_place(tiny, source):
    save_file(FOUR, source / "x.safetensors")
    (tiny.out / "outputs.safetensors").mkdir()
    ran = tiny.call(source)
    assert ran.code == 3
    assert "can't be written to: Is a directory" in ran.stderr


def test_a_disk_that_fills_up(tiny, source, run):
    """A file-size limit stands in for the disk: the results don't fit, the receipt does."""
    save_file({"x": np.zeros(50_000, np.float32)}, source / "x.safetensors")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        fails(run, tiny, 3, "output", "outputs.safetensors can't be written: File too large")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tiny.out.iterdir()] == ["receipt.json"]
