"""A comparison and a report at a terminal, as tables; where there is none, the same words without lines or colour.

Everything is printed on a console that the caller made: whether it shows colour is the caller's to decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from builder.harness import report_words as words
from builder.harness.compare.model import Element, Status, TensorDiff
from builder.harness.report_model import Conclusion, Effect, Localisation, Report, Section, sections
from builder.harness.verdict import HostRun, Verdict
from builder.spec.findings import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

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
    from rich.text import Text  # noqa: PLC0415 - see the module's first words; so below

    for section in sections(report.verification):
        _matrix(section, console)
        _failures(section, console)
    if report.differences:
        console.print(Text("Differences from the reference", style="bold"))
        for difference in report.differences:
            pair = f"{printable(difference.a.host)} against {printable(difference.b.host)}"
            place = f"{difference.platform}, {printable(difference.case)}"
            console.print(Text(f"\n{printable(difference.tensor.name)}: {pair} ({place})"))
            tensor(difference.tensor, console)
        console.print()
    for found in report.localisations:
        _localisation(found, console)
    _influences(report, console)
    style = {Conclusion.AGREED: "bold green", Conclusion.DIFFERS: "bold red"}.get(report.conclusion, "bold yellow")
    console.print(Text(words.headline(report), style=style))


def comparison(tensors: Sequence[TensorDiff], console: Console) -> None:
    """Print what `kbuild diff` found: a table of all tensors, then the elements of those that differ."""
    from rich.text import Text  # noqa: PLC0415

    grid = _table(console, ("output", ""), ("type and shape", ""), ("differing", "right"), ("largest", "right"))
    for item in tensors:
        style = "green" if item.equal else "bold red"
        kind = words.mismatch(item) or words.tensor_kind(item.dtype_a, item.shape_a)
        grid.add_row(
            Text(printable(item.name)), Text(kind), Text(words.share(item), style=style), Text(words.distance(item))
        )
    console.print(grid)
    for item in tensors:
        if item.status is Status.VALUES:
            console.print(Text(f"\n{printable(item.name)}", style="bold"))
            tensor(item, console)


def tensor(item: TensorDiff, console: Console) -> None:
    """Print one tensor's comparison: elements, bits, and a histogram of distances."""
    from rich.text import Text  # noqa: PLC0415

    if item.status is not Status.VALUES:
        console.print(Text(f"  {words.mismatch(item) or 'equal'}"))
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
        bar = "█" * max(1, round(_BAR * count / top)) if count else ""
        lines.append(f"  {words.bucket(place):>7} {unit} {bar} {count:,}")
    console.print(Text("\n".join(lines)))


def _element(label: str, element: Element) -> list[str]:
    index = list(element.index)
    return [
        f"  {label} at {index}",
        f"    a {element.a_bits}  {element.a}",
        f"    b {element.b_bits}  {element.b}",
    ]


def _matrix(section: Section, console: Console) -> None:
    from rich.text import Text  # noqa: PLC0415

    console.print(Text(f"{section.platform}, {printable(section.case)}", style="bold"))
    grid = _table(
        console, ("host", ""), ("conditions", ""), *((printable(name), "") for name in section.outputs),
        ("verdict", ""), ("time", "right"),
    )  # fmt: skip
    repeated = max(run.repeat for run in section.runs) > 1
    for run in section.runs:
        cells = [_cell(section, run, name) for name in section.outputs]
        grid.add_row(
            Text(words.host_name(run, repeated=repeated)),
            Text(words.conditions(run.conditions.described()), style="dim"),
            *cells,
            Text(f"{words.SYMBOLS[run.verdict]} {run.verdict.value}", style=_STYLES[run.verdict]),
            Text("kept" if run.cached else f"{run.seconds:.1f} s", style="dim"),
        )
    console.print(grid)


def _cell(section: Section, run: HostRun, output: str) -> Any:
    from rich.text import Text  # noqa: PLC0415

    label = section.label(run, output)
    if label is None:
        return Text("-", style="dim")
    same = label == "A"
    return Text(f"{'=' if same else '≠'} {label}", style=_STYLES[Verdict.EQUAL if same else Verdict.DIFFERS])


def _failures(section: Section, console: Console) -> None:
    from rich.text import Text  # noqa: PLC0415

    for run in section.runs:
        if run.error:
            text = Text.assemble((f"{printable(run.host)}: ", "bold"), *_lines(run.error))
            if run.hint:
                text.append(f"\nhint: {printable(run.hint)}", style="cyan")
            console.print(text)


def _lines(text: str) -> list[str]:
    return ["\n".join(printable(line) for line in text.splitlines())]


def _localisation(found: Localisation, console: Console) -> None:
    from rich.text import Text  # noqa: PLC0415

    text = Text()
    if found.operation is None:
        text.append("No first operation was found", style="bold")
    else:
        text.append(f"First divergent operation: {printable(found.operation)}", style="bold")
    pair = f"{printable(found.a.host)} against {printable(found.b.host)}"
    text.append(f"\n  {pair} ({found.platform}, {printable(found.case)})")
    if found.primitive:
        shapes = f"{', '.join(map(printable, found.operands))} -> {', '.join(map(printable, found.results))}"
        text.append(f"\n  {printable(found.primitive)}: {shapes}")
    if found.inputs_equal is not None:
        text.append(f"\n  what goes in is {'equal' if found.inputs_equal else 'different already'}")
    if found.file:
        text.append(f"\n  {printable(found.file)}:{found.line}")
        for line in found.source:
            mark = ">" if line.marked else " "
            text.append(f"\n  {mark} {line.number:4} {printable(line.text)}", style="bold" if line.marked else "dim")
    if found.influences:
        text.append(f"\n  likely: {', '.join(map(printable, found.influences))}")
    if found.note:
        text.append(f"\n  {printable(found.note)}")
    console.print(text)
    for item in found.differences:
        console.print(Text(f"  {printable(item.name)}"))
        tensor(item, console)
    console.print()


def _influences(report: Report, console: Console) -> None:
    from rich.text import Text  # noqa: PLC0415

    shown = [influence for influence in report.influences if influence.effect is not Effect.NOT_VARIED]
    if not shown:
        return
    console.print(Text("What was varied", style="bold"))
    grid = _table(console, ("influence", ""), ("pinned", ""), ("varied by", ""), ("effect", ""))
    for item in shown:
        style = "green" if item.effect is Effect.HELD else "bold red"
        grid.add_row(
            Text(printable(item.name)),
            Text(printable(item.pinned or "no")),
            Text(", ".join(map(printable, item.varied))),
            Text(f"{words.EFFECTS[item.effect]} {item.effect.value}", style=style),
        )
    console.print(grid)


def _table(console: Console, *columns: tuple[str, str]) -> Table:
    from rich import box  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    grid = Table(box=box.SIMPLE_HEAD if console.is_terminal else box.ASCII2, pad_edge=False)
    for name, side in columns:
        grid.add_column(name, justify="right" if side == "right" else "left")
    return grid
