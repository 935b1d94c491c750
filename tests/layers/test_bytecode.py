"""Bytecode: which files get some, that it is the same whoever makes it, and that nothing else passes for it."""

from __future__ import annotations

import importlib.util
import io
import marshal
import os
import random
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from builder.errors import IntegrityError
from builder.layers.bytecode import SCRIPT, bytecode_entries, python_sources, uncompiled
from builder.layers.entry import Entry, Kind
from builder.layers.order import ordered
from builder.layers.tar import tar_entries, write_tar

SITE = "usr/local/lib/python3.13/dist-packages"
EPOCH = 1_700_000_000
TAG = sys.implementation.cache_tag


def entry(path: str, data: bytes = b"x = 1\n", **more: object) -> Entry:
    return Entry(path, Kind.FILE, 0o644, EPOCH, size=len(data), source=partial(io.BytesIO, data), **more)


def write(path: Path, entries: list[Entry]) -> Path:
    with path.open("wb") as out:
        write_tar(ordered(entries, epoch=0), out.write)
    return path


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("usr/lib/python3.13/os.py", True),
        ("usr/lib/python3.13/unittest/test/x.py", True),
        ("usr/lib/python3.12/os.py", False),
        ("usr/lib/python3/dist-packages/yaml.py", True),
        (f"{SITE}/jax/__init__.py", True),
        (f"{SITE}/numpy/tests/test_x.py", False),
        (f"{SITE}/jax/_src/internal_test_util/data/x.py", False),
        (f"{SITE}/numpy/test/x.py", False),
        (f"{SITE}/numpy/testing/x.py", True),
        (f"{SITE}/numpy/notes.txt", False),
        (f"{SITE}/numpy/a-script.py", False),
        ("opt/kbuild/kernels/__init__.py", True),
        ("opt/kernel/model.py", True),
        ("usr/share/doc/example.py", False),
        ("usr/bin/tool.py", False),
    ],
)
def test_which_files_get_bytecode(path, wanted):
    found = [item.path for item in python_sources([entry(path)], python="3.13") if item.kind is Kind.FILE]
    assert found == ([path] if wanted else [])


def test_sources_are_path_and_content_alone():
    one = entry(f"{SITE}/a.py")
    two = Entry(f"{SITE}/a.py", Kind.FILE, 0o755, 5, uid=7, gid=8, size=6, source=partial(io.BytesIO, b"x = 1\n"))
    tars = [io.BytesIO(), io.BytesIO()]
    for item, out in zip((one, two), tars, strict=True):
        write_tar(python_sources([item], python="3.13"), out.write)
    assert tars[0].getvalue() == tars[1].getvalue()


def test_links_get_none():
    link = Entry(f"{SITE}/a.py", Kind.SYMLINK, 0o777, 0, target="b.py")
    assert python_sources([link], python="3.13") == []


def compiled(tar: Path, output: Path, *, seed: str = "0", prefix: tuple[str, ...] = ()) -> dict[str, bytes]:
    """What the script makes with this very Python."""
    output.mkdir()
    subprocess.run(
        [*prefix, sys.executable, "-S", "-s", "-P", "-B", "-W", "ignore", SCRIPT, tar, output],
        check=True, env={"PYTHONHASHSEED": seed, "LC_ALL": "C.UTF-8"}, cwd=output,
    )  # fmt: skip
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in output.rglob("*") if path.is_file()}


LONG = f"{SITE}/{'deep/' * 30}module.py"
SOURCES = {
    f"{SITE}/demo/__init__.py": b'"""Doc."""\nNAMES = {"a", "b", "c"}\n',
    f"{SITE}/demo/latin.py": "# coding: latin-1\nx = '\xe9'\n".encode("latin-1"),
    f"{SITE}/demo/broken.py": b"print 'old'\n",
    f"{SITE}/demo/nul.py": b"x = 1\0\n",
    f"{SITE}/demo/undecodable.py": b"\xff\xfe\n",
    f"{SITE}/demo/empty.py": b"",
    f"{SITE}/demo/gr\xfcn.py": b"x = 2\n",
    LONG: b"x = 3\n",
}


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    return write(tmp_path / "sources.tar", [entry(path, data) for path, data in SOURCES.items()])


