"""A kernel of the profile portable: the same operations on x86-64 and on arm64, and what the referee says of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from builder.machine import from_environment
from builder.oci.image import load
from builder.pipeline.verify import Wanted, images_of, opened
from builder.progress import Silent
from builder.store.blobs import Store

from .conftest import REPOSITORY, Built, kbuild

INPUTS = REPOSITORY / "kernels" / "digits" / "examples" / "three.json"
LIST = {".trace.json": b'{"version": 1, "mode": "operations"}'}

pytestmark = [pytest.mark.sandbox, pytest.mark.network]


@pytest.mark.slow
@pytest.mark.qemu
def test_lists_of_operations_are_equal_on_both_platforms(digits: Built, tmp_path: Path) -> None:
    def run(name: str, *asked: str) -> dict[str, Any]:
        told = kbuild(
            "run", digits.digest, "--input", INPUTS, "--output", tmp_path / name, *asked,
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


@pytest.mark.slow
@pytest.mark.qemu
def test_operation_by_operation_on_every_simulated_host(digits: Built, digits_aot_both: Built, tmp_path: Path) -> None:
    """A run that lists its operations fails where they come to other bits than the program did, whoever compiled it."""
    store = Store(digits.store)
    found, hosts = set(), 0
    for built in (digits, digits_aot_both):
        image = load(store, built.digest)
        images = {item.platform: item for item in images_of(image)}
        with opened(image, Wanted(), store=store, machine=from_environment(os.environ), progress=Silent()) as variants:
            for one in variants:
                out = tmp_path / built.digest[-8:] / one.name
                one.host.run(
                    images[one.host.platform], [INPUTS], out,
                    conditions=one.conditions, requests=LIST, timeout=3600, progress=Silent(),
                )  # fmt: skip
                result = json.loads((out / "receipt.json").read_bytes())["result"]
                found.add((result["operations"]["root"], json.dumps(result["outputs"], sort_keys=True)))
                hosts += 1
    assert hosts == 20
    assert len(found) == 1
