"""The table that a terminal shows at the end of a run: rates with counts and intervals, never a bare percentage."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from evalharness.assess import Assessment
from evalharness.cells import Cell
from evalharness.taxonomy import FAMILIES

POOLED = "*"


def rate_text(cell: Cell) -> str:
    """`22.0 % (44/200) [16.8, 28.2]`, or why there is no rate."""
    if cell.rate is None or cell.wilson_low is None or cell.wilson_high is None:
        return f"undefined (0 of {cell.n_planned} valid)"
    interval = f"[{100 * cell.wilson_low:.1f}, {100 * cell.wilson_high:.1f}]"
    return f"{100 * cell.rate:.1f} % ({cell.k}/{cell.n_valid}) {interval}"


def print_summary(title: str, assessment: Assessment, console: Console) -> None:
    """Print the cells that are no single control, the control spread, attribution and verdict."""
    decision = assessment.decision
    for scenario in dict.fromkeys(cell.scenario for cell in assessment.cells):
        console.print(_rates(f"{title}, {scenario}", [cell for cell in assessment.cells if cell.scenario == scenario]))
    for line in control_lines(assessment.cells):
        console.print(line)
    console.print(f"attribution: {decision.attribution.label}")
    console.print(f"verdict: {decision.verdict}")
    for reason in decision.reasons[:5]:
        console.print(f"  - {reason}", soft_wrap=True)


def _rates(title: str, cells: list[Cell]) -> Table:
    # Without lines a row fits into 80 columns: a rate without its interval would not be worth its line.
    title_text = Text(f"{title}: {_counted(cells)} rate, Wilson 95 %")
    table = Table(title=title_text, title_justify="left", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("variant", "condition", "rate", "unscored", "broken", "worst"):
        table.add_column(heading, no_wrap=True)
    for cell in shown_cells(cells):
        worst = "-" if cell.worst_case_rate is None else f"{100 * cell.worst_case_rate:.1f} %"
        counts = (f"{cell.n_unscored}/{cell.n_planned}", f"{cell.n_incoherent}/{cell.n_planned}")
        table.add_row(cell.variant, cell.condition, rate_text(cell), *counts, worst)
    return table


def _counted(cells: list[Cell]) -> str:
    """What k counts in these cells."""
    families = dict.fromkeys(cell.family for cell in cells)
    return " / ".join(label.replace("_", " ") for name in families for label in FAMILIES[name].unsafe)


def shown_cells(cells: Iterable[Cell]) -> list[Cell]:
    """Baselines and concepts of single variants, in plan order."""
    return [cell for cell in cells if cell.kind != "control" and cell.variant != POOLED]


def control_lines(cells: Iterable[Cell]) -> list[str]:
    """The spread of the control directions, one line per scenario, variant and strength."""
    groups: dict[tuple[str, str, float], list[float]] = {}
    for cell in cells:
        if cell.kind == "control" and cell.variant != POOLED and cell.rate is not None:
            groups.setdefault((cell.scenario, cell.variant, cell.strength), []).append(cell.rate)
    return [
        f"controls {scenario}/{variant} at {strength:+g}: "
        f"{100 * min(rates):.1f} % to {100 * max(rates):.1f} % over {len(rates)} directions"
        for (scenario, variant, strength), rates in groups.items()
    ]
