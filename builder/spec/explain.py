"""What the model's errors mean, in the words of someone who writes a spec."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from builder.spec.model import Spec
from builder.spec.refusal import Refusal, shown

Loc = tuple[str | int, ...]

_CLOSE = 0.6
"""How alike two names must be for one to be offered for the other; difflib's own default."""

_PATTERNS: tuple[tuple[str, str, str], ...] = (
    # place, what it must be, how that looks
    ("kernel.version", "a version", "three numbers such as '1.0.0'"),
    ("compiler.version", "a version", "one to three numbers such as '14' or '14.2.0'"),
    ("kernel.entry", "a function", "a module and a function of it, such as 'model:forward'"),
    ("kernel.load", "a function", "a module and a function of it, such as 'model:load'"),
    ("kernel.prepare", "a function", "a module and a function of it, such as 'model:prepare'"),
    ("os.packages", "a Debian package", "a name such as 'libgomp1', or 'name=version'"),
    ("os.allow_scripts", "a SHA-256", "64 digits of 0-9 and a-f"),
    ("hardware.memory", "a size", "a whole number of KiB, MiB, GiB or TiB, such as '512MiB'"),
    ("hardware.cuda.driver", "a version", "one to three numbers such as '550' or '550.54.15'"),
    ("hardware.cuda.capability", "a compute capability", "two numbers such as '9.0'"),
    ("xla.flags", "a flag of XLA", "the name without dashes, such as 'xla_cpu_enable_fast_math'"),
    ("inputs", "a name", "letters, digits and '_', not starting with a digit"),
    ("outputs", "a name", "letters, digits and '_', not starting with a digit"),
)
_NAME = ("a name", "1 to 64 of a-z, 0-9, '.', '_' and '-', with a letter or digit at both ends")
_NAME_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Explained:
    """One error of the model: where, whether at the key or at its value, and in which words."""

    loc: Loc
    at: Literal["key", "value"]
    message: str
    hint: str | None
    missing: str | None = None
    """The key that is missing from the table at `loc`."""
    meant: str | None = None
    """The known key that an unknown one was likely meant to be."""


def explain(error: ErrorDetails) -> Explained:
    """Put one of pydantic's errors into words."""
    kind, loc, value = error["type"], error["loc"], error["input"]
    context: Mapping[str, Any] = error.get("ctx", {})
    at_key = loc[-1:] == ("[key]",)
    loc = loc[:-1] if at_key else loc
    if kind == "extra_forbidden":
        meant = _meant(loc)
        hint = f"did you mean {meant!r}?" if meant else _known(loc)
        return Explained(loc, "key", f"unknown key {shown(str(loc[-1]))}", hint, meant=meant)
    if kind == "missing":
        refusal = _missing(loc)
        return Explained(loc[:-1], "key", refusal.message, refusal.hint, missing=str(loc[-1]))
    if kind == "spec":
        return Explained(loc, "value", context["message"], context["hint"])
    return Explained(loc, "key" if at_key else "value", *_wrong(kind, loc, value, context, error["msg"]))


def explain_all(errors: Iterable[ErrorDetails]) -> list[Explained]:
    """Put errors into words; a key that is there under a mistyped name is not also missing."""
    # pydantic counts only an array's good elements, and so calls one whose elements are all wrong too short as well
    explained = [explain(error) for error in errors if not (error["type"] == "too_short" and error["input"])]
    meant = {(*item.loc[:-1], item.meant) for item in explained if item.meant}
    return [item for item in explained if not (item.missing and (*item.loc, item.missing) in meant)]


def near(word: str, words: Iterable[str]) -> str | None:
    """The word that was likely meant, if one is close."""
    choices = {choice.lower(): choice for choice in words}
    found = difflib.get_close_matches(word.lower(), choices, n=1, cutoff=_CLOSE)
    return choices[found[0]] if found else None


def _wrong(kind: str, loc: Loc, value: object, context: Mapping[str, Any], fallback: str) -> Refusal:  # noqa: PLR0911 - one per kind
    label = _label(loc)
    if kind in _TYPES:
        what, instead = _TYPES[kind]
        return Refusal(f"{label} must be {what}, not {shown(value)}", instead(loc, value))
    match kind:
        case "literal_error":
            return _not_one_of(label, value, context["expected"])
        case "string_pattern_mismatch" | "string_too_long":
            return not_of_form(_subject(loc), value)
        case "greater_than_equal":
            return Refusal(f"{label} is {shown(value)}; it must be at least {context['ge']}", None)
        case "less_than_equal":
            return Refusal(f"{label} is {shown(value)}; it must be at most {context['le']}", None)
        case "too_short":
            return Refusal(f"{label} is empty", "give at least one")
        case _:
            return Refusal(f"{label}: {fallback}", "see docs/spec.md")


