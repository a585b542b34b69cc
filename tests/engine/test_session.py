"""Rows come and go: whoever ends makes room, whoever is cancelled is dropped, a failing device costs what was begun."""

from __future__ import annotations

import random

import pytest
import torch

from evalharness.concepts import ConceptBank
from evalharness.engine import Engine
from evalharness.engine.session import Session
from evalharness.engine.shared_cache import MOST_BANDS, make_bands
from evalharness.request import Completion, Request, Sampling, Steering

PROMPTS = ("The clerk counted the files twice", "Maria could not sleep", "At five the server went down again and again")
STEERINGS = (None, Steering("calm", 0.3), Steering("happy", -0.2, layers=(0, 2), span="generation"))


def ragged(count: int) -> list[Request]:
    """Rows of three prompts and conditions that end at very different times."""
    return [
        Request(
            prompt=PROMPTS[row % 3],
            steering=STEERINGS[row // 3 % 3],
            sampling=Sampling(max_new_tokens=1 + 7 * row % 23, ignore_eos=True),
            seed=row,
        )
        for row in range(count)
    ]


def drain(session: Session) -> dict[int, Completion]:
    """Step until nothing is left."""
    done: dict[int, Completion] = {}
    while session.pending:
        for index, outcome in session.step():
            assert isinstance(outcome, Completion)
            done[index] = outcome
    return done


def test_places_are_refilled_while_others_run(engine: Engine, bank: ConceptBank) -> None:
    """Eight places serve 40 ragged rows in hardly more steps than their tokens need, and every row is as alone."""
    requests = ragged(40)
    alone = [engine.generate([request], bank)[0] for request in requests]
    before = engine.describe()["stats"]["steps"]
    together = engine.generate(requests, bank, max_rows=8)
    assert [completion.token_ids for completion in together] == [completion.token_ids for completion in alone]
    assert [completion.receipt.applied for completion in together] == [c.receipt.applied for c in alone]
    steps = engine.describe()["stats"]["steps"] - before
    tokens = sum(completion.output_tokens for completion in together)
    assert tokens / 8 <= steps <= 1.35 * tokens / 8


def test_rows_that_come_later_join(engine: Engine, bank: ConceptBank) -> None:
    """New conditions and prompts may come at any step; nothing changes for anybody."""
    requests = ragged(12)
    expected = engine.generate(requests, bank)
    with engine.session(bank, max_rows=6) as session:
        done: dict[int, Completion] = {}
        for index, request in enumerate(requests):
            session.add([engine.row(index, request, bank)])
            done.update((number, out) for number, out in session.step() if isinstance(out, Completion))
        done.update(drain(session))
    assert [done[index].token_ids for index in range(12)] == [completion.token_ids for completion in expected]


def test_a_later_row_reads_a_beginning_that_is_held(engine: Engine) -> None:
    """A prompt that goes on from one that is running shares it."""
    long = tuple(20 + place % 70 for place in range(150))
    several = [Request(prompt=(*long, n), sampling=Sampling(max_new_tokens=9, ignore_eos=True)) for n in (7, 8, 9, 10)]
    (expected,) = engine.generate(several[3:])
    with engine.session() as session:
        session.add(engine.row(index, request) for index, request in enumerate(several[:3]))
        session.step()
        before = engine.describe()["stats"]["shared_tokens"]
        session.add([engine.row(3, several[3])])
        assert drain(session)[3].token_ids == expected.token_ids
    assert engine.describe()["stats"]["shared_tokens"] == before + len(long)


def test_cancelled_rows_are_dropped(engine: Engine, bank: ConceptBank) -> None:
    """Before they begin and while they run; the others end as ever, and nothing stays held."""
    requests = ragged(20)
    expected = engine.generate(requests, bank)
    with engine.session(bank, max_rows=6) as session:
        session.add(engine.row(index, request, bank) for index, request in enumerate(requests))
        done = {index: out for index, out in session.step() if isinstance(out, Completion)}
        running, waiting = session.in_flight[0], next(i for i in range(20) if i not in {*session.in_flight, *done})
        session.cancel(running)
        session.cancel(waiting)
        done.update(drain(session))
        assert session._held.slots == 0
    assert sorted(done) == [index for index in range(20) if index not in (running, waiting)]
    assert all(completion.token_ids == expected[index].token_ids for index, completion in done.items())


def test_a_device_error_costs_what_was_begun(engine: Engine, bank: ConceptBank) -> None:
    """The rows in flight are named; those that wait are served afterwards, token for token."""
    requests = ragged(10)
    expected = engine.generate(requests, bank)
    model = engine._loaded.head.body
    failing = iter([False, False, True])

    def hook(*_: object) -> None:
        if next(failing, False):
            raise RuntimeError("device-side assert")

    handle = model.register_forward_pre_hook(hook)
    try:
        with engine.session(bank, max_rows=4) as session:
            session.add(engine.row(index, request, bank) for index, request in enumerate(requests))
            done: dict[int, Completion] = {}
            lost: tuple[int, ...] = ()
            while session.pending:
                try:
                    done.update((i, out) for i, out in session.step() if isinstance(out, Completion))
                except RuntimeError:
                    lost = session.abandon()
    finally:
        handle.remove()
    assert len(lost) == 4
    assert sorted([*lost, *done]) == list(range(10))
    assert all(completion.token_ids == expected[index].token_ids for index, completion in done.items())


def test_progress(engine: Engine) -> None:
    """Counts add up at every step, and the rate is drawn tokens of finished rows per second of work."""
    requests = ragged(9)
    plain = [Request(prompt=r.prompt, sampling=r.sampling, seed=r.seed) for r in requests]
    with engine.session(max_rows=4) as session:
        session.add(engine.row(index, request) for index, request in enumerate(plain))
        assert session.progress().eta_s is None
        tokens = 0
        while session.pending:
            tokens += sum(out.output_tokens for _, out in session.step() if isinstance(out, Completion))
            progress = session.progress()
            assert progress.done + progress.running + progress.waiting == 9
            assert progress.output_tokens == tokens
        assert (progress.done, progress.eta_s) == (9, 0.0)
        assert progress.tokens_per_s == pytest.approx(tokens / progress.seconds)


def test_memory_of_what_was_read_is_let_go(engine: Engine, bank: ConceptBank) -> None:
    """When the last row has ended, neither beginnings nor leaves nor their long keys are kept."""
    with engine.session(bank) as session:
        session.add(engine.row(index, request, bank) for index, request in enumerate(ragged(9)))
        drain(session)
        held = session._held
        assert (held.slots, held._leaves, held._branches) == (0, {}, {})
        assert not held._leaf_numbers._number_of
        assert not held._beginnings._number_of
    assert torch.is_inference_mode_enabled() is False


def test_bands_hold_every_row_once_and_are_few() -> None:
    """Over random widths: contiguous, at most eight, and none starts behind a row's own first slot."""
    rng = random.Random(0)
    for _ in range(200):
        widths = [rng.choice((3, 5, 40, 41, 160)) for _ in range(rng.randint(1, 60))]
        bands = make_bands(widths)
        assert [row for band in bands for row in range(band.rows.start, band.rows.stop)] == list(range(len(widths)))
        assert len(bands) <= MOST_BANDS
        for band in bands:
            own = [max(widths) - width for width in widths[band.rows]]
            assert band.start == min(own)
            assert band.ragged == (len(set(own)) > 1)
