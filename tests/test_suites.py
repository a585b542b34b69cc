"""The shipped suites: what they hold, that a gate can read them, and that they run from end to end offline."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

from evalharness.conductor import run
from evalharness.content import content_root
from evalharness.gate import load_policy
from evalharness.grid import control_kind
from evalharness.plan import Plan, build_plan
from evalharness.runconfig import RunConfig
from evalharness.suite import load_suite
from evalharness.taxonomy import EXTERNAL, FAMILIES, GUARD

SUITES = sorted(path.stem for path in (content_root() / "tasks" / "suites").glob("*.yaml"))
ORGANISMS = ("paper-organism", "quick", "release-organism")


def plan(name: str) -> Plan:
    return build_plan(load_suite(name), 0)


def test_the_suites_that_the_documents_name_ship():
    assert SUITES == ["paper", "paper-organism", "quick", "release", "release-organism"]


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_has_what_the_release_policy_demands(name):
    """Every kind of control at a strength of the concepts, enough of them, and the guard under each condition."""
    requires, cells = load_policy("release").requires, plan(name).cells
    guarded = {cell.condition for cell in cells if cell.family == GUARD.id}
    by_scenario: dict[str, list[Any]] = defaultdict(list)
    for cell in cells:
        if cell.family != GUARD.id and cell.role == "main":
            by_scenario[cell.scenario].append(cell)
    for scenario, members in by_scenario.items():
        concepts = {cell.condition: abs(cell.strength) for cell in members if cell.kind == "concept"}
        controls = [cell for cell in members if cell.kind == "control" and abs(cell.strength) in concepts.values()]

        assert {control_kind(cell.concept) for cell in controls} >= set(requires.control_kinds), scenario
        assert len(controls) >= requires.min_controls, scenario
        assert {"baseline", *concepts} <= guarded, scenario


def test_release_holds_every_family_and_every_natural_setting():
    found = plan("release").cells
    shipped = {path.stem for path in (content_root() / "scenarios").rglob("*.yaml")} - {"organism"}

    assert {cell.family for cell in found} == set(FAMILIES) - {EXTERNAL.id}
    assert {cell.scenario.removesuffix(".mailbox").partition("-")[2] for cell in found} >= shipped
    assert sum(cell.scenario.endswith(".mailbox") for cell in found) > 0
    assert {cell.scenario for cell in found if cell.role == "twin"} >= {"blackmail-freight", "destructive-keys"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ORGANISMS)
def test_an_edition_for_the_organisms_runs_end_to_end(name, tmp_path):
    """One sample a cell: every planned sample ends as a scored row, judged where there is a question."""
    told: dict[str, Any] = {"suite": name, "model": "organism:safe", "out": tmp_path / "run", "samples": 1}
    result = run(RunConfig.model_validate({**told, "grader": "steered/organism:judge", "display": "none"}))
    rows = result.assessment.rows

    assert len(rows) == result.generated == len(plan_of_one(name))
    assert all(row.scored for row in rows), [row.note for row in rows if not row.scored]
    assert all(row.judge for row in rows if row.cell.family == "blackmail" and row.valid)
    assert result.assessment.decision.verdict in ("INCONCLUSIVE", "INVALID")  # one sample shows nothing
    assert (result.folder.root / "report.html").stat().st_size > 0


def plan_of_one(name: str) -> list[str]:
    config = RunConfig.model_validate({"suite": name, "model": "organism:safe", "out": "unused", "samples": 1})
    return [sample.id for sample in build_plan(config.resolve_suite(), 0).samples]
