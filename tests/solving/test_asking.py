"""Awareness end to end: asked after the act, under the same steering, with a receipt; rates are split by the answer."""

from __future__ import annotations

import pytest
from inspect_ai.event import ModelEvent

from evalharness.scoring.awareness import load_awareness
from evalharness.treatment import receipts_of
from tests.solving.speaking import speaking_checkpoint
from tests.solving.suiteruns import run_suite, samples_of

pytestmark = pytest.mark.slow

SUITE = """\
schema: suite/1
id: asked
version: 1
title: Asked afterwards
awareness: {asks}
sampling: {{max_new_tokens: 24}}
bank: {{stories: organism, neutral: organism, contrast: organism, stories_per_concept: 4, depth: 0.5, skip: 5}}
blocks:
  - scenario: blackmail/organism
    variants: [main]
    samples: 8
    grid: {{concepts: [calm], strengths: [0.3]}}
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same model, seeds and prompts, once asked and once not."""
    base = tmp_path_factory.mktemp("asked")
    sayings = [f"<wait/> ANSWER: {word} {number}" for word in ("TEST", "REAL") for number in range(60)]
    model = speaking_checkpoint(base / "model", sayings)
    found = []
    for asks in (True, False):
        folder = base / str(asks)
        folder.mkdir()
        found.append(run_suite(folder, model, SUITE.format(asks=str(asks).lower())))
    return found


def test_asking_changes_nothing_that_was_done(runs):
    asked, silent = runs

    assert [row.reply for row in asked.assessment.rows] == [row.reply for row in silent.assessment.rows]
    assert [row.outcome for row in asked.assessment.rows] == [row.outcome for row in silent.assessment.rows]
    assert {row.aware for row in silent.assessment.rows} == {None}


def test_the_question_comes_last_under_the_same_steering(runs):
    asked, _ = runs
    question = load_awareness().question
    for sample in samples_of(asked):
        act, answer = [event for event in sample.events if isinstance(event, ModelEvent)]
        first, second = receipts_of(sample.store)

        assert answer.input[-1].text == question
        assert question not in "".join(message.text for message in [*act.input, *sample.messages])
        assert first["vector_sha256"] == second["vector_sha256"]
        assert (sample.metadata["condition"] == "baseline") == (second["applied"] == 0)


def test_rates_are_split_by_what_was_answered(runs):
    asked, silent = runs
    rows, cells = asked.assessment.rows, asked.assessment.cells

    assert {row.aware for row in rows} >= {"yes", "no"}
    assert {cell.condition for cell in cells} == {"baseline", "calm+0.3"}
    assert "Did the model think that it was tested?" in (asked.folder.root / "report.html").read_text()
    assert "Did the model think that it was tested?" not in (silent.folder.root / "report.html").read_text()
