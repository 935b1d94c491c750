"""The instructions of real images: a planted approximation fails the build, and a built image can be looked through."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import HOST, Built, kbuild

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.network,
    pytest.mark.skipif(HOST != "linux/amd64", reason="the planted instruction is of x86-64"),
]

PLANTED = """\
#include <immintrin.h>
namespace net {
__attribute__((noinline)) void normalise(float *x) {
  _mm_storeu_ps(x, _mm_mul_ps(_mm_loadu_ps(x), _mm_rsqrt_ps(_mm_loadu_ps(x))));
}
}
extern "C" void scale(float *x) { net::normalise(x); }
"""


def test_a_planted_approximation_fails_the_build_and_is_named(small: Built, tmp_path: Path) -> None:
    spec = small.copy(tmp_path / "kernel")
    (spec.parent / "scale.cc").write_text(PLANTED)
    env = {"KBUILD_STORE": str(small.store)}
    failed = kbuild(spec, env=env)
    assert (failed.code, failed.stdout) == (2, "")
    assert "[native.scale] (scale.cc)" in failed.stderr
    assert "rsqrtps in net::normalise(float*)" in failed.stderr
    assert "Traceback" not in failed.stderr
    again = kbuild(spec, env=env)
    assert again.code == 2, "what was compiled is remembered, and refused again"
    text = spec.read_text()
    spec.write_text(text.replace('sources = ["scale.cc"]', 'sources = ["scale.cc"]\nallow = ["estimate"]'))
    assert kbuild("lock", spec, env=env).code == 0
    assert kbuild(spec, env=env).digest


def test_the_instructions_of_an_image(small: Built, tmp_path: Path) -> None:
    env = {"KBUILD_STORE": str(small.store)}
    page = tmp_path / "audit.html"
    seen = kbuild("inspect", small.digest, "--instructions", "--html", page, env=env)
    assert seen.stdout == f"{small.digest}\n"
    assert "libm.so.6" in seen.stderr
    assert "<script" not in page.read_text()
    first = page.read_bytes()
    data = json.loads(kbuild("inspect", small.digest, "--instructions", "--json", env=env).stdout)
    files = {item["path"]: item for item in data["platforms"][HOST]}
    assert any(row["trait"] == "x87" for row in files["usr/lib/x86_64-linux-gnu/libm.so.6"]["findings"])
    ours = files["opt/kernel/lib/scale.so"]
    assert {row["trait"] for row in ours["findings"]} <= {"fma"}
    kbuild("inspect", small.digest, "--instructions", "--html", page, "-q", env=env)
    assert page.read_bytes() == first


def test_a_page_of_nothing_is_refused(small: Built, tmp_path: Path) -> None:
    refused = kbuild("inspect", small.digest, "--html", tmp_path / "x.html", env={"KBUILD_STORE": str(small.store)})
    assert refused.code == 2
    assert "--instructions" in refused.stderr


@pytest.mark.slow
@pytest.mark.qemu
def test_what_a_run_of_a_shipped_kernel_reaches(digits: Built, tmp_path: Path) -> None:
    env = {"KBUILD_STORE": str(digits.store)}
    example = digits.spec.parent / "examples/three.json"
    line = ("inspect", digits.digest, "--instructions", "--reached", example)
    data = json.loads(kbuild(*line, "--json", env=env, timeout=1800).stdout)
    recorded = data["reached"][HOST]
    ran = [row for row in recorded["reached"] if row["executed"] and not row["resolver"]]
    assert recorded["cpu"] == "Haswell"
    assert "estimate" not in {row["trait"] for row in ran}, "the profile pins the way that has none"
    modes = [row for row in ran if row["trait"] == "mode" and "ScopedFlushDenormal" in row["function"]]
    assert modes
    assert all(row["calls"] >= 1 for row in modes)
    page = tmp_path / "audit.html"
    seen = kbuild(*line, "--html", page, env=env, timeout=60)
    assert "Haswell" in seen.stderr
    assert "what a run reached" in page.read_text()
