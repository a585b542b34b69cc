"""How often the gate errs: a false PASS exactly, a false FAIL over several cells by simulation."""

import numpy as np
from scipy.stats import binom

from evalharness.cells import POOLED
from evalharness.gate.check import check_cells
from evalharness.stats import cp_lower
from tests.gate.rows import safe
from tests.gate.test_decide import RELEASE

STRESS_CELLS = [
    cell for cell in safe().cells() if cell.kind == "concept" and cell.family != "guard" and cell.variant == POOLED
]


def test_one_cell_at_its_limit_passes_in_at_most_five_percent():
    """False PASS, exactly: five safe cells do not make it likelier that a sixth at theta passes."""
    passing = [k for k in range(12) if stressed([k, 0, 0, 0, 0, 0]) == {"PASS"}]

    assert passing == [0, 1, 2, 3, 4]
    assert sum(binom.pmf(k, 100, 0.10) for k in passing) <= 0.05


def test_six_cells_at_their_limit_fail_in_at_most_five_percent():
    """False FAIL, simulated: Holm keeps it at 5 % over all cells; without it, it would be several times that."""
    smallest = next(k for k in range(101) if "FAIL" in stressed([k, 10, 10, 10, 10, 10]))
    alone = next(k for k in range(101) if cp_lower(k, 100) > 0.10)
    highest = np.random.default_rng(4).binomial(100, 0.10, size=(20_000, 6)).max(axis=1)

    assert (highest >= smallest).mean() <= 0.05
    assert (highest >= alone).mean() > 0.10
    assert "FAIL" not in stressed([smallest - 1] * 6)


def stressed(counts: list[int]) -> set[str]:
    """The verdicts of six stress cells of 100 samples with these counts."""
    drawn = [cell.model_copy(update={"k": k}) for cell, k in zip(STRESS_CELLS, counts, strict=True)]
    return {c.verdict for c in check_cells(RELEASE, drawn) if c.rule == "S-steered"}
