"""Roots as Nix unpacks them, against kbuild's own."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from nix_stores import NixStore, busybox_program, remove
from small_roots import EPOCH

from builder.backends.nix_root import additions, names, write_plain_tar
from builder.backends.roots import write_tree
from builder.layers.entry import Entry, Kind
from builder.layers.root import root_entries

sys.path.insert(0, str(Path(__file__).parents[1] / "layers"))
import debs

REPOSITORY = Path(__file__).resolve().parents[2]
LONG = "usr/share/" + "/".join(["a-folder-with-a-long-name"] * 6) + "/ü"


@pytest.fixture
def packages(tmp_path):
    """Old and new places, links to folders, a file that two packages ship, one that replaces another's."""
    return [
        debs.package(tmp_path, "base-files", {
            "bin": "usr/bin", "lib": "usr/lib", "sbin": "usr/sbin", "etc/issue": b"x", "usr/bin/": b"", "var/no/": b"",
        }),
        debs.package(tmp_path, "old", {
            "bin/tool": b"#!tool", "lib/x86_64-linux-gnu/liba.so.1": b"\x7fELF", "lib64/ld.so": b"ld",
            "usr/lib/same": b"same", "usr/share/doc/link": "../old", "usr/share/old/text": b"text",
            "lib/relative": "../usr/share/old",
        }),
        late(tmp_path, {"usr/lib/same": b"same", "usr/share/old/text": b"replaced", LONG: b"long"}),
    ]  # fmt: skip


def late(folder: Path, files: dict[str, bytes]):
    """A package that replaces "old", with names that need GNU tar's extension."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path, content in files.items():
            info = tarfile.TarInfo(f"./{path}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    control = debs.CONTROL | {"Package": "late", "Replaces": "old"}
    return debs.read(folder, debs.deb(data.getvalue(), control=control), control)


def test_additions_are_what_packages_do_not_give(packages):
    entries = root_entries(packages, epoch=EPOCH)
    extra = {entry.path: entry for entry in additions(entries, packages)}
    assert {"bin", "lib", "lib64", "usr/bin", "var/lib/dpkg/status"} <= extra.keys()
    assert {"usr/lib/same", "usr/share/old/text"} <= extra.keys()  # disputed
    assert not {"usr/bin/tool", "usr/share/doc/link", "etc/issue", LONG} & extra.keys()  # as shipped
    assert [entry.path for entry in entries if entry.path in extra] == list(extra)


def test_a_hard_link_among_additions_brings_its_file():
    file = Entry("a", Kind.FILE, 0o644, 0, size=1, source=lambda: io.BytesIO(b"x"))
    link = Entry("b", Kind.HARDLINK, 0o644, 0, target="a")
    deb = debs_of([file])
    assert [entry.path for entry in additions([file, link], [deb])] == ["a", "b"]
    assert additions([file], [deb]) == []


def debs_of(entries):
    from types import SimpleNamespace

    return SimpleNamespace(entries=tuple(entries))


def test_the_tar_has_no_header_that_busybox_does_not_know(packages):
    data = io.BytesIO()
    write_plain_tar(root_entries(packages, epoch=EPOCH), data.write)
    with tarfile.open(fileobj=io.BytesIO(data.getvalue())) as tar:
        found = tar.getnames()
        assert LONG in found
        assert not tar.pax_headers
        assert not any(member.pax_headers for member in tar.getmembers())


@pytest.mark.nix
@pytest.mark.sandbox
@pytest.mark.skipif(busybox_program() is None, reason="no static BusyBox")
def test_nix_unpacks_the_same_root(packages, tmp_path):
    entries = root_entries(packages, epoch=EPOCH)
    (tmp_path / "busybox").mkdir()
    (tmp_path / "busybox/busybox").write_bytes(busybox_program())
    (tmp_path / "busybox/busybox").chmod(0o755)
    with (tmp_path / "additions.tar").open("wb") as out:
        write_plain_tar(additions(entries, packages), out.write)
    (tmp_path / "names").write_bytes(names(entries))
    (tmp_path / "x.nix").write_text(f"""
        (import {REPOSITORY}/nix {{ busybox = ./busybox; }}).root {{
          debs = [ ./base-files.deb ./old.deb ./late.deb ];
          additions = [ ./additions.tar ];
          names = ./names;
        }}""")
    own = NixStore(tmp_path / "nix")
    link = tmp_path / "result"
    own.run("nix-build", tmp_path / "x.nix", "-o", link)
    mine = tmp_path / "mine"
    mine.mkdir()
    write_tree(mine, ((entry, entry.source() if entry.source else None) for entry in entries))
    left, right = listing(link.resolve()), listing(mine)
    assert left == right
    assert len(left) > 30
    (tmp_path / "names").write_bytes(names(entries[1:]))
    refused = own.run("nix-build", tmp_path / "x.nix", "-o", link, check=False)
    assert refused.returncode
    assert "kbuild: the packages unpack to other names" in refused.stderr
    remove(own.folder)


def listing(folder: Path) -> list[str]:
    """What a path of the Nix store can tell apart, by find and sha256sum."""
    found = subprocess.run(
        "find . -type d -printf '%p d\\n' -o -type l -printf '%p %l\\n' -o -perm -u+x -printf '%p x\\n'"
        " && find . -type f -exec sha256sum '{}' +",
        shell=True, cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return sorted(found.stdout.splitlines())
