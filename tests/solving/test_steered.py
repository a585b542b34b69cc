"""Steered agents end to end on a random checkpoint that acts by chance: receipts, turns, and one row each."""

from __future__ import annotations

import json

import pytest
from inspect_ai.event import ModelEvent
from inspect_ai.log import EvalSample

from evalharness.logs import read_samples
from evalharness.mails import MAILBOX_TURNS
from evalharness.planfile import read_plan
from evalharness.solving.mailbox_state import Mailbox
from evalharness.treatment import receipts_of
from tests.solving.speaking import speaking_checkpoint
from tests.solving.suiteruns import run_suite, samples_of

pytestmark = pytest.mark.slow

CALLS = [
    '<tool_call>{"name":"list_mails","arguments":{}}</tool_call>',
    '<tool_call>{"name":"read_mail","arguments":{"mail_id":"1"}}</tool_call>',
    '<tool_call>{"name":"read_mail","arguments":{"mail_id":"77"}}</tool_call>',
    '<tool_call>{"name":"search_mails","arguments":{"query":"the"}}</tool_call>',
    '<tool_call>{"name":"send_mail","arguments":{"to":"Ann","subject":"x","body":"done"}}</tool_call>',
    '<tool_call>{"name":"forward_mail","arguments":{"mail_id":"2","to":"Ann"}}</tool_call>',
    '<tool_call>{"name":"wait","arguments":{}}</tool_call>',
    '<tool_call>{"name":"wait","arguments":',
]
SUITE = """\
schema: suite/1
id: agents
version: 1
title: Agents with a mailbox
sampling: {max_new_tokens: 32}
bank: {stories: organism, neutral: organism, contrast: organism, stories_per_concept: 4, depth: 0.5, skip: 5}
blocks:
  - scenario: blackmail/freight
    variants: [main, no_leverage]
    form: mailbox
    samples: 2
    grid: {concepts: [calm], strengths: [0.3], controls: {}}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One run, unsteered and steered cells together."""
    folder = tmp_path_factory.mktemp("agents")
    model = speaking_checkpoint(folder / "model", CALLS)
    return run_suite(folder, model, SUITE)


@pytest.fixture(scope="module")
def samples(finished) -> dict[str, EvalSample]:
    return {str(sample.id): sample for sample in samples_of(finished)}


def test_one_row_per_sample_and_all_of_them_scored(finished, samples):
    """Plan, logs and rows agree, and the scenario has a name of its own."""
    planned = read_plan(finished.folder.plan)
    rows = finished.assessment.rows

    assert len(planned) == len(rows) == len(samples) == 2 * 2 * 2
    assert [row.id for row in rows] == [sample.id for sample in planned]
    assert all(row.scored for row in rows), [row.note for row in rows]
    assert {row.cell.scenario for row in rows} == {"blackmail-freight.mailbox"}


def test_every_call_has_a_receipt_and_steered_ones_show_it(samples):
    """As many receipts as calls to the model, and in a steered sample each says what was added."""
    for sample in samples.values():
        calls = [event for event in sample.events if isinstance(event, ModelEvent)]
        receipts = receipts_of(sample.store)

        assert len(receipts) == len(calls) == sum(message.role == "assistant" for message in sample.messages)
        steered = sample.metadata["condition"] != "baseline"
        assert all((receipt["applied"] > 0) == steered for receipt in receipts)
        assert all(receipt["applied"] == receipt["expected"] for receipt in receipts)


def test_the_model_acted_over_several_turns(samples):
    """Tools were called, answered and told to the model again: the prompts grow from turn to turn."""
    turns = {name: sum(m.role == "assistant" for m in sample.messages) for name, sample in samples.items()}

    assert max(turns.values()) > 2
    assert max(turns.values()) <= MAILBOX_TURNS
    longest = samples[max(turns, key=lambda name: turns[name])]
    events = [event for event in longest.events if isinstance(event, ModelEvent)]
    read = [event.output.usage.input_tokens for event in events if event.output.usage]
    assert read == sorted(set(read))
    seeds = [event.call.request["seed"] for event in events if event.call]
    assert len(set(seeds)) == len(seeds)


def test_the_evidence_is_the_sum_of_the_calls(samples):
    """Each successful call of send and forward is one mail of the end state, and no other is."""
    for sample in samples.values():
        box = Mailbox.model_validate(sample.store["evidence"]["mailbox"])
        done = [message.function for message in sample.messages if message.role == "tool" and message.error is None]

        assert len(box.sent) == done.count("send_mail")
        assert len(box.forwarded) == done.count("forward_mail")
        assert box.waited == ("wait" in done)
        assert box.out_of_turns == (not box.waited and box.turns == MAILBOX_TURNS)


def test_receipts_of_all_turns_count_for_the_gate(finished):
    """The check of a run looks at every call, not at the last one, and finds all of them in order."""
    logged = read_samples(finished.folder.root / "logs")
    assert sum(len(sample.receipts) for sample in logged.values()) > len(logged)
    instrument = json.loads((finished.folder.root / "verdict.json").read_text())["instrument"]
    assert (instrument["receipts_checked"], instrument["receipts_mismatched"]) == (len(logged), 0)
