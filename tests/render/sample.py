"""A rendering that no build made, small enough to read what comes of it."""

from __future__ import annotations

import hashlib

from builder.backends.action import Action, InputFile
from builder.oci.config import ImageConfig
from builder.render.context import Blob
from builder.render.image import Input, Program, Rendering, Step, Tree


def digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def tree(folder: str, name: str) -> Tree:
    return Tree(name, f"{folder}/{name}.mtree", digest(name), digest(f"tree {name}"))


def source(name: str, kind: str, registry: str = "debian") -> Input:
    data = name.encode()
    path = f"pool/main/{name}" if registry == "debian" else f"{name.partition('-')[0]}/{name}"
    return Input(name, kind, hashlib.sha256(data).hexdigest(), len(data), registry, path)


def step(name: str, root: str, argv: tuple[str, ...], tars: tuple[Tree, ...] = ()) -> Step:
    action = Action(
        name.replace("-", " "), "linux/amd64", ("00",), (InputFile("/in/x", "00"),), argv, (("LC_ALL", "C.UTF-8"),), 7
    )
    env = {"SOURCE_DATE_EPOCH": "7", "LC_ALL": "C.UTF-8"}
    return Step(name, action, root, tree("steps", name), tars, argv, env)


def rendering(**changes: object) -> Rendering:
    inputs = (
        source("base-files_13_amd64.deb", "python"),
        source("python3.13-minimal_3.13.5-2+deb13u5_amd64.deb", "python"),
        source("g++-14_14.2.0-19_amd64.deb", "deb"),
        source("jaxlib-0.10.2-cp313-cp313-manylinux_2_27_x86_64.whl", "zip", "pypi"),
        source("weights.safetensors", "file", "local"),
    )
    fields = {
        "name": "demo",
        "version": "1.0.0",
        "platform": "linux/amd64",
        "builder": "linux/amd64",
        "manifest": digest("manifest"),
        "config": ImageConfig(
            epoch=7,
            environment={"XLA_FLAGS": "--a=b --c=d", "ODD": 'back\\slash "quote" $HOME'},
            labels={"org.example.title": "demo"},
        ),
        "layers": (tree("layers", "01-base"), tree("layers", "02-native")),
        "tree_digest": digest("whole"),
        "roots": (tree("roots", "root-1-python3"), tree("roots", "root-2-g-14")),
        "steps": (
            step("bytecode-of-base", "root-1-python3", ("/usr/bin/python3", "/in/x"), (tree("steps", "sources"),)),
            step("native-fold", "root-2-g-14", ("/usr/bin/g++-14", '-DX="a b"', "first\nsecond")),
        ),
        "inputs": inputs,
        "busybox": Program("base-files_13_amd64.deb", "usr/bin/busybox", "ab" * 32, 1000),
        "emulator": None,
        "emulated_python": False,
        "snapshots": {"debian": "2026-01-02T03:04:05Z"},
        "files": {"files/02-native/opt/kernel/model.py": b"pass\n", "layers/01-base.mtree": "#mtree v2.0\n"},
        "blobs": {f"inputs/{item.name}": Blob(item.sha256, item.size) for item in inputs},
    }
    return Rendering(**(fields | changes))
