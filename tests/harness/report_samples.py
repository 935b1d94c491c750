"""Reports made by hand: one of everything, and what a hostile host would write."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from builder.harness.compare.groups import groups
from builder.harness.compare.model import Cases, Element, Status, TensorDiff, Unit
from builder.harness.localise_causes import Suspect
from builder.harness.localise_model import Found, Localisation, Operation
from builder.harness.peers import STRANGERS, Peers
from builder.harness.report_model import Difference, Effect, Influence, Located, Report, excerpt
from builder.harness.trace import Source
from builder.harness.verdict import HostRun, Member, Verdict, Verification
from builder.hosts.host import Conditions

AMD64 = "linux/amd64"
ARM64 = "linux/arm64"
A, B, C = (letter * 64 for letter in "abc")


def receipt(outputs: Mapping[str, str], **host: Any) -> dict[str, Any]:
    """Like the protocol's, with `outputs` by name to hash."""
    kinds = {"logits": ("float32", [4, 10]), "label": ("int32", [4])}
    return {
        "result": {
            "protocol": 1, "status": "ok", "image": f"sha256:{'1' * 64}", "spec": f"sha256:{'2' * 64}",
            "kernel": {"name": "digits", "version": "1.0.0"}, "platform": AMD64,
            "profile": {"name": "none", "threads": 2, "environment": {"LANG": "C.UTF-8", "TZ": "UTC"}},
            "seed": 42, "x64": False, "inputs": {"sha256": "4" * 64, "tensors": {}},
            "outputs": {
                "sha256": "3" * 64,
                "tensors": {
                    name: {"dtype": kinds[name][0], "shape": kinds[name][1], "sha256": sha256}
                    for name, sha256 in outputs.items()
                },
            },
        },
        "sha256": "5" * 64,
        "host": {
            "machine": "x86_64", "cpu": "AMD EPYC 9B14", "cores": 2, "memory": 24 << 30, "kernel": "6.1.0",
            "libc": "glibc 2.41", "features": ["aes", "avx", "avx2", "avx512f", "bmi1", "bmi2", "fma", "sse4_2"],
        } | host,
        "microseconds": {"initialise": 412_000, "input": 900, "load": 31_000, "compile": 640_000, "execute": 1_800},
    }  # fmt: skip


def run(
    host: str,
    verdict: Verdict = Verdict.EQUAL,
    logits: str | None = A,
    *,
    platform: Any = AMD64,
    conditions: Conditions | None = None,
    error: str | None = None,
    hint: str | None = None,
    repeat: int = 1,
    case: str = "example",
    said: dict[str, Any] | None = None,
) -> HostRun:
    given = None if logits is None else receipt({"logits": logits, "label": C})
    return HostRun(
        host=host, kind="qemu" if conditions and conditions.cpu else "local", platform=platform,
        conditions=conditions or Conditions(), case=case, repeat=repeat, verdict=verdict,
        receipt=said or given, folder=Path("/nonexistent") if verdict.delivered else None, seconds=2.125,
        error=error, hint=hint,
    )  # fmt: skip


def verification(*runs: HostRun, name: str = "digits", peers: Peers = STRANGERS) -> Verification:
    return Verification(
        name=name, digest=f"sha256:{'0' * 64}",
        manifests=dict.fromkeys(sorted({item.platform for item in runs}), f"sha256:{'1' * 64}"),
        cases=tuple(dict.fromkeys(item.case for item in runs)), runs=runs, groups=groups(runs, peers),
        peers=peers,
    )  # fmt: skip


TENSOR = TensorDiff(
    "logits", Status.VALUES, "float32", "float32", (4, 10), (4, 10), elements=40, differing=31,
    first=Element((0, 1), "0xc0f3a1b2", "-7.613488", "0xc0f3a1b0", "-7.613487"),
    worst=Element((2, 7), "0x3e1c0a55", "0.15238316", "0x3e1c0b9d", "0.15238805"),
    cases=Cases(numbers=29, signed_zero=1, nan=1), unit=Unit.ULP, largest=328,
    histogram=(12, 8, 4, 2, 0, 1, 0, 1, 1),
)  # fmt: skip

SOURCE = """
def _convolve(x: Array, weight: Array) -> Array:
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, weight, (1, 1), "SAME", dimension_numbers=layout, precision="highest")
"""

FOUND = Localisation(
    "native", "haswell", Found.OPERATION,
    operations=(Operation(
        "12/0", "conv_general_dilated", "window_strides=(1, 1)",
        Source(file="model.py", line=4, function="_convolve"),
        (("float32", (4, 8, 8, 1)), ("float32", (3, 3, 1, 16))), (("float32", (4, 8, 8, 16)),),
    ),),
    inputs_equal=True, outputs=(dataclasses.replace(TENSOR, name="12/0:0"),),
    suspects=(Suspect("matmul-dispatch", "kernels are picked by instruction set", ("features", "cpu")),),
    confirmed=True, leaves=118, runs=3, compared=14, notes=("on native operations compiled alone come to other bits",),
)  # fmt: skip
LOCATED = Located((AMD64,), "example", Member("native", 1), Member("haswell", 1), FOUND, source=excerpt(SOURCE, 4))

INFLUENCES = (
    Influence("CPU features", "code that XLA makes", None, ("haswell", "epyc-milan"), Effect.MOVED),
    Influence("thread pool size", "reductions split by thread", "NPROC=2", ("1 core",), Effect.HELD),
    Influence("flush to zero", "subnormal numbers", "xla_cpu_ftz=false"),
)


def everything() -> Report:
    """Every verdict, two platforms, a difference, a localisation, influences."""
    runs = (
        run("native"),
        run("1 core", conditions=Conditions(cores=1)),
        run("haswell", Verdict.DIFFERS, B, conditions=Conditions(cpu="Haswell")),
        run("epyc-milan", Verdict.DIFFERS, B, conditions=Conditions(cpu="EPYC-Milan")),
        run("hostile environment", conditions=Conditions(starter={"TZ": "Asia/Kathmandu", "LANG": "tr_TR.UTF-8"})),
        run("old", Verdict.REFUSED, None, conditions=Conditions(cpu="Nehalem"),
            error="this CPU lacks avx2, fma, bmi1, bmi2 of x86-64-v3", hint="run on a newer CPU"),
        run("gone", Verdict.FAILED, None, error="the host closed the connection"),
        run("slow", Verdict.TIMED_OUT, None, error="not done after 600 s"),
        run("arm", Verdict.ALONE, C, platform=ARM64),
    )  # fmt: skip
    difference = Difference((AMD64,), "example", Member("native", 1), Member("haswell", 1), TENSOR)
    return Report(verification(*runs), (difference,), (LOCATED,), INFLUENCES)


def portable() -> Report:
    """Two platforms that are compared with each other, and one run that parts."""
    both = (AMD64, ARM64)
    runs = (
        run("native"), run("haswell", conditions=Conditions(cpu="Haswell")), run("cortex-a72", platform=ARM64),
        run("arm-max", Verdict.DIFFERS, B, platform=ARM64), run("gone", Verdict.FAILED, None, platform=ARM64),
    )  # fmt: skip
    a, b = Member("native", 1), Member("arm-max", 1)
    located = dataclasses.replace(LOCATED, platforms=both, b=b, found=dataclasses.replace(FOUND, b="arm-max"))
    found = verification(*runs, peers=dict.fromkeys(both, both))
    return Report(found, (Difference(both, "example", a, b, TENSOR),), (located,), INFLUENCES)


def agreed() -> Report:
    return Report(verification(run("native"), run("1 core"), run("haswell")))
