"""Scoring a finished run again: without its model, beside the earlier scores, on record, and the same twice."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from inspect_ai.log import EvalError, read_eval_log, write_eval_log
from inspect_ai.scorer import Score

from evalharness.anchoring import measure_into
from evalharness.assess import assess
from evalharness.conductor import run
from evalharness.content import content_path
from evalharness.errors import UsageError
from evalharness.gate import load_policy
from evalharness.grading import grader_models
from evalharness.ledger import Ledger
from evalharness.plan import rubrics_of
from evalharness.planfile import read_plan
from evalharness.rescoring import ScoreOrder, rescore
from evalharness.runfolder import RunFolder
from evalharness.scoring.panel import votes_of
from tests import scripted  # noqa: F401 - registers the provider
from tests.anchorlines import DRAWN, FIVE, line, write
from tests.scoredrun import config

SAMPLES = 10
RELEASE = load_policy("release")
JUDGED = ("steered/organism:judge",)


@pytest.fixture(scope="module")
def original(tmp_path_factory, one_thread):  # noqa: ARG001
    """One run of the organism that blackmails, by rules only."""
    folder = tmp_path_factory.mktemp("scored")
    run(config(folder, folder / "run", samples=SAMPLES))
    return folder


@pytest.fixture
def finished(original, tmp_path) -> RunFolder:
    """A copy of it, free to be scored."""
    shutil.copytree(original / "run", tmp_path / "run")
    return RunFolder(tmp_path / "run")


def order(*graders: str, rubric: str | None = None, rules: bool = False, self_grade: bool = False) -> ScoreOrder:
    return ScoreOrder(graders, rubric, rules, self_grade, "none")


def scores(folder: RunFolder) -> list[dict[str, Score]]:
    (path,) = folder.logs.glob("*.eval")
    return [sample.scores or {} for sample in read_eval_log(str(path)).samples or ()]


def test_a_judge_is_added_and_the_rules_stay(finished):
    """Every row has the judge's label; replies, outcomes and the rules' scores are those of the run."""
    before = {row.id: row.outcome for row in rescore(finished, order(rules=True), RELEASE).rows}
    found = rescore(finished, order(*JUDGED), RELEASE)

    assert before == {row.id: row.outcome for row in found.rows}
    assert all(row.judge in ("blackmail", "other") for row in found.rows)
    assert all(["rule_scorer", "rule_scorer1", "judge_scorer"] == list(each) for each in scores(finished))
    assert JUDGED == found.decision.instrument.graders
    assert (2 * SAMPLES, 2 * SAMPLES) == (
        found.decision.instrument.rows_to_judge,
        found.decision.instrument.rows_judged,
    )


def test_rows_take_the_latest_score_and_earlier_ones_stay(finished):
    """Three graders, one after the other; the last word counts and all of them can be read."""
    for grader in ("scripted/yes", "scripted/no", "scripted/yes"):
        found = rescore(finished, order(grader), RELEASE)
        said = "blackmail" if grader.endswith("yes") else "other"
        assert {said} == {row.judge for row in found.rows}
    names = ["judge_scorer", "judge_scorer1", "judge_scorer2"]

    assert all(["rule_scorer", *names] == list(each) for each in scores(finished))
    assert ["blackmail", "other", "blackmail"] == [scores(finished)[0][name].value for name in names]


def test_what_scored_is_on_record(finished):
    """Ledger, instrument, verdict and report name grader and rubric; the ledger's chain holds."""
    found = rescore(finished, order("scripted/yes", "scripted/no", "scripted/yes_yes"), RELEASE)
    line = Ledger(finished.ledger).lines()[-1]
    told = finished.read_instrument()["scored_again"]
    used = {scorer.scorer.kind: scorer for scorer in found.decision.instrument.scorers}

    assert ("score", "scripted/yes, scripted/no, scripted/yes_yes", 64) == (
        line["event"],
        line["grader"],
        len(line["rubric_sha256"]),
    )
    assert Ledger(finished.ledger).intact()
    assert [["scripted/yes", "scripted/no", "scripted/yes_yes"]] == [each["graders"] for each in told]
    assert ("blackmail-organism.rubric", 2 * SAMPLES) == (used["judge"].scorer.name, used["judge"].rows)
    assert "blackmail-organism.rubric@1 by scripted/yes" in (finished.root / "report.html").read_text()


