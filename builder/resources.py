"""Files that kbuild ships beside its own code, in a checkout and in an installed wheel alike."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from builder.errors import EnvironmentFault

Shipped = Literal["templates", "nix", "kernels"]

_PACKAGE: Final = Path(__file__).resolve().parent


def shipped(name: Shipped) -> Path:
    """The folder of that name: the wheel's copy in `builder/_shipped`, or the checkout's beside `builder/`.

    Raises:
        EnvironmentFault: the installation lacks it.
    """
    installed = _PACKAGE / "_shipped" / name
    if installed.is_dir():
        return installed
    checkout = _PACKAGE.parent / name
    # In site-packages a neighbour of that name would be someone else's; only a checkout has this file.
    if checkout.is_dir() and (_PACKAGE.parent / "pyproject.toml").is_file():
        return checkout
    raise EnvironmentFault(f"this installation of kbuild lacks its {name!r} folder", hint="install kbuild again")
