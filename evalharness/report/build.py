"""Rows, cells, verdict, manifest and configuration -> ReportModel. Decides what is said, not how it looks.

It recounts nothing: rates come from the cells and decisions from the verdict, so a report cannot disagree with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evalharness.cells import Cell
from evalharness.report.doses import dose_figures, place_name
from evalharness.report.facts import commands, method_groups, reproduce_groups
from evalharness.report.gallery import build_gallery
from evalharness.report.model import (
    Attribution,
    CellLine,
    Comparison,
    Decision,
    Difference,
    Fact,
    Headline,
    ReportModel,
)
from evalharness.report.quality import awareness_lines, judge_panel, validity_checks
from evalharness.report.rates import cell_rate, harm_rate, judge_rate, share
from evalharness.report.scorers import scorer_lines
from evalharness.report.text import one_line, visible
from evalharness.report.wording import ATTRIBUTIONS, CELL_CLASSES, LIMITS, UNKNOWN_VERDICT, VERDICTS
from evalharness.row import Row

Json = Mapping[str, Any]

VALIDITY_CLASS = "V"
"""Rules on broken replies: they decide on no rate and stand in the validity panel."""


def build_report(
    rows: Sequence[Row], cells: Sequence[Cell], verdict: Json, manifest: Json, config: Json, suite: Json | None = None
) -> ReportModel:
    """Put a report together.

    `verdict` is what verdict.json holds; `manifest` the run's facts (model, hashes, versions, seeds, hardware);
    `config` what run.yaml holds; `suite` what suite.json holds. The same input gives the same report: no clock.
    """
    decisions = tuple(_decision(raw) for raw in verdict["cells"] if raw["class"] != VALIDITY_CLASS)
    return ReportModel(
        title=f"Safety evaluation of {one_line(str(config.get('model', 'an unnamed model')), 120)}",
        headline=_headline(verdict, manifest, config),
        coverage=tuple(visible(part).strip() for part in str(verdict["coverage"]).split("\n\n")),
        decisions=decisions,
        attribution=_attribution(verdict["attribution"]),
        figures=dose_figures(cells, decisions),
        cells=tuple(_line(cell) for cell in cells),
        judge=judge_panel(rows, verdict),
        scorers=scorer_lines(verdict),
        awareness=awareness_lines(rows, cells),
        validity=validity_checks(rows, cells, verdict),
        gallery=build_gallery(rows, int(config.get("seed", 0))),
        methods=method_groups(cells, config, suite or {}),
        reproduce=reproduce_groups(verdict, manifest, config),
        commands=commands(config),
        limits=LIMITS,
    )


def _headline(verdict: Json, manifest: Json, config: Json) -> Headline:
    word = str(verdict["verdict"])
    meaning = VERDICTS.get(word, UNKNOWN_VERDICT)
    facts = [
        ("checkpoint", config.get("model")),
        ("weights sha256", manifest.get("model_sha256")),
        ("suite", config.get("suite")),
        ("task", config.get("task")),
        ("counted as harm", config.get("harm")),
        ("policy", verdict.get("policy_id", config.get("policy"))),
        ("policy sha256", verdict.get("policy_sha256")),
        ("valid for", f"{verdict['expires_after_days']} days" if "expires_after_days" in verdict else None),
    ]
    return Headline(
        verdict=one_line(word),
        subject=one_line(str(config.get("model", "an unnamed model"))),
        meaning=meaning.means,
        not_meaning=meaning.not_means,
        reasons=tuple(one_line(str(reason), 1000) for reason in verdict["reasons"]),
        facts=tuple(Fact(name=name, text=one_line(str(value))) for name, value in facts if value),
    )


def _decision(raw: Json) -> Decision:
    """A check of verdict.json. Its counts are the gate's own: a rule may count any harm instead of unsafe outcomes."""
    letter = str(raw["class"])
    ran = bool(raw["condition"])
    why = "no valid sample" if ran else "not run"
    return Decision(
        rule=one_line(str(raw["id"])),
        rule_class=f"{letter} · {CELL_CLASSES.get(letter, 'unknown class')}",
        blocking=bool(raw["blocking"]),
        condition=one_line(str(raw["condition"])) if ran else "no cell of this run",
        place=place_name(raw["scenario"], raw["variant"]) if ran else "",
        verdict=one_line(str(raw["verdict"])),
        reason=one_line(str(raw["reason"]), 1000),
        warning=bool(raw["warning"]),
        measure=one_line(str(raw["measure"])),
        rate=share(raw["k"], raw["n_valid"], why),
        bound=raw["bound"] if ran else None,
        theta=raw["theta"],
        margin_pp=raw["margin_pp"],
        worst_bound=raw["worst_upper"],
        theta_worst=raw["theta_worst"],
        n_planned=raw["n_planned"],
        n_unscored=raw["n_unscored"],
        n_incoherent=raw["n_incoherent"],
    )


def _attribution(raw: Json) -> Attribution:
    label = str(raw["label"])
    return Attribution(
        label=one_line(label),
        meaning=ATTRIBUTIONS.get(label, ""),
        reasons=tuple(one_line(str(reason), 1000) for reason in raw["reasons"]),
        evidence=tuple(_comparison(item) for item in raw["evidence"]),
    )


def _comparison(raw: Json) -> Comparison:
    return Comparison(
        cell=one_line(f"{raw['scenario']} / {raw['condition']}"),
        rate=share(raw["k"], raw["n_valid"], "no valid sample"),
        n_controls=raw["n_controls"],
        control_low=raw["control_low"],
        control_high=raw["control_high"],
        control_rate=raw["control_rate"],
        difference=Difference(value=raw["difference"], low=raw["low"], high=raw["high"]),
        confidence=raw["confidence"],
        rank_p=raw["rank_p"],
        side=one_line(str(raw["side"])),
        why=one_line(str(raw["why"]), 1000),
    )


def _line(cell: Cell) -> CellLine:
    return CellLine(
        scenario=one_line(cell.scenario),
        variant=one_line(cell.variant),
        role=cell.role,
        condition=one_line(cell.condition),
        kind=cell.kind,
        rate=cell_rate(cell),
        cp_upper_95=cell.cp_upper_95,
        worst_case_rate=cell.worst_case_rate,
        n_planned=cell.n_planned,
        n_unscored=cell.n_unscored,
        n_incoherent=cell.n_incoherent,
        harm=harm_rate(cell),
        judge=judge_rate(cell),
    )
