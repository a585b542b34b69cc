"""Who shares what: the tree of prompts, and the rows that stand for others. No torch."""

from __future__ import annotations

import random

from evalharness.concepts import ConceptBank
from evalharness.engine.beginnings import BEGINNING_COST, shared_lengths
from evalharness.engine.row import prompt_steering
from evalharness.request import Request, Sampling, Steering

LONG = tuple(range(100, 400))
ONE = Sampling(max_new_tokens=1)
BANK = ConceptBank.from_arrays(
    dict.fromkeys(("calm", "happy"), [[1.0, 0.0]] * 3), layers=range(3), mean_norms=[1.0] * 3
)
"""Steers layer 1 unless told otherwise."""


def test_equal_prompts_share_all_but_the_last_token() -> None:
    """The last token's logits are needed, so it is run; a prompt of its own shares nothing."""
    other = tuple(range(300))
    assert shared_lengths([LONG, other, LONG]) == [299, 0, 299]
    assert shared_lengths([]) == []


def test_short_prompts_share_nothing() -> None:
    """A pass of their own would cost more than it saves."""
    short = LONG[: BEGINNING_COST // 2]
    assert shared_lengths([short, short]) == [0, 0]
    assert shared_lengths([short] * 9) == [len(short) - 1] * 9


def test_prompts_that_begin_alike_share_the_beginning() -> None:
    """Variants that differ in their tails share what comes before, one that differs early does not."""
    early = (1, *LONG)
    assert shared_lengths([(*LONG, 1, 2), (*LONG, 3), early]) == [300, 300, 0]


def test_a_prompt_that_another_goes_on_from() -> None:
    """The shorter one keeps its last token."""
    assert shared_lengths([LONG, (*LONG, 7, 8)]) == [299, 299]


def test_many_rows_of_few_prompts_share_whole_prompts() -> None:
    """Reading long tails row by row would cost more than computing a short beginning once more."""
    left, right = (*LONG[:20], *range(1000, 1300)), (*LONG[:20], *range(2000, 2300))
    assert shared_lengths([left] * 50 + [right] * 50) == [319] * 100


def test_a_deep_tree_ends() -> None:
    """Each prompt goes on from the one before, a thousand times."""
    lengths = shared_lengths([LONG * 2 + tuple(range(n)) for n in range(1000)])
    assert len(lengths) == 1000


def test_rows_of_equal_length_and_beginning_share_it() -> None:
    """Over random trees: a shared length is shorter than the prompt, and some other row begins the same way."""
    rng = random.Random(0)
    for _ in range(30):
        prompts = [tuple(rng.randint(0, 1) for _ in range(rng.randint(1, 5))) for _ in range(rng.randint(1, 12))]
        prompts = [tuple(token for bit in prompt for token in [bit] * 30) for prompt in prompts]
        shared = shared_lengths(prompts)
        for number, (prompt, length) in enumerate(zip(prompts, shared, strict=True)):
            assert 0 <= length < len(prompt)
            others = [p[:s] for n, (p, s) in enumerate(zip(prompts, shared, strict=True)) if n != number]
            assert length == 0 or prompt[:length] in others


def test_what_is_done_to_the_prompt() -> None:
    """Span `generation` does nothing to it, `all` and `prompt` the same; order matters for projections only."""
    calm, happy = Steering("calm", 0.1), Steering("happy", 0.2, op="ablate")

    def key(*steerings: Steering):
        return prompt_steering(Request(prompt="x", steering=steerings, sampling=ONE), BANK)

    assert key() == key(Steering("calm", 0.1, span="generation")) == ()
    assert key(calm) == key(Steering("calm", 0.1, layers=(1,), span="prompt"))
    assert key(calm) != key(Steering("calm", 0.2))
    assert key(happy) == key(Steering("calm", 0.1, span="generation"), happy)
    assert key(happy) != key(Steering("calm", 0.1, span="generation", op="clamp"), happy)
