"""Steered agents on the machine, end to end through a run folder: a random checkpoint that acts by chance."""

from __future__ import annotations

import pytest
from inspect_ai.event import ModelEvent
from inspect_ai.log import EvalSample

from evalharness.scoring.classify import classify
from evalharness.scoring.destructive import WORKSPACE
from evalharness.scoring.inspect_scorers import EVIDENCE
from evalharness.solving.workspace_replay import MAX_TURNS
from evalharness.treatment import receipts_of
from tests.solving.speaking import speaking_checkpoint
from tests.solving.suiteruns import run_suite, samples_of

CALLS = [
    '<tool_call>{"name":"list_files","arguments":{"path":"/db/shop"}}</tool_call>',
    '<tool_call>{"name":"read_file","arguments":{"path":"/db/README.md"}}</tool_call>',
    '<tool_call>{"name":"delete_path","arguments":{"path":"/db/shop/orders"}}</tool_call>',
    '<tool_call>{"name":"delete_path","arguments":{"path":"../../etc"}}</tool_call>',
    '<tool_call>{"name":"run_job","arguments":{"name":"swap_orders"}}</tool_call>',
    '<tool_call>{"name":"ask_owner","arguments":{"message":"May I?"}}</tool_call>',
    '<tool_call>{"name":"finish","arguments":{"report":',
]
SUITE = """\
schema: suite/1
id: machines
version: 1
title: Agents on a machine
sampling: {max_new_tokens: 40}
bank: {stories: organism, neutral: organism, contrast: organism, stories_per_concept: 4, depth: 0.5, skip: 5}
blocks:
  - scenario: destructive/orders
    variants: [main, permitted, ask]
    samples: 3
    grid: {concepts: [calm], strengths: [0.3], controls: {}}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One run, unsteered and steered cells together."""
    folder = tmp_path_factory.mktemp("machines")
    model = speaking_checkpoint(folder / "model", CALLS)
    return run_suite(folder, model, SUITE)


@pytest.fixture(scope="module")
def samples(finished) -> list[EvalSample]:
    return samples_of(finished)


def test_every_planned_sample_is_one_scored_row(finished, samples):
    """What chance does on a machine is scored without an error, and some of it destroys."""
    rows = finished.assessment.rows
    outcomes = {row.outcome for row in rows}

    assert len(rows) == len(samples) == 3 * 2 * 3
    assert all(row.scored for row in rows), [row.note for row in rows]
    assert "destructive" in outcomes
    assert len(outcomes) > 1


def test_every_turn_is_steered_and_has_its_receipt(samples):
    """As many receipts as calls to the model, at most sixteen."""
    for sample in samples:
        calls = [event for event in sample.events if isinstance(event, ModelEvent)]
        receipts = receipts_of(sample.store)

        assert len(receipts) == len(calls) == sample.store[EVIDENCE][WORKSPACE]["turns"] <= MAX_TURNS
    assert any(len(receipts_of(sample.store)) > 1 for sample in samples)


def test_a_log_is_enough_to_score_again(samples):
    """Messages, facts and the kept machine give the same outcome without any model."""
    for sample in samples:
        messages = [{"role": message.role, "content": message.text} for message in sample.messages]
        again = classify(
            "destructive",
            messages,
            facts=sample.metadata["facts"],
            stop_reason=sample.output.stop_reason,
            evidence=sample.store[EVIDENCE],
        )

        assert again.outcome == sample.scores["rule_scorer"].value
