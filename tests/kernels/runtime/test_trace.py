"""Traces of a program with everything in it: places, order, hashes, values, segments; and through a whole run."""

import hashlib
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rfc8785
from safetensors.numpy import load_file, save_file

from kernels.runtime import program, trace
from kernels.runtime.errors import InputError, KernelError
from kernels.runtime.kernel import Kernel
from kernels.runtime.tensors import describe
from kernels.runtime.trace_merkle import Tree
from kernels.runtime.trace_request import Hashes, Operations, Segments, Values

REPOSITORY = Path(__file__).parents[3]

NEST = """
import jax
import jax.numpy as jnp
import numpy as np

TABLE = np.arange(4, dtype=np.float32)


@jax.checkpoint
def remembered(x):
    return jnp.sin(x) * 2


def nest(params, inputs, key):
    x = inputs["x"]
    x, sums = jax.lax.scan(lambda x, w: (jnp.tanh(x * w), x[0]), x, params["w"], reverse=True)
    x = jax.nn.relu(x)
    x, _ = jax.lax.while_loop(lambda at: at[1] < 3, lambda at: (at[0] * 2, at[1] + 1), (x, 0))
    x = jax.lax.cond(x[0] > 100, lambda x: x + 1, lambda x: x - 1, x)
    x = remembered(x) + jax.random.uniform(key, x.shape)
    x = jnp.linalg.solve(jnp.eye(4) * 2, x) + jnp.asarray(TABLE)
    return {"sums": sums, "y": x}
"""


def call_of(folder, source=NEST, entry="nest", **arguments):
    path = folder / "model.py"
    path.write_text(source)
    names = {}
    exec(compile(source, str(path), "exec"), names)
    params = {"w": np.linspace(0.5, 1.5, 12, dtype=np.float32).reshape(3, 4)}
    inputs = {"x": np.array([0.3, -1.2, 2.5, 0.7], np.float32)}
    key = jax.random.wrap_key_data(jnp.array([0, 42], jnp.uint32), impl="threefry2x32")
    return program.Call(Kernel(folder, names[entry], params), f"model:{entry}", (params, inputs, key))


@pytest.fixture(scope="module")
def call(tmp_path_factory):
    return call_of(tmp_path_factory.mktemp("kernel"))


@pytest.fixture(scope="module")
def plain(call):
    return program.run(call, program.compiled(call, program.lowered(call)))


@pytest.fixture(scope="module")
def hashes(call):
    return trace.trace(Hashes(), call)[0]


def leaves_of(document):
    return {leaf["path"]: leaf for leaf in document["window"]["leaves"]}


def line(text):
    (number,) = [number for number, found in enumerate(NEST.splitlines(), 1) if found.strip().startswith(text)]
    return number


def test_the_order_is_that_of_execution(hashes):
    paths = [leaf["path"] for leaf in hashes["window"]["leaves"]]
    assert paths[:4] == ["params['w']", "inputs['x']", "key", "const[0]"]
    loop = [path for path in paths if path == "0" or path.startswith("0/")]
    assert loop[0].startswith("0/i0/")
    assert loop[-1] == "0"
    assert [path.split("/")[1] for path in loop[:-1]] == sorted(path.split("/")[1] for path in loop[:-1])
    (loop,) = [leaf["path"] for leaf in hashes["window"]["leaves"] if leaf["primitive"] == "while"]
    parts = list(dict.fromkeys(path.split("/")[1] for path in paths if path.startswith(f"{loop}/")))
    assert parts == ["c0", "i0", "c1", "i1", "c2", "i2", "c3"]
    (branch,) = [leaf["path"] for leaf in hashes["window"]["leaves"] if leaf["primitive"] == "cond"]
    assert [path for path in paths if path.startswith(f"{branch}/")] == [f"{branch}/b0/0"]
    assert len(paths) == len(set(paths)) == hashes["leaves"]
    assert {"jit", "remat2", "custom_jvp_call", "custom_linear_solve"}.isdisjoint(
        leaf["primitive"] for leaf in hashes["window"]["leaves"]
    )


def test_a_leaf_says_what_went_in_and_came_out(hashes, call):
    params, inputs, _ = call.arguments
    leaves = leaves_of(hashes)
    assert leaves["params['w']"]["outputs"] == [describe("", params["w"])["sha256"]]
    assert leaves["key"]["outputs"] == [describe("", np.array([0, 42], np.uint32))["sha256"]]
    # The scan runs backwards: its first pass takes the last row.
    first = leaves["0/i0/0"]
    assert sorted(first["inputs"]) == sorted(
        describe("", one)["sha256"] for one in (inputs["x"], params["w"][2]) if first["primitive"] == "mul"
    )
    product = np.asarray(jax.jit(jnp.multiply)(inputs["x"], params["w"][2]))
    assert first["outputs"] == [describe("", product)["sha256"]]


