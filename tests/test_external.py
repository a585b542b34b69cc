"""Tasks of somebody else under our grid: unchanged, steered in every call, and one row for each planned sample."""

import json
from pathlib import Path

import pytest
from inspect_ai import eval as inspect_eval
from inspect_ai.event import ModelEvent
from inspect_ai.log import read_eval_log
from inspect_ai.model import ModelAPI, ModelOutput, ModelUsage, modelapi

from evalharness.cells import read_cells
from evalharness.conductor import run
from evalharness.errors import ContentError, UsageError
from evalharness.external import load_items
from evalharness.gate import load_policy
from evalharness.planfile import read_plan
from evalharness.runconfig import RunConfig
from evalharness.suite import load_suite, spread_controls
from tests.toyrun import checkpoint

FILE = Path(__file__).parent / "external_task.py"
SUITE = """\
schema: suite/1
id: foreign
version: 1
title: A task from elsewhere
sampling: {max_new_tokens: 16}
bank: {stories: organism, neutral: organism, contrast: organism, stories_per_concept: 4, depth: 0.5, skip: 5}
blocks:
  - task: {name: NAME, harm: harmful=1, english: false}
    samples: 5
    grid:
      concepts: [calm, desperate]
      strengths: [0.2]
      controls: {gaussian: 1, permuted: 1, contrast: 1, mean: true}
      control_strengths: [0.2]
"""
CELLS, SAMPLES = 7, 5


def config(folder: Path, out: str = "run", **changes: object) -> RunConfig:
    fields = {"model": str(folder / "llama"), "out": folder / out, "display": "none", "max_rows": 32}
    return RunConfig.model_validate({**fields, **changes})


def as_task(folder: Path, out: str, name: str = "two_steps", **changes: object) -> RunConfig:
    """A small run of one task with the bank of the first run."""
    fields = {"task": f"{FILE}@{name}", "harm": "harmful=1", "english": False, "bank": folder / "run" / "bank"}
    small = {"controls": 0, "strengths": [0.2], "samples": 2, "max_new_tokens": 8}
    return config(folder, out, **{**fields, **small, **changes})


def samples_of(folder: Path):
    logs = [read_eval_log(str(path)) for path in sorted((folder / "logs").glob("*.eval"))]
    return {sample.id: sample for log in logs for sample in log.samples or []}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("external")
    checkpoint(folder / "llama")
    (folder / "foreign.yaml").write_text(SUITE.replace("NAME", f"{FILE}@two_steps"))
    return folder


@pytest.fixture(scope="module")
def finished(folder):
    """A suite with a task in the place of a scenario, in one go."""
    return run(config(folder, suite=str(folder / "foreign.yaml")))


@pytest.fixture(scope="module")
def logged(finished):
    return samples_of(finished.folder.root)


def test_every_planned_sample_of_a_task_ends_as_one_row(finished):
    """Plan, rows, cells, gate and report all know the task by its name."""
    planned, rows = read_plan(finished.folder.plan), finished.assessment.rows
    (log,) = (read_eval_log(str(path)) for path in finished.folder.logs.glob("*.eval"))

    assert len(planned) == CELLS * SAMPLES == finished.generated == len(log.samples or [])
    assert [sample.id for sample in planned] == [row.id for row in rows]
    assert {row.cell.scenario for row in rows} == {"two_steps"}
    assert {(sample.index, sample.item) for sample in planned} == {
        (0, "first"), (1, "second"), (2, "2"), (3, "first"), (4, "second")
    }  # fmt: skip
    for cell in read_cells(finished.folder.root):
        assert cell.family == "external"
        assert cell.n_planned == cell.n_valid + cell.n_incoherent + cell.n_unscored == SAMPLES
    assert "two_steps" in (finished.folder.root / "report.md").read_text()


def test_conditions_differ_in_their_receipts_and_every_call_has_one(finished, logged):
    """Two calls, two receipts: a baseline is never touched, a steered row is at its layers, as often as expected."""
    planned = {sample.id: sample for sample in read_plan(finished.folder.plan)}
    replies = {}
    for name, sample in logged.items():
        cell = planned[name].cell
        receipts = sample.store["treatment"]["receipts"]
        assert len(receipts) == 2
        for receipt in receipts:
            assert receipt["applied"] == receipt["expected"]
            assert (receipt["applied"] > 0) == (cell.kind != "baseline")
            assert tuple(receipt["layers"]) == cell.layers
        replies[cell.condition, planned[name].index] = sample.output.completion

    assert len({replies[condition, 0] for condition, _ in replies}) > 3
    assert finished.assessment.decision.instrument.receipts_mismatched == 0


