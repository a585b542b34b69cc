"""Concept traces and log-probabilities are those of a plain forward pass over the finished text."""

# ruff: noqa: N806  (shape suffixes, as in the engine)

from __future__ import annotations

import numpy as np
import pytest
import torch

from evalharness.concepts import ConceptBank
from evalharness.engine import Engine
from evalharness.engine.steering import reading
from evalharness.errors import BankError
from evalharness.request import Completion, Request, Sampling, Steering, Trace
from tests.engine.plain import plain_logits

LONG = tuple(20 + place % 60 for place in range(120))
SAMPLING = Sampling(max_new_tokens=8, ignore_eos=True)
TRACE = Trace(("calm", "happy"), layers=(0, 2), series=True)


def by_hand(
    engine: Engine, bank: ConceptBank, request: Request, done: Completion
) -> dict[tuple[str, int], list[float]]:
    """Projections of every token that was fed, from one plain pass with the plain steering."""
    ids = [*engine.render(request.prompt), *done.token_ids[:-1]]
    with reading(engine._loaded.blocks, [0, 2]) as seen:
        # The plain hooks come first, so what is read here has been steered.
        plain_logits_after(engine, ids, request, bank, seen)
    return {
        (concept, layer): (seen[layer][0] @ torch.tensor(bank.vector(concept, layer)) / bank.mean_norm(layer)).tolist()
        for concept in TRACE.concepts
        for layer in (0, 2)
    }


def plain_logits_after(
    engine: Engine, ids: list[int], request: Request, bank: ConceptBank, seen: dict[int, torch.Tensor]
) -> None:
    """A plain steered pass; where a hook returns a new stream, the reader that was attached before saw the old one."""
    prompt_tokens = len(engine.render(request.prompt))
    plain_logits(engine, ids, prompt_tokens, request, bank)
    for layer, h_BTD in seen.items():
        shifted = h_BTD.clone()
        for steering in request.steerings:
            if layer in (steering.layers or bank.steer_layers):
                change = steering.strength * bank.mean_norm(layer) * torch.tensor(bank.vector(steering.concept, layer))
                start = prompt_tokens if steering.span == "generation" else 0
                shifted[0, start:] += change
        seen[layer] = shifted


@pytest.mark.parametrize("share", [True, False], ids=["shared", "alone"])
def test_series_are_those_of_a_plain_pass(engine: Engine, bank: ConceptBank, share: bool) -> None:
    """Prompt tokens read once for several rows, tails and drawn tokens, below and above the steered layer."""
    steerings = (None, Steering("calm", 0.5, layers=(0,)), Steering("happy", -0.4, layers=(2,), span="generation"))
    requests = [
        Request(prompt=(*LONG, 5 + row % 2), steering=steering, sampling=SAMPLING, seed=row, trace=TRACE)
        for row, steering in enumerate(steerings * 2)
    ]
    for request, done in zip(requests, Engine(engine._loaded, share=share).generate(requests, bank), strict=True):
        assert done.trace is not None
        expected = by_hand(engine, bank, request, done)
        assert [(one.concept, one.layer) for one in done.trace] == [
            ("calm", 0),
            ("calm", 2),
            ("happy", 0),
            ("happy", 2),
        ]
        for one in done.trace:
            np.testing.assert_allclose(one.series, expected[one.concept, one.layer], atol=2e-5)
            drawn = one.series[done.prompt_tokens :]
            assert one.prompt_mean == pytest.approx(np.mean(one.series[: done.prompt_tokens]))
            assert one.generation_mean == pytest.approx(np.mean(drawn))
            assert (one.generation_min, one.generation_max) == (min(drawn), max(drawn))
            assert one.generation_last == drawn[-1]


def test_tracing_changes_no_token_and_only_who_asked_gets_it(engine: Engine, bank: ConceptBank) -> None:
    """Beside rows without a trace; a summary holds no series, and one drawn token leaves nothing to sum up."""
    plain = Request(prompt=LONG, steering=Steering("calm", 0.3), sampling=SAMPLING)
    one_token = Sampling(max_new_tokens=1)
    rows = [
        plain,
        Request(prompt=LONG, steering=plain.steering, sampling=SAMPLING, trace=Trace(("desperate",))),
        Request(prompt=LONG, sampling=one_token, trace=Trace(("desperate",))),
    ]
    untraced, traced, short = engine.generate(rows, bank)
    assert untraced.trace is None
    assert traced.token_ids == untraced.token_ids
    assert traced.receipt == untraced.receipt
    assert traced.trace is not None
    assert short.trace is not None
    assert (traced.trace[0].concept, traced.trace[0].layer, traced.trace[0].series) == ("desperate", 1, ())
    assert (short.trace[0].generation_mean, short.trace[0].generation_last) == (None, None)


def test_new_traces_wait_for_rows_that_run(engine: Engine, bank: ConceptBank) -> None:
    """A row that asks for another concept while a session runs gets it, and nobody's tokens change."""
    rows = [
        Request(prompt=LONG, sampling=SAMPLING, seed=seed, trace=Trace((concept,), series=True))
        for seed, concept in enumerate(("calm", "happy"))
    ]
    expected = engine.generate(rows, bank)
    with engine.session(bank) as session:
        done: dict[int, Completion] = {}
        session.add([engine.row(0, rows[0], bank)])
        done.update((i, out) for i, out in session.step() if isinstance(out, Completion))
        session.add([engine.row(1, rows[1], bank)])
        while session.pending:
            done.update((i, out) for i, out in session.step() if isinstance(out, Completion))
    for index, completion in enumerate(expected):
        later, trace = done[index], completion.trace
        assert later.token_ids == completion.token_ids
        assert later.trace is not None
        assert trace is not None
        np.testing.assert_allclose(later.trace[0].series, trace[0].series, atol=1e-5)


def test_a_trace_that_the_bank_cannot_serve_is_refused(engine: Engine, bank: ConceptBank) -> None:
    """Before the first token, like a steering."""
    for trace, words in ((Trace(("bored",)), "bored"), (Trace(("calm",), layers=(9,)), "0 to 3")):
        with pytest.raises(BankError, match=words):
            engine.generate([Request(prompt=LONG, sampling=SAMPLING, trace=trace)], bank)


@pytest.mark.parametrize("sampling", [
    SAMPLING,
    Sampling(max_new_tokens=8, temperature=0.0, ignore_eos=True),
    Sampling(max_new_tokens=8, temperature=0.6, top_p=0.7, top_k=30, ignore_eos=True),
])  # fmt: skip
def test_logprobs_are_those_of_plain_logits(engine: Engine, bank: ConceptBank, sampling: Sampling) -> None:
    """At temperature 1, before any filter, whatever the row is drawn with; rows that did not ask get none."""
    asked = Request(prompt=LONG, steering=Steering("calm", 0.5), sampling=sampling, seed=3, logprobs=True)
    silent = Request(prompt=LONG, sampling=sampling, seed=3)
    done, other = engine.generate([asked, silent], bank)
    assert other.logprobs is None
    ids = [*LONG, *done.token_ids]
    logits = plain_logits(engine, ids, len(LONG), asked, bank).log_softmax(-1)
    expected = [float(logits[len(LONG) - 1 + place, token]) for place, token in enumerate(done.token_ids)]
    assert done.logprobs is not None
    np.testing.assert_allclose(np.array(done.logprobs), np.array(expected), atol=1e-4)
