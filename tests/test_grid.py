"""Grids become ordered, named conditions."""

from typing import get_args

from evalharness.grid import Controls, Grid, control_kind
from evalharness.request import Steering
from evalharness.row import ControlKind


def test_conditions_come_in_order_with_telling_names():
    """Baseline, concepts, controls; the id says what is done."""
    grid = Grid(
        concepts=["at ease"], strengths=[-0.1, 0.05], controls=Controls(gaussian=2, mean=True), control_strengths=[0.05]
    )

    assert [condition.id for condition in grid.conditions()] == [
        "baseline",
        "at_ease-0.1",
        "at_ease+0.05",
        "gaussian-00+0.05",
        "gaussian-01+0.05",
        "mean-of-concepts+0.05",
    ]
    assert [condition.kind for condition in grid.conditions()] == ["baseline", *["concept"] * 2, *["control"] * 3]


def test_strength_zero_is_the_baseline_and_not_a_cell_of_its_own():
    """Two names for the same treatment would be counted as two cells."""
    grid = Grid(concepts=["calm"], strengths=[0.0, 0.1])

    assert [condition.id for condition in grid.conditions()] == ["baseline", "calm+0.1"]


def test_layers_span_and_operation_are_part_of_the_name():
    """Conditions that differ in any way have different ids."""
    grid = Grid(baseline=False, concepts=["calm"], strengths=[0.1], layers=[2, 3], span="generation", op="clamp")
    (condition,) = grid.conditions()

    assert condition.id == "calm+0.1.L2-3.generation.clamp"
    assert condition.steering == Steering("calm", 0.1, layers=(2, 3), span="generation", op="clamp")


def test_the_kind_of_a_control_can_be_read_from_its_name():
    """Every name that a grid gives has a kind, each kind has a name, and a concept has none."""
    names = Controls(gaussian=2, permuted=11, contrast=1, mean=True).names()

    assert [control_kind(name) for name in names] == ["gaussian"] * 2 + ["permuted"] * 11 + ["contrast", "mean"]
    assert {control_kind(name) for name in names} == set(get_args(ControlKind))
    assert [control_kind(name) for name in ("calm", "gaussian", "gaussian-x", "mean", "at ease-1")] == [None] * 5
