"""Wheels as entries: against pip and installer's own idea of them, and against everything a wheel must not do."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import uv
from hypothesis import given
from hypothesis import strategies as st
from wheels import EPOCH, WHEEL, Item, archive, artifact, checksum, row, wheel, write

from builder.errors import IntegrityError
from builder.layers.entry import Entry, Kind
from builder.layers.tar import write_tar
from builder.layers.wheel import merge, wheel_entries

SITE = "usr/local/lib/python3.13/dist-packages"
INFO = "demo-1.0.dist-info"


def installed(folder: Path, data: bytes, file: str = "demo-1.0-py3-none-any.whl", **changes: object) -> list[Entry]:
    return wheel_entries(write(folder, data), artifact(data, file, **changes), python="3.13", epoch=EPOCH)


def files(entries: list[Entry]) -> dict[str, tuple[int, bytes]]:
    found = {}
    for entry in entries:
        if entry.kind is Kind.FILE:
            with entry.source() as stream:
                found[entry.path] = (entry.mode, stream.read())
            assert entry.size == len(found[entry.path][1])
    return found


def refused(folder: Path, data: bytes, **arguments: object) -> str:
    with pytest.raises(IntegrityError) as caught:
        files(installed(folder, data, **arguments))
    assert caught.value.where == arguments.get("file", "demo-1.0-py3-none-any.whl")
    return caught.value.message


EVERYTHING = {
    "demo/__init__.py": b"print('hello')\n",
    "demo/lib.so": b"\x7fELF",
    "demo-1.0.data/scripts/tool": b"#!python\nprint(1)\n",
    "demo-1.0.data/scripts/windowed": b"#!pythonw -u\nprint(1)\n",
    "demo-1.0.data/scripts/shell": b"#!/bin/sh\n",
    "demo-1.0.data/data/share/man/demo.1": b"manual",
    "demo-1.0.data/headers/demo.h": b"int x;",
    "demo-1.0.data/purelib/extra.py": b"x = 1\n",
    "demo-1.0.data/platlib/native.py": b"y = 1\n",
    f"{INFO}/entry_points.txt": b"[console_scripts]\ndemo = demo.cli:main.run [fast]\n[gui_scripts]\nwin=demo:gui\n",
}
LAUNCHER = b"""#!/usr/bin/python3
import sys

from demo.cli import main

if __name__ == "__main__":
    sys.exit(main.run())
