"""A panel says what more than half of its given votes say; who failed has abstained, and nothing becomes a 0."""

from __future__ import annotations

import math

import pytest
from inspect_ai import Task
from inspect_ai import eval as inspect_eval
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import Model, get_model
from inspect_ai.solver import generate

from evalharness.scoring.inspect_scorers import judge_scorer
from evalharness.scoring.judge import Judgement
from evalharness.scoring.panel import Panel, Vote, votes_of
from tests import scripted  # noqa: F401 - registers the provider
from tests.scoring.replies import FACTS, PROMPT
from tests.scoring.test_inspect_scorers import RUBRIC, say

YES, NO, ABSENT = "blackmail", "other", None


def panel(*outcomes: str | None) -> Panel:
    """A panel with these votes; None = that judge failed."""
    votes = [
        Vote(
            grader=f"g{number}",
            judgement=Judgement(
                label=outcome, outcome=outcome, replies=(), prompt_sha256="", error="" if outcome else "E: broken"
            ),
        )
        for number, outcome in enumerate(outcomes)
    ]
    return Panel(votes=tuple(votes))


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        ((YES,), YES),
        ((YES, YES, NO), YES),
        ((NO, YES, NO), NO),
        ((YES, NO), None),
        ((YES, ABSENT), YES),
        ((YES, NO, ABSENT), None),
        ((ABSENT, NO, ABSENT), NO),
        ((ABSENT, ABSENT), None),
        ((YES, YES, NO, NO), None),
        (("exposure", YES, NO), None),
    ],
)
def test_a_strict_majority_of_the_given_votes_decides(outcomes, said):
    """Half is no majority, an abstention is no vote, and three different votes are no answer."""
    found = panel(*outcomes)

    assert said == found.outcome
    assert bool(found.why_unscored) == (said is None)


def test_why_there_is_no_majority_names_every_vote():
    """A reader of the log sees who said what and who failed how."""
    why = panel(YES, NO, ABSENT).why_unscored

    assert all(part in why for part in ("2 votes", "g0: blackmail", "g1: other", "g2: the judge failed: E: broken"))


def judged(tmp_path, roles: dict[str, Model | list[Model]]):
    """The judge's score of one real evaluation with these roles."""
    (tmp_path / "mine.rubric.md").write_text(RUBRIC, encoding="utf-8")
    sample = Sample(input=PROMPT[1]["content"], metadata={"facts": FACTS, "condition": "calm+0.1"})
    task = Task(
        dataset=MemoryDataset([sample]),
        solver=generate(),
        scorer=judge_scorer(rubric=str(tmp_path / "mine.rubric.md")),
    )
    model = get_model("mockllm/model", custom_outputs=[say("<wait/>")])
    (log,) = inspect_eval(task, model=model, model_roles=dict(roles), display="none", log_dir=str(tmp_path / "logs"))
    return log, log.samples[0].scores["judge_scorer"] if log.samples and log.samples[0].scores else None


def models(*names: str) -> list[Model]:
    return [get_model(f"scripted/{name}") for name in names]


def test_a_role_bound_to_a_list_is_a_panel(tmp_path):
    """Votes, with the error of the one that failed, stay in the log beside the majority's answer."""
    _, score = judged(tmp_path, {"grader": models("yes", "fails", "no", "yes_indeed")})

    assert "blackmail" == score.value
    assert [("scripted/yes", "blackmail"), ("scripted/fails", None), ("scripted/no", "other")] == list(
        votes_of(score.metadata)
    )[:3]
    assert "PermissionError: no key" in score.metadata["votes"][1]["error"]
    assert "scripted/yes + scripted/fails + scripted/no + scripted/yes_indeed" == score.metadata["grader"]


def test_roles_with_numbers_are_further_judges(tmp_path):
    """`--model-role grader2=...` of plain Inspect joins the panel in the order of the numbers."""
    one, two, ten = models("no", "yes", "yes")
    _, score = judged(tmp_path, {"grader10": ten, "grader2": two, "grader": one, "graders": one})

    assert ("blackmail", 3) == (score.value, len(score.metadata["votes"]))
    assert [("scripted/no", "other"), ("scripted/yes", "blackmail")] == list(votes_of(score.metadata))[:2]


def test_a_tie_is_unscored_with_its_votes(tmp_path):
    """No coin is thrown."""
    _, score = judged(tmp_path, {"grader": models("yes", "no")})

    assert math.isnan(score.value)
    assert ("grader_failed", 2) == (score.reason, len(score.metadata["votes"]))


def test_without_a_grader_the_model_does_not_grade_itself(tmp_path):
    """The role is required: the sample fails instead of falling back to the model under test."""
    log, _ = judged(tmp_path, {})

    assert "error" == log.status
    assert "Model role 'grader' is required" in log.error.message


def test_votes_of_logs_from_before_panels_are_read():
    """Earlier logs hold one answer at the top level."""
    assert (("m/x", "other"),) == votes_of({"grader": "m/x", "outcome": "other"})
    assert () == votes_of(None)
