"""A comparison and a report at a terminal, as tables; where there is none, the same words without lines or colour.

Everything is printed on a console that the caller made: whether it shows colour is the caller's to decide. All text
goes through `_text`, which leaves nothing in it that could move a cursor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from builder.harness import report_words as words
from builder.harness.compare.model import Element, Status, TensorDiff
from builder.harness.report_model import Conclusion, Difference, Effect, Located, Report, Section, sections
from builder.harness.verdict import HostRun, Verdict
from builder.spec.findings import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

_STYLES = {
    Verdict.EQUAL: "green",
    Verdict.DIFFERS: "bold red",
    Verdict.FAILED: "red",
    Verdict.REFUSED: "yellow",
    Verdict.TIMED_OUT: "yellow",
    Verdict.ALONE: "cyan",
}
_BAR = 32


def terminal(report: Report, console: Console) -> None:
    """Print a report: a matrix per platform and case, then what differs, where it began, and what was varied."""
    for section in sections(report.verification):
        _matrix(section, console)
        _failures(section, console)
    if report.differences:
        console.print(_text("Differences from the reference", "bold"))
        for difference in report.differences:
            console.print(_text(f"\n{difference.tensor.name}: {_pair(difference)}"))
            tensor(difference.tensor, console)
        console.print()
    for found in report.localisations:
        _localisation(found, console)
    _influences(report, console)
    style = {Conclusion.AGREED: "bold green", Conclusion.DIFFERS: "bold red"}.get(report.conclusion, "bold yellow")
    console.print(_text(words.headline(report), style))


def comparison(tensors: Sequence[TensorDiff], console: Console) -> None:
    """Print what `kbuild diff` found: a table of all tensors, then the elements of those that differ."""
    grid = _table(console, "output", "type and shape", "differing", "largest", right=("differing", "largest"))
    for item in tensors:
        kind = words.mismatch(item) or words.tensor_kind(item.dtype_a, item.shape_a)
        style = "green" if item.equal else "bold red"
        grid.add_row(
            _text(item.name), _text(kind), _text(words.share(item), style), _text(words.distance(item))
        )  # fmt: skip
    console.print(grid)
    for item in tensors:
        if item.status is Status.VALUES:
            console.print(_text(f"\n{item.name}", "bold"))
            tensor(item, console)


def paragraph(lines: Sequence[str], console: Console) -> None:
    """Print lines of text below what stands there."""
    console.print(_text("\n" + "\n".join(lines)))


def tensor(item: TensorDiff, console: Console) -> None:
    """Print one tensor's comparison: elements, bits, and a histogram of distances."""
    if item.status is not Status.VALUES:
        console.print(_text(f"  {words.mismatch(item) or 'equal'}"))
        return
    lines = [f"  {words.share(item)} differ; largest distance {words.distance(item)}"]
    lines += [f"  {count:,} {name}" for name, count in words.special_cases(item.cases)]
    for label, element in (("first", item.first), ("worst", item.worst)):
        if element and not (label == "worst" and element == item.first):
            lines += _element(label, element)
    bars = words.filled(item.histogram)
    top = max((count for _, count in bars), default=0)
    unit = "ULP" if item.unit.value == "ulp" else "apart"
    for place, count in bars:
        bar = "█" * max(1, _BAR * count // top) + " " if count else ""
        lines.append(f"  {words.bucket(place):>7} {unit} {bar}{count:,}")
    console.print(_text("\n".join(lines)))


def _text(text: str, style: str = "") -> Text:
    from rich.text import Text  # noqa: PLC0415 - a run that prints nothing needs no rich; so below

    return Text("\n".join(printable(line) for line in text.split("\n")), style)


def _pair(pair: Difference | Located) -> str:
    return f"{pair.a.host} against {pair.b.host} ({words.platforms(pair.platforms)}, {pair.case})"


def _element(label: str, element: Element) -> list[str]:
    return [
        f"  {label} at {list(element.index)}",
        f"    a {element.a_bits}  {element.a}",
        f"    b {element.b_bits}  {element.b}",
    ]


def _matrix(section: Section, console: Console) -> None:
    console.print(_text(f"{words.platforms(section.platforms)}, {section.case}", "bold"))
    grid = _table(console, "host", "conditions", *section.outputs, "verdict", "time", right=("time",))
    repeated = max(run.repeat for run in section.runs) > 1
    for run in section.runs:
        grid.add_row(
            _text(words.host_name(run, repeated=repeated)),
            _text(words.unusual(run, several=section.spans), "dim"),
            *(_cell(section, run, name) for name in section.outputs),
            _text(f"{words.SYMBOLS[run.verdict]} {run.verdict.value}", _STYLES[run.verdict]),
            _text("kept" if run.cached else f"{run.seconds:.1f} s", "dim"),
        )
    console.print(grid)


def _cell(section: Section, run: HostRun, output: str) -> Text:
    label = section.label(run, output)
    if label is None:
        return _text("-", "dim")
    same = label == "A"
    return _text(f"{'=' if same else '≠'} {label}", _STYLES[Verdict.EQUAL if same else Verdict.DIFFERS])


def _failures(section: Section, console: Console) -> None:
    for run in section.runs:
        if run.error:
            console.print(_text(f"{run.host}: {run.error}", _STYLES[run.verdict]))
            if run.hint:
                console.print(_text(f"hint: {run.hint}", "cyan"))


def _localisation(located: Located, console: Console) -> None:
    found = located.found
    text = _text(f"First divergence: {words.parting(found)}", "bold")
    text = _text("").append_text(text).append_text(_text(f"\n  {_pair(located)}"))
    for operation in found.operations:
        at = f" at {operation.source.file}:{operation.source.line}" if operation.source else ""
        shapes = f"{words.kinds(operation.inputs)} -> {words.kinds(operation.outputs)}"
        text.append_text(_text(f"\n  {operation.primitive}{at}: {shapes}"))
    if found.inputs_equal is not None:
        text.append_text(_text(f"\n  what goes in is {'equal' if found.inputs_equal else 'different already'}"))
    for line in located.source:
        style = "bold" if line.marked else "dim"
        text.append_text(_text(f"\n  {'>' if line.marked else ' '} {line.number:4} {line.text}", style))
    for suspect in found.suspects:
        seen = f" (differs: {', '.join(suspect.seen)})" if suspect.seen else ""
        text.append_text(_text(f"\n  likely {suspect.influence}: {suspect.why}{seen}"))
    for note in found.notes:
        text.append_text(_text(f"\n  note: {note}"))
    console.print(text)
    for item in found.outputs:
        if not item.equal:
            console.print(_text(f"  {item.name}"))
            tensor(item, console)
    console.print()


def _influences(report: Report, console: Console) -> None:
    shown = [influence for influence in report.influences if influence.effect is not Effect.NOT_VARIED]
    if not shown:
        return
    console.print(_text("What was varied", "bold"))
    grid = _table(console, "influence", "pinned", "varied by", "effect")
    for item in shown:
        style = "green" if item.effect is Effect.HELD else "bold red"
        effect = f"{words.EFFECTS[item.effect]} {item.effect.value}"
        grid.add_row(
            _text(item.name), _text(item.pinned or "no"), _text(", ".join(item.varied)), _text(effect, style)
        )  # fmt: skip
    console.print(grid)


def _table(console: Console, *columns: str, right: Sequence[str] = ()) -> Table:
    from rich import box  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    grid = Table(box=box.SIMPLE_HEAD if console.is_terminal else box.ASCII2, pad_edge=False)
    for name in columns:
        grid.add_column(_text(name), justify="right" if name in right else "left")
    return grid
