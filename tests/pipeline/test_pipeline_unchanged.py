"""The short way answers only when nothing at all differs; whatever does goes the long way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from builder.pipeline import unchanged
from builder.store.blobs import Store, hash_file

REPORT = {"name": "tiny", "digest": f"sha256:{1:064x}", "manifests": {}, "layers": {}}
FILES = {
    "spec.toml": "spec",
    "spec.lock": "lock",
    "model.py": "code",
    "data/a.json": "{}",
    "native/op.cc": "int x;",
    "net.bin": "weights",
    "notes.txt": "not part of the kernel",
}


@dataclass(frozen=True)
class Kernel:
    folder: Path
    store: Store
    blob: str

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def recall(self) -> dict[str, Any] | None:
        return unchanged.recall(Store(self.store.root), self / "spec.toml", self / "spec.lock")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small kbuild that can be edited: `builder/` and `kernels/`."""
    for name in ("builder/__init__.py", "builder/pack.py", "builder/cli/main.py", "kernels/__init__.py",
                 "kernels/runtime/__main__.py", "kernels/runtime/deep/er.py"):  # fmt: skip
        (tmp_path / "package" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "package" / name).write_text(name)
    monkeypatch.setattr(unchanged.builder, "__file__", str(tmp_path / "package/builder/__init__.py"))
    monkeypatch.setattr(unchanged, "shipped", lambda name: tmp_path / "package" / name)
    return tmp_path / "package"


@pytest.fixture
def kernel(tmp_path: Path, store: Store, package: Path) -> Kernel:
    folder = tmp_path / "kernel"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    blob = store.add(b"a layer")
    kernel = Kernel(folder, store, blob)
    unchanged.remember(
        store,
        kernel / "spec.toml",
        kernel / "spec.lock",
        patterns=("*.py", "data/**/*.json"),
        files={name: hash_file(kernel / name)[0] for name in ("model.py", "data/a.json", "native/op.cc", "net.bin")},
        blobs=[blob],
        report=REPORT,
    )
    return kernel


def test_nothing_changed(kernel: Kernel) -> None:
    record = kernel.recall()
    assert record is not None
    assert record["report"] == REPORT


def test_before_the_first_build(kernel: Kernel, tmp_path: Path) -> None:
    assert unchanged.recall(Store(tmp_path / "other"), kernel / "spec.toml", kernel / "spec.lock") is None


def touch(kernel: Kernel) -> None:
    for path in kernel.folder.rglob("*"):
        os.utime(path, (1, 1))


HARMLESS: dict[str, Callable[[Kernel], object]] = {
    "times": touch,
    "modes": lambda kernel: (kernel / "model.py").chmod(0o700),
    "a file that is no part of it": lambda kernel: (kernel / "notes.txt").write_text("edited"),
    "a new file that no pattern matches": lambda kernel: (kernel / "more.txt").write_text(""),
    "a new folder that a pattern would match": lambda kernel: (kernel / "folder.py").mkdir(),
}


@pytest.mark.parametrize("change", HARMLESS)
def test_what_makes_no_difference(kernel: Kernel, change: str) -> None:
    HARMLESS[change](kernel)
    assert kernel.recall() is not None


def append(name: str) -> Callable[[Kernel], object]:
    return lambda kernel: (kernel / name).write_text(FILES[name] + "\n# a comment")


CHANGES: dict[str, Callable[[Kernel], object]] = {
    "a comment in the spec": append("spec.toml"),
    "a comment in the lock": append("spec.lock"),
    "the model": append("model.py"),
    "a native source": append("native/op.cc"),
    "weights": append("net.bin"),
    "a new matching file": lambda kernel: (kernel / "more.py").write_text(""),
    "a new matching file far below": lambda kernel: [
        (kernel / "data/x").mkdir(), (kernel / "data/x/b.json").write_text(""),
    ],
    "a file gone": lambda kernel: (kernel / "data/a.json").unlink(),
    "a native source gone": lambda kernel: (kernel / "native/op.cc").unlink(),
    "a file renamed": lambda kernel: (kernel / "model.py").rename(kernel / "module.py"),
    "a file became a folder": lambda kernel: [(kernel / "net.bin").unlink(), (kernel / "net.bin").mkdir()],
    "no lock": lambda kernel: (kernel / "spec.lock").unlink(),
    "no spec": lambda kernel: (kernel / "spec.toml").unlink(),
    "a blob gone": lambda kernel: kernel.store.blob_path(kernel.blob).unlink(),
    "no store": lambda kernel: shutil.rmtree(kernel.store.root),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_what_goes_the_long_way(kernel: Kernel, change: str) -> None:
    CHANGES[change](kernel)
    assert kernel.recall() is None


@pytest.mark.parametrize(
    "module",
    ["builder/pack.py", "builder/cli/main.py", "kernels/__init__.py", "kernels/runtime/__main__.py",
     "kernels/runtime/deep/er.py", "builder/new.py", "kernels/runtime/new.py"],
)  # fmt: skip
def test_another_kbuild_goes_the_long_way(kernel: Kernel, package: Path, module: str) -> None:
    (package / module).write_text("edited")
    assert kernel.recall() is None


def test_a_module_of_equal_size_written_later_goes_the_long_way(kernel: Kernel, package: Path) -> None:
    os.utime(package / "builder/pack.py", (1, 1))
    assert kernel.recall() is None


def test_a_damaged_record_goes_the_long_way(kernel: Kernel) -> None:
    name = unchanged.key(kernel / "spec.toml", kernel / "spec.lock")
    assert name is not None
    path = kernel.store.record_path(unchanged.KIND, name)
    path.write_bytes(path.read_bytes().replace(b"tiny", b"tine"))
    assert kernel.recall() is None


def test_the_folders_name_and_place_do_not_matter(kernel: Kernel, tmp_path: Path) -> None:
    shutil.copytree(kernel.folder, tmp_path / "elsewhere")
    assert Kernel(tmp_path / "elsewhere", kernel.store, kernel.blob).recall() is not None


def test_nothing_is_remembered_of_a_build_whose_lock_is_gone(kernel: Kernel) -> None:
    (kernel / "spec.lock").unlink()
    before = sorted(kernel.store.root.rglob("*"))
    unchanged.remember(kernel.store, kernel / "spec.toml", kernel / "spec.lock", patterns=(), files={}, blobs=[],
                       report=REPORT)  # fmt: skip
    assert sorted(kernel.store.root.rglob("*")) == before


def test_it_needs_no_parser_and_no_validator() -> None:
    heavy = ["pydantic", "tomli", "rfc8785", "rich", "urllib3", "zstandard", "jinja2", "packaging"]
    code = f"import sys, builder.pipeline.unchanged; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_a_file_that_came_during_the_build_is_not_taken_for_part_of_the_image(kernel: Kernel) -> None:
    (kernel / "late.py").write_text("late = True\n")
    files = {"model.py": hash_file(kernel / "model.py")[0]}
    unchanged.remember(
        kernel.store, kernel / "spec.toml", kernel / "spec.lock", patterns=("*.py",), files=files, blobs=[kernel.blob],
        report=REPORT | {"digest": "of an image without it"},
    )  # fmt: skip
    found = kernel.recall()
    assert found is None or found["report"] == REPORT
    (kernel / "late.py").unlink()
    again = kernel.recall()
    assert again is not None
    assert again["report"] == REPORT


def test_what_cannot_be_read_has_no_content(tmp_path: Path) -> None:
    assert unchanged.content(tmp_path / "absent") is None
