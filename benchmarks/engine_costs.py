"""What steering costs inside the engine: distinct conditions in one batch, steering on and off, and memory.

    python -m benchmarks.engine_costs [--rounds 7] [--rows 64] [--skip-memory]

The model and the prompt are those of `engine_cpu`. Every row is steered by `generation`, so all share one prompt;
with K conditions each has a direction and a strength of its own. Receipts cannot be switched off: the hooks of a
steered row count what they change, so their cost is part of "steering on against off". Writes
`benchmarks/results/engine_costs.json`.

A feature that costs something is added as one more line in `variants`.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from transformers.utils.logging import disable_progress_bar

from benchmarks.checkpoints import llama_40m, random_prompt, write_checkpoint
from benchmarks.grids import GridShape, directions, grid_requests
from benchmarks.ladder import Ladder, Variant, climb, print_ladder
from benchmarks.memory import Memory, measure_memory, print_memory
from benchmarks.results import FOLDER, Results, add_case
from evalharness.bench import engine_environment
from evalharness.concepts import ConceptBank
from evalharness.engine import Engine
from evalharness.request import Request, Span, Trace

PROMPT_TOKENS, NEW_TOKENS = 1024, 48
ABOUT = "The model and prompt of engine_cpu; rows that are steered by generation share one prompt"
COUNTS = (1, 4, 16, 64)
"""Distinct conditions at equal rows."""
OFF, PROMPT_TOO, TRACE = "not steered", "1 condition, prompt steered too", "8 concepts traced"
TRACED = 8
"""Concepts of a trace, at the steered layer."""


class CostResults(Results[Ladder]):
    """Cases of `engine_costs` that are times."""


class MemoryResults(Results[Memory]):
    """Cases of `engine_costs` that are bytes."""


def main() -> None:
    """Measure and write down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--skip-memory", action="store_true")
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args()
    disable_progress_bar()
    console = Console()
    with tempfile.TemporaryDirectory() as name:
        folder, config = Path(name), llama_40m()
        write_checkpoint(config, folder)
        prompt = random_prompt(config.vocab_size, PROMPT_TOKENS)
        with Engine.load(folder, device="cpu") as engine:
            bank = directions(engine.d_model, 2 * engine.n_layers // 3 - 1, options.rows)
            steps = variants(prompt, bank, options.rows, NEW_TOKENS)
            ladder = climb(engine, bank, steps, options.rounds, engine_environment(engine))
        add_case(options.out / "engine_costs.json", CostResults, ABOUT, "ladder", ladder)
        print_ladder(ladder, console)
        if not options.skip_memory:
            memory = measure_memory(folder, prompt, rows=options.rows, new_tokens=NEW_TOKENS)
            add_case(options.out / "memory.json", MemoryResults, ABOUT, "memory", memory)
            print_memory(memory, console)


def variants(prompt: list[int], bank: ConceptBank, rows: int, new_tokens: int) -> dict[str, Variant]:
    """Equal numbers of rows: unsteered, and 1 to all rows with a condition of their own."""

    def steered(conditions: int, against: str | None, span: Span = "generation") -> Variant:
        shape = GridShape(rows, conditions, new_tokens)
        return Variant(requests=lambda seed: grid_requests(prompt, bank, shape, span, first_seed=seed), against=against)

    def traced(seed: int) -> list[Request]:
        trace = Trace(bank.names[:TRACED])
        return [replace(request, trace=trace) for request in steps[base].requests(seed)]

    one, *more = [count for count in COUNTS if count <= rows]
    steps = {OFF: steered(0, None), condition_name(one): steered(one, OFF)}
    steps |= {condition_name(count): steered(count, condition_name(one)) for count in more}
    steps[PROMPT_TOO] = steered(1, OFF, "all")
    base = condition_name(more[-1] if more else one)
    steps[TRACE] = Variant(requests=traced, against=base)
    return steps


def condition_name(count: int) -> str:
    """How a step of the curve is called in the results."""
    return f"{count} condition{'s' if count > 1 else ''}"


if __name__ == "__main__":
    main()
