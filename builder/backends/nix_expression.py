"""The Nix expression of an action: a pure function of the action and of names for its files."""

from __future__ import annotations

import re
from dataclasses import dataclass

from builder.backends.action import Action
from builder.backends.sandbox import Emulator, emulated, environment
from builder.lock.nar import sri
from builder.platforms import NAMES, Platform
from builder.resources import shipped
from builder.store.artifact import Artifact

LIBRARY = "lib"
"""Where the library is, beside the expression."""
BUSYBOX = "busybox"
"""The folder beside the expression that holds the program of that name."""

NIXPKGS = "nixpkgs.tar"
"""The tar of a pinned nixpkgs, beside the expression, where one is needed."""

_STRANGE = re.compile(r"[^0-9A-Za-z+._?=-]")
_LONGEST = 120


@dataclass(frozen=True, slots=True)
class Named:
    """A file by the name that it has in the Nix store and its hex SHA-256."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Ingredients:
    """What an action's expression names beside the action.

    These are the files of its root, where it is made of packages, and what emulates.
    """

    debs: tuple[Named, ...] = ()
    additions: Named | None = None
    names: Named | None = None
    emulator: Named | None = None


def store_name(text: str) -> str:
    """A name that Nix allows for a store path, as like the text as can be."""
    return _STRANGE.sub("-", text).lstrip(".")[-_LONGEST:].lstrip(".-") or "file"


def deb_name(item: Artifact) -> str:
    """The name of a package's file in the Nix store."""
    return store_name(f"{item.name}_{item.version}_{item.architecture}.deb")


def render_action(action: Action, ingredients: Ingredients, *, host: Platform) -> str:
    """Write the expression whose value is a derivation with the action's output.

    Args:
        action: to be run.
        ingredients: its files, which the Nix store is to have already.
        host: of the machine that builds.
    """
    foreign = ingredients.emulator is not None
    return render(
        "image.nix.j2",
        library=LIBRARY,
        busybox=BUSYBOX,
        system=system(host),
        name=store_name(action.name),
        title=action.name,
        debs=ingredients.debs,
        additions=ingredients.additions,
        names=ingredients.names,
        emulator=ingredients.emulator,
        nixpkgs=action.nixpkgs,
        nar_hash=sri(action.nixpkgs.source) if action.nixpkgs else "",
        tarball=NIXPKGS,
        programs=emulator_paths(action.platform),
        argv=emulated(action.argv, Emulator(shipped("nix"))) if foreign else action.argv,
        env=sorted(environment(action.env, epoch=action.epoch).items()),
        epoch=action.epoch,
        inputs=[(item, store_name(item.path.rpartition("/")[2])) for item in action.inputs],
    )


def render_probe(*, host: Platform) -> str:
    """Write an expression that tries what every action needs of Nix, with a toolchain of nothing."""
    return render("probe.nix.j2", library=LIBRARY, busybox=BUSYBOX, system=system(host))


def emulator_paths(guest: Platform) -> tuple[str, ...]:
    """Where a package has the static emulator of a platform, by Debian's newer and older names."""
    return f"usr/bin/qemu-{NAMES[guest].qemu}", f"usr/bin/qemu-{NAMES[guest].qemu}-static"


def system(platform: Platform) -> str:
    """Nix's name for a platform."""
    return f"{NAMES[platform].machine}-linux"


def nix_string(text: str) -> str:
    """Text as a string of the Nix language."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\${")
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + '"'


def nix_comment(text: str) -> str:
    """Text that stays on its line."""
    return " ".join(text.split())


def render(template: str, **values: object) -> str:
    """Fill in a template of Nix."""
    import jinja2  # noqa: PLC0415 - not needed to print a version

    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(shipped("templates")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - Nix is no HTML; every value goes through nix_string
    )
    templates.filters["nix"] = nix_string
    templates.filters["comment"] = nix_comment
    return str(templates.get_template(template).render(values))
