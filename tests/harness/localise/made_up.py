"""Hosts that are made up: programs of one frame that part where they are told to."""

import json

import numpy as np
import rfc8785
from safetensors.numpy import save_file

from builder.errors import EnvironmentFault
from builder.harness.trace import static
from builder.harness.trace_merkle import head, leaf_hash
from builder.hosts.host import RunResult

A, B = "a" * 64, "b" * 64
SOURCE = {"file": "model.py", "line": 2, "function": "f", "callers": []}
PLACE = {"inputs": [["float32", [2]]], "outputs": [["float32", [2]]], "parameters": "", "source": SOURCE}


def hashed(text):
    return leaf_hash(text.encode()).hex()


class Host:
    """A program of `count` equations in one frame; from equation `parts` on its values are its own.

    Alone, equations differ from `alone` on, if that is another place; compiled, a cut differs if its last equation is
    `parts` or later.
    """

    def __init__(self, folder, name, count, parts=None, *, alone=None, mode="same", level=0, **about):
        self.folder, self.name, self.count, self.parts, self.level = folder, name, count, parts, level
        self.alone = parts if alone is None else alone
        self.mode, self.about = mode, about
        self.loop = None
        """The place of an equation that is a loop in the list of leaves, and its passes, of one operation each."""
        self.asked = []

    def value(self, index, parts):
        return hashed(f"{self.name if parts is not None and index >= parts else 'both'} {index}")

    def leaf(self, index):
        before = self.value(index - 1, self.alone) if index else A
        primitive = self.about.get("primitives", {}).get(index, "mul")
        return {
            "path": str(index), "primitive": primitive, "parameters": B,
            "inputs": [before], "outputs": [self.value(index, self.alone)],
        }  # fmt: skip

    def plain(self):
        return {"y": self.value(self.count - 1, self.parts)}

    def ask(self, request, seconds):
        asked = json.loads(request)
        self.asked.append(asked)
        if self.mode == "dead" or self.mode == asked["mode"]:
            raise EnvironmentFault("it was not done in time")
        folder = self.folder / self.name / str(len(self.asked))
        folder.mkdir(parents=True)
        document, tensors = getattr(self, asked["mode"])(asked)
        (folder / "trace.json").write_bytes(rfc8785.dumps(document))
        if tensors:
            save_file(tensors, folder / "trace.safetensors")
        outputs = {name: {"dtype": "float32", "shape": [2], "sha256": one} for name, one in self.plain().items()}
        return RunResult(folder, {"result": {"outputs": {"tensors": outputs}}, **self.about.get("receipt", {})})

    def hashes(self, asked):
        start, stop = asked.get("window", [0, 4096])
        leaves = [self.leaf(index) for index in range(self.count)]
        if self.loop:
            place, passes = self.loop
            leaves[place:place] = [self.leaf(0) | {"path": f"{place}/i{number}/0"} for number in range(passes)]
        bottom = [leaf_hash(rfc8785.dumps(one)) for one in leaves]
        chunks = [head(bottom[at : at + (1 << self.level)]) for at in range(0, len(leaves), 1 << self.level)]
        listed = leaves[start:stop]
        outputs = {"y": {"dtype": "float32", "shape": [2], "sha256": self.value(self.count - 1, self.alone)}}
        return {
            "version": 1, "mode": "hashes", "leaves": len(leaves), "level": self.level, "root": head(chunks).hex(),
            "chunks": [one.hex() for one in chunks], "window": {"start": start, "leaves": listed},
            "places": {static(one["path"]): PLACE | self.about.get("place", {}) for one in listed}, "outputs": outputs,
        }, {}  # fmt: skip

    def values(self, asked):
        (path,) = asked["equations"]
        number = self.parts is not None and int(path) >= self.alone and self.name == "b"
        one = np.array([1, 2], np.float32)
        return {}, {f"{path}:in0": one, f"{path}:out0": np.nextafter(one, np.float32(9)) if number else one}

    def segments(self, asked):
        def name(index):
            return f"{index}:out0" if index >= 0 else "argument0"

        def after(cut):
            return [[name(cut - 1), self.value(cut - 1, self.parts)]] if cut else []

        def segment(start, stop):
            # Started from equal values, a stretch differs if it holds equation `parts` and the one before it.
            differs = self.parts is not None and start <= self.parts - self.about.get("fused", 0) < self.parts < stop
            differs |= not self.about.get("fused") and self.parts is not None and start <= self.parts < stop
            given = [[name(start - 1), self.value(start - 1, self.parts)]]
            made = hashed(f"{self.name if differs else 'both'} {start} {stop}")
            return {"segment": [start, stop], "inputs": given, "outputs": [[name(stop - 1), made]]}

        equations = [
            {"path": str(index), "primitive": "mul", "takes": [name(index - 1)], **PLACE} for index in range(self.count)
        ]
        document = {
            "version": 1, "mode": "segments", "frame": "", "inputs": [A], "equations": equations,
            "cuts": [{"cut": cut, "values": after(cut)} for cut in asked.get("cuts", [])],
            "segments": [segment(*pair) for pair in asked.get("segments", [])],
        }  # fmt: skip
        if self.count in asked.get("cuts", []):
            document["outputs"] = {"y": {"dtype": "float32", "shape": [2], "sha256": self.plain()["y"]}}
        one = np.array([1, 2], np.float32)
        tensors = {"in:x": one, "out:x": np.nextafter(one, np.float32(9)) if self.name == "b" else one}
        return document, tensors if asked.get("values") else {}
