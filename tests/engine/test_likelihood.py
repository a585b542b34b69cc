"""Scoring given continuations: a plain forward pass of each row gives the same numbers, and so does the sampler."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from evalharness.concepts import ConceptBank
from evalharness.engine import Engine
from evalharness.engine import likelihood as likelihood_module
from evalharness.engine.head import Head
from evalharness.errors import UsageError
from evalharness.request import Request, Sampling, Steering

PROMPTS = ["He laughed until he had to hold on to the fence.", "At five", "The clerk counted the files twice."]


def plain(engine: Engine, prompt: tuple[int, ...], continuation: tuple[int, ...]) -> list[float]:
    """One row, no padding, all logits of the model itself."""
    with torch.inference_mode():
        logits = engine._loaded.model(input_ids=torch.tensor([[*prompt, *continuation]])).logits[0]
    scores = logits.to(torch.float64).log_softmax(-1)
    return [float(scores[len(prompt) - 1 + place, token]) for place, token in enumerate(continuation)]


@pytest.mark.parametrize("whole", [False, True], ids=["head apart", "model as a whole"])
def test_batches_equal_plain_forwards(engine: Engine, monkeypatch: pytest.MonkeyPatch, whole: bool) -> None:
    """Rows of different lengths, read in several batches and pieces, score as each does alone, in the order given."""
    prompts = [engine.render(text) for text in PROMPTS]
    continuations = [(7,), tuple(range(10, 40)), (5, 6, 5)]
    monkeypatch.setattr(likelihood_module, "MOST_ROWS", 2)
    monkeypatch.setattr(likelihood_module, "LOGIT_BYTES", 4 * 400 * 7)
    if whole:
        loaded = engine._loaded
        engine = Engine(replace(loaded, head=Head(loaded.model)))
    scored = engine.log_likelihoods(prompts, continuations)
    assert [1, 30, 3] == [len(row) for row in scored]
    for row, (prompt, continuation) in enumerate(zip(prompts, continuations, strict=True)):
        assert scored[row] == pytest.approx(plain(engine, prompt, continuation), abs=1e-4)


def test_unsteered_draws_score_as_they_were_drawn(engine: Engine, bank: ConceptBank) -> None:
    """What an unsteered row says of its own draws is what scoring says; a steered row's own numbers are others."""
    steerings = (None, Steering("calm", 2.0))
    sampling = Sampling(max_new_tokens=12, temperature=0.7, ignore_eos=True)
    requests = [Request(prompt=PROMPTS[0], sampling=sampling, steering=s, logprobs=True, seed=3) for s in steerings]
    unsteered, steered = engine.generate(requests, bank)
    prompt = engine.render(PROMPTS[0])
    scored = engine.log_likelihoods([prompt, prompt], [unsteered.token_ids, steered.token_ids])
    assert unsteered.logprobs == pytest.approx(scored[0], abs=1e-4)
    assert steered.logprobs != pytest.approx(scored[1], abs=1e-2)


def test_what_cannot_be_scored(engine: Engine) -> None:
    """Nothing to score, nothing to score it after, or too much for the context."""
    long = [5] * engine.model_length
    for prompt, continuation in (([], [5]), ([5], []), (long, [5])):
        with pytest.raises(UsageError, match="cannot be scored"):
            engine.log_likelihoods([prompt], [continuation])
    with pytest.raises(UsageError, match="needs its prompt"):
        engine.log_likelihoods([[5]], [])
