"""The least time a grid can take on an accelerator: FLOPs and bytes of a decoder that computes each shared thing once.

    python -m benchmarks.roofline

Pure arithmetic, nothing is measured here. One grid: C conditions x S samples of one prompt of P tokens, N new tokens
each. The first new token comes from the prompt's last position, so there are N - 1 decoding steps. A phase takes at
least max(FLOPs / peak, bytes / bandwidth); phases do not overlap. Counted are

- matrix products of all blocks and of the head: 2 FLOPs for each weight and token,
- attention: 4 x heads x head width FLOPs for each query and key that it sees,
- every weight read once in each phase and step; keys and values of the prompt read once for each branch in which they
  differ, those of a row read and written by that row; logits written once and read once in float32.

Not counted: norms, activations, rotary angles, softmax, sampling arithmetic, and launching kernels. So the bound is
lower than what any program can reach. Writes `benchmarks/results/roofline.json`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from transformers import PretrainedConfig

from benchmarks.checkpoints import qwen2_5_7b
from benchmarks.results import FOLDER, Results, add_case
from evalharness.request import Span
from evalharness.timing import TimingRecord

LOGIT_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A decoder with gated MLPs and grouped queries, as far as work is concerned."""

    blocks: int
    width: int
    mlp_width: int
    heads: int
    key_value_heads: int
    head_width: int
    vocabulary: int
    element_bytes: int
    """Of weights, keys and values."""

    @classmethod
    def of(cls, config: PretrainedConfig, element_bytes: int) -> Shape:
        """From a configuration of Llama or Qwen2."""
        return cls(
            blocks=config.num_hidden_layers,
            width=config.hidden_size,
            mlp_width=config.intermediate_size,
            heads=config.num_attention_heads,
            key_value_heads=config.num_key_value_heads,
            head_width=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
            vocabulary=config.vocab_size,
            element_bytes=element_bytes,
        )

    @property
    def block_weights(self) -> int:
        """Of the matrices in one block: queries and output, keys and values, and the three of the MLP."""
        attention = 2 * self.width * self.head_width * (self.heads + self.key_value_heads)
        return attention + 3 * self.width * self.mlp_width

    @property
    def head_weights(self) -> int:
        """Of the matrix from the last residual to the logits."""
        return self.width * self.vocabulary

    @property
    def key_value_bytes(self) -> int:
        """Of one token in one block."""
        return 2 * self.key_value_heads * self.head_width * self.element_bytes

    def attention_flops(self, pairs: int) -> int:
        """In one block, for so many pairs of a query and a key that it sees."""
        return 4 * self.heads * self.head_width * pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class GridWork:
    """One prompt under C conditions, S samples each; steering at the output of one block."""

    conditions: int
    samples: int
    prompt_tokens: int
    new_tokens: int
    steered_block: int
    """From 0. Blocks up to it, itself included, see the same prompt under every condition."""
    span: Span

    @property
    def rows(self) -> int:
        """Over all conditions."""
        return self.conditions * self.samples

    @property
    def branches(self) -> int:
        """Ways in which the prompt differs above the steered block."""
        return 1 if self.span == "generation" else self.conditions


class Cost(NamedTuple):
    """FLOPs and bytes of a phase or a step."""

    flops: int
    bytes: int


class Peak(NamedTuple):
    """What an accelerator can do at most, by its maker's data sheet: dense bfloat16 and memory."""

    flops_per_s: float
    bytes_per_s: float


PEAKS = {
    "H200": Peak(989e12, 4.8e12),
    "H100": Peak(989e12, 3.35e12),
    "A100": Peak(312e12, 2.039e12),
}
"""By a part of the device's name; SXM variants, the A100 with 80 GB."""


class Bound(TimingRecord):
    """The least time for one grid on one accelerator."""

    conditions: int
    samples: int
    prompt_tokens: int
    new_tokens: int
    steered_block: int
    span: Span
    peak_flops_per_s: float
    peak_bytes_per_s: float
    prompt_flops: int
    prompt_bytes: int
    decode_flops: int
    decode_bytes: int
    floor_s: float


def prompt_cost(shape: Shape, grid: GridWork) -> Cost:
    """The prompt once up to the steered block, above it once for each branch; logits of its last token only."""
    passes = _block_passes(shape, grid)
    tokens, seen = grid.prompt_tokens, grid.prompt_tokens * (grid.prompt_tokens + 1) // 2
    flops = passes * (2 * shape.block_weights * tokens + shape.attention_flops(seen))
    flops += 2 * shape.head_weights * grid.branches
    weights = (shape.blocks * shape.block_weights + shape.head_weights) * shape.element_bytes
    logits = 2 * LOGIT_BYTES * shape.vocabulary * grid.branches
    return Cost(flops, weights + passes * tokens * shape.key_value_bytes + logits)


