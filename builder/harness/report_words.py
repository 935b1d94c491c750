"""Words and numbers that the terminal and the page share, made fit to show: much of them comes from hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from builder.harness.compare.model import Cases, Status, TensorDiff, Unit
from builder.harness.localise_model import Found, Localisation
from builder.harness.report_model import Conclusion, Effect, Report
from builder.harness.verdict import HostRun, Verdict
from builder.spec.findings import printable

SYMBOLS: Final[Mapping[Verdict, str]] = {
    Verdict.EQUAL: "=",
    Verdict.DIFFERS: "≠",
    Verdict.FAILED: "✕",
    Verdict.REFUSED: "⊘",
    Verdict.TIMED_OUT: "◷",
    Verdict.ALONE: "○",
}
"""A shape for each verdict, so that none is told by its colour alone."""

EFFECTS: Final[Mapping[Effect, str]] = {Effect.HELD: "=", Effect.MOVED: "≠", Effect.NOT_VARIED: "·"}

_CASES: Final = {
    "signed_zero": "-0 against +0",
    "infinity": "with an infinity",
    "nan_bits": "NaNs of other bits",
    "nan": "NaN against a number",
}


_FEW = 2
"""Variables that are named; of more only their number is."""


def headline(report: Report) -> str:
    """The conclusion as a sentence."""
    counts = report.counts()
    total = sum(counts.values())
    match report.conclusion:
        case Conclusion.AGREED:
            return f"All {total} runs agree, bit for bit" if total != 1 else "One run, nothing to compare it with"
        case Conclusion.DIFFERS:
            count = counts[Verdict.DIFFERS]
            return f"{count} of {total} runs {'differs' if count == 1 else 'differ'}"
    rest = ", ".join(f"{counts[verdict]} {verdict.value}" for verdict in Verdict if verdict in counts)
    return f"No bits differ, but not every run counts: {rest}" if total else "Nothing ran"


def parting(found: Localisation) -> str:
    """What two runs first parted at, as a heading."""
    first = found.first
    match found.found:
        case Found.OPERATION if first:
            return f"{first.primitive} [{first.path}]"
        case Found.SEGMENT if first:
            return f"{first.primitive} [{first.path}], compiled together with what is around it"
        case Found.ARGUMENT:
            return "What the program began with"
        case Found.PROGRAM:
            return "Not the same program"
    return "No first operation was found"


def kinds(found: Sequence[tuple[str, Sequence[int]]]) -> str:
    """Element types and shapes of operands or results: `float32[4, 10], int32[4]`."""
    return ", ".join(f"{dtype}{list(shape)}" for dtype, shape in found)


def effort(found: Localisation) -> str:
    """What the search took, in a sentence."""
    parts = [f"{found.runs} traced run{'s' if found.runs != 1 else ''} on each host"] if found.runs else []
    if found.leaves:
        parts.append(f"{found.compared:,} hashes compared of {found.leaves:,}")
    return "; ".join(parts)


def host_name(run: HostRun, *, repeated: bool) -> str:
    """A run's name in a table; which repeat it is only where there are several."""
    return printable(run.host) + (f" · run {run.repeat}" if repeated else "")


def platforms(found: Sequence[str]) -> str:
    """The platforms whose runs are compared with each other."""
    return " and ".join(found)


def unusual(run: HostRun, *, several: bool) -> str:
    """What is out of the ordinary about a run, in one line; where platforms are compared, its own first."""
    return ", ".join(filter(None, (run.platform if several else "", conditions(run.conditions.described()))))


def conditions(described: Mapping[str, Any]) -> str:
    """What is out of the ordinary about a run, in one line."""
    return ", ".join(_condition(name, value) for name, value in described.items())


def _condition(name: str, value: Any) -> str:
    """One of `builder.hosts.host.Conditions`, as its `described` gives it."""
    match name, value:
        case "cores", int():
            said = f"{value} core{'' if value == 1 else 's'}"
        case "memory", int():
            said = f"{value / 2**30:.3g} GiB"
        case (("environment" | "starter"), Mapping()) if len(value) > _FEW:
            said = f"{len(value)} variables {'inside' if name == 'environment' else 'outside'}"
        case "umask", int():
            said = f"umask {value:03o}"
        case "randomised", False:
            said = "addresses not randomised"
        case "shift", int():
            said = f"memory shifted by {value} B"
        case "load", int():
            said = f"{value} busy thread{'' if value == 1 else 's'} beside it"
        case _:
            said = f"{name} {_plain(value)}"
    return said


def tensor_kind(dtype: str | None, shape: Sequence[int] | None) -> str:
    """`float32 [2, 384]`."""
    return "missing" if dtype is None or shape is None else f"{printable(dtype)} {list(shape)}"


def share(tensor: TensorDiff) -> str:
    """How many elements differ, of how many."""
    if tensor.status is not Status.VALUES:
        return "none" if tensor.equal else "not compared"
    percent = 100 * tensor.differing / tensor.elements
    shown = f"{percent:.2g}" if percent < 10 else f"{percent:.0f}"  # noqa: PLR2004 - two digits
    return f"{tensor.differing:,} of {tensor.elements:,} ({shown} %)"


def distance(tensor: TensorDiff) -> str:
    """The largest distance with its unit."""
    if not tensor.largest:
        return "-"
    return f"{tensor.largest:,} ULP" if tensor.unit is Unit.ULP else f"{tensor.largest:,}"


def mismatch(tensor: TensorDiff) -> str:
    """Why two tensors could not be compared, in a sentence."""
    match tensor.status:
        case Status.ONLY_A:
            return "missing in the second"
        case Status.ONLY_B:
            return "missing in the first"
        case Status.TYPE | Status.SHAPE:
            first, second = tensor_kind(tensor.dtype_a, tensor.shape_a), tensor_kind(tensor.dtype_b, tensor.shape_b)
            return f"{first} against {second}"
    return ""


def special_cases(cases: Cases) -> list[tuple[str, int]]:
    """What is not a plain distance, with how often it occurs; without what does not occur."""
    return [(words, count) for name, words in _CASES.items() if (count := getattr(cases, name))]


def bucket(place: int) -> str:
    """The distances that one bar of a histogram stands for."""
    if place == 0:
        return "1"
    low, high = 1 << place, (2 << place) - 1
    return f"{low}-{high}" if high < 1 << 7 else f"2^{place}"


def filled(histogram: Sequence[int]) -> list[tuple[int, int]]:
    """The bars from the first that is not empty to the last that is not: place and count."""
    places = [place for place, count in enumerate(histogram) if count]
    return list(enumerate(histogram))[places[0] : places[-1] + 1] if places else []


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{printable(str(name))}={printable(str(item))}" for name, item in value.items())
    return " ".join(map(str, value)) if isinstance(value, list) else printable(str(value))
