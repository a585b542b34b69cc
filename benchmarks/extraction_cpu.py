"""Extraction of concept vectors against the bare forward passes that it cannot do without.

    python -m benchmarks.extraction_cpu [--rounds 5] [--stories 640]

The model is that of `engine_cpu`: 40 million parameters in 12 blocks. Stories are 160 to 220 random tokens under 16
labels. Bare: `transformers` reads the same texts in batches of 64 of like length, and nothing is looked at. Ours: all
12 layers, means in float64 from token 50 on, sums for the concepts and 20 label-permuted controls. Tokenizing is part
of ours and not of the other. In every round both run once, in turn. Writes `benchmarks/results/extraction_cpu.json`.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from benchmarks.checkpoints import FIRST_WORD, llama_40m, write_checkpoint
from benchmarks.results import FOLDER, Results, add_case
from evalharness.bench import engine_environment
from evalharness.concepts import ExtractionSpec, extract
from evalharness.engine import Engine
from evalharness.timing import Environment, TimingRecord, spread

ABOUT = "The model of engine_cpu; stories of 160 to 220 tokens under 16 labels, read at all 12 layers"
BATCH, CONCEPTS = 64, 16


class Extraction(TimingRecord):
    """Both, round by round."""

    stories: int
    layers: int
    ours_s: tuple[float, ...]
    bare_s: tuple[float, ...]
    environment: Environment

    @property
    def more(self) -> tuple[float, ...]:
        """How much longer ours took, as a share of the bare passes beside it."""
        return tuple(ours / bare - 1 for ours, bare in zip(self.ours_s, self.bare_s, strict=True))


class ExtractionResults(Results[Extraction]):
    """Cases of `extraction_cpu`."""


def main() -> None:
    """Measure and write down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stories", type=int, default=640)
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args()
    disable_progress_bar()
    with tempfile.TemporaryDirectory() as name:
        folder, config = Path(name), llama_40m()
        write_checkpoint(config, folder)
        stories = random_stories(options.stories, config.vocab_size)
        with Engine.load(folder, device="cpu") as engine:
            case = measure(engine, folder, stories, options.rounds)
    add_case(options.out / "extraction_cpu.json", ExtractionResults, ABOUT, "stories", case)
    percent = [100 * more for more in case.more]
    console = Console()
    console.print(f"ours {spread(case.ours_s, 's')}, bare {spread(case.bare_s, 's')}", markup=False)
    console.print(f"{median(percent):+.1f} % [{min(percent):+.1f}, {max(percent):+.1f}]", markup=False)


def random_stories(count: int, vocabulary: int) -> list[dict[str, Any]]:
    """Texts of numbered words, one token each, that go around the labels."""
    rng = random.Random(0)
    return [
        {
            "concept": f"c{number % CONCEPTS}",
            "topic": f"t{number // CONCEPTS}",
            "text": " ".join(f"w{rng.randrange(FIRST_WORD, vocabulary)}" for _ in range(rng.randrange(160, 221))),
        }
        for number in range(count)
    ]


def measure(engine: Engine, folder: Path, stories: list[dict[str, Any]], rounds: int) -> Extraction:
    """Warm both up, then run them in turn."""
    spec = ExtractionSpec(denoise=0, gaussian=20, permuted=20, check=None)
    bare = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = sorted((engine.render(story["text"]) for story in stories), key=len, reverse=True)
    ours_s, bare_s = [], []
    for number in range(rounds + 1):
        start = time.perf_counter()
        extract(engine, stories, (), spec)
        middle = time.perf_counter()
        read_bare(bare, ids)
        if number:
            ours_s.append(middle - start)
            bare_s.append(time.perf_counter() - middle)
    return Extraction(
        stories=len(stories),
        layers=engine.n_layers,
        ours_s=tuple(ours_s),
        bare_s=tuple(bare_s),
        environment=engine_environment(engine),
    )


def read_bare(model: Any, ids: list[tuple[int, ...]]) -> None:
    """One forward pass per batch; only the last position's logits are computed, as ours does."""
    for start in range(0, len(ids), BATCH):
        batch = ids[start : start + BATCH]
        longest = len(batch[0])
        padded = torch.tensor([[*row, *[0] * (longest - len(row))] for row in batch])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in batch])
        with torch.inference_mode():
            model(input_ids=padded, attention_mask=mask, use_cache=False, logits_to_keep=1)


if __name__ == "__main__":
    main()
