"""Debian's archive certificates, shipped with kbuild; `keys/README.md` says where they are from."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pysequoia import Cert


@cache
def certificates() -> tuple[Cert, ...]:
    """Every shipped certificate, in the order of its file's name."""
    from pysequoia import Cert  # noqa: PLC0415  # a large shared object, wanted only when a lock is written

    folder = files("builder.lock.debian") / "keys"
    names = sorted(item.name for item in folder.iterdir() if item.name.endswith(".asc"))
    return tuple(Cert.from_bytes((folder / name).read_bytes()) for name in names)
