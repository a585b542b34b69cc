"""Scores a finished run folder again, by graders or by the rules of today. The model under test is never loaded.

Earlier scores stay in the logs: Inspect appends `judge_scorer1`, `rule_scorer1` and so on, and rows take the latest.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from inspect_ai import score as inspect_score
from inspect_ai.log import list_eval_logs, read_eval_log, write_eval_log
from inspect_ai.model import Model
from inspect_ai.scorer import Scorer

from evalharness.anchoring import measure_into
from evalharness.assess import Assessment, assess
from evalharness.errors import UsageError
from evalharness.gate import Policy
from evalharness.grading import grader_models, grader_roles, own_graders, require_other_model
from evalharness.ledger import Ledger
from evalharness.plan import PlannedSample, rubrics_of
from evalharness.planfile import read_plan
from evalharness.runfolder import RunFolder, storage_errors
from evalharness.scoring.inspect_scorers import judge_scorer, rule_scorer
from evalharness.scoring.rubric import load_rubric

NOBODY = "none/none"
"""Inspect's model that cannot be asked anything: what stands for the model under test."""


class ScoreOrder(NamedTuple):
    """What to score with."""

    graders: tuple[str, ...] = ()
    rubric: str | None = None
    """A rubric for all samples; None = what each scenario names."""
    rules: bool = False
    """Apply the rules again."""
    self_grade: bool = False
    display: Literal["none", "plain", "rich", "full"] = "plain"


def rescore(folder: RunFolder, order: ScoreOrder, policy: Policy) -> Assessment:
    """Score every sample of the run's logs again, then assess.

    Raises:
        UsageError: nothing to score with, a run that is still open, no question for the graders, or a grader that is
            the model under test.
    """
    model, planned = str(folder.read_config()["model"]), _planned(folder)
    if not order.graders and not order.rules:
        raise UsageError("There is nothing to score with.", expected="--grader MODEL or --rules", where="score")
    require_other_model(model, order.graders, self_grade=order.self_grade)
    questions = {name for _, name in rubrics_of(planned)} if order.rubric is None else {order.rubric}
    loaded = {name: load_rubric(name) for name in sorted(questions - {""})}
    if order.graders and not loaded:
        raise UsageError(
            "The graders have no question: no scenario of this run names a rubric.",
            where=str(folder.plan),
            fix="name one with --rubric",
        )
    paths = _closed_logs(folder)
    graders = grader_models(order.graders)
    asked = [rubric.scorer_id for rubric in loaded.values()] if graders else []
    with storage_errors(folder.root):
        # On record before the first score is written, so that a log with more scores than the ledger says is a fault.
        Ledger(folder.ledger).append(
            "score",
            grader=", ".join(order.graders) or None,
            rubric=", ".join(map(str, asked)) or None,
            rubric_sha256=", ".join(identity.sha256 for identity in asked) or None,
            rules=int(order.rules),
        )
        for path in paths:
            _score_log(path, order, graders)
        told = {
            "graders": list(order.graders),
            "rubrics": [str(identity) for identity in asked],
            "rules": order.rules,
            "self_graded": list(own_graders(model, order.graders)),
        }
        folder.update_instrument(scored_again=[*folder.read_instrument().get("scored_again", []), told])
        families = {sample.cell.family for sample in planned}
        pairs = rubrics_of(planned) if order.rubric is None else [(family, order.rubric) for family in sorted(families)]
        measure_into(folder, pairs, graders, forced=order.rubric is not None)
        return assess(folder, policy)


def _planned(folder: RunFolder) -> tuple[PlannedSample, ...]:
    if not folder.plan.is_file():
        raise UsageError("This run has no plan yet, so there is nothing to score.", where=str(folder.root))
    return read_plan(folder.plan)


def _closed_logs(folder: RunFolder) -> list[Path]:
    """The run's logs, once none of them is open any more."""
    paths = sorted(Path(info.name.removeprefix("file://")) for info in list_eval_logs(str(folder.logs)))
    for path in paths:
        if read_eval_log(str(path), header_only=True).status == "started":
            raise UsageError(
                "A log of this run is still open: the run goes on, or was killed.",
                got=path.name,
                where=str(folder.logs),
                fix="repeat the `run` command, which recovers the log, and score afterwards",
            )
    if not paths:
        raise UsageError("This run has no logs yet, so there is nothing to score.", where=str(folder.logs))
    return paths


def _score_log(path: Path, order: ScoreOrder, graders: Sequence[Model]) -> None:
    """Append scores to one log. It is replaced as a whole, so that a killed process leaves the old one."""
    log = read_eval_log(str(path))
    samples, roles = log.samples or [], log.eval.model_roles
    told = [sample for sample in samples if not sample.error]
    scorers: list[Scorer] = [rule_scorer()] if order.rules else []
    if graders and (order.rubric or any(sample.metadata.get("rubric") for sample in told)):
        scorers.append(judge_scorer(rubric=order.rubric))
    if not told or not scorers:
        return
    # Samples that failed have no reply to score; the roles in the header would build models that nobody asks.
    log.samples, log.eval.model_roles = told, None
    inspect_score(
        log,
        scorers,
        model=NOBODY,
        model_roles=grader_roles(graders),
        action="append",
        display=order.display,
        copy=False,
    )
    log.samples, log.eval.model_roles = samples, roles
    partial = path.parent.parent / f"{path.name}.partial"
    write_eval_log(log, str(partial), format="eval")
    partial.replace(path)