def not_of_form(subject: str, value: object) -> Refusal:
    """Why a value does not have the form that `subject` (a place, or "name") asks for, with a spelling that has."""
    what, looks = next((row[1:] for row in _PATTERNS if row[0] == subject), _NAME)
    if what == "a name" and isinstance(value, str):
        joiner, plain = ("_", r"[^A-Za-z0-9_]+") if looks is not _NAME[1] else ("-", r"[^a-z0-9._-]+")
        slug = re.sub(plain, joiner, value if joiner == "_" else value.lower()).strip("-._")
        if value.isascii() and slug and len(slug) <= _NAME_LENGTH and not (joiner == "_" and slug[0].isdecimal()):
            return Refusal(f"{shown(value)} is not {what}", f"write {slug!r}: {looks}")
    return Refusal(f"{shown(value)} is not {what}", f"write {looks}")


def _not_one_of(label: str, value: object, expected: str) -> Refusal:
    choices = re.findall(r"'([^']*)'", expected)
    meant = near(value, choices) if isinstance(value, str) else None
    if not isinstance(value, str):
        return Refusal(f"{label} must be a string, not {shown(value)}", f"write one of {expected}")
    if meant:
        return Refusal(f"{shown(value)} is not a value of {label}", f"did you mean {meant!r}?")
    return Refusal(f"{shown(value)} is not a value of {label}", f"write {expected}")


def _missing(loc: Loc) -> Refusal:
    key, table = str(loc[-1]), _model(loc[:-1])
    field = next((f for n, f in table.model_fields.items() if (f.alias or n) == key), None) if table else None
    if field is not None and _is_table(field.annotation):
        place = loc if _model(loc) else (*loc, "NAME")
        inner = _model(place)
        keys = [f.alias or n for n, f in inner.model_fields.items() if f.is_required()] if inner else []
        return Refusal(f"there is no table [{_dotted(loc)}]", f"add [{_dotted(place)}] with {', '.join(keys)}")
    example = field.examples[0] if field is not None and field.examples else 1
    said = field.description.splitlines()[0].rstrip(".") if field is not None and field.description else ""
    what = f" ({said[0].lower()}{said[1:]})" if said else ""
    missing = f"key {key!r} is missing" + (f" in [{_dotted(loc[:-1])}]" if loc[:-1] else "")
    return Refusal(missing, f"add {key} = {json.dumps(example)}{what}")


def _names(table: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in table.model_fields.items()]


def _meant(loc: Loc) -> str | None:
    """The neighbour whose name is close to an unknown key's."""
    table = _model(loc[:-1])
    return near(str(loc[-1]), _names(table)) if table else None


def _known(loc: Loc) -> str | None:
    """Where else a key of this name is known, or which keys are known here."""
    key, table = str(loc[-1]), _model(loc[:-1])
    for name in _names(Spec):
        elsewhere = _model((name,))
        if elsewhere is not None and elsewhere is not table and key in _names(elsewhere):
            return f"{key!r} belongs into [{name}]"
    return f"known here: {', '.join(_names(table))}" if table else None


def _model(loc: Loc) -> type[BaseModel] | None:
    """The table that the model expects at a place."""
    here: Any = Spec
    for step in loc:
        if isinstance(here, type) and issubclass(here, BaseModel):
            fields = {field.alias or name: field.annotation for name, field in here.model_fields.items()}
            here = fields.get(str(step))
        elif get_origin(here) is dict:
            here = get_args(here)[1]
        else:
            return None
    return here if isinstance(here, type) and issubclass(here, BaseModel) else None


def _is_table(annotation: Any) -> bool:
    return get_origin(annotation) is dict or (isinstance(annotation, type) and issubclass(annotation, BaseModel))


def _subject(loc: Loc) -> str:
    """The place that decides what a pattern is for: of an element its array's, of a chosen name its table's."""
    names = tuple(str(step) for step in loc if not isinstance(step, int))
    return _dotted(names if _model(names[:-1]) else names[:-1])


def _label(loc: Loc) -> str:
    """A place as a message names it: the last key, with an index if it is an element's."""
    if not loc:
        return "the spec"
    index = next((i for i in range(len(loc), 0, -1) if isinstance(loc[i - 1], str)), 0)
    return f"{loc[index - 1]!s}{''.join(f'[{step}]' for step in loc[index:])}"


def _dotted(loc: Loc) -> str:
    return ".".join(str(step) for step in loc)


def _as_string(_loc: Loc, value: object) -> str:
    if isinstance(value, (bool, int, float)):
        return f'put it in quotes: "{shown(value)}"'
    return "write one string, in quotes"


def _as_number(_loc: Loc, value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,20}", value):
        return f"write it without quotes: {value}"
    return "write a whole number, without quotes"


def _as_bool(_loc: Loc, _value: object) -> str:
    return "write true or false, without quotes"


def _as_array(_loc: Loc, value: object) -> str:
    return f"write [{json.dumps(value, ensure_ascii=False)}]" if isinstance(value, str) else "write [ ... ]"


def _as_table(loc: Loc, _value: object) -> str:
    return f"write [{_dotted(loc)}] and its keys below"


_TYPES: Mapping[str, tuple[str, Callable[[Loc, object], str]]] = {
    "string_type": ("a string", _as_string),
    "int_type": ("a whole number", _as_number),
    "int_from_float": ("a whole number", _as_number),
    "bool_type": ("true or false", _as_bool),
    "tuple_type": ("an array", _as_array),
    "model_type": ("a table", _as_table),
    "dict_type": ("a table", _as_table),
}
"""Per type error of pydantic: what is wanted, and how to write it."""
