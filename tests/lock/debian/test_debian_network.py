"""The real archive, as this machine is configured to reach it; apt itself is the judge of answers."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import pytest

from builder.errors import IntegrityError
from builder.lock.debian.archive import Archive
from builder.lock.debian.keyring import certificates
from builder.lock.debian.mirror import fetch
from builder.lock.debian.packages import DebianRegistry
from builder.lock.debian.release import MAX_INRELEASE, verify_inrelease
from builder.lock.debian.solver import IMPLICIT, resolve
from builder.lock.debian.toolchain import toolchain_packages, tools_packages
from builder.lock.debian.universe import Universe
from builder.machine import from_environment
from builder.progress import Silent
from builder.store.attempt import Patience
from builder.store.blobs import Store
from builder.store.client import Client
from builder.store.registries import debian_bases

pytestmark = pytest.mark.network

SUITES = {"debian": "trixie", "debian-security": "trixie-security"}


def bases(registry: DebianRegistry) -> tuple[str, ...]:
    """This machine's mirrors."""
    found = debian_bases(registry, from_environment(os.environ), None)
    if not found:
        pytest.skip("this machine is configured for no Debian mirror")
    return found


def reader(folder: Path, now: datetime | None) -> Archive:
    return Archive(bases, Client(Patience()), Store(folder), Silent(), now)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def trixie(folder: Path) -> dict[str, Universe]:
    universes, indexes = reader(folder, datetime.now(UTC)).universes(
        "trixie", updates=True, architectures=["amd64", "arm64"]
    )
    assert [item.suite for item in indexes] == ["trixie", "trixie-updates", "trixie-security"]
    return universes


@pytest.mark.parametrize("registry", ["debian", "debian-security"])
def test_the_real_inrelease_and_one_flipped_byte(registry: DebianRegistry) -> None:
    suite = SUITES[registry]
    url = f"{bases(registry)[0]}/dists/{suite}/InRelease"
    data = fetch(Client(Patience()), url, limit=MAX_INRELEASE, patience=Patience())
    release = verify_inrelease(data, certificates(), asked=suite, now=None)
    assert release.codename == suite
    assert len(release.signed_by) >= 1
    assert len(release.files) > 100
    place = data.index(b"main/binary-amd64/Packages.xz") - 20
    with pytest.raises(IntegrityError):
        verify_inrelease(
            data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :], certificates(), asked=suite, now=None
        )


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_python3(trixie: dict[str, Universe], architecture: str) -> None:
    chosen = {package.name: package for package in resolve(["python3"], trixie[architecture])}
    assert {"python3", "python3.13-minimal", "libpython3.13-stdlib", "libc6", *IMPLICIT} <= chosen.keys()
    assert not {"python3-doc", "perl-base", "coreutils"} & chosen.keys()
    assert 30 <= len(chosen) <= 50
    assert all(package.architecture in (architecture, "all") for package in chosen.values())


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
@pytest.mark.parametrize("version", ["14", "14.2.0"])
def test_the_toolchain(trixie: dict[str, Universe], architecture: str, version: str) -> None:
    there = trixie[architecture]
    chosen = {package.name: package for package in resolve(toolchain_packages("gcc", version, there), there)}
    assert {
        "gcc-14",
        "g++-14",
        "cpp-14",
        "binutils",
        "libc6-dev",
        "libstdc++-14-dev",
        "linux-libc-dev",
    } <= chosen.keys()
    assert chosen["gcc-14"].version.startswith("14.2.0-")


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_the_tools_need_nothing(trixie: dict[str, Universe], architecture: str) -> None:
    there = trixie[architecture]
    assert [package.name for package in resolve(tools_packages(there), there, implicit=())] == [
        "busybox-static", "qemu-user",
    ]  # fmt: skip


def test_bookworm(folder: Path) -> None:
    universes, _ = reader(folder, datetime.now(UTC)).universes("bookworm", updates=True, architectures=["amd64"])
    there = universes["amd64"]
    assert "python3.11-minimal" in {package.name for package in resolve(["python3"], there)}
    assert tools_packages(there) == ("qemu-user-static", "busybox-static")
    assert "gcc-12" in {package.name for package in resolve(toolchain_packages("gcc", "12.2.0", there), there)}


@pytest.mark.parametrize("release", ["sid", "forky"])
def test_releases_to_come(release: str, folder: Path) -> None:
    # A mirror may lag behind these two, which lapse after a week; as an archive of the past it is good enough here.
    universes, indexes = reader(folder, None).universes(release, updates=False, architectures=["amd64", "arm64"])
    for there in universes.values():
        assert resolve(["python3"], there)
        assert resolve(tools_packages(there), there, implicit=())
    assert [item.suite for item in indexes] == [release]


def test_locking_two_architectures_takes_seconds_of_cpu(folder: Path, trixie: dict[str, Universe]) -> None:
    begun = time.process_time()
    universes, _ = reader(folder, datetime.now(UTC)).universes("trixie", updates=True, architectures=["amd64", "arm64"])
    for there in universes.values():
        resolve(["python3"], there)
        resolve(toolchain_packages("gcc", "14", there), there)
    assert time.process_time() - begun < 20, "some 3 s on an idle machine"


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
@pytest.mark.parametrize(
    "roots",
    [
        ("python3",),
        ("gcc-14", "g++-14", "libc6-dev", "binutils"),
        ("git", "curl", "ca-certificates"),
        ("libopenblas-dev", "python3-numpy", "r-base-core"),
        ("texlive", "build-essential"),
    ],
)
def test_apt_gives_the_same_answer(
    roots: tuple[str, ...], architecture: str, trixie: dict[str, Universe], apt_world: dict[str, list[str]]
) -> None:
    said = subprocess.run(
        ["apt-get", *apt_world[architecture], "install", "-s", "--no-install-recommends", *IMPLICIT, *roots],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    theirs = {
        (line.split()[1].partition(":")[0], line.split()[2].lstrip("("))
        for line in said.splitlines()
        if line.startswith("Inst ")
    }
    assert {(package.name, package.version) for package in resolve(roots, trixie[architecture])} == theirs


@pytest.fixture(scope="module")
def apt_world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """For each architecture, the options of an apt whose whole world is a folder of its own, with nothing installed."""
    if shutil.which("apt-get") is None:
        pytest.skip("apt is the judge")
    worlds = {}
    keys = files("builder.lock.debian") / "keys"
    for architecture in ("amd64", "arm64"):
        folder = tmp_path_factory.mktemp(architecture)
        for name in ("state/lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True)
        (folder / "status").touch()
        shipped = sorted(item.name for item in keys.iterdir() if item.name.endswith(".asc"))
        (folder / "keys.asc").write_bytes(b"".join((keys / name).read_bytes() for name in shipped))
        (folder / "sources.list").write_text(
            "".join(
                f"deb [arch={architecture} signed-by={folder}/keys.asc] {bases(registry)[0]} {suite} main\n"
                for registry, suite in (
                    ("debian", "trixie"),
                    ("debian", "trixie-updates"),
                    ("debian-security", "trixie-security"),
                )
            )
        )
        settings = {
            "Dir": folder,
            "Dir::Etc": folder,
            "Dir::Etc::sourcelist": "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::parts": "/dev/null",
            "Dir::State": folder / "state",
            "Dir::State::status": folder / "status",
            "Dir::Cache": folder / "cache",
            "APT::Architecture": architecture,
            "APT::Architectures": architecture,
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
        }
        worlds[architecture] = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
        subprocess.run(["apt-get", *worlds[architecture], "update"], check=True, capture_output=True)
    return worlds
