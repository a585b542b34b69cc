"""Logs -> rows -> cells -> verdict -> report. Runs on a laptop from a finished run folder; loads no model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from evalharness.cells import Cell, build_cells, write_cells
from evalharness.errors import UsageError
from evalharness.gate import Decision, Instrument, Policy, decide, write_junit, write_verdict
from evalharness.ledger import Ledger
from evalharness.logs import LoggedSample, read_samples, scorers_of, to_rows
from evalharness.manifest import hardware, versions, write_manifest
from evalharness.plan import PlannedSample
from evalharness.planfile import read_plan
from evalharness.report import build_report, write_report
from evalharness.row import Row
from evalharness.runfolder import RunFolder
from evalharness.sensitivity import ScorerIdentity, ScorerQuality, UsedScorer


class Assessment(NamedTuple):
    """All that follows from a run folder's logs and a policy."""

    rows: tuple[Row, ...]
    cells: tuple[Cell, ...]
    decision: Decision


def assess(folder: RunFolder, policy: Policy) -> Assessment:
    """Recount a run from its logs and write cells, verdict, report and manifest.

    Raises:
        UsageError: this is no run folder, or its rollouts never started.
    """
    config = folder.read_config()
    if not folder.plan.is_file() or not folder.instrument.is_file():
        raise UsageError("This run has no plan yet, so there is nothing to assess.", where=str(folder.root))
    planned, logged = read_plan(folder.plan), read_samples(folder.logs)
    rows = to_rows(planned, logged)
    cells = build_cells(rows)
    facts = folder.read_instrument()
    instrument = _instrument(folder, planned, logged, rows)
    decision = decide(policy, cells, instrument)
    write_cells(cells, folder.root)
    write_verdict(decision, folder.root)
    write_junit(decision, folder.root)
    about = {**facts, "seed": config["seed"], "suite_sha256": config["suite_sha256"]}
    suite = json.loads(folder.suite.read_text(encoding="utf-8"))
    stated = {**about, "versions": versions(), "hardware": hardware()}
    model = build_report(rows, cells, decision.to_json(), stated, config, suite)
    write_report(model, folder.root)
    write_manifest(folder.root, about)
    return Assessment(rows, cells, decision)


def _instrument(
    folder: RunFolder, planned: Sequence[PlannedSample], logged: Mapping[str, LoggedSample], rows: Sequence[Row]
) -> Instrument:
    """What the run measured about itself, recounted from the logs where they say it."""
    config, ledger, facts = folder.read_config(), Ledger(folder.ledger), folder.read_instrument()
    finished = [(sample, logged[sample.id]) for sample in planned if sample.id in logged and logged[sample.id].finished]
    mismatched = sum(not _receipt_holds(sample, record) for sample, record in finished)
    return Instrument(
        bank_check_passed=facts["bank_check_passed"],
        bank_check_reasons=tuple(facts["bank_check_reasons"]),
        receipts_checked=len(finished),
        receipts_mismatched=mismatched,
        rows_generated=len(finished),
        suite_id=facts["suite"],
        suite_sha256=config["suite_sha256"],
        policy_sha256_registered=ledger.registered_policy(),
        model_sha256=facts["model_sha256"],
        bank_model_sha256=facts["bank_model_sha256"],
        bank_transferred=facts.get("bank_transferred", False),  # earlier runs could not transfer
        ledger_ok=ledger.intact(),
        **_judging(facts, planned, logged, rows),
        scorers=_used_scorers(facts, planned, logged),
    )


def asked_graders(facts: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Who was asked to judge by the latest order, of the run or of scoring again, and who of them is the model."""
    orders = [facts, *facts.get("scored_again", [])]
    asked = [order for order in orders if order.get("graders")]
    return (tuple(asked[-1]["graders"]), tuple(asked[-1].get("self_graded", ()))) if asked else ((), ())


def _judging(
    facts: Mapping[str, Any], planned: Sequence[PlannedSample], logged: Mapping[str, LoggedSample], rows: Sequence[Row]
) -> dict[str, Any]:
    """Who was asked to judge, and how many valid rows have a question for a judge and an answer of one."""
    graders, own = asked_graders(facts)
    valid = [(sample, row) for sample, row in zip(planned, rows, strict=True) if row.valid]
    asked = [row for sample, row in valid if sample.rubric or logged[sample.id].judge is not None]
    judged = sum(row.judge is not None for row in asked)
    return {"graders": graders, "self_graded": own, "rows_to_judge": len(asked), "rows_judged": judged}


def _used_scorers(
    facts: Mapping[str, Any], planned: Sequence[PlannedSample], logged: Mapping[str, LoggedSample]
) -> tuple[UsedScorer, ...]:
    """Whose latest scores the rows stand on, each with the quality that was measured last, if any."""
    measured = [ScorerQuality.model_validate(told) for told in facts.get("scorers", [])]
    fields = set(ScorerIdentity.model_fields)
    known = {quality.model_dump_json(include=fields): quality for quality in measured}
    used = scorers_of(planned, logged)
    return tuple(
        UsedScorer(scorer=scorer, rows=rows, quality=known.get(scorer.model_dump_json(include=fields)))
        for scorer, rows in used.items()
    )


def _receipt_holds(planned: PlannedSample, logged: LoggedSample) -> bool:
    """Whether each logged receipt shows this sample's steering: applied as often as expected, never on a baseline.

    One call of an agent may be too short for anything to be added; not all of them.
    """
    counts = [receipt["applied"] for receipt in logged.receipts]
    if not counts or any(receipt["applied"] != receipt["expected"] for receipt in logged.receipts):
        return False
    if planned.cell.kind == "baseline":
        return not any(counts)
    return any(counts) and all(tuple(receipt["layers"]) == planned.cell.layers for receipt in logged.receipts)
