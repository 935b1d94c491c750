"""Checks that look at more than one value of a spec.

They read plain data, so that they also run over a spec some other part of which is wrong: every finding comes at once.
Whatever has not the expected type is left to the model to report.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from builder.spec import features, flags

Loc = tuple[str | int, ...]

UNIQUE: Final[tuple[tuple[str, str], ...]] = (
    ("kernel", "files"),
    ("kernel", "platforms"),
    ("os", "packages"),
    ("os", "allow_scripts"),
    ("python", "requirements"),
    ("python", "exclude"),
    ("hardware", "forbid"),
    ("determinism", "unpin"),
)
"""Arrays in which a value stands once; the arrays of native tables are too."""

NEVER_OUT: Final[Mapping[str, tuple[str, str]]] = {
    "string": ("a JAX function gives no strings", "give numbers that stand for them, such as int32"),
    "complex128": ("a .safetensors file holds no complex128", "give two float64 outputs, or one of complex64"),
}
"""Types that no run could give as an output: why, and what to do."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with the value at `loc`."""

    loc: Loc
    message: str
    hint: str | None


def problems(data: Mapping[str, object]) -> list[Problem]:
    """Everything that values are wrong about together.

    Args:
        data: the spec as parsed, valid or not, by alias.
    """
    return [
        *_duplicates(data),
        *_projects(data),
        *_nixpkgs(data),
        *_fast_math(data),
        *_xla(data),
        *_features(data),
        *_accelerator(data),
        *_floor(data),
        *_strings(data),
        *_results(data),
        *_aot(data),
    ]


