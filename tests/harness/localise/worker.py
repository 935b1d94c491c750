"""A host in one process: reads a question per line, runs a planted program, traces it, answers with a line."""

import copy
import json
import os
import sys
from pathlib import Path

import jax
import planted
from safetensors.numpy import save_file

from kernels.runtime import host, program, trace
from kernels.runtime.kernel import Kernel
from kernels.runtime.tensors import describe_all

HERE = Path(__file__).parent
PARAMS, INPUTS = planted.params(), planted.inputs()


def answer(question):
    folder = Path(question["out"])
    folder.mkdir(parents=True)
    params = copy.deepcopy(PARAMS)
    if question["flip"]:  # the lowest bit of one weight
        params["scale"]["b"].view("uint32")[5] ^= 1
    os.environ["PLANTED_FLUSH"] = str(int(question["flush"]))
    key = jax.random.wrap_key_data(jax.numpy.asarray([0, question["seed"]], "uint32"), impl="threefry2x32")
    kernel = Kernel(HERE, getattr(planted, question["entry"]), params)
    call = program.Call(kernel, f"planted:{question['entry']}", (params, INPUTS, key))
    results = program.run(call, program.compiled(call, program.lowered(call)))
    save_file(results, folder / "outputs.safetensors")
    result = {"status": "ok", "outputs": describe_all(results), "profile": {"environment": question["environment"]}}
    receipt = {"result": result, "host": {"features": sorted(host.observe().features)}}
    if question["request"] is not None:
        path = folder / "request.json"
        path.write_text(question["request"])
        plain = trace.Plain("pinned", result["outputs"]["tensors"])
        receipt["trace"] = trace.record(path, folder, call, plain).summary
    (folder / "receipt.json").write_text(json.dumps(receipt))


for line in sys.stdin:
    answer(json.loads(line))
    print("done", flush=True)  # noqa: T201
