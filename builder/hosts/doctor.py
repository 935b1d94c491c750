"""What kbuild itself needs of this machine, and what it can use if it is there.

Each examination asks the very code that will need the thing, so that what is told here is what a build would meet.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping

from builder.backends import bwrap
from builder.errors import EnvironmentFault, KbuildError
from builder.hosts.gate import Requirement
from builder.layers import codec
from builder.machine import Machine
from builder.platforms import host_platform
from builder.store.blobs import Store
from builder.store.client import redacted
from builder.store.indexes import places, uv_environment
from builder.store.registries import debian_bases

FREE = 4 << 30
"""Bytes that a first build of a kernel of this repository takes in the store, and as much again to work in."""

_REINSTALL = "install kbuild's dependencies again: pip install --force-reinstall kbuild"


def examine(machine: Machine, environ: Mapping[str, str]) -> Iterator[Requirement]:
    """Look at everything, one after the other; none stops the others.

    Args:
        machine: this machine's settings.
        environ: this process's environment, for the settings of uv and pip.
    """
    yield _tried("platform", "Linux on x86_64 or aarch64", host_platform)
    yield _tried("sandbox", "user namespaces", _sandbox)
    yield _tried("store", "a folder to write to", lambda: _store(machine))
    yield _space(machine)
    yield _tried("layer codec", f"zstd {codec.LIBZSTD}, bit for bit", _codec)
    yield _tried("uv", "to lock Python packages", _uv)
    yield _network("Debian packages", "a mirror", machine, lambda: _debian(machine))
    yield _network("Python packages", "an index", machine, lambda: _python(machine, environ))
    yield _tried("docker", "for --backend docker and docker hosts", _docker, optional=True)
    yield _tried("nix", "for --backend nix", _nix, optional=True)


def _tried(name: str, needed: str, look: Callable[[], str], *, optional: bool = False) -> Requirement:
    """What looking at something gives: what is there, or why it can't be used and what to do."""
    try:
        return Requirement(name, needed, look(), met=True, remedy="", optional=optional)
    except KbuildError as error:
        where = f"{error.where}: " if error.where else ""
        return Requirement(name, needed, f"{where}{error.message}", False, error.hint or "", optional)


def _sandbox() -> str:
    bwrap.check()
    return "bubblewrap starts"


def _store(machine: Machine) -> str:
    store = Store(machine.store)
    path = store.temporary()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"kbuild")
        path.unlink()
    except OSError as error:
        raise EnvironmentFault(
            f"{machine.store} can't be written to: {error.strerror}", hint="name another folder in KBUILD_STORE"
        ) from error
    return str(machine.store)


def _space(machine: Machine) -> Requirement:
    place = next((path for path in (machine.store, *machine.store.parents) if path.exists()), machine.store)
    try:
        status = os.statvfs(place)
        free = status.f_bavail * status.f_frsize
    except OSError:
        free = 0
    hint = "`kbuild store gc` removes what no image needs; or name a larger disk in KBUILD_STORE"
    return Requirement("disk", f"{_gib(FREE)} free", _gib(free), free >= FREE, hint)


def _codec() -> str:
    codec.check(codec.CODEC)
    return f"zstd {codec.LIBZSTD}"


def _uv() -> str:
    try:
        import uv  # noqa: PLC0415 - only resolving needs it

        return str(uv.find_uv_bin())
    except (ImportError, FileNotFoundError) as error:
        raise EnvironmentFault("the program is not there", hint=_REINSTALL) from error


def _network(name: str, needed: str, machine: Machine, look: Callable[[], str]) -> Requirement:
    """Where packages come from by the machine's settings. Nobody is asked: the first fetch says whether they answer."""
    if machine.offline:
        return Requirement(name, needed, "the store alone, being offline (KBUILD_OFFLINE)", met=True, remedy="")
    return _tried(name, needed, look)


def _debian(machine: Machine) -> str:
    bases = debian_bases("debian", machine, None)
    return ", ".join(map(redacted, bases)) or "none of the machine's; the permanent archive is asked"


def _python(machine: Machine, environ: Mapping[str, str]) -> str:
    named = [redacted(place.url) for place in places(uv_environment(machine, environ))]
    return ", ".join(named) or "uv's own"


def _docker() -> str:
    from builder.backends.docker_engine import connected  # noqa: PLC0415 - docker-py takes its time

    with connected() as engine, engine.speaking("say its version") as client:
        return f"{client.version().get('Version', '?')} on {engine.platform}, {engine.address}"


def _nix() -> str:
    from builder.backends.nix_tools import Nix  # noqa: PLC0415 - as above

    return ".".join(map(str, Nix().version))


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