def _table(data: object, key: str) -> Mapping[str, object]:
    value = data.get(key) if isinstance(data, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _strings_of(table: Mapping[str, object], key: str) -> list[tuple[int, str]]:
    value = table.get(key)
    return [(i, v) for i, v in enumerate(value) if isinstance(v, str)] if isinstance(value, (list, tuple)) else []


def _duplicates(data: Mapping[str, object]) -> Iterator[Problem]:
    arrays: list[tuple[Loc, list[tuple[int, str]]]] = [
        ((table, key), _strings_of(_table(data, table), key)) for table, key in UNIQUE
    ]
    for name in _table(data, "native"):
        table = _table(_table(data, "native"), name)
        arrays += [(("native", name, key), _strings_of(table, key)) for key in ("sources", "headers")]
    for key in ("features", "without"):
        table = _table(_table(data, "hardware"), key)
        arrays += [(("hardware", key, name), _strings_of(table, name)) for name in ("amd64", "arm64")]
    for loc, values in arrays:
        seen: set[str] = set()
        for index, value in values:
            if value in seen:
                yield Problem((*loc, index), f"{value!r} stands twice in this array", "keep one of them")
            seen.add(value)


def _projects(data: Mapping[str, object]) -> Iterator[Problem]:
    """One project asked for twice under one condition, and one asked for and excluded."""
    entries = _strings_of(_table(data, "python"), "requirements")
    if not entries:
        return
    from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415 - only specs with wheels
    from packaging.utils import canonicalize_name  # noqa: PLC0415

    excluded = {canonicalize_name(name): index for index, name in _strings_of(_table(data, "python"), "exclude")}
    seen: dict[tuple[str, str], str] = {}
    for index, text in entries:
        try:
            parsed = Requirement(text)
        except InvalidRequirement:
            continue
        name = canonicalize_name(parsed.name)
        first = seen.setdefault((name, str(parsed.marker)), text)
        if first != text:
            yield Problem(
                ("python", "requirements", index),
                f"{parsed.name!r} is required twice, also as {first!r}",
                "join the two into one requirement",
            )
        if name in excluded:
            yield Problem(
                ("python", "exclude", excluded.pop(name)),
                f"{name!r} is both required and excluded",
                "take it out of one of the two arrays",
            )


def _nixpkgs(data: Mapping[str, object]) -> Iterator[Problem]:
    """A compiler of nixpkgs compiles for what it runs on."""
    compiler = _table(data, "compiler")
    if "nixpkgs" not in compiler:
        return
    if compiler.get("name") == "zig":
        yield Problem(("compiler", "nixpkgs"), "zig comes from its wheel", "leave it out, or choose gcc or clang")
    platforms = _strings_of(_table(data, "kernel"), "platforms")
    if len(platforms) != 1:
        yield Problem(
            ("compiler", "nixpkgs"),
            "a compiler of nixpkgs compiles for one platform, the builder's own",
            'name it: platforms = ["linux/amd64"] in [kernel]',
        )


def _fast_math(data: Mapping[str, object]) -> Iterator[Problem]:
    if _table(data, "determinism").get("profile") == "none":
        return
    compiler = _strings_of(_table(data, "compiler"), "flags")
    places: list[tuple[Loc, str]] = [(("compiler", "flags", index), flag) for index, flag in compiler]
    for name in _table(data, "native"):
        table = _table(_table(data, "native"), name)
        places += [(("native", name, "flags", index), flag) for index, flag in _strings_of(table, "flags")]
    for loc, flag in places:
        if flags.fast_math(flag):
            yield Problem(
                loc,
                f"{flag!r} lets the compiler change results, which the profile rules out",
                'leave it out, or set profile = "none" in [determinism]',
            )


def _xla(data: Mapping[str, object]) -> Iterator[Problem]:
    """A flag's name and value together decide whether it may stand."""
    for name, value in _table(_table(data, "xla"), "flags").items():
        refusal = flags.xla(name, value)
        if refusal:
            yield Problem(("xla", "flags", name), refusal.message, refusal.hint)


def _features(data: Mapping[str, object]) -> Iterator[Problem]:
    """No CPU both has and lacks a feature."""
    hardware = _table(data, "hardware")
    for name, default in (("amd64", "x86-64-v3"), ("arm64", "armv8-a")):
        level = _table(hardware, "cpu").get(name, default)
        needed = {feature for _, feature in _strings_of(_table(hardware, "features"), name)}
        for index, feature in _strings_of(_table(hardware, "without"), name):
            if feature in needed:
                why, hint = f"features needs {feature!r}, so no CPU could do", "take it out of one of the two arrays"
            elif isinstance(level, str) and feature in features.LEVELS.get(level, ()):
                why, hint = f"every CPU of level {level} has {feature!r}", f"lower hardware.cpu.{name}, or take it out"
            else:
                continue
            yield Problem(("hardware", "without", name, index), why, hint)


def _accelerator(data: Mapping[str, object]) -> Iterator[Problem]:
    """What is asked of an accelerator is asked of none."""
    hardware = _table(data, "hardware")
    if hardware.get("accelerator", "none") == "none":
        for key, value in _table(hardware, "cuda").items():
            if value:
                why = f"there is no accelerator of which {key} {value!r} could be asked"
                yield Problem(("hardware", "cuda", key), why, 'set hardware.accelerator = "cuda"')


def _floor(data: Mapping[str, object]) -> Iterator[Problem]:
    """The numeric specification's native operations need AVX2 and FMA."""
    level = _table(_table(data, "hardware"), "cpu").get("amd64")
    if level == "x86-64-v2" and _table(data, "determinism").get("profile") == "portable":
        yield Problem(
            ("hardware", "cpu", "amd64"), "the profile 'portable' needs an x86-64-v3 CPU", 'set amd64 = "x86-64-v3"'
        )


def _strings(data: Mapping[str, object]) -> Iterator[Problem]:
    """JAX has no strings: something must turn them into arrays."""
    if _table(data, "kernel").get("prepare") is not None:
        return
    for name in _table(data, "inputs"):
        if _table(_table(data, "inputs"), name).get("dtype") == "string":
            yield Problem(
                ("inputs", name, "dtype"),
                "a JAX function takes no strings",
                'name a function that turns them into arrays: prepare = "model:prepare" in [kernel]',
            )


def _results(data: Mapping[str, object]) -> Iterator[Problem]:
    """Outputs come from a JAX function and go into a .safetensors file."""
    for name in _table(data, "outputs"):
        dtype = _table(_table(data, "outputs"), name).get("dtype")
        if isinstance(dtype, str) and dtype in NEVER_OUT:
            yield Problem(("outputs", name, "dtype"), *NEVER_OUT[dtype])


MOST_PROGRAMS: Final = 64
"""Programs that one image may hold; each takes seconds to compile under emulation."""

EMULATED: Final = frozenset({"x86-64-v3", "armv8-a", "armv8.2-a"})
"""CPUs that the lock's emulator can be, on which programs are compiled; it has no AVX-512."""


def _aot(data: Mapping[str, object]) -> Iterator[Problem]:
    """Every program has its shapes, and a CPU that it is compiled on."""
    if not isinstance(data.get("aot"), Mapping):
        return
    aot, sizes = _table(data, "aot"), _table(_table(data, "aot"), "sizes")
    prepared = _table(data, "kernel").get("prepare") is not None
    arrays = _table(aot, "arrays")
    if prepared != bool(arrays):
        says = (
            "nothing says what arrays `kernel.prepare` makes" if prepared else "the entry takes the inputs as they are"
        )
        yield Problem(("aot",), says, "name them in [aot.arrays.NAME]" if prepared else "leave aot.arrays out")
    tables = arrays if prepared else _table(data, "inputs")
    named = {name for one in tables for _, name in _strings_of(_table(tables, one), "shape")}
    for name in sorted(named - sizes.keys()):
        hint = f"name its lengths: sizes.{name} = [1] in [aot]"
        yield Problem(("aot",), f"the dimension {name!r} may have any length, and a program has one", hint)
    for name in sorted(sizes.keys() - named):
        yield Problem(("aot", "sizes", name), f"no array has a dimension {name!r}", "take it out")
    for name in tables:
        if _table(tables, name).get("dtype") == "string":
            yield Problem(("aot", "arrays", name, "dtype"), "a JAX function takes no strings", "give the numbers' type")
    yield from _aot_sizes(sizes)
    yield from _aot_cpus(data)


def _aot_sizes(sizes: Mapping[str, object]) -> Iterator[Problem]:
    programs = 1
    for name, lengths in sizes.items():
        if isinstance(lengths, (list, tuple)):
            programs *= len(lengths)
            if len(set(map(repr, lengths))) != len(lengths):
                yield Problem(("aot", "sizes", name), "a length stands twice in this array", "keep one of them")
    if programs > MOST_PROGRAMS:
        hint = "name fewer lengths"
        yield Problem(("aot", "sizes"), f"these are {programs} programs, and {MOST_PROGRAMS} is the most", hint)


def _aot_cpus(data: Mapping[str, object]) -> Iterator[Problem]:
    platforms = {name for _, name in _strings_of(_table(data, "kernel"), "platforms")} or {"linux/amd64", "linux/arm64"}
    for name in ("amd64", "arm64"):
        level = _table(_table(data, "hardware"), "cpu").get(name)
        if f"linux/{name}" in platforms and isinstance(level, str) and level not in EMULATED:
            yield Problem(
                ("hardware", "cpu", name),
                f"no emulator here is a CPU of {level}, on which programs are compiled ahead of time",
                "choose another level, or set aot = false",
            )
