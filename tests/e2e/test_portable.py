"""A kernel of the profile portable: the same operations on x86-64 and on arm64, and what the referee says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import REPOSITORY, Built, kbuild

pytestmark = [pytest.mark.sandbox, pytest.mark.network]


@pytest.mark.slow
@pytest.mark.qemu
def test_lists_of_operations_are_equal_on_both_platforms(digits: Built, tmp_path: Path) -> None:
    def run(name: str, *asked: str) -> dict[str, Any]:
        inputs = REPOSITORY / "kernels" / "digits" / "examples" / "three.json"
        told = kbuild(
            "run", digits.digest, "--input", inputs, "--output", tmp_path / name, *asked,
            env={"KBUILD_STORE": str(digits.store)}, timeout=1800,
        )  # fmt: skip
        assert told.code == 0, told.stderr
        trace: dict[str, Any] = json.loads((tmp_path / name / "trace.json").read_bytes())
        return trace

    listed = run("x86", "--operations", "--platform", "linux/amd64")
    run("arm", "--operations", "--platform", "linux/arm64")
    told = kbuild("diff", tmp_path / "x86", tmp_path / "arm", "--json")
    assert told.code == 0, told.stderr
    count = listed["leaves"]
    assert json.loads(told.stdout)["operations"] == {"entries": [count, count], "parted": None, "referee": None}

    native = [leaf["path"] for leaf in listed["window"]["leaves"] if leaf["primitive"].startswith("ffi_call ")]
    judged = run("referee", *(part for path in native for part in ("--referee", path)))["operations"]
    assert [one["path"] for one in judged] == native
    assert all(one["referee"] == one["outputs"] for one in judged)
