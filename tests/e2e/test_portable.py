"""A kernel of the profile portable: the same bits from x86-64 with and without AVX-512 and from arm64."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from .conftest import REPOSITORY, Built, kbuild

pytestmark = [pytest.mark.sandbox, pytest.mark.network]


@pytest.fixture(scope="module")
def portable(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """digits under the profile portable; compiling the runtime's libraries for both platforms takes minutes."""
    folder = tmp_path_factory.mktemp("portable")
    shutil.copytree(REPOSITORY / "kernels" / "digits", folder / "digits", ignore=shutil.ignore_patterns("spec.lock"))
    spec = folder / "digits" / "spec.toml"
    text = spec.read_text()
    assert 'profile = "pinned"' in text
    text = text.replace('profile = "pinned"', 'profile = "portable"')
    spec.write_text(text[: text.index("[examples.")])
    store = Path(os.environ.get("KBUILD_TEST_STORE") or folder / "store")
    return Built(spec, kbuild(spec, env={"KBUILD_STORE": str(store)}, timeout=1800).digest, store)


@pytest.mark.slow
@pytest.mark.qemu
def test_one_set_of_bits_on_every_host(portable: Built, tmp_path: Path) -> None:
    inputs = REPOSITORY / "kernels" / "digits" / "examples" / "three.json"
    only = [part for name in ("native", "haswell", "epyc-rome", "cortex-a72") for part in ("--only", name)]
    told = kbuild(
        "verify", portable.digest, "--inputs", inputs, "--simulate", *only, "--json",
        env={"KBUILD_STORE": str(portable.store)}, timeout=1800,
    )  # fmt: skip
    assert told.code == 0, told.stderr
    report = json.loads(told.stdout)
    runs = report["runs"]
    assert {run["verdict"] for run in runs} == {"equal"}
    assert {run["platform"] for run in runs} == {"linux/amd64", "linux/arm64"}
    groups = {(group["label"], len(group["members"]), len(group["platforms"])) for group in report["groups"]}
    assert groups == {("A", len(runs), 2)}


@pytest.mark.slow
@pytest.mark.qemu
def test_lists_of_operations_are_equal_on_both_platforms(portable: Built, tmp_path: Path) -> None:
    def run(name: str, *asked: str) -> dict[str, Any]:
        inputs = REPOSITORY / "kernels" / "digits" / "examples" / "three.json"
        told = kbuild(
            "run", portable.digest, "--input", inputs, "--output", tmp_path / name, *asked,
            env={"KBUILD_STORE": str(portable.store)}, timeout=1800,
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
