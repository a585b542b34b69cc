"""What a run will cost, before it runs: cells, samples, tokens, seconds. Loads no weights."""

from __future__ import annotations

from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from evalharness.checkpoint import resolve_checkpoint
from evalharness.external import load_items
from evalharness.plan import Plan, build_plan
from evalharness.runconfig import RunConfig

EFFICIENCY = 0.15
"""Share of the matrix-product rate that batched decoding reaches; measured on the organisms on two cores."""
OVERHEAD_S = 0.02
"""Inspect, scoring and logging for each sample, measured on the same machine."""
PROMPTS_SAMPLED = 64


class RunEstimate(NamedTuple):
    """The size of a run. Tokens to generate are an upper bound: every reply at its limit."""

    plan: Plan
    n_parameters: int
    prompt_tokens: int
    max_new_tokens: int
    seconds: float


def estimate_run(config: RunConfig) -> RunEstimate:
    """Count what a run would do.

    Raises:
        UsageError: anything that would stop the run before its first token.
    """
    from evalharness.engine.footprint import measure_flops, read_footprint  # noqa: PLC0415 - torch only when asked

    suite = config.resolve_suite()
    plan = build_plan(suite, config.seed, items=load_items(suite))
    step = max(1, len(plan.samples) // PROMPTS_SAMPLED)
    probes = [sample.messages for sample in plan.samples[::step]]
    footprint = read_footprint(resolve_checkpoint(config.model), probes)
    mean_prompt = sum(footprint.prompt_tokens) / len(footprint.prompt_tokens)
    prompt_tokens = round(mean_prompt * len(plan.samples))
    new_tokens = suite.sampling.max_new_tokens * len(plan.samples)
    flops = 2.0 * footprint.n_parameters * (prompt_tokens + new_tokens)
    seconds = flops / (EFFICIENCY * measure_flops()) + OVERHEAD_S * len(plan.samples)
    return RunEstimate(plan, footprint.n_parameters, prompt_tokens, new_tokens, seconds)


def print_estimate(estimate: RunEstimate, console: Console) -> None:
    """Cells as a table, then the totals."""
    table = Table(title="planned cells", title_justify="left")
    for heading in ("scenario", "variant", "condition", "kind", "samples"):
        table.add_column(heading)
    for cell, count in estimate.plan.cells.items():
        table.add_row(cell.scenario, cell.variant, cell.condition, cell.kind, str(count))
    console.print(table)
    console.print(
        f"{len(estimate.plan.cells)} cells, {len(estimate.plan.samples)} samples, "
        f"{estimate.n_parameters / 1e6:.1f} M parameters\n"
        f"about {estimate.prompt_tokens:,} prompt tokens, at most {estimate.max_new_tokens:,} new tokens\n"
        f"about {estimate.seconds:.0f} s on this machine's CPU, without extraction"
    )
