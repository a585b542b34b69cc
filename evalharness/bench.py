"""Speed beside the usual ways: the engine against `generate` with a hook, by condition and with mixed rows.

All ways get the same prompts, vectors and output lengths, in one process, alternating; the result is a ratio with its
spread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from torch import Tensor
from transformers import AutoModelForCausalLM

from evalharness.concepts import ConceptBank
from evalharness.engine import Engine
from evalharness.manifest import hardware, versions
from evalharness.request import Request, Sampling, Span, Steering
from evalharness.scenario import load_scenario

STRENGTHS = (-0.1, -0.05, 0.05, 0.1)
CONCEPT = "direction"
OURS, PER_CONDITION, MIXED = "evalharness", "generate with a hook, per condition", "generate with a hook, mixed rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What every way has to do: each prompt under each strength."""

    prompts: Sequence[Sequence[int]]
    strengths: Sequence[float]
    """0 is the baseline, which is not steered."""
    layer: int
    new_tokens: int
    span: Span = "all"


class Timing(NamedTuple):
    """Seconds of each round, per way, and what was done in them."""

    seconds: dict[str, tuple[float, ...]]
    conditions: int
    samples: int
    new_tokens: int

    def ratios(self, way: str) -> tuple[float, ...]:
        """How many times longer than ours another way took, round by round."""
        return tuple(other / ours for ours, other in zip(self.seconds[OURS], self.seconds[way], strict=True))


def run_bench(checkpoint: str, *, samples: int = 8, new_tokens: int = 48, rounds: int = 5) -> Timing:
    """Time all ways over the baseline and four strengths of one direction, `samples` rows each."""
    scenario = load_scenario("blackmail/organism")
    with Engine.load(checkpoint) as engine:
        prompts = [engine.render(scenario.render("main", seed).messages) for seed in range(samples)]
        strengths = (0.0, *STRENGTHS)
        work = Work(prompts=prompts, strengths=strengths, layer=engine.n_layers // 2, new_tokens=new_tokens)
        return time_ways(checkpoint, engine, work, rounds)


def time_ways(checkpoint: str, engine: Engine, work: Work, rounds: int) -> Timing:
    """Alternate between the ways, `rounds` times after one round that warms them up.

    `engine` holds the same checkpoint; the other ways load it once more for themselves.
    """
    bank = _bank(engine.d_model, work.layer)
    usual = _Usual(checkpoint, bank, work)
    requests = _requests(work)
    ways: dict[str, Callable[[], object]] = {
        OURS: lambda: engine.generate(requests, bank),
        PER_CONDITION: usual.per_condition,
        MIXED: usual.mixed,
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for way, run in ways.items():
            taken = _seconds(run)
            if number > 0:
                seconds[way].append(taken)
    spread = {way: tuple(taken) for way, taken in seconds.items()}
    return Timing(spread, len(work.strengths), len(work.prompts), work.new_tokens)


def print_timing(timing: Timing, console: Console) -> None:
    """Medians with their range, and the ratios."""
    console.print(f"{timing.conditions} conditions x {timing.samples} samples x {timing.new_tokens} new tokens")
    for way, seconds in timing.seconds.items():
        console.print(f"{way:36} {np.median(seconds):7.2f} s  [{min(seconds):.2f}, {max(seconds):.2f}]")
    for way in (PER_CONDITION, MIXED):
        ratios = timing.ratios(way)
        spread = f"[{min(ratios):.1f}, {max(ratios):.1f}] over {len(ratios)} rounds"
        console.print(f"{np.median(ratios):.1f} times as fast as {way} {spread}")
    console.print(f"{hardware()['machine']}, {hardware()['cpus']} cpus, torch {versions()['torch']}")


class _Usual:
    """transformers as its documentation uses it: left padding and a forward hook."""

    def __init__(self, checkpoint: str, bank: ConceptBank, work: Work) -> None:
        auto: Any = AutoModelForCausalLM
        self.model = auto.from_pretrained(checkpoint, dtype=torch.float32).eval()
        self.work = work
        self.delta = torch.tensor(bank.vector(CONCEPT, work.layer)) * bank.mean_norm(work.layer)
        longest = max(len(ids) for ids in work.prompts)
        self.ids = torch.tensor([[0] * (longest - len(ids)) + list(ids) for ids in work.prompts])
        self.mask = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in work.prompts])

    def per_condition(self) -> None:
        """One condition after the other, all samples of a condition in one batch."""
        for strength in self.work.strengths:
            self._generate(self.ids, self.mask, torch.full((len(self.ids), 1, 1), strength))

    def mixed(self) -> None:
        """All rows in one batch, each with its strength."""
        rows = len(self.work.strengths)
        strengths = torch.tensor(self.work.strengths).repeat_interleave(len(self.ids))[:, None, None]
        self._generate(self.ids.repeat(rows, 1), self.mask.repeat(rows, 1), strengths)

    def _generate(self, ids: Tensor, mask: Tensor, strengths: Tensor) -> None:
        def add(_module: object, _inputs: object, output: object) -> object:
            hidden = output[0] if isinstance(output, tuple) else output
            assert isinstance(hidden, Tensor)
            if self.work.span == "all" or hidden.shape[1] == 1:
                hidden = hidden + strengths * self.delta
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        tokens = self.work.new_tokens
        handle = self.model.get_decoder().layers[self.work.layer].register_forward_hook(add)
        try:
            self.model.generate(
                input_ids=ids, attention_mask=mask, do_sample=True, min_new_tokens=tokens, max_new_tokens=tokens
            )
        finally:
            handle.remove()


def _requests(work: Work) -> list[Request]:
    sampling = Sampling(max_new_tokens=work.new_tokens, ignore_eos=True)
    return [
        Request(
            prompt=ids,
            steering=Steering(CONCEPT, strength, layers=(work.layer,), span=work.span) if strength else None,
            sampling=sampling,
            seed=seed,
        )
        for strength in work.strengths
        for seed, ids in enumerate(work.prompts)
    ]


def _bank(d_model: int, layer: int) -> ConceptBank:
    """One random direction: what it means is no matter of speed."""
    vector = np.random.default_rng(0).standard_normal((1, d_model)).astype(np.float32)
    return ConceptBank.from_arrays({CONCEPT: vector}, layers=[layer], mean_norms=[1.0])


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
