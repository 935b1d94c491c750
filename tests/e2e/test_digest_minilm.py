"""The digest that the committed lock of minilm records, from an empty store under awkward circumstances."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .conftest import Built, kbuild

pytestmark = [pytest.mark.network, pytest.mark.sandbox, pytest.mark.slow]

AWKWARD = {
    "plain": ([], {}),
    "one core": (["taskset", "-c", "0"], {}),
    "umask": (["sh", "-c", 'umask 077; exec "$@"', "sh"], {"TZ": "Asia/Kathmandu", "LC_ALL": "C"}),
    "hash seed": ([], {"PYTHONHASHSEED": "77", "KBUILD_JOBS": "5", "LANG": "tr_TR.UTF-8"}),
}


def rebuilt(minilm: Built, folder: Path, prefix: list[str], env: dict[str, str]) -> str:
    spec = minilm.copy(folder / "another place")
    store = minilm.downloads(folder / "store")
    given = {"KBUILD_STORE": str(store), "KBUILD_OFFLINE": "1", **env}
    return kbuild(spec, "--locked", env=given, prefix=prefix, timeout=3600).digest


@pytest.mark.parametrize("name", AWKWARD)
def test_minilm(minilm: Built, tmp_path: Path, name: str) -> None:
    prefix, env = AWKWARD[name]
    assert rebuilt(minilm, tmp_path, prefix, env) == minilm.digest


@pytest.mark.qemu
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="emulates x86-64 on itself")
def test_minilm_by_a_builder_on_haswell(minilm: Built, tmp_path: Path) -> None:
    assert rebuilt(minilm, tmp_path, ["qemu-x86_64-static", "-cpu", "Haswell"], {}) == minilm.digest
