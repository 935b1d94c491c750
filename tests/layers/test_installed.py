"""The whole claim: a root made without running a script equals one that dpkg installed, file by file."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from debian_roots import debs

from builder.layers.entry import Entry, Kind
from builder.layers.root import root_entries
from builder.machine import from_environment
from builder.store.registries import debian_bases

pytestmark = [
    pytest.mark.network,
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("mmdebstrap") is None, reason="not installed: mmdebstrap"),
]

PACKAGES = ["python3", "ca-certificates", "openssl", "libopenblas0", "tzdata", "locales", "curl", "netbase", "passwd"]

OURS = ("io", "io/in", "io/out")
THEIRS = (
    "dev/",  # device nodes
    "etc/apt", "var/cache/apt", "var/lib/apt", "var/log/", "etc/fstab", "etc/hostname", "etc/resolv.conf",
    "etc/pam.d/common-", "var/lib/pam",  # libpam-runtime's, allowed to be left out here
    "etc/default/locale", "etc/locale.conf", "etc/locale.gen",  # the list of locales that nobody chose
    "etc/rc", "etc/systemd/system", "var/lib/systemd",  # services
    "var/cache/debconf", "var/lib/python",
    "var/lib/dpkg/arch", "var/lib/dpkg/diversions", "var/lib/dpkg/info/", "var/lib/dpkg/lock",
    "var/lib/dpkg/status-old", "var/lib/dpkg/triggers/",
    "etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/.pwd.lock",
    "etc/shells",  # in the order of installation
)  # fmt: skip
DATED = ("etc/shadow", "var/lib/dpkg/status")  # the day of the last password change; packages in another order


def describe(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    owner = (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)
    if path.is_symlink():
        return (Kind.SYMLINK, str(path.readlink()))
    return (Kind.DIRECTORY, *owner) if path.is_dir() else (Kind.FILE, *owner, path.read_bytes())


def stated(entry: Entry, tree: dict[str, Entry]) -> tuple[object, ...]:
    if entry.kind is Kind.SYMLINK:
        return (entry.kind, entry.target)
    owner = (entry.mode, entry.uid, entry.gid)
    if entry.kind is Kind.DIRECTORY:
        return (entry.kind, *owner)
    source = tree[entry.target].source if entry.kind is Kind.HARDLINK else entry.source
    assert source is not None
    with source() as content:
        return (Kind.FILE, *owner, content.read())


@pytest.mark.parametrize("suite", ["trixie", "bookworm"])
def test_equals_a_root_that_dpkg_installed(suite: str, tmp_path: Path) -> None:
    machine = from_environment(os.environ)
    lines = [f"deb {base} {suite} main" for base in debian_bases("debian", machine, None)[:1]]
    lines += [line.replace(suite, f"{suite}-updates") for line in lines]
    lines += [f"deb {base} {suite}-security main" for base in debian_bases("debian-security", machine, None)[:1]]
    (tmp_path / "sources.list").write_text("".join(f"{line}\n" for line in lines))
    disk = tmp_path / "root"
    call = ["mmdebstrap", "--mode=root", "--variant=essential", f"--include={','.join(PACKAGES)}", "--format=directory"]
    subprocess.run([*call, suite, disk, tmp_path / "sources.list"], check=True, capture_output=True)
    query = ["dpkg-query", f"--admindir={disk}/var/lib/dpkg", "-W", "-f", "${Package}=${Version}\n"]
    names = subprocess.run(query, check=True, capture_output=True, text=True).stdout.split()
    found = debs(suite, "amd64", names, implicit=())
    entries = root_entries(found, epoch=1_800_000_000, allow_scripts=["libpam-runtime", "usrmerge"])
    tree = {entry.path: entry for entry in entries}
    installed = {str(path.relative_to(disk)): path for path in disk.rglob("*")}
    for skipped in [path for path in installed if path.startswith(THEIRS) or path.endswith((".pyc", "__pycache__"))]:
        del installed[skipped]
        tree.pop(skipped, None)
    for skipped in [path for path in tree if path.startswith(THEIRS)]:
        del tree[skipped]
    assert tree.keys() - installed.keys() == set(OURS)
    assert installed.keys() - tree.keys() == set()
    for path, there in installed.items():
        one, other = stated(tree[path], tree), describe(there)
        if path in DATED:
            one, other = one[:-1], other[:-1]
        assert one == other, path
