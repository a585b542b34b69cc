"""All ways side by side on a CPU: a Llama of 40 million parameters, 1,024 + 48 tokens, grids of conditions.

    python -m benchmarks.engine_cpu [--case 5x8] [--rounds 3] [--other-rounds 2]

Ours, `generate` with a hook per condition, `generate` with mixed rows, repeng, steering-vectors, and Inspect's `hf`
provider unsteered. All samples of a case have the same prompt, as repeated samples of one scenario have. Writes
`benchmarks/results/engine_cpu.json` after each case.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from transformers import PretrainedConfig
from transformers.utils.logging import disable_progress_bar

from benchmarks.checkpoints import llama_40m, random_prompt, write_checkpoint
from benchmarks.inspect_hf import INSPECT_HF, InspectHf
from benchmarks.peers import PACKAGES, peers
from benchmarks.results import FOLDER, TimingResults, add_case
from evalharness.bench import (
    MIXED,
    PER_CONDITION,
    MixedRows,
    Ours,
    PerCondition,
    direction_bank,
    engine_environment,
    load_plain_model,
)
from evalharness.engine import Engine
from evalharness.request import Span
from evalharness.timing import Timing, Way, Work, print_timing, time_ways

ABOUT = (
    "Llama, 12 blocks, width 512, 8 heads, 4 key-value heads, 22,000 words, random weights, float32; steered at the "
    "output of block 7 of 0 to 11 (two thirds of the blocks come up to it); one prompt for all rows; temperature 1"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """One case: so many conditions, so many samples each, the first condition unsteered."""

    conditions: int
    samples: int
    span: Span = "all"
    prompt_tokens: int = 1024
    new_tokens: int = 48

    def work(self, vocabulary: int, layers: int) -> Work:
        """The grid for a model: strengths that all differ, steering at two thirds of its depth."""
        return Work(
            prompts=[random_prompt(vocabulary, self.prompt_tokens)] * self.samples,
            strengths=[number / 10 for number in range(self.conditions)],
            layer=2 * layers // 3 - 1,
            new_tokens=self.new_tokens,
            span=self.span,
        )


LEFT_OUT = "left out: run with --other-rounds 1 or more"
CASES = {
    "5x8": Grid(conditions=5, samples=8),
    "16x16": Grid(conditions=16, samples=16),
    "16x16-generation": Grid(conditions=16, samples=16, span="generation"),
}


def main() -> None:
    """Time the cases and write them down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=list(CASES))
    parser.add_argument("--rounds", type=int, default=3, help="runs of `generate` per condition")
    parser.add_argument("--other-rounds", type=int, default=2, help="runs of each further way; 0: none")
    parser.add_argument("--out", type=Path, default=FOLDER / "engine_cpu.json")
    options = parser.parse_args()
    disable_progress_bar()
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        config = llama_40m()
        write_checkpoint(config, Path(folder))
        for name in options.case or CASES:
            console.print(f"\n[bold]{name}[/bold]")
            timing = run_grid(folder, config, CASES[name], (options.rounds, options.other_rounds))
            add_case(options.out, TimingResults, ABOUT, name, timing)
            print_timing(timing, console)


def run_grid(folder: str, config: PretrainedConfig, grid: Grid, rounds: tuple[int, int]) -> Timing:
    """One grid on one checkpoint; `rounds` are those of `generate` per condition and those of each further way."""
    with Engine.load(folder, device="cpu") as engine:
        work = grid.work(config.vocab_size, config.num_hidden_layers)
        bank = direction_bank(engine.d_model, work.layer)
        model = load_plain_model(folder, "float32")
        others: dict[str, Way | str] = {
            PER_CONDITION: PerCondition(model, bank),
            MIXED: MixedRows(model, bank),
            **peers(lambda: load_plain_model(folder, "float32"), bank, work.layer),
            INSPECT_HF: InspectHf(folder),
        }
        if not rounds[1]:
            others = {name: way if name == PER_CONDITION else LEFT_OUT for name, way in others.items()}
        each = {name: rounds[0] if name == PER_CONDITION else rounds[1] for name in others}
        return time_ways(Ours(engine, bank), others, work, each, engine_environment(engine, PACKAGES))


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