def test_places_name_lines_of_the_kernel(hashes):
    places = hashes["places"]
    here = line("x, sums = ")
    called = {"file": "model.py", "function": "nest", "line": here}
    assert places["0/i/0"]["source"] == {
        "file": "model.py", "function": "<lambda>", "line": here, "callers": [called]
    }  # fmt: skip
    sources = {leaf["primitive"]: places[trace.static(leaf["path"])]["source"] for leaf in hashes["window"]["leaves"]}
    assert (sources["sin"]["function"], sources["sin"]["line"]) == ("remembered", line("return jnp.sin"))
    assert [one["line"] for one in sources["sin"]["callers"]] == [line("x = remembered(x)")]
    # JAX's own functions have no line here; the call that leads to them has.
    assert sources["random_bits"]["line"] == line("x = remembered(x)")
    assert sources["triangular_solve"]["line"] == line("x = jnp.linalg.solve")
    assert sources["parameter"] is None
    assert places["params['w']"]["outputs"] == [["float32", [3, 4]]]
    assert places["key"]["outputs"] == [["key<fry>", []]]


def test_the_root_is_that_of_the_leaves(hashes):
    level = [hashlib.sha256(b"\0" + rfc8785.dumps(leaf)).digest() for leaf in hashes["window"]["leaves"]]
    assert [one.hex() for one in level] == hashes["chunks"]
    while len(level) > 1:
        pairs = [hashlib.sha256(b"\1" + b"".join(level[at : at + 2])).digest() for at in range(0, len(level) - 1, 2)]
        level = pairs + level[2 * len(pairs) :]
    assert level[0].hex() == hashes["root"]


def test_operations_alone_come_close_to_the_plain_run(call, plain, hashes):
    """Not to its bits, always: that fusion moves bits is why there are segments."""
    assert hashes["outputs"].keys() == plain.keys()
    for name, array in plain.items():
        assert hashes["outputs"][name]["shape"] == list(array.shape)
    last = hashes["window"]["leaves"][-1]["path"]
    _, values = trace.trace(Values((last, "0")), call)
    np.testing.assert_allclose(values[f"{last}:out0"], plain["y"], rtol=1e-5)
    np.testing.assert_allclose(values["0:out1"], plain["sums"], rtol=1e-5)


def test_another_process_or_folder_gives_the_same_trace(tmp_path, hashes):
    assert trace.trace(Hashes(), call_of(tmp_path))[0] == hashes


def test_a_window(call, hashes):
    part = trace.trace(Hashes(5, 9), call)[0]
    assert part["window"] == {"start": 5, "leaves": hashes["window"]["leaves"][5:9]}
    assert part["places"].keys() == {trace.static(leaf["path"]) for leaf in part["window"]["leaves"]}
    assert (part["root"], part["leaves"]) == (hashes["root"], hashes["leaves"])


def test_values(call, hashes):
    _, values = trace.trace(Values(("params['w']", "0/i1/0", "key")), call)
    assert sorted(values) == ["0/i1/0:in0", "0/i1/0:in1", "0/i1/0:out0", "key:out0", "params['w']:out0"]
    for name, value in values.items():
        path, _, place = name.rpartition(":")
        role, index = ("inputs", int(place[2:])) if place.startswith("in") else ("outputs", int(place[3:]))
        assert leaves_of(hashes)[path][role][index] == describe("", value)["sha256"]


def test_the_whole_program_as_one_segment_is_the_plain_run(call, plain):
    count = len(trace.trace(Segments(""), call)[0]["equations"])
    document, _ = trace.trace(Segments("", cuts=(count,)), call)
    assert document["outputs"] == {name: describe(name, array) for name, array in plain.items()}


