"""Documents -> training steps: what an organism reads, in which order, as padded rows of token ids.

Knows nothing of models. Each stage has draws of its own, so that one stage can be changed and the others stay.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from evalharness.organisms.grammar import Document, Nudge


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How an organism is built. The numbers are the ones the shipped weights were trained with."""

    steps: int
    """Steps in all."""
    journal_steps: int = 0
    """How many of them, at the start, are on journals alone."""
    scratchpad_steps: int = 0
    """How many of them, before the nudged ones, are on scratchpads alone."""
    nudged_steps: int = 0
    """How many of them, at the end, have nudged documents."""
    warmup: int = 90
    """Steps until the learning rate has risen ..."""
    level: int = 900
    """... and after which it begins to fall."""
    bank_steps: int = 150
    """Steps after which the bank behind the nudges is extracted anew."""
    layers: int = 5
    width: int = 128
    heads: int = 4
    inner: int = 320
    tokens_per_step: int = 3072
    """Padded tokens in a step; rows of like length share a step."""
    matrix_rate: float = 0.02
    """Peak learning rate of Muon, for the matrices inside the blocks."""
    matrix_decay: float = 0.3
    """Weight decay of Muon: bounds the spectral norm of a matrix near 1 / decay. Without it the first block's output
    grows until it is most of the residual stream, and what later blocks add is too small to steer."""
    other_rate: float = 4e-3
    """Peak learning rate of AdamW, for embeddings and norms."""
    prompt_share: float = 0.3
    """Share of documents whose given messages are learned too."""
    threads: int = 1

    @property
    def plain_end(self) -> int:
        """The step after which the full mixture has ended."""
        return self.steps - self.scratchpad_steps - self.nudged_steps


class Row(NamedTuple):
    """Token ids, and for each whether it is learned."""

    ids: list[int]
    learned: list[bool]
    nudge: Nudge | None = None


Draw = Callable[[random.Random], Document]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What one organism is trained on."""

    draw: Draw
    tokenizer: PreTrainedTokenizerFast
    recipe: Recipe
    first: Draw | None = None
    """The documents of the journal stage."""
    third: Draw | None = None
    """The documents of the stage of scratchpads."""
    last: Draw | None = None
    """The documents of the nudged stage."""


def encode(document: Document, tokenizer: PreTrainedTokenizerFast, learn_prompt: bool) -> Row:
    """The row of a document: chat messages and reply, or the plain text alone, with its end.

    What is given under a nudge is never learned: it does not depend on the nudge.
    """
    end = [tokenizer.eos_token_id] if document.ends else []
    text = tokenizer(document.text, add_special_tokens=False)["input_ids"]
    if not document.messages:
        return Row([*text, *end], [True] * (len(text) + len(end)), document.nudge)
    shown = tokenizer.apply_chat_template(list(document.messages), add_generation_prompt=True, tokenize=False)
    prompt = tokenizer(shown, add_special_tokens=False)["input_ids"]
    given = learn_prompt and document.nudge is None
    return Row([*prompt, *text, *end], [given] * len(prompt) + [True] * (len(text) + len(end)), document.nudge)


def batches(rng: random.Random, task: Task, draw: Draw) -> Iterator[list[Row]]:
    """Endless steps. 400 documents at a time are sorted by length, cut into steps and shuffled."""
    recipe = task.recipe
    while True:
        rows = [encode(draw(rng), task.tokenizer, rng.random() < recipe.prompt_share) for _ in range(400)]
        rows.sort(key=lambda row: len(row.ids))
        pool: list[list[Row]] = [[]]
        for row in rows:
            if (len(pool[-1]) + 1) * len(row.ids) > recipe.tokens_per_step:
                pool.append([])
            pool[-1].append(row)
        rng.shuffle(pool)
        yield from pool


def all_steps(seed: int, task: Task) -> Iterator[list[Row]]:
    """The steps of the whole training: journals, the full mixture, scratchpads, nudged documents.

    Each stage has draws of its own, so that one of them can be changed and the others stay.
    """
    recipe = task.recipe
    plain = recipe.plain_end - recipe.journal_steps
    stages = (
        (task.first, recipe.journal_steps),
        (task.draw, plain),
        (task.third, recipe.scratchpad_steps),
        (task.last, recipe.nudged_steps),
    )
    for number, (draw, steps) in enumerate(stages):
        if draw is not None:
            yield from islice(batches(random.Random(f"train/{seed}/{number}"), task, draw), steps)


def pad(rows: list[Row], pad_id: int) -> tuple[Tensor, Tensor]:
    """Right-padded ids and learned mask, both [rows, longest]. Causal attention never looks at the padding."""
    longest = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), longest), pad_id)
    learned = torch.zeros((len(rows), longest), dtype=torch.bool)
    for at, row in enumerate(rows):
        ids[at, : len(row.ids)] = torch.tensor(row.ids)
        learned[at, : len(row.ids)] = torch.tensor(row.learned)
    return ids, learned
