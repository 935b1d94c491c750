"""An image as a directory for `docker build`."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence

from builder.backends.sandbox import EMULATOR
from builder.render.context import Context
from builder.render.image import OUTPUTS, TARS, Rendering, Step, Tree
from builder.render.kit import executable, kit, later, template
from builder.render.origins import UNPACKED

_PYTHON = ("/usr/bin/python3", "-I", "-S", "-B")
_BUSYBOX = "/.kbuild/busybox"
_CHECK = (*_PYTHON, "/.kbuild/lay.py", "check", "/.kbuild/image.mtree", "/.kbuild/image")

_OUTPUTS = re.compile(rf" contents={OUTPUTS}/([^/ ]+)/")

IGNORED = """\
# What the build does not read.
.git
README.md
bootstrap/.*.part
fetch.py
inputs/.*.part
inputs.json
"""


def docker_directory(rendering: Rendering, *, with_inputs: bool) -> Context:
    """Everything that `docker build` needs, but the inputs that `fetch.py` gets.

    Args:
        rendering: what to build.
        with_inputs: have the inputs in the directory.
    """
    files = kit(rendering, with_inputs=with_inputs)
    files[".dockerignore"] = IGNORED
    files["Dockerfile"] = dockerfile(rendering)
    files["check.Dockerfile"] = template("check.Dockerfile.j2", r=rendering, command=json.dumps(_CHECK))
    files["README.md"] = template("README.md.j2", r=rendering, with_inputs=with_inputs)
    return Context(files, executable(files), later(rendering))


def dockerfile(rendering: Rendering) -> str:
    """The Dockerfile: pure text of what is rendered."""
    python = " ".join((EMULATOR, *_PYTHON) if rendering.emulated_python else _PYTHON)
    emulator = rendering.emulator

    def lay(verb: str, tree: Tree, target: str) -> str:
        return f"{python} lay.py {verb} {tree.file} {target} \\\n      --from . --expect {tree.diff_id}"

    preparations = [f"{_BUSYBOX} mkdir /trees {TARS}"]
    preparations += [lay("tree", tree, f"/trees/{tree.name}") for tree in rendering.roots]
    after = {step.name: _made_before(rendering, step) for step in rendering.steps}
    inputs: dict[str, list[str]] = {}
    for step in rendering.steps:
        laid = [lay("tar", tree, f"{TARS}/{tree.name}.tar") for tree in step.tars]
        laid.append(lay("tree", step.inputs, f"/trees/{step.name}"))
        if after[step.name]:
            inputs[step.name] = laid
        else:
            preparations += laid
    return template(
        "Dockerfile.j2",
        r=rendering,
        python=python,
        emulator=shlex.quote(f"{UNPACKED}/{emulator.package}/{emulator.member}") if emulator else "",
        preparations=preparations,
        after=after,
        inputs=inputs,
        laid=[f"{_BUSYBOX} mkdir /layers", *(lay("tree", tree, f"/layers/{tree.name}") for tree in rendering.layers)],
        runs={step.name: _exec(_command(step)) for step in rendering.steps},
        environment=_pairs(rendering.config.environment),
        labels=_pairs(rendering.config.labels),
    )


def _made_before(rendering: Rendering, step: Step) -> list[str]:
    """The steps whose outputs are among this one's inputs."""
    text = rendering.files.get(step.inputs.file, "")
    lines = text.decode() if isinstance(text, bytes) else text
    return sorted(set(_OUTPUTS.findall(lines)))


def _command(step: Step) -> list[str]:
    """A step's command in its own environment and no other."""
    return [_BUSYBOX, "env", "-i", *(f"{name}={value}" for name, value in sorted(step.env.items())), *step.argv]


def _exec(words: Sequence[str]) -> str:
    """Words in exec form, a line for each: no shell reads them, and variables are not replaced in them."""
    return "[" + ", \\\n     ".join(json.dumps(word) for word in words) + "]"


def _pairs(values: Mapping[str, str]) -> str:
    """What ENV and LABEL take: sorted, a pair in each line."""
    return " \\\n    ".join(f"{name}={_quoted(value)}" for name, value in sorted(values.items()))


def _quoted(value: str) -> str:
    """A value in double quotes: the builder's own shell word rules (backslash before `"`, `$` and itself)."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return f'"{escaped}"'