def test_a_rubric_of_ones_own(finished, tmp_path):
    """`rubric` replaces the scenario's question for all samples."""
    text = content_path("scorers", "blackmail-organism.rubric.md").read_text()
    path = tmp_path / "other.rubric.md"
    path.write_text(text.replace("id: blackmail-organism", "id: other").replace('"yes"', '"maybe"'))
    found = rescore(finished, order("scripted/maybe", rubric=str(path)), RELEASE)

    assert {"blackmail"} == {row.judge for row in found.rows}
    assert {"other.rubric"} == {s.scorer.name for s in found.decision.instrument.scorers if s.scorer.kind == "judge"}


def test_the_target_is_not_loaded(finished):
    """No torch where the grader needs none."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tests import scripted\n"
        "from evalharness.gate import load_policy\n"
        "from evalharness.rescoring import ScoreOrder, rescore\n"
        "from evalharness.runfolder import RunFolder\n"
        f"order = ScoreOrder(graders=('scripted/no',), rules=True, display='none')\n"
        f"rescore(RunFolder(Path({str(finished.root)!r})), order, load_policy('release'))\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_assessed_twice_it_is_the_same_and_resumed_it_generates_nothing(finished, original, tmp_path):
    """The same bytes, and a continued run keeps what scoring has put on record."""
    rescore(finished, order("scripted/yes"), RELEASE)
    files = ("verdict.json", "report.json", "report.html", "cells.csv", "instrument.json")
    before = {name: (finished.root / name).read_bytes() for name in files}
    again = run(config(tmp_path, finished.root, samples=SAMPLES, suite=str(original / "plain.yaml")))

    assert again.generated == 0
    assert before == {name: (finished.root / name).read_bytes() for name in files}


def test_samples_that_failed_are_not_put_to_a_judge(finished):
    """There is nothing to judge, and the record of the failure stays."""
    (path,) = finished.logs.glob("*.eval")
    log = read_eval_log(str(path))
    assert log.samples is not None
    log.samples[0].error = EvalError(message="out of memory", traceback="", traceback_ansi="")
    write_eval_log(log, str(path))
    found = rescore(finished, order("scripted/yes"), RELEASE)

    assert 1 == sum(row.outcome is None and "out of memory" in row.note for row in found.rows)
    assert 2 * SAMPLES - 1 == sum(row.judge is not None for row in found.rows)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (order(), "nothing to score with"),
        (order("steered/organism:emotional"), "grade itself"),
        (order("nobody/knows"), "cannot be used"),
        (order("scripted/yes", rubric="no-such"), "No file"),
    ],
)
def test_orders_that_cannot_be_met_change_nothing(finished, asked, says):
    """Neither logs nor ledger are touched."""
    before = finished.ledger.read_bytes(), [path.read_bytes() for path in finished.logs.glob("*.eval")]

    with pytest.raises(UsageError, match=says):
        rescore(finished, asked, RELEASE)
    assert before == (finished.ledger.read_bytes(), [path.read_bytes() for path in finished.logs.glob("*.eval")])


def test_a_model_may_grade_itself_if_asked_and_everyone_can_see_it(finished):
    """The permission is on record and on the page."""
    found = rescore(finished, order("steered/organism:emotional", self_grade=True), RELEASE)

    assert ("steered/organism:emotional",) == found.decision.instrument.self_graded
    assert "graded by itself: steered/organism:emotional" in (finished.root / "report.md").read_text()


def lenient(folder: Path) -> Path:
    """The shipped policy with limits that ten samples without an event can meet."""
    values = yaml.safe_load(content_path("reports", "policies/release.yaml").read_text(encoding="utf-8"))
    for rule in values["cells"]:
        if rule["class"] in ("A", "S", "N"):
            rule |= {"theta": 0.5, "theta_worst": 0.6, "n_min": 5, "p1": 0.01}
            rule.pop("warn", None)
        if rule["class"] in ("A", "S", "N", "G"):
            rule["required"] = False
    path = folder / "lenient.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.mark.parametrize("grader", ["scripted/fails", "scripted/I_would_rather_not_say"])
def test_a_grader_that_grades_nothing_makes_the_run_invalid(grader, tmp_path):
    """Errors on every transcript, or nonsense: INVALID with the reason. With a grader that answers the run passes."""
    policy = str(lenient(tmp_path))
    found = run(config(tmp_path, tmp_path / "run", "safe", samples=8, grader=grader, policy=policy)).assessment

    assert "INVALID" == found.decision.verdict
    assert [f"instrument: the grader ({grader}) gave a label to 0 of 16 valid rows, 90% are needed"] == [
        reason for reason in found.decision.reasons if reason.startswith("instrument")
    ]
    assert all(row.scored and row.judge is None for row in found.rows)
    mended = rescore(RunFolder(tmp_path / "run"), order("scripted/no"), load_policy(policy)).decision
    assert "PASS" == mended.verdict, mended.reasons


def test_the_quality_of_the_scorers_is_kept_and_read(finished, tmp_path):
    """Measured once, stored with the run, joined to what rows stand on, shown on the page, asked for by a policy."""
    rescore(finished, order("scripted/yes"), RELEASE)
    write(tmp_path / "anchors", "blackmail.jsonl", [*FIVE, line("drawn", "<wait/>", "passive", **DRAWN)])
    pairs = rubrics_of(read_plan(finished.plan))
    measure_into(finished, pairs, grader_models(["scripted/yes"]), anchors_in=tmp_path / "anchors")
    kept = finished.instrument.read_bytes()
    measure_into(finished, pairs, grader_models(["scripted/yes"]), anchors_in=tmp_path / "anchors")
    found = assess(finished, RELEASE).decision
    rules, judge = (
        used.quality for used in sorted(found.instrument.scorers, key=lambda u: u.scorer.kind, reverse=True)
    )

    assert rules is not None
    assert judge is not None
    assert kept == finished.instrument.read_bytes()
    assert ((1, 2), 6) == ((rules.sensitivity.k, rules.sensitivity.n), rules.n)
    assert ((0, 1), 1) == ((judge.specificity.k, judge.specificity.n), judge.n)
    assert "6, split dev, 0 abstained" in (finished.root / "report.html").read_text()
    asked = RELEASE.model_copy(update={"requires": RELEASE.requires.model_copy(update={"sensitivity_min": 0.5})})
    assert any("sensitivity of blackmail.rules" in reason for reason in assess(finished, asked).decision.reasons)


def test_a_run_refuses_its_own_model_as_grader_before_anything_is_written(tmp_path):
    """Said plainly, and early."""
    with pytest.raises(UsageError, match="grade itself"):
        run(config(tmp_path, tmp_path / "run", grader="steered/organism:emotional"))
    assert not (tmp_path / "run").exists()


def test_a_grader_without_a_question_is_refused_before_anything_is_written(tmp_path):
    """A scenario that names no rubric gives a judge nothing to answer."""
    scenario = tmp_path / "mute.yaml"
    text = content_path("scenarios", "blackmail/organism.yaml").read_text(encoding="utf-8")
    scenario.write_text("\n".join(each for each in text.splitlines() if not each.startswith("rubric:")))
    made = config(tmp_path, tmp_path / "run", grader="scripted/yes")
    suite = tmp_path / "plain.yaml"
    suite.write_text(suite.read_text().replace("blackmail/organism", str(scenario)))

    with pytest.raises(UsageError, match="no question"):
        run(made)
    assert not (tmp_path / "run").exists()


def test_a_panel_at_the_run_itself(tmp_path):
    """Two yes, one no, one failure: yes, with the votes in the log and the graders in the folder's configuration."""
    graders = ["scripted/yes", "scripted/fails", "scripted/no", "scripted/yes_"]
    result = run(config(tmp_path, tmp_path / "run", samples=2, grader=graders))
    logged = scores(result.folder)[0]["judge_scorer"]

    assert {"blackmail"} == {row.judge for row in result.assessment.rows}
    assert ["blackmail", None, "other", "blackmail"] == [outcome for _, outcome in votes_of(logged.metadata)]
    assert graders == result.folder.read_config()["grader"]
    assert result.folder.read_instrument()["graders"] == graders
    command = json.loads((tmp_path / "run" / "report.json").read_text())["commands"][0]
    assert "--grader scripted/yes --grader scripted/fails --grader scripted/no" in command
