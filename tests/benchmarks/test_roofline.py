"""The bound's arithmetic against plain loops and against torch's own counter of FLOPs."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaForCausalLM

from benchmarks.checkpoints import qwen2_5_7b, small_llama
from benchmarks.roofline import (
    PEAKS,
    Cost,
    GridWork,
    Shape,
    bound,
    decode_cost,
    gpu_grid,
    least_seconds,
    prompt_cost,
    step_cost,
)
from evalharness.request import Span

SHAPE = Shape.of(small_llama(), element_bytes=4)


def grid(span: Span = "all", conditions: int = 3, samples: int = 2, prompt_tokens: int = 11) -> GridWork:
    return GridWork(
        conditions=conditions,
        samples=samples,
        prompt_tokens=prompt_tokens,
        new_tokens=7,
        steered_block=1,
        span=span,
    )


def plain_flops(shape: Shape, queries: list[tuple[int, int]]) -> int:
    """Query by query; a query is (keys it sees, tokens whose logits are needed after it)."""
    flops = 0
    for seen, logits in queries:
        products = 0
        for rows, columns in (
            (shape.width, shape.heads * shape.head_width),
            (shape.width, shape.key_value_heads * shape.head_width),
            (shape.width, shape.key_value_heads * shape.head_width),
            (shape.heads * shape.head_width, shape.width),
            (shape.width, shape.mlp_width),
            (shape.width, shape.mlp_width),
            (shape.mlp_width, shape.width),
        ):
            products += 2 * rows * columns
        for _head in range(shape.heads):
            products += 2 * 2 * shape.head_width * seen
        flops += products + logits * 2 * shape.width * shape.vocabulary
    return flops


@pytest.mark.parametrize("span", ["all", "generation"])
def test_a_prompt_is_computed_once_below_the_steering_and_once_a_branch_above(span) -> None:
    """Four blocks, two of them below: 2 + 2 x 3 passes for `all`, 4 for `generation`."""
    work = grid(span)
    branches = 3 if span == "all" else 1
    passes = [block for block in range(4) for _ in range(1 if block <= 1 else branches)]
    queries = [(place + 1, 0) for _ in passes for place in range(11)]
    head = branches * 2 * SHAPE.width * SHAPE.vocabulary

    assert plain_flops(SHAPE, queries) + head == prompt_cost(SHAPE, work).flops


def test_decoding_adds_up_step_by_step() -> None:
    """The closed form equals the sum of its steps, and a step equals plain loops over rows and blocks."""
    work = grid()
    steps = [step_cost(SHAPE, work, own) for own in range(1, 7)]
    queries = [(11 + 4, int(block == 3)) for _ in range(6) for block in range(4)]

    assert Cost(sum(step.flops for step in steps), sum(step.bytes for step in steps)) == decode_cost(SHAPE, work)
    assert plain_flops(SHAPE, queries) == step_cost(SHAPE, work, 4).flops


def test_one_row_costs_what_torch_counts() -> None:
    """A forward pass over a prompt, all pairs of tokens counted as the counter does, and one step after it."""
    model = LlamaForCausalLM(small_llama()).eval()
    model.set_attn_implementation("eager")
    ids = torch.arange(10, 21)[None]
    with torch.no_grad(), FlopCounterMode(display=False) as prompt:
        past = model(ids, use_cache=True, logits_to_keep=1).past_key_values
    with torch.no_grad(), FlopCounterMode(display=False) as step:
        model(ids[:, :1], past_key_values=past)
    one = grid("generation", conditions=1, samples=1)
    unseen = SHAPE.blocks * SHAPE.attention_flops(11 * 11 - 11 * 12 // 2)

    assert prompt_cost(SHAPE, one).flops + unseen == prompt.get_total_flops()
    assert step_cost(SHAPE, one, 1).flops == step.get_total_flops()


def test_weights_and_caches_are_those_of_the_model() -> None:
    """Matrices of the blocks and the head; keys and values as `generate` keeps them."""
    model = LlamaForCausalLM(small_llama())
    matrices = sum(weight.numel() for name, weight in model.named_parameters() if "layers" in name and weight.dim() > 1)
    past = model(torch.arange(10, 15)[None], use_cache=True).past_key_values
    kept = sum(tensor.nbytes for layer in past.layers for tensor in (layer.keys, layer.values))

    assert SHAPE.blocks * SHAPE.block_weights == matrices
    assert 5 * SHAPE.blocks * SHAPE.key_value_bytes == kept


def test_a_step_reads_every_weight_once_and_each_branch_of_the_prompt_once() -> None:
    """One more sample adds its own keys, values and logits; one more condition its branch as well."""
    few, more = step_cost(SHAPE, grid(samples=2), 3), step_cost(SHAPE, grid(samples=3), 3)
    own = 3 * (SHAPE.blocks * 4 * SHAPE.key_value_bytes + 2 * 4 * SHAPE.vocabulary)
    wider = step_cost(SHAPE, grid(conditions=6, samples=1), 3)

    assert own == more.bytes - few.bytes
    assert 3 * 2 * 11 * SHAPE.key_value_bytes == wider.bytes - few.bytes


def test_the_floor_is_whatever_takes_longer() -> None:
    """Bytes where little is computed, FLOPs where much is; the H200 case is bound by FLOPs."""
    peak = PEAKS["H200"]
    floor = bound(Shape.of(qwen2_5_7b(), element_bytes=2), gpu_grid("generation"), peak)

    assert 2.0 == least_seconds(Cost(0, int(2 * peak.bytes_per_s)), peak)
    assert 3.0 == least_seconds(Cost(int(3 * peak.flops_per_s), 0), peak)
    assert floor.floor_s == pytest.approx((floor.prompt_flops + floor.decode_flops) / peak.flops_per_s)
    assert 7.0e9 < 28 * Shape.of(qwen2_5_7b(), element_bytes=2).block_weights + 2 * 3584 * 152_064 < 7.7e9