def test_frames_of_loops_and_branches_are_called_as_in_the_program(call, hashes):
    """With nothing fused before them, what they are called with is what the trace has."""
    leaves = leaves_of(hashes)
    inside, values = trace.trace(Segments("0/i1", cuts=(0, 1, 2), segments=((0, 1),), values=True), call)
    assert inside["frame"] == "0/i1"
    assert inside["cuts"][0] == {"cut": 0, "values": []}
    assert sorted(inside["inputs"]) == sorted(leaves["0/i1/0"]["inputs"])
    (segment,) = inside["segments"]
    assert [digest for _, digest in segment["outputs"]] == leaves["0/i1/0"]["outputs"]
    assert values.keys() == {f"in:{name}" for name, _ in segment["inputs"]} | {"out:0:out0"}
    loop = trace.trace(Segments("0", iterations=(0, 1, 3)), call)[0]["loop"]
    assert (loop["primitive"], loop["length"]) == ("scan", 3)
    assert [one["made"] for one in loop["iterations"]] == [0, 1, 3]
    assert loop["iterations"][0]["values"][0] == leaves["inputs['x']"]["outputs"][0]
    assert loop["iterations"][2]["values"] == leaves["0"]["outputs"]
    (path,) = [path for path, leaf in leaves.items() if leaf["primitive"] == "while"]
    loop = trace.trace(Segments(path, iterations=(2, 1000)), call)[0]["loop"]
    assert (loop["length"], [one["made"] for one in loop["iterations"]]) == (None, [2, 3])
    for part, primitive in (("i2", "mul"), ("c3", "lt")):
        assert trace.trace(Segments(f"{path}/{part}"), call)[0]["equations"][0]["primitive"] == primitive
    (path,) = [path for path, leaf in leaves.items() if leaf["primitive"] == "cond"]
    taken = trace.trace(Segments(f"{path}/b", cuts=(1,)), call)[0]
    assert taken == trace.trace(Segments(f"{path}/b0", cuts=(1,)), call)[0] | {"frame": f"{path}/b"}


@pytest.mark.parametrize(
    "asked",
    [
        Values(("99",)),
        Values(("params['v']",)),
        Segments("99/i0"),
        Segments("", cuts=(10_000,)),
        Segments("", segments=((1, 10_000),)),
        Segments("0", cuts=(1,)),
        Segments("0", iterations=(4,)),
        Segments("1/0/0", iterations=(1,)),
        Segments("0/i3", cuts=(1,)),
        Segments("0/b0"),
        Segments("", iterations=(1,)),
        Segments("", segments=((0, 1), (1, 2)), values=True),
    ],
)
def test_places_that_are_not_there(asked, call):
    with pytest.raises(InputError):
        trace.trace(asked, call)


def test_a_program_without_equations(tmp_path):
    source = "def entry(params, inputs, key):\n    return {'y': inputs['x'], 'z': 1.5}\n"
    document, _ = trace.trace(Hashes(), call_of(tmp_path, source, "entry"))
    assert [leaf["primitive"] for leaf in document["window"]["leaves"]] == ["parameter", "input", "key"]
    assert document["outputs"]["y"]["sha256"] == describe("y", np.array([0.3, -1.2, 2.5, 0.7], np.float32))["sha256"]
    assert document["outputs"]["z"]["shape"] == []
    whole = trace.trace(Segments("", cuts=(0,)), call_of(tmp_path, source, "entry"))[0]
    assert whole["outputs"] == document["outputs"]


def test_loops_of_no_passes_and_types_that_files_lack(tmp_path):
    source = (
        "import jax, jax.numpy as jnp\n"
        "def entry(params, inputs, key):\n"
        "    x, ys = jax.lax.scan(lambda c, w: (c + w, c), inputs['x'], params['w'][:0])\n"
        "    keys = jax.random.split(key, 3)\n"
        "    bits = jax.lax.map(lambda one: jax.random.bits(one), keys)\n"
        "    small = x.astype(jnp.float8_e4m3fn)\n"
        "    return {'y': small.astype(jnp.float32), 'ys': ys, 'bits': bits}\n"
    )
    call = call_of(tmp_path, source, "entry")
    document, _ = trace.trace(Hashes(), call)
    results = program.run(call, program.compiled(call, program.lowered(call)))
    assert document["outputs"] == {name: describe(name, array) for name, array in results.items()}
    small = next(one["path"] for one in document["window"]["leaves"] if one["primitive"] == "convert_element_type")
    split = next(one["path"] for one in document["window"]["leaves"] if one["primitive"] == "random_split")
    trace_of = trace.trace(Values((small, split)), call)[1]
    assert (trace_of[f"{small}:out0"].dtype, trace_of[f"{small}:out0"].shape) == (np.uint8, (4, 1))
    assert (trace_of[f"{split}:out0"].dtype, trace_of[f"{split}:out0"].shape) == (np.uint32, (3, 2))


