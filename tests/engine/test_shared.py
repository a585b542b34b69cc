"""Rows that share prompts draw what they draw alone, in every architecture, and their receipts count every token."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import torch

from evalharness.concepts import ConceptBank
from evalharness.engine import Engine
from evalharness.engine.decode import Decoder
from evalharness.engine.head import Head
from evalharness.engine.prefill import Reader
from evalharness.engine.row import Row
from evalharness.engine.shared_cache import Seat
from evalharness.engine.tracing import Probe
from evalharness.request import Request, Sampling, Steering
from evalharness.testing import Architecture
from tests.engine.plain import plain_generate

SHARING = sorted({*get_args(Architecture)} - {"gpt2", "mpt"})
BEGINNING = tuple(range(20, 42))
"""Longer than the sliding windows of the tiny models."""
GREEDY = Sampling(max_new_tokens=6, temperature=0, ignore_eos=True)


def ask(steering: Steering | tuple[Steering, ...] | None, *tail: int, sampling: Sampling = GREEDY) -> Request:
    return Request(prompt=BEGINNING + tail, steering=steering, sampling=sampling, seed=len(tail))


def grid() -> list[Request]:
    """One prompt under several steerings, twice each, and two prompts that end otherwise."""
    twice = [
        None,
        Steering("desperate", 0.4),
        Steering("calm", -0.5, layers=(0, 2), span="generation"),
        (Steering("happy", 0.3, span="prompt", layers=(2,)), Steering("calm", 0.2, op="clamp", layers=(3,))),
    ]
    requests = [ask(steering, 50) for _ in range(2) for steering in twice]
    return [*requests, ask(twice[1], 60, 61, 62), ask(None, 70), ask(twice[1], 50)]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("architecture", SHARING)
def test_shared_logits_and_tokens_are_those_of_plain_forward_passes(
    checkpoint, bank: ConceptBank, architecture: str
) -> None:
    """Logits within 1e-4 of lone passes without cache, and greedy tokens those of the plain twin."""
    requests = grid()
    with Engine.load(checkpoint(architecture)) as engine:
        drawn = [completion.token_ids for completion in engine.generate(requests, bank)]
        assert engine.describe()["stats"]["shared_tokens"] > 100
        assert [plain_generate(engine, request, bank) for request in requests] == drawn
        doubting = Engine(engine._loaded)
        doubting._decoder = Decoder(engine._loaded, engine._detokenizer, tie_margin=1e9)
        doubting.generate(requests, bank)
        assert doubting._decoder.stats.near_ties == sum(len(tokens) for tokens in drawn)
        assert 0 < doubting._decoder.stats.largest_drift < engine._decoder.stats.tie_margin / 2


def test_sharing_changes_no_completion(engine: Engine, bank: ConceptBank) -> None:
    """Random draws, stop strings and limits: all fields but the last digits of the measured norm are the same."""
    samplings = [
        Sampling(max_new_tokens=12),
        Sampling(max_new_tokens=9, top_p=0.8, temperature=0.7),
        Sampling(max_new_tokens=5, top_k=5, ignore_eos=True),
        Sampling(max_new_tokens=20, stop=("the", "e")),
    ]
    requests = [
        Request(prompt=ask(None, *range(row % 3)).prompt, steering=plan.steering, sampling=samplings[row % 4], seed=row)
        for row, plan in enumerate(grid() * 2)
    ]
    shared, alone = engine.generate(requests, bank), Engine(engine._loaded, share=False).generate(requests, bank)
    for one, other in zip(shared, alone, strict=True):
        assert (one.token_ids, one.text, one.stop_reason) == (other.token_ids, other.text, other.stop_reason)
        assert (one.receipt.applied, one.receipt.layers) == (other.receipt.applied, other.receipt.layers)
        norms = [completion.receipt.mean_relative_norm or 0.0 for completion in (one, other)]
        assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def test_several_beginnings_in_one_batch(checkpoint, bank: ConceptBank) -> None:
    """Two prompts of different lengths, with and without a sliding window, and rows that end at different times."""
    steerings = (None, Steering("calm", 0.3), Steering("happy", -0.3, layers=(0, 2)))
    requests = [
        Request(
            prompt=tuple(range(first, first + 20 + first)),
            steering=steerings[row % 3],
            sampling=Sampling(max_new_tokens=2 + row, ignore_eos=True),
            seed=row,
        )
        for row in range(15)
        for first in (10, 45)
    ]
    for architecture in ("llama", "mistral"):
        with Engine.load(checkpoint(architecture)) as engine:
            shared = [completion.token_ids for completion in engine.generate(requests, bank)]
            assert engine.describe()["stats"]["shared_tokens"] > 500
            alone = Engine(engine._loaded, share=False).generate(requests, bank)
            assert [completion.token_ids for completion in alone] == shared


def test_small_batches_and_other_orders_share_less_and_draw_the_same(engine: Engine, bank: ConceptBank) -> None:
    """Batches of three rows cut through groups; the tokens stay."""
    requests = [ask(plan.steering, 50, sampling=Sampling(max_new_tokens=8)) for plan in grid()]
    whole = [completion.token_ids for completion in engine.generate(requests, bank)]
    parts = [completion.token_ids for completion in engine.generate(requests[::-1], bank, max_rows=3)]
    assert whole == parts[::-1]


def test_every_row_counts_the_shared_tokens(engine: Engine, bank: ConceptBank) -> None:
    """A prompt token that was computed once counts for each row that it serves."""
    rows = [ask(Steering("calm", 0.1), 50) for _ in range(9)] + [ask(Steering("calm", 0.1, span="prompt"), 50)]
    before = engine.describe()["stats"]["shared_tokens"]
    *whole, prompt_only = engine.generate(rows, bank)
    assert engine.describe()["stats"]["shared_tokens"] == before + 9 * (len(BEGINNING) + 1)
    assert [completion.receipt.applied for completion in whole] == [len(BEGINNING) + 1 + 5] * 9
    assert prompt_only.receipt.applied == len(BEGINNING) + 1


def test_a_long_beginning_is_read_in_pieces(engine: Engine, bank: ConceptBank) -> None:
    """Small pieces give the keys and values of one pass; layers up to the steered one stand once."""
    long = tuple(7 + place % 90 for place in range(200))
    requests = [Request(prompt=long, steering=Steering("calm", n / 10), sampling=GREEDY) for n in range(5)]
    rows = [Row(n, request, long, 6, condition=n, shared=199) for n, request in enumerate(requests)]
    reader = Reader(engine._loaded, share=True)
    with torch.inference_mode(), engine._steering(requests, bank) as steering:
        whole = reader.beginning(steering, rows)
        reader.tokens_per_pass = 64
        pieces = reader.beginning(steering, rows)
    assert [1, 1, 5, 5] == [len(keys) for keys in whole.prefix.keys]
    assert torch.equal(whole.counts_N4[:, 0], torch.full((5,), 199.0, dtype=torch.float64))
    assert torch.equal(whole.counts_N4[:, 0], pieces.counts_N4[:, 0])
    for one, other in zip(
        whole.prefix.keys + whole.prefix.values, pieces.prefix.keys + pieces.prefix.values, strict=True
    ):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("architecture", "shared"),
    [(architecture, shared) for architecture in ("llama", "mistral", "gemma2") for shared in (0, 22)] + [("mpt", 0)],
)
def test_long_tails_are_read_in_pieces(checkpoint, bank: ConceptBank, architecture: str, shared: int) -> None:
    """Small masks give the states, counts and traces of one pass, padding and sliding windows included."""
    steerings = [Steering("calm", 0.3), Steering("happy", -0.2, layers=(0, 2))]
    requests = [ask(steering, *range(30, 30 + tail)) for steering, tail in zip(steerings, (41, 17), strict=True)]
    with Engine.load(checkpoint(architecture)) as engine:
        reader, seats = Reader(engine._loaded, share=architecture != "mpt"), [Seat(None)] * 2
        rows = [
            Row(n, request, engine.render(request.prompt), 6, condition=n, shared=shared)
            for n, request in enumerate(requests)
        ]
        with torch.inference_mode(), engine._steering(requests, bank, [Probe(2, "happy")]) as steering:
            if shared:
                prefix = reader.beginning(steering, rows).prefix
                seats = [Seat(prefix, branch) for branch in range(2)]
            whole = reader.leaves(steering, rows, seats)
            reader.mask_size = 2 * whole.cache.length * 9
            pieces = reader.leaves(steering, rows, seats)
    assert whole.trace_LTK is not None
    assert pieces.trace_LTK is not None
    torch.testing.assert_close(whole.states_LX, pieces.states_LX, atol=1e-5, rtol=1e-5)
    assert torch.equal(whole.counts_L4[:, :2], pieces.counts_L4[:, :2])
    for place, row in enumerate(rows):
        tail = slice(-row.tail_tokens, None)
        torch.testing.assert_close(whole.trace_LTK[place, tail], pieces.trace_LTK[place, tail], atol=1e-5, rtol=1e-5)


def test_a_model_that_is_used_as_a_whole_draws_the_same(engine: Engine, bank: ConceptBank) -> None:
    """Without a head of its own, logits come from the model itself; drawing from them leaves them as they are."""
    whole = Engine(replace(engine._loaded, head=Head(engine._loaded.model)))
    whole._decoder = Decoder(whole._loaded, whole._detokenizer, tie_margin=1e9)
    expected, found = engine.generate(grid(), bank), whole.generate(grid(), bank)
    assert engine._loaded.head.linear is not None
    assert [completion.token_ids for completion in found] == [completion.token_ids for completion in expected]
    assert 0 < whole._decoder.stats.largest_drift < 1e-4


def test_the_model_is_left_as_it_was(engine: Engine, bank: ConceptBank) -> None:
    """Attention, hooks and logits after a shared run are those before it."""
    model = engine._loaded.model
    ids = torch.tensor([BEGINNING])
    with torch.inference_mode():
        before = (model.config._attn_implementation, model(input_ids=ids).logits)
        # transformers itself leaves hooks on a model that was once asked for its hidden states.
        hooks = [dict(block._forward_hooks) for block in engine._loaded.blocks]
        engine.generate(grid(), bank)
        after = (model.config._attn_implementation, model(input_ids=ids).logits)
    assert before[0] == after[0]
    assert torch.equal(before[1], after[1])
    assert [dict(block._forward_hooks) for block in engine._loaded.blocks] == hooks


def test_a_model_that_cannot_share_says_why_once_and_draws_the_same(checkpoint, bank: ConceptBank) -> None:
    """MPT adds its position bias outside of the attention interface: batched as before, with one warning."""
    requests = grid()
    with Engine.load(checkpoint("mpt")) as engine:
        with pytest.warns(UserWarning, match="MptForCausalLM computes every prompt by itself"):
            drawn = [completion.token_ids for completion in engine.generate(requests, bank)]
        again = [completion.token_ids for completion in engine.generate(requests, bank)]
        assert drawn == again == [plain_generate(engine, request, bank) for request in requests]
        assert engine.describe()["decode"] == "batched"
        assert "AttentionInterface" in engine.describe()["not_shared_because"]
