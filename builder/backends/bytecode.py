"""The action that compiles Python sources to bytecode; see `builder.layers.bytecode`."""

from __future__ import annotations

from collections.abc import Sequence

from builder.backends.action import OUTPUT, Action, InputFile
from builder.platforms import Platform
from builder.store.artifact import Artifact

_SCRIPT = "/in/compile_bytecode.py"
_SOURCES = "/in/sources.tar"


def bytecode_action(
    name: str, *, platform: Platform, interpreter: Sequence[Artifact], script: str, sources: str
) -> Action:
    """Describe the compilation of a layer's Python sources.

    Its epoch is 0, for nothing of it reaches bytecode: a newer lock with the same interpreter and sources compiles
    nothing again.

    Args:
        name: of the layer, for people.
        platform: which `interpreter` is for; the builder's own, if the lock has it.
        interpreter: the debs that hold the image's Python.
        script: hex SHA-256 of `builder.layers.bytecode.SCRIPT` in the store.
        sources: hex SHA-256 of the canonical tar of `builder.layers.bytecode.python_sources` in the store.
    """
    return Action(
        name=f"bytecode of {name}",
        platform=platform,
        root=tuple(item.sha256 for item in interpreter),
        inputs=(InputFile(_SCRIPT, script), InputFile(_SOURCES, sources)),
        # No site-packages, no user's, no current folder: the interpreter alone, and silent about old syntax.
        argv=("/usr/bin/python3", "-S", "-s", "-P", "-B", "-W", "ignore", _SCRIPT, _SOURCES, OUTPUT),
        env=(("LC_ALL", "C.UTF-8"), ("PYTHONHASHSEED", "0")),
        epoch=0,
    )
