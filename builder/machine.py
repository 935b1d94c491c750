"""This machine's own configuration: where things are kept and where bytes are fetched from.

Nothing here may change a digest. All of it comes from the environment:

=============================  ==========================================================================
`KBUILD_STORE`                 the store's folder; default `$XDG_CACHE_HOME/kbuild` or `~/.cache/kbuild`
`KBUILD_JOBS`                  how many things to do at once; default the usable cores
`KBUILD_OFFLINE`               `1` forbids the network
`KBUILD_DEBIAN_MIRROR`         base URL of a Debian mirror, before the ones in apt's sources
`KBUILD_DEBIAN_SECURITY_MIRROR`  the same for the security archive
`KBUILD_PYPI_INDEX`            base URL of a simple index, before uv's and pip's settings
`KBUILD_NIXPKGS_MIRROR`        folder or base URL of nixpkgs' revisions, each as `<rev>.tar.gz`
=============================  ==========================================================================
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from builder.errors import UsageError


@dataclass(frozen=True, slots=True)
class Machine:
    """Settings of one machine; see the module's table."""

    store: Path
    jobs: int
    offline: bool
    debian_mirror: str | None = None
    debian_security_mirror: str | None = None
    pypi_index: str | None = None
    nixpkgs_mirror: str | None = None


def usable_cores() -> int:
    """Cores this process may run on (its affinity), not those that the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def from_environment(environ: Mapping[str, str], *, offline: bool = False) -> Machine:
    """Read the settings.

    Raises:
        UsageError: a variable holds something that is not of its form.
    """
    cache = Path(environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME") or Path.home()) / ".cache")
    store = Path(environ.get("KBUILD_STORE") or cache / "kbuild")
    jobs = environ.get("KBUILD_JOBS") or str(usable_cores())
    if not jobs.isdecimal() or int(jobs) < 1:
        raise UsageError(f"KBUILD_JOBS is {jobs!r}, not a positive whole number", hint="unset it to use every core")
    return Machine(
        store=store.absolute(),
        jobs=int(jobs),
        offline=offline or environ.get("KBUILD_OFFLINE", "") not in ("", "0"),
        debian_mirror=environ.get("KBUILD_DEBIAN_MIRROR") or None,
        debian_security_mirror=environ.get("KBUILD_DEBIAN_SECURITY_MIRROR") or None,
        pypi_index=environ.get("KBUILD_PYPI_INDEX") or None,
        nixpkgs_mirror=environ.get("KBUILD_NIXPKGS_MIRROR") or None,
    )