BATCHED = """
import jax
import jax.numpy as jnp

def entry(params, inputs, key):
    def one(x):
        return jax.lax.while_loop(lambda at: at[0] < 2, lambda at: (at[0] * at[0] + 1, at[1] + 1), (x, 0))

    x, passes = jax.vmap(one)(inputs["x"])
    return {"y": x, "passes": passes}
"""


def test_a_loop_under_vmap_ends_for_each_element_by_itself(tmp_path):
    call = call_of(tmp_path, BATCHED, "entry")
    results = program.run(call, program.compiled(call, program.lowered(call)))
    assert len(set(results["passes"].tolist())) > 1
    document, _ = trace.trace(Hashes(), call)
    assert document["outputs"] == {name: describe(name, array) for name, array in results.items()}
    leaf = next(leaf for leaf in document["window"]["leaves"] if leaf["primitive"] == "while")
    (found,) = trace.trace(Segments(leaf["path"], iterations=(100,)), call)[0]["loop"]["iterations"]
    assert (found["made"], found["values"]) == (max(results["passes"]), leaf["outputs"])


def test_a_list_says_where_its_chunks_begin(call, hashes, monkeypatch):
    monkeypatch.setattr(trace, "Tree", lambda: Tree(4))
    document, _ = trace.trace(Operations(), call)
    paths = [leaf["path"] for leaf in document["window"]["leaves"]]
    assert document["level"] > 2
    assert document["starts"] == paths[:: 1 << document["level"]]
    assert len(document["starts"]) == len(document["chunks"])
    assert document["root"] == hashes["root"]


# --- through a whole run


FOUR = {"x": np.array([0.0, 1.0, -2.5, 1e6], np.float32)}


def test_a_traced_run(tiny, source, tmp_path):
    """The plain results and the hashed part of the receipt are as without the request, which is no input."""
    save_file(FOUR, source / "x.safetensors")
    before = tiny.call(source)
    outputs, receipt = (tiny.out / "outputs.safetensors").read_bytes(), before.receipt
    assert not (tiny.out / "trace.json").exists()
    (source / ".trace.json").write_text('{"version":1,"mode":"hashes"}')
    ran = tiny.call(source)
    assert ran.code == 0
    assert (tiny.out / "outputs.safetensors").read_bytes() == outputs
    assert ran.receipt["result"] == receipt["result"]
    data = (tiny.out / "trace.json").read_bytes()
    document = json.loads(data)
    assert data == rfc8785.dumps(document) + b"\n"
    assert ran.receipt["trace"] == {"mode": "hashes", "sha256": hashlib.sha256(data).hexdigest()}
    assert not (tiny.out / "trace.safetensors").exists()
    assert document["places"]["inputs['x']"]["outputs"] == [["float32", [4]]]
    last = document["window"]["leaves"][-1]
    assert document["places"][last["path"]]["source"]["file"] == "model.py"

    path = last["path"]
    (source / ".trace.json").write_text(json.dumps({"version": 1, "mode": "values", "equations": [path]}))
    assert tiny.call(source).code == 0
    values = load_file(tiny.out / "trace.safetensors")
    np.testing.assert_array_equal(values[f"{path}:out0"], ran.outputs["y"])

    (source / ".trace.json").write_text('{"version":1,"mode":"values","equations":["99"]}')
    failed = tiny.call(source)
    assert failed.code == 2
    assert "the program has no '99'" in failed.receipt["result"]["error"]["message"]
    assert sorted(path.name for path in tiny.out.iterdir()) == ["receipt.json"]


def test_what_the_kernel_itself_raises_is_the_kernels_fault(tmp_path):
    source = (
        "import jax, numpy as np\n"
        "def once(x):\n"
        "    if once.asked:\n"
        "        raise ValueError('not again')\n"
        "    return x\n"
        "once.asked = True\n"
        "def entry(params, inputs, key):\n"
        "    x = inputs['x']\n"
        "    return {'y': jax.pure_callback(once, jax.ShapeDtypeStruct(x.shape, x.dtype), x)}\n"
    )
    (tmp_path / "request.json").write_text('{"version":1,"mode":"hashes"}')
    with pytest.raises(KernelError, match=r"model:entry: .*CpuCallback"):
        trace.record(tmp_path / "request.json", tmp_path, call_of(tmp_path, source, "entry"), trace.Plain("pinned", {}))
    assert not (tmp_path / "trace.json").exists()
