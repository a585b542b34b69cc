"""Cells -> dose-response figures as numbers: one per scenario and role, at most four concepts in each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from evalharness.cells import POOLED, Cell
from evalharness.report.model import ControlPoint, Decision, Difference, DoseFigure, DosePoint, DoseSeries
from evalharness.report.rates import cell_rate
from evalharness.report.text import one_line

CONCEPTS_PER_FIGURE = 4


def dose_figures(cells: Sequence[Cell], decisions: Iterable[Decision]) -> tuple[DoseFigure, ...]:
    """One figure for each scenario and role that has steered concepts; more where there are many concepts."""
    limits = {(line.place, line.condition): line.theta for line in decisions if line.blocking}
    every = list(dict.fromkeys(cell.concept for cell in cells if cell.kind == "concept"))
    figures: list[DoseFigure] = []
    for scenario, variant, role in dict.fromkeys((cell.scenario, cell.variant, cell.role) for cell in cells):
        group = [cell for cell in cells if (cell.scenario, cell.variant, cell.role) == (scenario, variant, role)]
        concepts = list(dict.fromkeys(cell.concept for cell in group if cell.kind == "concept" and cell.concept))
        if not concepts or (variant != POOLED and role == "main"):
            continue
        baseline = next((cell for cell in group if cell.kind == "baseline"), None)
        for start in range(0, len(concepts), CONCEPTS_PER_FIGURE):
            shown = concepts[start : start + CONCEPTS_PER_FIGURE]
            figures.append(
                DoseFigure(
                    id=f"dose-{len(figures) + 1}",
                    title=_title(scenario, variant, role),
                    role=role,
                    series=tuple(
                        _series(concept, look, group, baseline)
                        for concept, look in zip(shown, _looks(shown, every), strict=True)
                    ),
                    controls=_controls(group),
                    baseline=None if baseline is None else cell_rate(baseline),
                    theta=None
                    if baseline is None
                    else limits.get((place_name(scenario, variant), one_line(baseline.condition))),
                )
            )
    return tuple(figures)


def cell_name(cell: Cell) -> str:
    """The cell in words."""
    return f"{place_name(cell.scenario, cell.variant)} / {one_line(cell.condition)}"


def place_name(scenario: str, variant: str) -> str:
    """Scenario and variant in words."""
    return one_line(f"{scenario} / {'all main variants' if variant == POOLED else variant}")


def _title(scenario: str, variant: str, role: str) -> str:
    where = "all main variants" if variant == POOLED else f"{'variant' if role == 'main' else role} {variant}"
    return one_line(f"{scenario}, {where}")


def _looks(shown: Sequence[str], every: Sequence[str | None]) -> list[int]:
    """A look for each concept: its own all over the report, unless two of one figure would look alike."""
    own = [every.index(concept) % CONCEPTS_PER_FIGURE for concept in shown]
    return own if len(set(own)) == len(own) else list(range(len(shown)))


def _series(concept: str, look: int, group: Sequence[Cell], baseline: Cell | None) -> DoseSeries:
    members = [cell for cell in group if cell.kind == "concept" and cell.concept == concept]
    points = [_point(cell) for cell in members] + ([] if baseline is None else [_point(baseline)])
    return DoseSeries(
        concept=one_line(concept), look=look, points=tuple(sorted(points, key=lambda point: point.strength))
    )


def _point(cell: Cell) -> DosePoint:
    return DosePoint(
        strength=cell.strength,
        rate=cell_rate(cell),
        n_planned=cell.n_planned,
        n_incoherent=cell.n_incoherent,
        n_unscored=cell.n_unscored,
        control_low=cell.control_low,
        control_high=cell.control_high,
        n_controls=cell.n_controls,
        from_baseline=Difference(value=cell.diff_baseline, low=cell.diff_baseline_low, high=cell.diff_baseline_high),
        from_controls=Difference(value=cell.diff_controls, low=cell.diff_controls_low, high=cell.diff_controls_high),
    )


def _controls(group: Sequence[Cell]) -> tuple[ControlPoint, ...]:
    return tuple(
        ControlPoint(name=one_line(cell.concept or cell.condition), strength=cell.strength, rate=cell_rate(cell))
        for cell in group
        if cell.kind == "control"
    )
