"""A kernel's files are read once, and what cannot be taken is said at its place."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from plan_samples import TEXT

import builder.plan.sources
from builder.errors import EnvironmentFault, KbuildError, SpecError
from builder.plan.sources import LARGEST_FILE, Sources, snapshot
from builder.spec.load import load
from builder.store.blobs import Store

FILES = {
    "spec.toml": TEXT,
    "spec.lock": "never read here",
    "model.py": "def forward(params, inputs, key):\n    return inputs\n",
    "op.cc": "int x;\n",
    "net.safetensors": "weights",
}


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    folder = tmp_path / "kernel"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return folder / "spec.toml"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def take(spec: Path, store: Store) -> Sources:
    return snapshot(load(spec), spec, store)


def test_files_by_their_role(kernel: Path, store: Store) -> None:
    found = take(kernel, store)
    assert [item.path for item in found.code] == ["model.py"]
    assert {name: [item.path for item in items] for name, items in found.native.items()} == {"op": ["op.cc"]}
    assert [item.path for item in found.local] == ["net.safetensors"]
    for path, sha256 in found.files().items():
        assert sha256 == hashlib.sha256(FILES[path].encode()).hexdigest()
        assert store.verified(sha256).read_text() == FILES[path]
    assert [item.size for item in found.code] == [len(FILES["model.py"])]


def test_one_snapshot_whatever_happens_to_the_files_later(kernel: Path, store: Store) -> None:
    found = take(kernel, store)
    (kernel.parent / "model.py").write_text("def forward(): pass\n")
    (kernel.parent / "op.cc").unlink()
    assert store.verified(found.code[0].sha256).read_text() == FILES["model.py"]
    assert store.verified(found.native["op"][0].sha256).read_text() == FILES["op.cc"]


def test_the_digest_depends_on_content_alone(kernel: Path, store: Store, tmp_path: Path) -> None:
    before = take(kernel, store).digest()
    os.utime(kernel.parent / "model.py", (1, 1))
    (kernel.parent / "model.py").chmod(0o700)
    (kernel.parent / "notes.txt").write_text("not named by the spec")
    kernel.parent.rename(tmp_path / "elsewhere")
    moved = tmp_path / "elsewhere" / "spec.toml"
    assert take(moved, store).digest() == before
    (moved.parent / "model.py").write_text(FILES["model.py"] + "\n")
    assert take(moved, store).digest() != before


def test_links_inside_the_folder_are_followed(kernel: Path, store: Store) -> None:
    (kernel.parent / "real").mkdir()
    (kernel.parent / "op.cc").rename(kernel.parent / "real" / "op.cc")
    (kernel.parent / "op.cc").symlink_to("real/op.cc")
    found = take(kernel, store)
    assert [(item.path, item.sha256) for item in found.native["op"]] == [
        ("op.cc", hashlib.sha256(FILES["op.cc"].encode()).hexdigest())
    ]


@pytest.mark.parametrize("name", ["model.py", "op.cc", "net.safetensors"])
def test_links_out_of_the_folder_are_refused(kernel: Path, store: Store, tmp_path: Path, name: str) -> None:
    path = kernel.parent / name
    path.rename(tmp_path / name)
    path.symlink_to(tmp_path / name)
    with pytest.raises(SpecError, match="link out of the kernel's folder") as caught:
        take(kernel, store)
    assert name in caught.value.diagnostics()
    assert "spec.toml:" in caught.value.diagnostics()


@pytest.mark.parametrize("name", ["op.cc", "net.safetensors"])
def test_a_missing_file_is_found_before_anything_is_read(kernel: Path, store: Store, name: str) -> None:
    (kernel.parent / name).unlink()
    with pytest.raises(SpecError, match=name):
        take(kernel, store)
    assert not store.root.exists()


@pytest.mark.parametrize("name", ["model.py", "op.cc", "net.safetensors"])
def test_a_file_that_changes_between_check_and_reading(
    kernel: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The check's answer is not relied upon: what is read is looked at again."""
    path = kernel.parent / name
    real = builder.plan.sources.check_files

    def swapping(*arguments: object, **more: object) -> object:
        found = real(*arguments, **more)
        path.unlink()
        (tmp_path / "outside").write_text("secret")
        if gone is False:
            path.symlink_to(tmp_path / "outside")
        return found

    monkeypatch.setattr(builder.plan.sources, "check_files", swapping)
    gone = False
    with pytest.raises(SpecError):
        take(kernel, store)
    assert not store.has(hashlib.sha256(b"secret").hexdigest())
    path.unlink()
    path.write_text(FILES[name])
    gone = True
    if name != "model.py":  # a glob that matches one file fewer is no error by itself
        with pytest.raises(SpecError, match="no such file"):
            take(kernel, store)


def test_a_file_that_is_too_large_is_not_read(kernel: Path, store: Store) -> None:
    with (kernel.parent / "op.cc").open("wb") as file:
        file.truncate(LARGEST_FILE + 1)  # sparse
    with pytest.raises(SpecError, match=str(LARGEST_FILE)) as caught:
        take(kernel, store)
    assert caught.value.where == "op.cc"
    assert "[weights]" in (caught.value.hint or "")


def test_weights_may_be_larger_than_a_source(kernel: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder.plan.sources, "LARGEST_FILE", 100)
    (kernel.parent / "net.safetensors").write_bytes(bytes(3 << 20))
    assert take(kernel, store).local[0].size == 3 << 20


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_a_file_that_cannot_be_read_is_the_machines_fault(
    kernel: Path, store: Store, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    real = Path.open

    def failing(path: Path, *arguments: object, **more: object) -> object:
        if path.name == "op.cc":
            raise error
        return real(path, *arguments, **more)

    monkeypatch.setattr(Path, "open", failing)
    with pytest.raises(EnvironmentFault, match=error.strerror) as caught:
        take(kernel, store)
    assert caught.value.where == "op.cc"
    assert isinstance(caught.value, KbuildError)
