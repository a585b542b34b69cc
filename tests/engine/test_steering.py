"""Steering does what it says, to the rows it says, and leaves nothing behind."""

# ruff: noqa: N806  (shape suffixes, as in the engine)
from __future__ import annotations

from contextlib import AbstractContextManager

import pytest
import torch

from evalharness.concepts import ConceptBank
from evalharness.engine import Engine
from evalharness.engine.stages import build_stages
from evalharness.engine.steering import RowSteering, reading
from evalharness.errors import BankError
from evalharness.request import Op, Request, Sampling, Steering
from tests.engine.plain import plain_generate, plain_logits

PROMPT = "Maria could not sleep; the letter lay open"
SHORT = Sampling(max_new_tokens=8)


def ask(steering: Steering | tuple[Steering, ...] | None, seed: int = 0, prompt: str = PROMPT) -> Request:
    return Request(prompt=prompt, steering=steering, sampling=SHORT, seed=seed)


def prompt_pass(steering: RowSteering, ids: torch.Tensor) -> AbstractContextManager[object]:
    """For a pass over a prompt of one row, whose condition is the first."""
    return steering.passing(steering.seat(torch.tensor([0]), [0]), torch.zeros_like(ids, dtype=torch.int8), (0,))


def logits_with(engine: Engine, bank: ConceptBank, request: Request) -> torch.Tensor:
    """Logits [T, V] of a prompt under the engine's own hooks."""
    ids = torch.tensor([engine.render(request.prompt)])
    stages = build_stages([request], bank, torch.device("cpu"))
    hooks = RowSteering(engine._loaded.blocks, stages, {})
    with torch.inference_mode(), hooks as steering, prompt_pass(steering, ids):
        logits: torch.Tensor = engine._loaded.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
    return logits


def test_hook_equals_running_the_blocks_by_hand(engine: Engine, bank: ConceptBank) -> None:
    """Adding to block 1's output inside the model gives the logits of doing it outside, block by block."""
    request = ask(Steering("desperate", 0.3))
    model = engine._loaded.model.model
    ids = torch.tensor([engine.render(PROMPT)])
    with torch.inference_mode():
        positions = torch.arange(ids.shape[1])[None]
        h_BTD = model.embed_tokens(ids)
        rotary = model.rotary_emb(h_BTD, position_ids=positions)
        for layer, block in enumerate(model.layers):
            h_BTD = block(h_BTD, attention_mask=None, position_embeddings=rotary, position_ids=positions)
            if layer == 1:
                h_BTD = h_BTD + 0.3 * bank.mean_norm(1) * torch.tensor(bank.vector("desperate", 1))
        by_hand = engine._loaded.model.lm_head(model.norm(h_BTD))[0]
    torch.testing.assert_close(logits_with(engine, bank, request), by_hand, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "mistral", "gemma2", "gemma3", "gpt_neox", "gpt2"])
def test_every_architecture_draws_what_its_plain_twin_draws(checkpoint, bank: ConceptBank, architecture: str) -> None:
    """Batched, padded, cached and steered equals one row at a time without cache, on every layout."""
    requests = [
        ask(None, 1),
        ask(Steering("desperate", 0.4), 2, "He laughed"),
        ask(Steering("calm", -0.5, layers=(0, 2), span="generation"), 3),
        ask((Steering("happy", 0.3, span="prompt"), Steering("calm", 0.2, op="clamp", layers=(3,))), 4, "At five"),
        ask((Steering("desperate", 0.0, op="ablate"), Steering("desperate", 0.3), Steering("calm", 0.3)), 5),
    ]
    with Engine.load(checkpoint(architecture)) as engine:
        drawn = [completion.token_ids for completion in engine.generate(requests, bank)]
        assert [plain_generate(engine, request, bank) for request in requests] == drawn


def test_strength_zero_equals_no_hook(engine: Engine, bank: ConceptBank) -> None:
    """A steering of strength 0 gives bit-identical logits, and its receipt still counts every application."""
    plain, zero = logits_with(engine, bank, ask(None)), logits_with(engine, bank, ask(Steering("desperate", 0.0)))
    assert torch.equal(plain, zero)
    completion = engine.generate([ask(Steering("desperate", 0.0))], bank)[0]
    assert completion.token_ids == engine.generate([ask(None)])[0].token_ids
    assert completion.receipt.applied == completion.receipt.expected == completion.prompt_tokens + 7
    assert completion.receipt.mean_relative_norm == 0.0


