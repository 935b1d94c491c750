"""The environment that an image's configuration pins, and whether it keeps what the spec forbids."""

from __future__ import annotations

from difflib import get_close_matches

from builder.determinism.influences import INFLUENCES
from builder.determinism.table import CLOSED, GUARANTEES, NUMERIC, STRICT_COMPILER, UNAVOIDABLE, Pin
from builder.errors import SpecError
from builder.platforms import Platform
from builder.spec import flags
from builder.spec.across import Problem
from builder.spec.model import Spec


def pins(spec: Spec, platform: Platform) -> list[tuple[Pin, str]]:
    """The rows of the table that hold for a spec on a platform, each with its value."""
    rows = (*CLOSED, *NUMERIC) if spec.determinism.profile != "none" else CLOSED
    let_go = {name for item in INFLUENCES if item.name in spec.determinism.unpin for name in item.pins}
    valued = ((pin, pin.rule(spec)) for pin in rows if platform in pin.platforms and pin.name not in let_go)
    return [(pin, value) for pin, value in valued if value is not None]


def xla_flags(spec: Spec, platform: Platform) -> dict[str, str]:
    """XLA's flags, sorted: the profile's, and over them the spec's own."""
    chosen = {pin.name: value for pin, value in pins(spec, platform) if pin.kind == "xla"}
    own = {
        name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in spec.xla.flags.items()
    }
    return dict(sorted((chosen | own).items()))


def environment(spec: Spec, platform: Platform) -> dict[str, str]:
    """The whole environment of a run, sorted by name.

    Raises:
        SpecError: the flags do not rule out what the spec forbids.
    """
    wrong = unmet(spec, platform)
    if wrong:
        raise SpecError("; ".join(problem.message for problem in wrong), where="[hardware] forbid", hint=wrong[0].hint)
    variables = {pin.name: value for pin, value in pins(spec, platform) if pin.kind == "variable"}
    chosen = xla_flags(spec, platform)
    if chosen:
        variables["XLA_FLAGS"] = " ".join(f"--{name}={value}" for name, value in chosen.items())
    return dict(sorted(variables.items()))


def problems(spec: Spec) -> list[Problem]:
    """Everything in a valid spec that the tables of this package refuse, each at its place."""
    found = [item for platform in spec.kernel.platforms for item in unmet(spec, platform)]
    return [*_unpinnable(spec), *dict.fromkeys(found)]


def _unpinnable(spec: Spec) -> list[Problem]:
    numeric = {pin.name for pin in NUMERIC}
    names = [item.name for item in INFLUENCES if numeric & set(item.pins)]
    found = []
    for index, name in enumerate(spec.determinism.unpin):
        loc = ("determinism", "unpin", index)
        if spec.determinism.profile == "none":
            found.append(Problem(loc, "nothing is pinned under this profile", "leave unpin out"))
        elif name not in names:
            near = get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "`kbuild influences` lists them"
            found.append(Problem(loc, f"{name!r} is no influence that the profile pins", hint))
    return found


def unmet(spec: Spec, platform: Platform) -> list[Problem]:
    """What the spec forbids and its flags do not rule out, each at its place in the spec."""
    chosen = xla_flags(spec, platform)
    found: list[Problem] = []
    for index, name in enumerate(spec.hardware.forbid):
        loc = ("hardware", "forbid", index)
        if name in UNAVOIDABLE and spec.determinism.profile != "portable":
            hint = f'take {name!r} out, or set profile = "portable" in [determinism], whose operations keep them'
            found.append(Problem(loc, f"{name!r} cannot be ruled out: {UNAVOIDABLE[name]}", hint))
        for flag, value in GUARANTEES.get(name, {}).items():
            if chosen.get(flag) != value:
                is_now = f"{flag} is {chosen[flag]}" if flag in chosen else f"{flag} is not set"
                hint = (
                    f"take {flag} out of [xla] flags"
                    if flag in spec.xla.flags and spec.determinism.profile != "none"
                    else f"set {flag} = {value} in [xla] flags"
                )
                found.append(Problem(loc, f"{name!r} is forbidden, but {is_now}", hint))
        if name in STRICT_COMPILER:
            found += [
                Problem(loc, f"{name!r} is forbidden, but the compiler gets {flag!r}", f"take {flag!r} out")
                for flag in _compiler_flags(spec)
                if flags.fast_math(flag)
            ]
    return found


def _compiler_flags(spec: Spec) -> list[str]:
    return [*spec.compiler.flags, *(flag for table in spec.native.values() for flag in table.flags)]
