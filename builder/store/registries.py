"""From a registry's name in a lock to the URLs that serve it on this machine.

A lock never names a host. Which mirror serves a registry is the machine's own configuration; the one address built in
is Debian's permanent archive, because mirrors drop what was superseded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from builder.errors import LockError
from builder.machine import Machine
from builder.store.apt import APT, apt_bases
from builder.store.indexes import uv_environment
from builder.store.transfer import Wanted
from builder.store.wheels import locate

DebianRegistry = Literal["debian", "debian-security"]

SNAPSHOT = "http://snapshot.debian.org/archive"
"""Debian's archive of every state of its archives; plain HTTP, as all it serves is checked by hash and signature."""


def debian_bases(
    registry: DebianRegistry, machine: Machine, snapshot: str | None, *, apt: Path = APT
) -> tuple[str, ...]:
    """Base URLs of a Debian archive, best first: the machine's mirror, apt's own sources, the permanent archive.

    A machine that names no security archive, as a freshly bootstrapped one, is asked for it beside its main one, where
    most mirrors have it; what is not there costs a request, and what is there is held to its hash or signature.

    Args:
        registry: which archive.
        machine: holds `KBUILD_DEBIAN_MIRROR` and `KBUILD_DEBIAN_SECURITY_MIRROR`.
        snapshot: the moment to ask the permanent archive for, as `YYYY-MM-DDTHH:MM:SSZ`, or None to leave it out.
        apt: apt's configuration folder.
    """
    own = machine.debian_mirror if registry == "debian" else machine.debian_security_mirror
    bases = [own.rstrip("/")] if own else []
    bases += apt_bases(registry, apt)
    if registry == "debian-security" and not bases:
        bases += [f"{base}-security" for base in debian_bases("debian", machine, None, apt=apt)]
    if snapshot is not None:
        bases += [f"{SNAPSHOT}/{registry}/{moment}" for moment in snapshot_moments(snapshot)]
    return tuple(dict.fromkeys(bases))


def snapshot_moments(date: str) -> tuple[str, ...]:
    """The states of the permanent archive to ask for what an index of `date` names: that moment, and a day later.

    An index is dated when it is signed and archived some hours after, and for a moment between two states the archive
    answers with the earlier one, which need not have the newest files yet.

    Raises:
        LockError: `date` is not of the form `YYYY-MM-DDTHH:MM:SSZ`.
    """
    try:
        moment = datetime.strptime(date, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise LockError(f"{date!r} is not a date of the form YYYY-MM-DDTHH:MM:SSZ") from error
    return tuple(f"{at:%Y%m%dT%H%M%SZ}" for at in (moment, moment + timedelta(days=1)))


def sources(
    wanted: Sequence[Wanted],
    machine: Machine,
    *,
    snapshots: Mapping[str, str],
    environ: Mapping[str, str] = os.environ,
    apt: Path = APT,
) -> dict[str, tuple[str, ...]]:
    """URLs that may serve artifacts, best first; bind all but `wanted` to get what `transfer.fetch` asks.

    Args:
        wanted: the artifacts.
        machine: this machine's settings.
        snapshots: for each Debian registry, the date of its newest index in the lock (`YYYY-MM-DDTHH:MM:SSZ`).
        environ: this process's environment, for uv's and pip's settings.
        apt: apt's configuration folder.

    Returns:
        Hex SHA-256 to URLs; none for an artifact of the registry `local`, which is never fetched.

    Raises:
        FetchError: no package index has a wheel.
        IntegrityError: a package index has another file under a wheel's name.
        EnvironmentFault: uv or a settings file cannot be used.
    """
    result: dict[str, tuple[str, ...]] = {}
    bases: dict[str, tuple[str, ...]] = {}
    for item in wanted:
        if item.registry in ("debian", "debian-security"):
            if item.registry not in bases:
                bases[item.registry] = debian_bases(item.registry, machine, snapshots.get(item.registry), apt=apt)
            result[item.sha256] = tuple(join(base, item.path) for base in bases[item.registry])
        elif item.registry == "url":
            result[item.sha256] = (item.path,)
    wheels = [item for item in wanted if item.registry == "pypi"]
    if wheels:
        result |= locate(wheels, uv_environment(machine, environ))
    return result


def join(base: str, path: str) -> str:
    """A file's URL below a base URL, or its path below a base path.

    `+` is escaped as apt does it: stores that speak S3 take a bare one for a space.
    """
    return f"{base}/{quote(path, safe='/~:')}" if re.match(r"[a-z]+:", base) else f"{base}/{path}"
