"""The engine on a CPU beside `generate`: a 40-million-parameter Llama, a prompt of 1,024 tokens, grids of conditions.

    python benchmarks/engine_cpu.py [--rounds 3] [--case 5x8 --case 16x16 --case 16x16-generation]

Writes `benchmarks/results/engine_cpu.json`. The weights are random: how fast a model is does not depend on them. All
samples of a case have the same prompt, as repeated samples of one scenario have.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from evalharness.bench import Timing, Work, print_timing, time_ways
from evalharness.engine import Engine
from evalharness.manifest import hardware, versions

PROMPT_TOKENS, NEW_TOKENS, N_LAYERS, VOCABULARY = 1024, 48, 12, 22_000
STEERED_LAYER = 2 * N_LAYERS // 3 - 1
"""Two thirds of the blocks come up to it, itself included."""
CASES = {"5x8": (5, 8, "all"), "16x16": (16, 16, "all"), "16x16-generation": (16, 16, "generation")}
RESULTS = Path(__file__).parent / "results" / "engine_cpu.json"


def main() -> None:
    """Time the cases and write them down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", action="append", choices=list(CASES))
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        parameters = make_checkpoint(Path(folder))
        with Engine.load(folder) as engine:
            timings = {name: run_case(folder, engine, name, options.rounds) for name in options.case or CASES}
    for name, timing in timings.items():
        console.print(f"\n[bold]{name}[/bold]")
        print_timing(timing, console)
    facts: dict[str, Any] = {
        "parameters": parameters,
        "prompt_tokens": PROMPT_TOKENS,
        "layers": N_LAYERS,
        "steered_layer": STEERED_LAYER,
        "threads": torch.get_num_threads(),
        "dtype": "float32",
        "hardware": hardware(),
        "versions": versions(),
        "cases": {name: timing._asdict() for name, timing in timings.items()},
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def run_case(folder: str, engine: Engine, name: str, rounds: int) -> Timing:
    """One grid: so many conditions, so many samples each, the first condition unsteered."""
    conditions, samples, span = CASES[name]
    prompt = torch.randint(10, VOCABULARY, (PROMPT_TOKENS,), generator=torch.Generator().manual_seed(0)).tolist()
    work = Work(
        prompts=[prompt] * samples,
        strengths=[number / 100 for number in range(conditions)],
        layer=STEERED_LAYER,
        new_tokens=NEW_TOKENS,
        span=span,
    )
    return time_ways(folder, engine, work, rounds)


def make_checkpoint(folder: Path) -> int:
    """Write a random Llama with a tokenizer of numbered words; returns its number of parameters."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=512,
        intermediate_size=1024,
        num_hidden_layers=N_LAYERS,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    words = {f"w{number}": number for number in range(VOCABULARY)}
    backend = Tokenizer(models.WordLevel(words, unk_token="w0"))
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="w1", pad_token="w0").save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())


if __name__ == "__main__":
    main()