"""
WINDOWED = LAUNCHER.replace(b"demo.cli", b"demo").replace(b"main.run", b"gui").replace(b"import main", b"import gui")


def test_every_scheme_has_its_place(tmp_path):
    found = files(installed(tmp_path, wheel(EVERYTHING, modes={"demo/lib.so": 0o100755})))
    record = found.pop(f"{SITE}/{INFO}/RECORD")
    assert found == {
        f"{SITE}/demo/__init__.py": (0o644, b"print('hello')\n"),
        f"{SITE}/demo/lib.so": (0o755, b"\x7fELF"),
        f"{SITE}/extra.py": (0o644, b"x = 1\n"),
        f"{SITE}/native.py": (0o644, b"y = 1\n"),
        f"{SITE}/{INFO}/METADATA": (0o644, b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n"),
        f"{SITE}/{INFO}/WHEEL": (0o644, WHEEL),
        f"{SITE}/{INFO}/entry_points.txt": (0o644, EVERYTHING[f"{INFO}/entry_points.txt"]),
        "usr/local/bin/tool": (0o755, b"#!/usr/bin/python3\nprint(1)\n"),
        "usr/local/bin/windowed": (0o755, b"#!/usr/bin/python3\nprint(1)\n"),
        "usr/local/bin/shell": (0o755, b"#!/bin/sh\n"),
        "usr/local/bin/demo": (0o755, LAUNCHER),
        "usr/local/bin/win": (0o755, WINDOWED),
        "usr/local/share/man/demo.1": (0o644, b"manual"),
        "usr/local/include/python3.13/demo/demo.h": (0o644, b"int x;"),
    }  # fmt: skip
    assert record[0] == 0o644


def test_record_is_sorted_and_true(tmp_path):
    found = files(installed(tmp_path, wheel(EVERYTHING)))
    rows = list(csv.reader(io.StringIO(found[f"{SITE}/{INFO}/RECORD"][1].decode())))
    assert rows == sorted(rows)
    assert ["../../../bin/demo", checksum(LAUNCHER), str(len(LAUNCHER))] in rows
    assert [f"{INFO}/RECORD", "", ""] in rows
    listed = {}
    for path, value, size in rows:
        parts = f"{SITE}/{path}".split("/")
        while ".." in parts:
            at = parts.index("..")
            del parts[at - 1 : at + 1]
        listed["/".join(parts)] = (value, size)
    assert listed == {
        path: ("", "") if path.endswith("/RECORD") else (checksum(data), str(len(data)))
        for path, (_, data) in found.items()
    }


def test_entries_are_canonical_and_the_same_for_any_order_in_the_archive(tmp_path):
    one = wheel(EVERYTHING)
    names = list(reversed(EVERYTHING))
    other = wheel({name: EVERYTHING[name] for name in names}, deflate=True)
    assert one != other
    tars = []
    for data in (one, other):
        out = bytearray()
        entries = installed(tmp_path, data)
        assert all(entry.mtime == EPOCH and entry.uid == entry.gid == 0 for entry in entries)
        write_tar(entries, out.extend)
        tars.append(bytes(out))
    assert tars[0] == tars[1]


def test_leaves_out_what_tells_how_it_was_installed(tmp_path):
    noise = {f"{INFO}/{name}": b"pip" for name in ("INSTALLER", "REQUESTED", "direct_url.json")}
    data = wheel({"demo.py": b"", "__pycache__/demo.cpython-313.pyc": b"old", **noise})
    signed = wheel({"demo.py": b""}, items=[Item(f"{INFO}/RECORD.jws".encode(), b"{}")])
    expected = {f"{SITE}/demo.py", *(f"{SITE}/{INFO}/{name}" for name in ("METADATA", "RECORD", "WHEEL"))}
    assert set(files(installed(tmp_path, data))) == set(files(installed(tmp_path, signed))) == expected


def test_a_large_member_is_never_whole_in_memory(tmp_path):
    entries = installed(tmp_path, wheel({"big.so": bytes(40 << 20)}, deflate=True))
    entry = next(entry for entry in entries if entry.path.endswith("big.so"))
    with entry.source() as stream:
        assert max(len(chunk) for chunk in iter(lambda: stream.read(1 << 30), b"")) <= 1 << 20


CONTRADICTIONS = [
    ("is not in RECORD", {"items": [Item(b"stowaway.py", b"evil")]}),
    ("is missing", {"record": row("demo.py", b"x") + row("ghost.py", b"") + f"{INFO}/RECORD,,\n"}),
    ("without a hash", {"record": f"demo.py,,1\n{INFO}/RECORD,,\n"}),
    ("RECORD says 2", {"record": f"demo.py,{checksum(b'x')},2\n{INFO}/RECORD,,\n"}),
    ("has another sha256", {"record": f"demo.py,{checksum(b'y')},1\n"}),
    ("has another sha512", {"record": f"demo.py,{checksum(b'y', 'sha512')},1\n"}),
    ("the hash", {"record": f"demo.py,{checksum(b'x', 'md5')},1\n"}),
    ("the hash", {"record": "demo.py,sha256=!!!,1\n"}),
    ("the size", {"record": f"demo.py,{checksum(b'x')},-1\n"}),
    ("the size", {"record": f"demo.py,{checksum(b'x')},\u0661\n"}),
    ("repeated row", {"record": row("demo.py", b"x") * 2}),
    ("malformed", {"record": "demo.py\n"}),
    ("malformed", {"record": '"demo.py\n'}),
]


@pytest.mark.parametrize(("said", "changes"), CONTRADICTIONS)
def test_refuses_a_wheel_that_contradicts_its_record(tmp_path, said, changes):
    if "record" in changes:  # the rows for the two files that every wheel has
        plain = wheel({"demo.py": b"x"})
        with zipfile.ZipFile(io.BytesIO(plain)) as source:
            own = "".join(
                row(name, source.read(name)) for name in source.namelist() if name.endswith(("WHEEL", "METADATA"))
            )
        changes = {**changes, "record": own + changes["record"]}
    assert said in refused(tmp_path, wheel({"demo.py": b"x"}, **changes))


TRESPASSES = [
    ("not plain", {"demo-1.0.data/data/../../../etc/passwd": b""}),
    ("not plain", {"/etc/passwd": b""}),
    ("not plain", {"../evil.py": b""}),
    ("portable", {"C:\\evil.py": b""}),
    (".data subdirectory", {"demo-1.0.data/etc/passwd": b""}),
    (".data subdirectory", {"demo-1.0.data/loose": b""}),
    (".data folder", {"other-1.0.data/data/x": b""}),
    (".data folder", {"demo-2.0.data/data/x": b""}),
    (".dist-info folder", {"demo-2.0.dist-info/METADATA": b""}),
    ("two of its files", {"extra.py": b"1", "demo-1.0.data/purelib/extra.py": b"2"}),
    ("two of its files", {"demo-1.0.data/data/bin/t": b"1", "demo-1.0.data/scripts/t": b"2"}),
    ("which is a file", {"demo-1.0.data/data/bin": b"1", "demo-1.0.data/scripts/t": b"2"}),
    ("an entry point is named", {f"{INFO}/entry_points.txt": b"[console_scripts]\n../../sbin/init = a:b\n"}),
    ("an entry point is named", {f"{INFO}/entry_points.txt": b"[console_scripts]\n.. = a:b\n"}),
    ("not a valid wheel", {f"{INFO}/entry_points.txt": b"[console_scripts]\nx = os;evil():b\n"}),
    ("leads to", {f"{INFO}/entry_points.txt": b"[console_scripts]\nx = a..b:c\n"}),
    ("not a valid wheel", {f"{INFO}/entry_points.txt": b"[console_scripts]\nx = a\n"}),
    ("not a valid wheel", {f"{INFO}/entry_points.txt": b"no section"}),
    ("not a valid wheel", {f"{INFO}/entry_points.txt": b"[console_scripts]\nx = a:b\nx = c:d\n"}),
    ("two of its files", {f"{INFO}/entry_points.txt": b"[console_scripts]\nx = a:b\n[gui_scripts]\nx = c:d\n"}),
    ("not UTF-8", {f"{INFO}/entry_points.txt": b"\xff"}),
    ("Wheel-Version", {f"{INFO}/WHEEL": b"Wheel-Version: 2.0\n"}),
    ("Wheel-Version", {f"{INFO}/WHEEL": b""}),
]


@pytest.mark.parametrize(("said", "content"), TRESPASSES)
def test_refuses_to_write_where_a_wheel_may_not(tmp_path, said, content):
    assert said in refused(tmp_path, wheel({"demo.py": b"x", **content}))


def test_refuses_links(tmp_path):
    data = wheel({"demo.py": b"/etc/passwd"}, modes={"demo.py": 0o120777})
    assert "no regular file" in refused(tmp_path, data)


@pytest.mark.parametrize(
    ("said", "data"),
    [
        ("no .dist-info", archive([Item(b"demo.py", b"")])),
        ("RECORD is missing", archive([Item(f"{INFO}/WHEEL".encode(), WHEEL)])),
        ("too short", b"PK"),
        ("not a plain zip", b"PK" * 100),
    ],
)
def test_refuses_what_is_no_wheel(tmp_path, said, data):
    assert said in refused(tmp_path, data)


@pytest.mark.parametrize(
    ("file", "changes", "said"),
    [
        ("demo-1.0-py3-none-any.whl", {"version": "1.1"}, "the lock says that this is demo 1.1"),
        ("demo-1.0-py3-none-any.whl", {"name": "other"}, "the lock says that this is other 1.0"),
        ("demo-1.0-py2-none-any.whl", {}, "not for Python 3.13"),
        ("demo-1.0-cp312-cp312-linux_x86_64.whl", {}, "not for Python 3.13"),
        ("demo-1.0-cp314-abi3-manylinux_2_17_x86_64.whl", {}, "not for Python 3.13"),
        ("demo-1.0-cp313-cp313t-manylinux_2_17_x86_64.whl", {}, "not for Python 3.13"),
        ("demo-1.0-cp313-cp313-musllinux_1_2_x86_64.whl", {}, "not for Python 3.13"),
        ("demo-1.0-cp313-cp313-macosx_11_0_x86_64.whl", {}, "not for Python 3.13"),
        ("demo-1.0-cp313-cp313-manylinux_2_17_aarch64.whl", {"platforms": ("linux/amd64",)}, "on x86_64"),
        ("demo-1.0.whl", {}, "Invalid wheel filename"),
    ],
)
def test_refuses_another_wheel_than_the_lock_names(tmp_path, file, changes, said):
    assert said in refused(tmp_path, wheel({"demo.py": b""}), file=file, **changes)


@pytest.mark.parametrize(
    "tags",
    [
        "py2.py3-none-any",
        "py313-none-any",
        "cp313-cp313-manylinux_2_17_x86_64.manylinux2014_x86_64",
        "cp39-abi3-manylinux_2_28_x86_64",
        "cp313-none-linux_x86_64",
    ],
)
def test_takes_every_fitting_tag(tmp_path, tags):
    assert installed(tmp_path, wheel({"demo.py": b""}), f"demo-1.0-{tags}.whl", platforms=("linux/amd64",))


def test_names_are_compared_as_projects_and_versions(tmp_path):
    data = wheel({"demo.py": b""}, name="De.Mo_x", version="1.0.0")
    item = artifact(data, "De.Mo_x-1.0.0-py3-none-any.whl", name="de-mo-x", version="1.0")
    assert wheel_entries(write(tmp_path, data), item, python="3.13", epoch=EPOCH)


def other(folder: Path, content: dict[str, bytes], **options: object) -> list[Entry]:
    return installed(folder, wheel(content, name="other", **options), "other-1.0-py3-none-any.whl")


def test_merge_takes_equal_files_of_a_shared_namespace(tmp_path):
    one = installed(tmp_path, wheel({"shared/__init__.py": b"", "shared/a.py": b"a"}))
    two = other(tmp_path, {"shared/__init__.py": b"", "shared/b.py": b"b"})
    merged = merge(one, two)
    assert [entry.path for entry in merged].count(f"{SITE}/shared/__init__.py") == 1
    assert {f"{SITE}/shared/a.py", f"{SITE}/shared/b.py"} <= {entry.path for entry in merged}
    assert [entry.path for entry in merge(two, one)] == [entry.path for entry in merged]


@pytest.mark.parametrize(
    ("content", "options"),
    [({"shared.py": b"2"}, {}), ({"shared.py": b"1"}, {"modes": {"shared.py": 0o100755}}), ({"shared.py/x": b""}, {})],
)
def test_merge_names_both_wheels_of_a_conflict(tmp_path, content, options):
    one = installed(tmp_path, wheel({"shared.py": b"1"}))
    with pytest.raises(IntegrityError) as caught:
        merge(one, other(tmp_path, content, **options))
    assert caught.value.where == f"{SITE}/shared.py"
    assert "demo-1.0-py3-none-any.whl" in caught.value.message
    if content != {"shared.py/x": b""}:  # a folder belongs to no wheel
        assert "other-1.0-py3-none-any.whl" in caught.value.message


SAMPLE = wheel(EVERYTHING, deflate=True)


@given(st.integers(0, len(SAMPLE) - 1), st.binary(min_size=1, max_size=3))
def test_no_damage_escapes_as_another_error(tmp_path_factory, at, patch):
    data = SAMPLE[:at] + patch + SAMPLE[at + len(patch) :]
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(data)
    try:
        found = files(wheel_entries(path, artifact(data), python="3.13", epoch=EPOCH))
    except IntegrityError:
        return
    intact = files(wheel_entries(write(path.parent, SAMPLE), artifact(SAMPLE), python="3.13", epoch=EPOCH))
    assert {path: data for path, (_, data) in found.items()} == {path: data for path, (_, data) in intact.items()}


@pytest.mark.network
def test_pip_installs_the_same_files(tmp_path):
    """pip's idea of a real wheel with scripts, entry points and native code, against ours."""
    pip = [uv.find_uv_bin(), "run", "--no-project", "--python", sys.executable, "--with", "pip", "python", "-m", "pip"]
    subprocess.run(
        [*pip, "download", "-q", "--no-deps", "--only-binary=:all:", "-d", tmp_path, "numpy", "ruff", "pygments"],
        check=True, capture_output=True,
    )  # fmt: skip
    for path in sorted(tmp_path.glob("*.whl")):
        target = tmp_path / "root" / path.stem
        subprocess.run(
            [*pip, "install", "-q", "--no-deps", "--no-compile", "--ignore-installed", "--prefix", target, path],
            check=True, capture_output=True,
        )  # fmt: skip
        site = next(target.glob("lib/python*/site-packages"))
        python = site.parent.name.removeprefix("python")
        theirs = {}
        for file in target.rglob("*"):
            if file.is_file() and file.name not in ("INSTALLER", "REQUESTED", "direct_url.json", "RECORD"):
                inside = file.relative_to(target).as_posix()
                theirs[inside.replace("site-packages", "dist-packages")] = (file.stat().st_mode & 0o111, file)
        item = artifact(path.read_bytes(), path.name, platforms=("linux/amd64",))
        entries = wheel_entries(path, item, python=python, epoch=EPOCH)
        ours = {entry.path.removeprefix("usr/local/"): entry for entry in entries if entry.kind is Kind.FILE}
        assert {name for name in ours if not name.endswith("/RECORD")} == set(theirs)
        for name, (runs, file) in theirs.items():
            assert bool(runs) == bool(ours[name].mode & 0o111), name
            with ours[name].source() as stream:
                if not name.startswith("bin/"):  # shebangs and launchers name another interpreter
                    assert stream.read() == file.read_bytes(), name