def step_cost(shape: Shape, grid: GridWork, own: int) -> Cost:
    """One decoding step in which every row reads its prompt and `own` tokens of its own, the newest included."""
    rows = grid.rows
    attention = shape.blocks * shape.attention_flops(rows * (grid.prompt_tokens + own))
    flops = 2 * (shape.blocks * shape.block_weights + shape.head_weights) * rows + attention
    weights = (shape.blocks * shape.block_weights + shape.head_weights) * shape.element_bytes
    shared = _block_passes(shape, grid) * grid.prompt_tokens * shape.key_value_bytes
    # A row writes the keys and values of its newest token and reads all of its own.
    private = shape.blocks * rows * (own + 1) * shape.key_value_bytes
    return Cost(flops, weights + shared + private + 2 * LOGIT_BYTES * shape.vocabulary * rows)


def decode_cost(shape: Shape, grid: GridWork) -> Cost:
    """All N - 1 steps, in closed form: what a step costs is linear in the tokens that a row has of its own."""
    steps = grid.new_tokens - 1
    if steps == 0:
        return Cost(0, 0)
    first, last = step_cost(shape, grid, 1), step_cost(shape, grid, steps)
    return Cost(steps * (first.flops + last.flops) // 2, steps * (first.bytes + last.bytes) // 2)


def bound(shape: Shape, grid: GridWork, peak: Peak) -> Bound:
    """The floor of a grid."""
    prompt, decode = prompt_cost(shape, grid), decode_cost(shape, grid)
    steps = [step_cost(shape, grid, own) for own in range(1, grid.new_tokens)]
    return Bound(
        conditions=grid.conditions,
        samples=grid.samples,
        prompt_tokens=grid.prompt_tokens,
        new_tokens=grid.new_tokens,
        steered_block=grid.steered_block,
        span=grid.span,
        peak_flops_per_s=peak.flops_per_s,
        peak_bytes_per_s=peak.bytes_per_s,
        prompt_flops=prompt.flops,
        prompt_bytes=prompt.bytes,
        decode_flops=decode.flops,
        decode_bytes=decode.bytes,
        floor_s=sum(least_seconds(cost, peak) for cost in (prompt, *steps)),
    )


def least_seconds(cost: Cost, peak: Peak) -> float:
    """Whatever takes longer, computing or moving."""
    return max(cost.flops / peak.flops_per_s, cost.bytes / peak.bytes_per_s)


def gpu_grid(span: Span, samples: int = 64) -> GridWork:
    """The case of `engine_gpu`: steering at two thirds of the 28 blocks of Qwen2.5-7B."""
    blocks = qwen2_5_7b().num_hidden_layers
    return GridWork(
        conditions=16,
        samples=samples,
        prompt_tokens=3000,
        new_tokens=300,
        steered_block=2 * blocks // 3 - 1,
        span=span,
    )


def print_bound(name: str, floor: Bound, console: Console) -> None:
    """The two numbers of each phase, and the floor."""
    flops, moved = floor.prompt_flops + floor.decode_flops, floor.prompt_bytes + floor.decode_bytes
    console.print(f"{name}: {flops / 1e15:.2f} PFLOP and {moved / 1e12:.2f} TB, at least {floor.floor_s:.2f} s")
    console.print(f"  prompt {floor.prompt_flops / 1e15:.3f} PFLOP, {floor.prompt_bytes / 1e12:.3f} TB")
    console.print(f"  decode {floor.decode_flops / 1e15:.3f} PFLOP, {floor.decode_bytes / 1e12:.3f} TB")


def main(out: Path = FOLDER / "roofline.json") -> None:
    """Compute the bounds of the GPU case for both spans, print them and write them down."""
    console, shape = Console(), Shape.of(qwen2_5_7b(), element_bytes=2)
    spans: tuple[Span, ...] = ("generation", "all")
    for span in spans:
        name = f"H200, {span}"
        floor = bound(shape, gpu_grid(span), PEAKS["H200"])
        add_case(out, BoundResults, "Computed, not measured: the least time by FLOPs and bytes", name, floor)
        print_bound(name, floor, console)


class BoundResults(Results[Bound]):
    """Written by `roofline`."""


def _block_passes(shape: Shape, grid: GridWork) -> int:
    """How often one block's prompt is computed and kept, over all blocks."""
    if grid.span == "generation":
        return shape.blocks
    below = grid.steered_block + 1
    return below + (shape.blocks - below) * grid.branches


if __name__ == "__main__":
    main()
