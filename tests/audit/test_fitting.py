"""Programs held to what was asked for, and manifests to the programs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from builder.audit.executable import Executable
from builder.audit.fitting import require_described, require_made_for
from builder.audit.manifest import Leaf, Manifest, Parameter, Program
from builder.errors import IntegrityError, KernelError

FLOATS = {"dtype": "float32", "shape": (64, 64)}
BIAS = {"dtype": "float32", "shape": (64,)}


def asked(found: Executable, **other: Any) -> dict[str, Any]:
    """What this machine's own CPU would have been asked for."""
    features = {name[1:] for name in found.target.features if name.startswith("+")}
    triple = found.target.triple.partition("-")[0]
    wanted = {"triple": triple, "cpu": found.target.cpu, "features": features, "threads": 2, "where": "mlp"}
    return {**wanted, "flags": {"xla_cpu_max_isa": "AVX2"}, **other}


def test_what_was_asked_for_is_taken(found: dict[str, Executable]) -> None:
    require_made_for(found["mlp"], **asked(found["mlp"]))
    require_made_for(found["mlp"], **asked(found["mlp"], threads=None))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"cpu": "pentium4"}, "CPU: asked for pentium4, compiled for "),
        ({"triple": "riscv64"}, "platform: asked for riscv64, compiled for "),
        ({"threads": 3}, "threads: asked for 3, compiled for 2"),
        ({"flags": {"xla_cpu_max_isa": "SSE4_2"}}, "xla_cpu_max_isa: asked for SSE4_2, seen AVX2"),
        ({"features": {"none"}}, "CPU features that "),
    ],
)
def test_what_was_compiled_for_something_else_is_refused(
    found: dict[str, Executable], other: dict[str, Any], message: str
) -> None:
    with pytest.raises(KernelError) as caught:
        require_made_for(found["mlp"], **asked(found["mlp"], **other))
    assert message in caught.value.message
    assert caught.value.where == "mlp"


def program(arguments: list[tuple[Any, ...]], outputs: list[dict[str, Any]]) -> Program:
    return Program(
        file="0.xla",
        code="0" * 64,
        program=f"sha256:{'0' * 64}",
        arrays={"x": Leaf(**FLOATS)},
        arguments=tuple(arguments),
        outputs=tuple((str(index), Leaf(**leaf)) for index, leaf in enumerate(outputs)),
        foreign=False,
    )


def manifest(**leaf: Any) -> Manifest:
    """With two parameters, as `xla_samples.mlp` takes them."""
    parameters = [Parameter(**(given | leaf), file="f", offset=0) for given in (FLOATS, BIAS)]
    return Manifest(
        aot=1, platform="", cpu="", compiled_on="", environment={}, versions={}, seed=0, stored="0" * 64,
        parameters=tuple(parameters), handlers=(), programs=(),
    )  # fmt: skip


TAKEN = [("parameter", 0), ("parameter", 1)] * 3 + [("array", "x")]


def test_a_program_that_is_as_described_is_taken(found: dict[str, Executable]) -> None:
    require_described(found["mlp"], program(TAKEN, [FLOATS]), manifest(), "mlp")


@pytest.mark.parametrize(
    ("arguments", "outputs", "leaf", "message"),
    [
        (TAKEN[:-1], [FLOATS], {}, "takes 7 arrays, and the manifest says 6"),
        (TAKEN, [FLOATS, FLOATS], {}, "gives 1 arrays, and the manifest says 2"),
        (TAKEN, [{**FLOATS, "shape": (64, 65)}], {}, "gives F32 [64, 64] at place 0, not float32 [64, 65]"),
        (TAKEN, [{**FLOATS, "dtype": "float64"}], {}, "gives F32 [64, 64] at place 0, not float64 [64, 64]"),
        ([("key",), *TAKEN[1:]], [FLOATS], {}, "takes F32 [64, 64] at place 0, not uint32 [2]"),
        (TAKEN, [FLOATS], {"dtype": "int8"}, "takes F32 [64] at place 1, not int8 [64]"),
    ],
)
def test_a_program_that_is_described_otherwise_is_refused(
    found: dict[str, Executable], arguments: Any, outputs: Any, leaf: Any, message: str
) -> None:
    with pytest.raises(IntegrityError) as caught:
        require_described(found["mlp"], program(arguments, outputs), manifest(**leaf), "mlp")
    assert message in caught.value.message


def test_another_order_of_elements_is_refused(found: dict[str, Executable]) -> None:
    (result,) = found["mlp"].results
    turned = replace(found["mlp"], results=(replace(result, plain=False),))
    with pytest.raises(IntegrityError, match="not in C order"):
        require_described(turned, program(TAKEN, [FLOATS]), manifest(), "mlp")
