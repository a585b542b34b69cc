"""The engine on an accelerator beside `generate` and beside the roofline: Qwen2.5-7B's shape, random weights, bfloat16.

    python -m benchmarks.engine_gpu [--rounds 2] [--other-rounds 1] [--span generation] [--samples 64]

16 conditions x 64 samples of one prompt of 3,000 tokens, 300 new tokens, steered at two thirds of depth. All rows in
one `generate` would need more memory than a card has, so that way is not timed. The checkpoint takes 15 GB of disk
while the script runs. Without CUDA it says so and measures nothing; `benchmarks.roofline` prints the arithmetic
anywhere. Writes `benchmarks/results/engine_gpu.json`.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import torch
from rich.console import Console
from transformers import PretrainedConfig
from transformers.utils.logging import disable_progress_bar

from benchmarks.checkpoints import qwen2_5_7b, random_prompt, write_checkpoint
from benchmarks.peers import PACKAGES, peers
from benchmarks.results import FOLDER, Results, add_case
from benchmarks.roofline import PEAKS, Bound, GridWork, Shape, bound, gpu_grid, print_bound
from evalharness.bench import (
    MIXED,
    PER_CONDITION,
    Ours,
    PerCondition,
    direction_bank,
    engine_environment,
    load_plain_model,
)
from evalharness.engine import Engine
from evalharness.request import Span
from evalharness.timing import Timing, TimingRecord, Way, Work, print_timing, spread, time_ways

ABOUT = "Qwen2.5-7B's shape, random weights; one prompt for all rows; sampling at temperature 1"
GIB = 1 << 30


class GpuCase(TimingRecord):
    """The ways side by side, and the least time that arithmetic allows on this card."""

    timing: Timing
    floor: Bound | None
    """None on a card whose peaks are not in `roofline.PEAKS`."""
    ours_peak_bytes: int
    """Of device memory, weights included."""

    @property
    def roofline_shares(self) -> tuple[float, ...]:
        """The floor over the time that ours took, run by run; 1 cannot be reached."""
        return () if self.floor is None else tuple(self.floor.floor_s / taken for taken in self.timing.ours_s)


class GpuResults(Results[GpuCase]):
    """Written by `engine_gpu`."""


def main() -> None:
    """Measure and write down, or say why not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2, help="runs of `generate` per condition")
    parser.add_argument("--other-rounds", type=int, default=1, help="runs of each further way")
    parser.add_argument("--span", action="append", choices=get_args(Span))
    parser.add_argument("--samples", type=int, default=64, help="fewer for a trial")
    parser.add_argument("--out", type=Path, default=FOLDER / "engine_gpu.json")
    options = parser.parse_args()
    disable_progress_bar()
    if not torch.cuda.is_available():
        parser.exit(
            2, "No CUDA device here, so nothing is measured. `python -m benchmarks.roofline` prints the bound.\n"
        )
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        config = qwen2_5_7b()
        write_checkpoint(config, Path(folder), dtype="bfloat16")
        for span in options.span or ("generation", "all"):
            grid = gpu_grid(span, options.samples)
            case = run_case(folder, config, grid, (options.rounds, options.other_rounds))
            name = f"{grid.conditions}x{grid.samples}-{span}"
            add_case(options.out, GpuResults, ABOUT, name, case)
            console.print(f"\n[bold]{name}[/bold]")
            print_case(case, console)


def run_case(folder: str, config: PretrainedConfig, grid: GridWork, rounds: tuple[int, int]) -> GpuCase:
    """One grid; `rounds` are those of `generate` per condition and those of each further way."""
    work = Work(
        prompts=[random_prompt(config.vocab_size, grid.prompt_tokens)] * grid.samples,
        strengths=[number / 10 for number in range(grid.conditions)],
        layer=grid.steered_block,
        new_tokens=grid.new_tokens,
        span=grid.span,
    )
    with Engine.load(folder, dtype="bfloat16") as engine:
        bank = direction_bank(engine.d_model, work.layer)
        ours = Ours(engine, bank)
        peak_bytes = device_peak_bytes(lambda: ours.draw(work))
        others: dict[str, Way | str] = {
            PER_CONDITION: PerCondition(load_plain_model(folder, "bfloat16"), bank),
            MIXED: "the keys and values of all prompts do not fit into the memory of one card",
            **peers(lambda: load_plain_model(folder, "bfloat16"), bank, work.layer),
        }
        each = {name: rounds[0] if name == PER_CONDITION else rounds[1] for name in others}
        timing = time_ways(ours, others, work, each, engine_environment(engine, PACKAGES))
    return GpuCase(timing=timing, floor=floor_of(config, grid, timing.environment.device), ours_peak_bytes=peak_bytes)


def device_peak_bytes(work: Callable[[], object]) -> int:
    """Most device memory that was allocated while `work` ran; 0 without CUDA."""
    on_cuda = torch.cuda.is_available()
    if on_cuda:
        torch.cuda.reset_peak_memory_stats()
    work()
    return torch.cuda.max_memory_allocated() if on_cuda else 0


def floor_of(config: PretrainedConfig, grid: GridWork, device: str) -> Bound | None:
    """The bound for a device whose name holds one of the known ones."""
    known = [peak for name, peak in PEAKS.items() if name in device]
    return bound(Shape.of(config, element_bytes=2), grid, known[0]) if known else None


def print_case(case: GpuCase, console: Console) -> None:
    """Ratios, and how near the roofline is."""
    print_timing(case.timing, console)
    console.print(f"  device memory of ours: {case.ours_peak_bytes / GIB:.1f} GiB")
    if case.floor is not None:
        print_bound("  roofline", case.floor, console)
        percent = [100 * share for share in case.roofline_shares]
        console.print(f"  share of the roofline {spread(percent, '%')}", markup=False)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
