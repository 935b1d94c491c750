"""A kernel of the profile portable: the same bits from x86-64 with and without AVX-512 and from arm64."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

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
