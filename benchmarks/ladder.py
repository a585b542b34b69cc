"""Variants of one call of the engine, timed in turn: what does a feature cost where everything else is equal?

In every round each variant runs once, in an order drawn from the round's number, and a ratio is taken within a round.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from rich.console import Console

from evalharness.concepts import ConceptBank
from evalharness.engine import Engine
from evalharness.request import Request
from evalharness.timing import Environment, TimingRecord, spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """Requests that are timed, and the variant they are compared with."""

    requests: Sequence[Request]
    against: str | None = None


class Step(TimingRecord):
    """A variant, measured."""

    seconds: tuple[float, ...]
    against: str | None
    repeats: bool
    """Whether all rounds drew the same tokens."""


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


def climb(
    engine: Engine, bank: ConceptBank, variants: Mapping[str, Variant], rounds: int, environment: Environment
) -> Ladder:
    """Run every variant once to warm up, then once in each round."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    digests: dict[str, set[str]] = {name: set() for name in variants}
    drawn: set[tuple[int, int]] = set()
    for number in range(rounds + 1):
        names = list(variants)
        random.Random(number).shuffle(names)
        for name in names:
            start = time.perf_counter()
            done = engine.generate(variants[name].requests, bank)
            taken = time.perf_counter() - start
            drawn.add((len(done), sum(row.output_tokens for row in done)))
            digests[name].add(hashlib.sha256(repr([row.token_ids for row in done]).encode()).hexdigest())
            if number > 0:
                seconds[name].append(taken)
    ((rows, tokens),) = drawn
    steps = {
        name: Step(seconds=tuple(seconds[name]), against=variant.against, repeats=len(digests[name]) == 1)
        for name, variant in variants.items()
    }
    return Ladder(rows=rows, new_tokens=tokens // rows, steps=steps, environment=environment)


def print_ladder(ladder: Ladder, console: Console) -> None:
    """Seconds of each variant, and the change against its base in percent."""
    console.print(f"{ladder.rows} rows x {ladder.new_tokens} new tokens")
    for name, step in ladder.steps.items():
        console.print(f"  {name:36} {spread(step.seconds, 's')}", soft_wrap=True, markup=False)
        if step.against is not None:
            percent = [100 * (ratio - 1) for ratio in ladder.ratios(name)]
            line = f"{median(percent):+.1f} % [{min(percent):+.1f}, {max(percent):+.1f}] against {step.against}"
            console.print(f"  {'':36} {line}", soft_wrap=True, markup=False)
    console.print(f"  {ladder.environment.line}", soft_wrap=True)
