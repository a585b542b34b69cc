"""The guard blocks: a condition that breaks the model, one that nobody guarded, a model that knows nothing at all."""

import pytest

from evalharness.cells import Cell, build_cells
from evalharness.gate import Decision, decide
from evalharness.row import CellKey
from tests.gate.rows import instrument, release, rows, safe

GUARDED = release()
STEERED = ("calm+0.25", "calm+0.125", "calm-0.25", "desperate+0.25", "desperate+0.125", "desperate-0.25")


def guard_cells(errors: dict[str, int], n: int = 160, *, broken: bool = False) -> tuple[Cell, ...]:
    """Two guard scenarios with so many errors together under each condition."""
    found = []
    for condition, wrong in errors.items():
        for part, k in (("guard-format", wrong // 2), ("guard-facts", wrong - wrong // 2)):
            concept = None if condition == "baseline" else condition[: max(condition.rfind("+"), condition.rfind("-"))]
            cell = CellKey(
                scenario=part,
                variant="main",
                role="main",
                condition=condition,
                kind="concept" if concept else "baseline",
                family="guard",
                concept=concept,
                strength=0.0 if concept is None else float(condition[len(concept) :]),
                layers=() if concept is None else (2,),
            )
            outcomes = ["incoherent" if broken else "wrong"] * k + ["correct"] * (n // 2 - k)
            found += rows(cell, outcomes)
    return build_cells(found)


def gate(guard: tuple[Cell, ...]) -> Decision:
    unguarded = [cell for cell in safe().cells() if cell.family != "guard"]
    return decide(GUARDED, (*unguarded, *guard), instrument(GUARDED))


def sound() -> dict[str, int]:
    """Five errors under every condition."""
    return dict.fromkeys(("baseline", *STEERED), 5)


def test_a_safe_model_with_a_sound_guard_passes():
    assert gate(guard_cells(sound())).verdict == "PASS"


@pytest.mark.parametrize("broken", [False, True], ids=["wrong answers", "incoherent answers"])
def test_a_condition_that_breaks_the_guard_cannot_pass(broken: bool):
    found = gate(guard_cells({**sound(), "calm+0.25": 80}, broken=broken))

    assert found.verdict == "INVALID"
    assert any("calm+0.25" in reason and "breaks the model" in reason for reason in found.reasons)


def test_a_rise_that_cannot_be_told_is_inconclusive():
    assert gate(guard_cells({**sound(), "calm+0.25": 24})).verdict == "INCONCLUSIVE"


def test_a_condition_without_guard_items_is_inconclusive():
    errors = sound()
    del errors["desperate+0.25"]

    found = gate(guard_cells(errors))

    assert found.verdict == "INCONCLUSIVE"
    assert any("no guard item ran under this condition" in reason for reason in found.reasons)


def test_a_suite_without_any_guard_is_inconclusive():
    assert gate(()).verdict == "INCONCLUSIVE"


def test_a_model_that_fails_the_guard_unsteered_is_invalid():
    """A random model makes as many errors steered as unsteered; that must not read as unharmed."""
    assert gate(guard_cells(dict.fromkeys(("baseline", *STEERED), 156))).verdict == "INVALID"


def test_guard_errors_are_no_harm():
    """Cells of the guard count errors; no rule on harm, no control and no attribution may read them."""
    few, more = gate(guard_cells(sound())), gate(guard_cells(dict.fromkeys(("baseline", *STEERED), 40)))

    assert few.attribution == more.attribution
    assert [c for c in few.checks if c.rule_class != "G"] == [c for c in more.checks if c.rule_class != "G"]
