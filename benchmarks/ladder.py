"""Variants of one call of the engine, timed in turn: what a feature costs where everything else is equal.

In every round each variant runs once, in an order drawn from the round's number, and a ratio is taken within a round.

A near tie between two tokens makes the engine compute a row once more, alone. That comes with the tokens, not with the
feature, and one of them is larger than the costs that are looked for. So each variant gets the first seed with which it
has none; how many it had with its first seed is written down beside it.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from rich.console import Console

from evalharness.concepts import ConceptBank
from evalharness.engine import Engine
from evalharness.request import Request
from evalharness.timing import Environment, TimingRecord, spread

SEEDS_TRIED = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """Requests that are timed, and the variant they are compared with."""

    requests: Callable[[int], Sequence[Request]]
    """From the seed of the first row."""
    against: str | None = None


class Step(TimingRecord):
    """A variant, measured."""

    seconds: tuple[float, ...]
    against: str | None
    repeats: bool
    """Whether all rounds drew the same tokens."""
    seed: int
    """Of the first row."""
    near_ties: int
    """In each run. More than 0 if no seed without one was found."""
    near_ties_at_first_seed: int


class Ladder(TimingRecord):
    """All variants over the same number of rows and tokens."""

    rows: int
    new_tokens: int
    steps: dict[str, Step]
    environment: Environment

    def ratios(self, name: str) -> tuple[float, ...]:
        """Time of a variant over the time of the one it is compared with, round by round."""
        step = self.steps[name]
        base = self.steps[step.against or name].seconds
        return tuple(taken / other for taken, other in zip(step.seconds, base, strict=True))


class _Choice(NamedTuple):
    requests: Sequence[Request]
    seed: int
    near_ties: int
    at_first: int


def climb(
    engine: Engine, bank: ConceptBank, variants: Mapping[str, Variant], rounds: int, environment: Environment
) -> Ladder:
    """Choose seeds, which warms every variant up, then run each of them once in each round."""
    chosen = {name: _choose(engine, bank, variant) for name, variant in variants.items()}
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    digests: dict[str, set[str]] = {name: set() for name in variants}
    drawn: set[tuple[int, int]] = set()
    for number in range(rounds):
        names = list(variants)
        random.Random(number).shuffle(names)
        for name in names:
            start = time.perf_counter()
            done = engine.generate(chosen[name].requests, bank)
            seconds[name].append(time.perf_counter() - start)
            drawn.add((len(done), sum(row.output_tokens for row in done)))
            digests[name].add(hashlib.sha256(repr([row.token_ids for row in done]).encode()).hexdigest())
    ((rows, tokens),) = drawn
    steps = {
        name: Step(
            seconds=tuple(seconds[name]),
            against=variant.against,
            repeats=len(digests[name]) == 1,
            seed=chosen[name].seed,
            near_ties=chosen[name].near_ties,
            near_ties_at_first_seed=chosen[name].at_first,
        )
        for name, variant in variants.items()
    }
    return Ladder(rows=rows, new_tokens=tokens // rows, steps=steps, environment=environment)


def near_ties(engine: Engine) -> int:
    """How many the engine has met so far."""
    return int(engine.describe()["stats"].get("near_ties", 0))


def _choose(engine: Engine, bank: ConceptBank, variant: Variant) -> _Choice:
    """The first seed without a near tie, or the one with the fewest."""
    choices: list[_Choice] = []
    for seed in range(0, 1000 * SEEDS_TRIED, 1000):
        requests, before = variant.requests(seed), near_ties(engine)
        engine.generate(requests, bank)
        ties = near_ties(engine) - before
        choices.append(_Choice(requests, seed, ties, choices[0].at_first if choices else ties))
        if ties == 0:
            break
    return min(choices, key=lambda choice: choice.near_ties)


def print_ladder(ladder: Ladder, console: Console) -> None:
    """Seconds of each variant, and the change against its base in percent."""
    console.print(f"{ladder.rows} rows x {ladder.new_tokens} new tokens")
    for name, step in ladder.steps.items():
        ties = f", {step.near_ties} near ties" if step.near_ties else ""
        console.print(f"  {name:32} {spread(step.seconds, 's')}{ties}", soft_wrap=True, markup=False)
        if step.against is not None:
            percent = [100 * (ratio - 1) for ratio in ladder.ratios(name)]
            line = f"{median(percent):+.1f} % [{min(percent):+.1f}, {max(percent):+.1f}] against {step.against}"
            console.print(f"  {'':32} {line}", soft_wrap=True, markup=False)
    console.print(f"  {ladder.environment.line}", soft_wrap=True)
