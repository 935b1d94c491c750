"""unpack.sh, which a rendered directory begins with, in this machine's BusyBox."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import debs
import pytest
from laying import TEMPLATES

BUSYBOX = shutil.which("busybox", path="/usr/bin:/bin")

pytestmark = pytest.mark.skipif(BUSYBOX is None, reason="not installed: busybox")


def wheel(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


INPUTS = {
    "base-files_1.deb": ("python", debs.deb(debs.tree({"bin": "usr/bin", "usr/bin/x": b"first", "dev/null": b""}))),
    "python~3%3a1+2.deb": ("python", debs.deb(debs.tree({"usr/bin/x": b"second", "usr/lib/y": b"y"}), suffix=".gz")),
    "it's $HOME.deb": ("deb", debs.deb(debs.tree({"usr/include/h": b"h"}), suffix=".xz")),
    "jax-1-py3.whl": ("zip", wheel({"jax/__init__.py": b"x = 1\n"})),
    "table.bin": ("file", b"table"),
}


Spoil = Callable[[Path], object]


def unpack(
    folder: Path, inputs: Mapping[str, tuple[str, bytes]], spoil: Spoil = lambda _: None
) -> subprocess.CompletedProcess[str]:
    """Run unpack.sh on inputs; `spoil` is given their folder before that."""
    (folder / "inputs").mkdir()
    (folder / "root").mkdir()
    lines = ["# a comment\n"]
    for name, (kind, data) in inputs.items():
        (folder / "inputs" / name).write_bytes(data)
        lines.append(f"{hashlib.sha256(data).hexdigest()}\t{len(data)}\t{kind}\t{name}\n")
    (folder / "inputs.txt").write_text("".join(lines))
    spoil(folder / "inputs")
    shutil.copy(TEMPLATES / "unpack.sh", folder)
    line = [BUSYBOX, "sh", "unpack.sh", BUSYBOX, str(folder / "root")]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False, env={"PATH": "/nowhere"})


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_each_archive_is_unpacked_and_pythons_are_laid_over_each_other(tmp_path: Path) -> None:
    run = unpack(tmp_path, INPUTS)
    assert run.returncode == 0, run.stderr
    assert files(tmp_path / "unpacked") == {
        "base-files_1.deb/usr/bin/x": b"first",
        "base-files_1.deb/dev/null": b"",
        "python~3%3a1+2.deb/usr/bin/x": b"second",
        "python~3%3a1+2.deb/usr/lib/y": b"y",
        "it's $HOME.deb/usr/include/h": b"h",
        "jax-1-py3.whl/jax/__init__.py": b"x = 1\n",
    }
    assert files(tmp_path / "root") == {"usr/bin/x": b"second", "usr/lib/y": b"y"}
    assert (tmp_path / "root/bin").readlink() == Path("usr/bin")
    assert {path.name for path in tmp_path.iterdir()} == {"inputs", "inputs.txt", "root", "unpack.sh", "unpacked"}


@pytest.mark.parametrize("number", range(4))
def test_one_broken_archive_among_many_fails_the_whole(tmp_path: Path, number: int) -> None:
    name = list(INPUTS)[number]
    run = unpack(tmp_path, INPUTS | {name: (INPUTS[name][0], b"junk")})
    assert run.returncode != 0
    assert f"unpack.sh: inputs/{name} cannot be unpacked" in run.stderr
    assert not any((tmp_path / "root").iterdir())


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), r"is not \d+ bytes long"),
        (lambda path: path.write_bytes(bytes(path.stat().st_size)), "has the SHA-256"),
        (lambda path: path.unlink(), r"is missing; fetch\.py gets it"),
    ],
    ids=["size", "content", "absent"],
)
def test_an_input_that_is_not_the_locked_one(tmp_path: Path, spoil: Spoil, what: str) -> None:
    """Refused before anything is unpacked."""
    run = unpack(tmp_path, INPUTS, lambda folder: spoil(folder / "jax-1-py3.whl"))
    assert run.returncode != 0
    assert re.search(rf"unpack\.sh: inputs/jax-1-py3\.whl {what}", run.stderr)
    assert not any((tmp_path / "root").iterdir())


def test_an_unknown_kind(tmp_path: Path) -> None:
    run = unpack(tmp_path, INPUTS | {"x": ("tar", b"")})
    assert run.returncode != 0
    assert "inputs.txt has the unknown kind tar" in run.stderr


def test_nothing_to_unpack(tmp_path: Path) -> None:
    assert unpack(tmp_path, {"table.bin": ("file", b"x")}).returncode == 0
    assert not any((tmp_path / "unpacked").iterdir())