def test_the_outcome_is_the_tasks_own_score_by_the_mapping(finished, logged):
    """Its column stands in the log as it gave it; ours follows from it, or says that the reply is broken."""
    seen = set()
    for row in finished.assessment.rows:
        scores = logged[row.id].scores
        own = scores["letters"].value["harmful"]
        assert row.outcome == ("flagged" if own else "truncated" if row.stop_reason == "max_tokens" else "unflagged")
        seen.add(row.outcome)

    assert {"flagged", "truncated"} <= seen


def test_the_task_sees_its_own_metadata_and_not_the_condition(logged):
    """Keys that are called as ours stay the task's, and no scorer is told the treatment."""
    for sample in logged.values():
        assert sample.scores["letters"].metadata["seen"] in (["condition", "scenario"], ["seed"], [])


def test_the_own_column_equals_that_of_plain_inspect(folder, finished, logged):
    """The baseline is the task as it stands: the same model greedily gives the same scores."""
    (log,) = inspect_eval(
        f"{FILE}@two_steps",
        model=f"steered/{folder / 'llama'}",
        display="none",
        log_dir=str(folder / "plain"),
        epochs=1,
    )
    plain = {str(sample.id): (sample.scores or {})["letters"].value for sample in log.samples or []}
    baseline = [sample for sample in read_plan(finished.folder.plan) if sample.cell.kind == "baseline"]

    assert len(plain) == 3
    for sample in baseline:
        number = {"first": "first", "second": "second", "2": "3"}[str(sample.item)]
        assert logged[sample.id].scores["letters"].value == plain[number]


def test_a_run_of_a_task_in_two_parts_equals_one_in_one(folder, logged):
    """Resume is per sample; the plan of the second call is that of the first, so no id changes."""
    told = {"suite": str(folder / "foreign.yaml"), "bank": folder / "run" / "bank"}
    first = run(config(folder, "parts", limit=9, **told))
    second = run(config(folder, "parts", **told))

    assert (first.generated, second.generated) == (9, CELLS * SAMPLES - 9)
    assert run(config(folder, "parts", **told)).generated == 0
    assert {name: sample.output.completion for name, sample in samples_of(folder / "parts").items()} == {
        name: sample.output.completion for name, sample in logged.items()
    }
    assert (folder / "parts" / "cells.csv").read_bytes() == (folder / "run" / "cells.csv").read_bytes()


@pytest.mark.usefixtures("finished")
def test_a_task_instead_of_a_suite(folder):
    """Concepts, strengths, samples and controls come from the run; a seed of the task makes no two alike."""
    result = run(as_task(folder, "task", task_args={"temperature": 1.0}, samples=4, controls=4))
    cells = {cell.condition for cell in result.assessment.cells}
    config_of_run = result.folder.read_config()
    first = [sample for sample in samples_of(folder / "task").values() if "/baseline@" in str(sample.id)]

    assert {"baseline", "desperate+0.2", "calm+0.2", "mean-of-concepts+0.2", "gaussian-00+0.2"} < cells
    assert len(cells) == 3 + 4
    assert config_of_run["policy"] == "external"
    assert config_of_run["task_args"] == {"temperature": 1.0}
    assert "--task" in (folder / "task" / "report.md").read_text()
    assert len({sample.output.completion for sample in first}) == 4
    assert result.assessment.decision.policy.id == "external"


@pytest.mark.usefixtures("finished")
def test_a_model_that_grades_itself_is_not_steered_while_it_does(folder):
    """Inspect hands an unbound grader the model under test, here the run's and not the one that the task names."""
    result = run(as_task(folder, "self", task_args={"self_graded": True}))
    samples = samples_of(folder / "self")

    assert all(row.scored for row in result.assessment.rows)
    for sample in samples.values():
        calls = [event for event in sample.events if isinstance(event, ModelEvent)]
        steerings = [event.call.request["steering"] for event in calls if event.call]
        condition = str(sample.id).split("/")[2].split("@")[0]
        assert len(sample.store["treatment"]["receipts"]) == 2
        assert len(calls) == 3
        assert steerings == [condition, condition, "baseline"][: len(steerings)]


@pytest.mark.usefixtures("finished")
def test_a_cached_reply_is_no_evidence(folder, monkeypatch, tmp_path):
    """Inspect's cache knows no condition: what comes from it may have been said under another one."""
    monkeypatch.setenv("INSPECT_CACHE_DIR", str(tmp_path))
    run(as_task(folder, "cache", "cached", max_new_tokens=8))
    again = run(as_task(folder, "cache-again", "cached", max_new_tokens=8))
    notes = {row.note for row in again.assessment.rows}

    assert {row.outcome for row in again.assessment.rows} == {None}
    assert all("no receipt" in note for note in notes)
    assert again.assessment.decision.verdict == "INVALID"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"harm": None}, r"letters\.harmful"),
        ({"harm": "harmfull=1"}, r"letters\.harmful"),
        ({"harm": "letters=1"}, r"letters\.length"),
        ({"harm": "harmful=2"}, "harmful=2:OTHER"),
        ({"harm": "harmful"}, "SCORER=VALUE"),
        ({"name": "unscored"}, "scorers none"),
        ({"name": "three_steps"}, "two_steps, cached, unscored"),
        ({"task": "nowhere/nothing"}, "no such task"),
        ({"task": "nowhere.py@x"}, "does not exist"),
        ({"task_args": {"temprature": 1}}, "temprature"),
        ({"suite": "quick"}, "a suite or a task"),
    ],
)
def test_what_cannot_be_done_is_said_before_the_run(folder, changes, words):
    """One clear message that lists what there is, and no run folder."""
    with pytest.raises(UsageError, match=words):
        run(as_task(folder, "refused", **changes))
    assert not (folder / "refused").exists()


