"""How much of each prompt to share: the cheapest cut through the tree of all prompts. Pure Python.

Rows of one prompt share all of it but its last token. Rows of several prompts that begin alike could share the common
beginning too, at a price: what follows it is computed once per prompt, but read by every row for itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

READING_COST = 0.2
"""Cost of reading a token's keys and values for a whole answer, in units of computing one token of a prompt. Only its
order of magnitude matters."""
BEGINNING_COST = 128
"""Cost of one more beginning in the same units: a pass of its own, and products of its own in every layer and step."""
LEVELS = 100
"""Depth to which the tree is searched; prompts that each continue the one before make it as deep as they are many."""

TokenIds = tuple[int, ...]


class Cut(NamedTuple):
    """Cost of some prompts, and how many leading tokens each shares."""

    cost: float
    shared: dict[TokenIds, int]


def shared_lengths(prompts: Sequence[TokenIds]) -> list[int]:
    """For each prompt the number of leading tokens that it should share with others; 0 for none.

    Prompts with the same number and the same leading tokens share them.
    """
    rows_of = Counter(prompts)
    cut = _cheapest(sorted(rows_of), rows_of, LEVELS)
    return [cut.shared[prompt] for prompt in prompts]


def _cheapest(prompts: Sequence[TokenIds], rows_of: Counter[TokenIds], levels: int) -> Cut:
    """The better of sharing what all of these distinct, sorted prompts begin with, and of dividing them further."""
    if len(prompts) <= 1 or levels == 0:
        return _each(prompts, rows_of)
    depth = _common(prompts[0], prompts[-1])  # sorted, so that all prompts between begin alike as well
    divided = _divided(prompts, depth, rows_of, levels - 1)
    length = min(depth, min(len(prompt) for prompt in prompts) - 1)
    if length < 1:
        return divided
    tails = {prompt: len(prompt) - length for prompt in prompts}
    cost = BEGINNING_COST + length + sum(tail * (1 + READING_COST * rows_of[prompt]) for prompt, tail in tails.items())
    return divided if divided.cost <= cost else Cut(cost, dict.fromkeys(prompts, length))


def _each(prompts: Sequence[TokenIds], rows_of: Counter[TokenIds]) -> Cut:
    """Every prompt for itself: shared by its rows if that saves something."""
    cost = 0.0
    shared: dict[TokenIds, int] = {}
    for prompt in prompts:
        rows = rows_of[prompt]
        apart = rows * len(prompt) * (1 + READING_COST)
        together = BEGINNING_COST + len(prompt) + READING_COST * rows
        shared[prompt] = len(prompt) - 1 if together < apart else 0
        cost += min(together, apart)
    return Cut(cost, shared)


def _divided(prompts: Sequence[TokenIds], depth: int, rows_of: Counter[TokenIds], levels: int) -> Cut:
    """Each set of prompts that goes on with the same token for itself."""
    cost, start = 0.0, 0
    shared: dict[TokenIds, int] = {}
    for stop in range(1, len(prompts) + 1):
        if stop == len(prompts) or prompts[stop][depth : depth + 1] != prompts[start][depth : depth + 1]:
            part = _cheapest(prompts[start:stop], rows_of, levels)
            cost += part.cost
            shared.update(part.shared)
            start = stop
    return Cut(cost, shared)


def _common(one: TokenIds, other: TokenIds) -> int:
    """Leading tokens that two prompts have in common."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))
