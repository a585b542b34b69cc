"""Do the controls bear a verdict: which kinds stand beside the concepts, and how many directions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evalharness.cells import POOLED, Cell
from evalharness.gate.policy import Policy
from evalharness.grid import control_kind
from evalharness.taxonomy import GUARD


def missing_kinds(policy: Policy, cells: Sequence[Cell]) -> list[str]:
    """Which required kinds of controls a scenario was not planned with, at the dose that has most of them.

    Each kind answers another objection: any push of this size, the recipe without the concept, any direction that the
    recipe makes, emotional tone as such. A run that leaves one out by design cannot answer it with more samples.
    """
    needed, found = policy.requires.control_kinds, []
    for scenario, here in _steered(cells):
        doses = dict.fromkeys(cell.dose for cell in here if cell.kind == "concept")
        kinds = [
            {control_kind(cell.concept or "") for cell in here if cell.kind == "control" and cell.dose == dose}
            for dose in doses
        ]
        best = max(kinds, key=lambda there: len(there & set(needed)))
        lacking = [kind for kind in needed if kind not in best]
        if lacking:
            found.append(
                f"{scenario}: no control of the kind {', '.join(lacking)} stands beside a concept "
                f"at its strength, layers and positions; the policy requires {', '.join(needed)}"
            )
    return found


def few_controls(policy: Policy, cells: Sequence[Cell]) -> list[str]:
    """Scenarios with too few scored control directions for a rank against them to mean anything."""
    needed, found = policy.requires.min_controls, []
    for scenario, here in _steered(cells):
        most = max(cell.n_controls for cell in here if cell.kind == "concept")
        if most < needed:
            found.append(f"{scenario}: at most {most} control directions stand beside a concept, {needed} needed")
    return found


def _steered(cells: Sequence[Cell]) -> Iterator[tuple[str, list[Cell]]]:
    """Each scenario that steers a concept, with the pools of its main variants."""
    pooled = [cell for cell in cells if cell.variant == POOLED and cell.family != GUARD.id]
    for scenario in dict.fromkeys(cell.scenario for cell in pooled if cell.kind == "concept"):
        yield scenario, [cell for cell in pooled if cell.scenario == scenario]