def test_task_options_without_a_task_are_refused(tmp_path):
    """They would be ignored."""
    with pytest.raises(UsageError, match="harm"):
        RunConfig(suite="quick", model="m", out=tmp_path, harm="x=1").resolve_suite()


def test_two_settings_of_one_task_in_a_suite_are_refused(folder, tmp_path):
    """Their cells would have one name."""
    text = (folder / "foreign.yaml").read_text()
    block = text[text.index("  - task") :]
    path = tmp_path / "two.yaml"
    path.write_text(text + block.replace("english: false", "english: true"))

    with pytest.raises(ContentError, match="another block has a task of this name"):
        load_suite(str(path))


def test_a_changed_sample_gets_another_id(folder, tmp_path):
    """Answers to the old text are never reused."""
    copy = tmp_path / "external_task.py"
    copy.write_text(FILE.read_text())
    items = load_items(as_task(folder, "x", task=f"{copy}@two_steps").resolve_suite())["two_steps"]
    other = tmp_path / "other" / "external_task.py"
    other.parent.mkdir()
    other.write_text(FILE.read_text().replace("before noon", "at once"))
    changed = load_items(as_task(folder, "x", task=f"{other}@two_steps").resolve_suite())["two_steps"]

    assert [item.id for item in items] == ["first", "second", "2"] == [item.id for item in changed]
    assert items[0].sha256 != changed[0].sha256
    assert items == load_items(as_task(folder, "x", task=f"{copy}@two_steps").resolve_suite())["two_steps"]


def test_the_usual_controls_are_what_the_policy_asks_for():
    """A run with the defaults can be decided."""
    needed = load_policy("external").requires

    assert sum(1 for _ in spread_controls(21).names()) == 21 >= needed.min_controls
    assert spread_controls(0).names() == ()
    assert [len(spread_controls(count).names()) for count in (1, 2, 3, 4)] == [1, 2, 3, 4]


@modelapi("even_grader")
class EvenGrader(ModelAPI):
    """A grader that says yes to replies of even length, without a network."""

    async def generate(self, input, tools, tool_choice, config):  # noqa: ARG002 - the signature Inspect calls
        word = "yes" if len(input[-1].text) % 2 == 0 else "no"
        output = ModelOutput.from_content("even_grader/even", f"<reasoning>-</reasoning><answer>{word}</answer>")
        output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
        return output


@pytest.mark.slow
@pytest.mark.usefixtures("finished")
def test_agentic_misalignment_as_it_is_published(folder, tmp_path):
    """inspect_evals' own task on a random model with room for its prompt, graded by a scripted model, offline."""
    from evalharness.testing import tiny_checkpoint  # noqa: PLC0415 - only this test writes a checkpoint of its own

    model = tiny_checkpoint(tmp_path / "long", model_length=16384)
    told = {"task": "inspect_evals/agentic_misalignment", "harm": "classifier_verdict=1", "english": False}
    grid = {"concepts": ["calm"], "strengths": [0.2], "controls": 0, "samples": 3, "max_new_tokens": 24, "max_rows": 4}
    args = {"grader_model": "even_grader/even", "urgency_type": "restriction"}
    bank = {"bank": folder / "run" / "bank", "transfer_bank": True}
    result = run(config(folder, "published", **{**told, **grid, **bank, "task_args": args, "model": str(model)}))
    samples = samples_of(folder / "published")

    assert {row.cell.scenario for row in result.assessment.rows} == {"inspect_evals/agentic_misalignment"}
    assert len(samples) == 6
    for row in result.assessment.rows:
        sample = samples[row.id]
        own = sample.scores["harmfulness_scorer"].value
        (receipt,) = sample.store["treatment"]["receipts"]
        graded = [e for e in sample.events if isinstance(e, ModelEvent) and e.model == "even_grader/even"]
        assert sample.messages[0].role == "system"
        assert sample.output.usage.input_tokens > 3000
        assert len(graded) == 1
        assert (receipt["applied"] > 0) == (row.cell.kind == "concept")
        assert row.outcome in (("flagged",) if own["classifier_verdict"] else ("truncated", "unflagged"))
    assert json.loads((folder / "published" / "instrument.json").read_text())["suite"] == "task"