def test_leaving_restores_the_model_bit_for_bit(engine: Engine, bank: ConceptBank) -> None:
    """After a steered run, and after one that failed half way, logits are what they were and no hook is left."""
    hooks = [list(block._forward_hooks) for block in engine._loaded.blocks]
    before = logits_with(engine, bank, ask(None))
    assert not torch.equal(before, logits_with(engine, bank, ask(Steering("desperate", 0.5))))
    engine.generate([ask(Steering("desperate", 0.5))], bank)
    stages = build_stages([ask(Steering("calm", 1.0))], bank, torch.device("cpu"))
    with pytest.raises(KeyError), RowSteering(engine._loaded.blocks, stages, {}):
        raise KeyError
    assert torch.equal(before, logits_with(engine, bank, ask(None)))
    assert hooks == [list(block._forward_hooks) for block in engine._loaded.blocks]


def test_unsteered_row_in_a_steered_batch_equals_an_unsteered_run(engine: Engine, bank: ConceptBank) -> None:
    """Neighbours with strong steering do not change an unsteered row, whose receipt stays empty."""
    crowd = [ask(Steering("desperate", 2.0), seed, PROMPT * (1 + seed % 2)) for seed in range(6)]
    mixed = engine.generate([*crowd[:3], ask(None, 9), *crowd[3:]], bank)[3]
    assert mixed == engine.generate([ask(None, 9)])[0]
    assert (mixed.receipt.applied, mixed.receipt.expected, mixed.receipt.vector_sha256) == (0, 0, ())


def test_sign_flips_the_change(engine: Engine, bank: ConceptBank) -> None:
    """+s and -s move the steered block's output by the same length in opposite directions."""
    ids = torch.tensor([engine.render(PROMPT)])

    def residual(strength: float) -> torch.Tensor:
        stages = build_stages([ask(Steering("calm", strength))], bank, torch.device("cpu"))
        hooks, read = RowSteering(engine._loaded.blocks, stages, {}), reading(engine._loaded.blocks, [1])
        with torch.inference_mode(), hooks as steering, prompt_pass(steering, ids), read as seen:
            engine._loaded.model(input_ids=ids)
        return seen[1]

    up, base, down = residual(0.25), residual(0.0), residual(-0.25)
    expected = 0.25 * bank.mean_norm(1) * torch.tensor(bank.vector("calm", 1)).expand_as(base)
    torch.testing.assert_close(up - base, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(base - down, expected, atol=1e-5, rtol=1e-4)


def test_first_token_of_a_generation_span_is_unsteered(engine: Engine, bank: ConceptBank) -> None:
    """With span `generation` the first token is that of an unsteered run, and later ones differ."""
    steered = engine.generate([ask(Steering("desperate", 3.0, span="generation"), seed) for seed in range(8)], bank)
    plain = engine.generate([ask(None, seed) for seed in range(8)])
    assert [c.token_ids[0] for c in plain] == [c.token_ids[0] for c in steered]
    assert [c.token_ids for c in plain] != [c.token_ids for c in steered]


@pytest.mark.parametrize(("op", "target"), [("ablate", 0.0), ("clamp", 0.5)])
def test_projection_is_set(engine: Engine, bank: ConceptBank, op: Op, target: float) -> None:
    """Ablate leaves nothing along the vector; clamp leaves strength x mean norm."""
    request = ask(Steering("happy", 0.5, op=op))
    ids = torch.tensor([engine.render(PROMPT)])
    stages = build_stages([request], bank, torch.device("cpu"))
    hooks, read = RowSteering(engine._loaded.blocks, stages, {}), reading(engine._loaded.blocks, [1])
    with torch.inference_mode(), hooks as steering, prompt_pass(steering, ids), read as seen:
        engine._loaded.model(input_ids=ids)
    along = seen[1][0] @ torch.tensor(bank.vector("happy", 1))
    torch.testing.assert_close(along, torch.full_like(along, target * bank.mean_norm(1)), atol=1e-5, rtol=1e-5)


def test_plain_twin_sees_steering(engine: Engine, bank: ConceptBank) -> None:
    """The twin used above is itself moved by steering, so agreement with it means something."""
    ids = list(engine.render(PROMPT))
    steered = plain_logits(engine, ids, len(ids), ask(Steering("desperate", 0.4)), bank)
    assert (steered - plain_logits(engine, ids, len(ids), ask(None), bank)).abs().max() > 0.1


def test_bank_problems_are_named_before_the_first_token(engine: Engine, bank: ConceptBank) -> None:
    """No bank, a missing concept, a layer out of range and a wrong width each raise BankError."""
    cases = [
        (ask(Steering("desperate", 0.1)), None, "no concept bank"),
        (ask(Steering("desprate", 0.1)), bank, "desperate"),
        (ask(Steering("calm", 0.1, layers=(7,))), bank, "layer"),
        (
            ask(Steering("calm", 0.1)),
            ConceptBank.from_arrays({"calm": [[1.0, 0.0]] * 4}, layers=range(4), mean_norms=[1.0] * 4),
            r"shape \(32,\)",
        ),
    ]
    for request, given, message in cases:
        with pytest.raises(BankError, match=message):
            engine.generate([request], given)
