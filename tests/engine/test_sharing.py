"""Who shares what: the tree of prompts, and the rows that stand for others. No torch."""

from __future__ import annotations

import random

import pytest

from evalharness.concepts import ConceptBank
from evalharness.engine.beginnings import BEGINNING_COST, shared_lengths
from evalharness.engine.row import Row, prompt_steering
from evalharness.engine.scheduler import plan_batches
from evalharness.engine.sharing import Seat, arrange, find_sharing
from evalharness.request import Request, Sampling, Steering

LONG = tuple(range(100, 400))
ONE = Sampling(max_new_tokens=1)
BANK = ConceptBank.from_arrays(
    dict.fromkeys(("calm", "happy"), [[1.0, 0.0]] * 3), layers=range(3), mean_norms=[1.0] * 3
)
"""Steers layer 1 unless told otherwise."""


def row(index: int, ids: tuple[int, ...], shared: int, steering: Steering | None = None) -> Row:
    request = Request(prompt=ids, steering=steering, sampling=ONE)
    return Row(index, request, ids, 10, prompt_steering(request, BANK), shared)


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


def test_rows_stand_for_others() -> None:
    """Branches by steering, leaves by tail, rows of a branch side by side."""
    calm = Steering("calm", 0.1)
    rows = [
        row(0, (*LONG, 1), 300),
        row(1, (*LONG, 1), 300, calm),
        row(2, (*LONG, 2), 300),
        row(3, (*LONG, 1), 300),
        row(4, (*LONG, 1), 300, calm),
    ]
    ordered = arrange(rows)
    assert [0, 3, 2, 1, 4] == [some.index for some in ordered]
    sharing = find_sharing(ordered)
    assert sharing is not None
    assert LONG == sharing.beginnings[0].token_ids
    assert ((0, 3), (0, 0, 0, 1, 1)) == (sharing.beginnings[0].branches.heads, sharing.beginnings[0].branches.places)
    assert ((0, 2, 3), (0, 0, 1, 2, 2)) == (sharing.leaves.heads, sharing.leaves.places)
    assert (Seat(0, 0), Seat(0, 0), Seat(0, 1)) == sharing.leaf_seats
    assert ((3,), (3, 4), (0, 0)) == sharing.beginnings[0].branches.part(1, 2)
    assert find_sharing([row(0, LONG, 0), row(1, LONG, 0)]) is None


def test_rows_out_of_order_are_refused() -> None:
    """A batch is arranged before it is built."""
    with pytest.raises(AssertionError, match="arranged"):
        find_sharing([row(0, LONG, 200), row(1, LONG, 100), row(2, LONG, 200)])


def test_batches_keep_beginnings_together_within_the_limits() -> None:
    """Every row once; rows that share nothing stand apart; a beginning is cut only if it is too large."""
    rng = random.Random(1)
    rows = [row(n, (*LONG, n % 7, rng.randint(0, 9)), 301, Steering("calm", n % 3)) for n in range(60)]
    rows += [row(60 + n, tuple(range(n, n + 50)), 0) for n in range(5)]
    batches = plan_batches(rows, max_rows=16, token_budget=100_000)
    assert sorted(number for batch in batches for number in batch) == list(range(65))
    for batch in batches:
        assert len(batch) <= 16
        assert len({bool(rows[number].shared) for number in batch}) == 1
    for beginning in {some.beginning for some in rows[:60]}:
        assert sum(any(rows[n].beginning == beginning for n in batch) for batch in batches) == 1
    small = plan_batches(rows[:60], max_rows=16, token_budget=700)
    assert sorted(number for batch in small for number in batch) == list(range(60))
    assert all(len(batch) == 1 or len({rows[n].prompt_steering for n in batch}) <= 2 for batch in small)