def test_bytecode_is_unchecked_and_names_its_final_path(sources, tmp_path):
    found = compiled(sources, tmp_path / "out")
    bad = {f"{SITE}/demo/{name}.py" for name in ("broken", "nul", "undecodable")}
    assert set(found) == {importlib.util.cache_from_source(path) for path in set(SOURCES) - bad}
    data = found[f"{SITE}/demo/__pycache__/__init__.{TAG}.pyc"]
    source = SOURCES[f"{SITE}/demo/__init__.py"]
    assert data[:4] == importlib.util.MAGIC_NUMBER
    assert data[4:8] == b"\1\0\0\0"  # PEP 552: hash-based, check_source clear
    assert data[8:16] == importlib.util.source_hash(source)
    code = marshal.loads(data[16:])
    assert code.co_filename == f"/{SITE}/demo/__init__.py"
    space: dict[str, object] = {}
    exec(code, space)
    assert space["NAMES"] == {"a", "b", "c"}
    assert space["__doc__"] == "Doc."


def test_python_imports_it_and_does_not_look_at_the_source(tmp_path, sources):
    output = tmp_path / "out"
    compiled(sources, output)
    package = output / SITE / "demo"
    (package / "__init__.py").write_text("raise SystemExit('recompiled')\n")
    run = subprocess.run(
        [sys.executable, "-S", "-c", "import demo, sys; print(sorted(demo.NAMES))"],
        env={"PYTHONPATH": str(package.parent)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.stdout == "['a', 'b', 'c']\n", run.stderr


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some of this Python's own library, in a shuffled order that `write_tar` undoes."""
    home = Path(os.__file__).parent
    files = [path for name in ("[a-d]*.py", "email/*.py", "json/*.py") for path in home.glob(name)]
    random.Random(1).shuffle(files)
    entries = [entry(f"usr/lib/python3.13/{path.relative_to(home)}", path.read_bytes()) for path in files]
    return write(tmp_path_factory.mktemp("library") / "sources.tar", entries)


def test_the_same_bytes_for_any_seed_core_count_and_neighbours(library, tmp_path):
    first = compiled(library, tmp_path / "one")
    assert len(first) > 50
    prefix = ("taskset", "-c", str(min(os.sched_getaffinity(0)))) if shutil.which("taskset") else ()
    assert compiled(library, tmp_path / "two", seed="77", prefix=prefix) == first
    folder = [item for item in tar_entries(library) if "/email/" in item.path]
    alone = compiled(write(tmp_path / "alone.tar", folder), tmp_path / "three")
    assert alone == {path: data for path, data in first.items() if "/email/" in path}


def test_a_killed_compilation_fails_as_a_whole(sources, tmp_path):
    """A truncated tar makes one fork fail; the others' work must not look complete."""
    sources.write_bytes(sources.read_bytes()[:-1534])  # two bytes of the last file are left
    with pytest.raises(subprocess.CalledProcessError):
        compiled(sources, tmp_path / "out")


def output(tmp_path: Path, *paths: str, **more: object) -> Path:
    return write(tmp_path / "output.tar", [entry(path, b"pyc", **more) for path in paths])


def test_bytecode_entries(tmp_path):
    sources = [entry(f"{SITE}/demo/a.py"), entry(f"{SITE}/demo/b.py")]
    tar = output(tmp_path, f"{SITE}/demo/__pycache__/a.cpython-313.pyc")
    found = bytecode_entries(tar, sources, epoch=EPOCH)
    assert [(item.path, item.mode, item.mtime) for item in found if item.kind is Kind.FILE] == [
        (f"{SITE}/demo/__pycache__/a.cpython-313.pyc", 0o644, EPOCH)
    ]
    assert found == ordered(found)  # every parent is there
    assert uncompiled(sources, found) == [f"{SITE}/demo/b.py"]


@pytest.mark.parametrize(
    "path",
    [
        f"{SITE}/demo/a.py",
        f"{SITE}/demo/a.cpython-313.pyc",
        f"{SITE}/demo/__pycache__/other.cpython-313.pyc",
        f"{SITE}/other/__pycache__/a.cpython-313.pyc",
        f"{SITE}/demo/__pycache__/a.pyc",
        "etc/passwd",
    ],
)
def test_refuses_an_output_that_is_not_bytecode_of_the_sources(tmp_path, path):
    with pytest.raises(IntegrityError):
        bytecode_entries(output(tmp_path, path), [entry(f"{SITE}/demo/a.py")], epoch=EPOCH)


def test_refuses_links_in_the_output(tmp_path):
    link = Entry(f"{SITE}/demo/__pycache__/a.cpython-313.pyc", Kind.SYMLINK, 0o777, 0, target="/etc/passwd")
    tar = write(tmp_path / "output.tar", [link])
    with pytest.raises(IntegrityError):
        bytecode_entries(tar, [entry(f"{SITE}/demo/a.py")], epoch=EPOCH)
