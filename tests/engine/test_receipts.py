"""Receipts count what really happened, and planted faults stop a run."""

# ruff: noqa: N803, N806  (shape suffixes, as in the engine)
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from evalharness.concepts import ConceptBank
from evalharness.engine import Engine
from evalharness.engine.claims import build_claims
from evalharness.engine.session import Session
from evalharness.engine.stages import Stage, Stages, build_stages
from evalharness.engine.steering import RowSteering, Seated
from evalharness.engine.tracing import Probe
from evalharness.engine.vectors import vector_sha256
from evalharness.errors import ReceiptError
from evalharness.request import Request, Sampling, Steering

PROMPT = "The clerk counted the files twice"
TEN = Sampling(max_new_tokens=10, ignore_eos=True)


def test_counts_by_span_layer_and_steering(engine: Engine, bank: ConceptBank) -> None:
    """Every prompt token counts, and every drawn token but the last, which is never fed back."""
    cases: list[tuple[Any, int, int]] = [
        (Steering("calm", 0.1), 1, 1),
        (Steering("calm", 0.1, span="prompt"), 1, 0),
        (Steering("calm", 0.1, span="generation", layers=(0, 1, 3)), 0, 3),
        ((Steering("calm", 0.1), Steering("happy", 0.2, span="prompt", layers=(1, 2))), 3, 1),
        ((Steering("calm", 0.1, op="clamp"), Steering("happy", 0.2, op="ablate"), Steering("happy", 1.0)), 3, 3),
    ]
    requests = [Request(prompt=PROMPT * (1 + i % 2), steering=s, sampling=TEN) for i, (s, _, _) in enumerate(cases)]
    for completion, (_, per_prompt, per_new) in zip(engine.generate(requests, bank), cases, strict=True):
        counted = per_prompt * completion.prompt_tokens + per_new * (completion.output_tokens - 1)
        assert counted == completion.receipt.applied == completion.receipt.expected


def test_vector_hashes_and_layers(engine: Engine, bank: ConceptBank) -> None:
    """One hash per (steering, layer), over the unit vector's bytes, in the order of the request."""
    steering = (Steering("happy", 0.1, layers=(2, 0)), Steering("calm", 0.1))
    receipt = engine.generate([Request(prompt=PROMPT, steering=steering, sampling=TEN)], bank)[0].receipt
    pairs = [("happy", 0), ("happy", 2), ("calm", 1)]
    assert tuple(vector_sha256(bank.vector(name, layer)) for name, layer in pairs) == receipt.vector_sha256
    assert receipt.layers == (0, 1, 2)


def test_mean_relative_norm_is_measured(engine: Engine, bank: ConceptBank) -> None:
    """It is the mean of ||delta|| / ||h|| over the prompt tokens when the prompt alone is steered."""
    request = Request(prompt=PROMPT, steering=Steering("calm", 0.2, span="prompt"), sampling=TEN)
    receipt = engine.generate([request], bank)[0].receipt
    ((_, h_LTD),) = engine.forward_residuals([engine.render(PROMPT)], [1])
    by_hand = (0.2 * bank.mean_norm(1) / h_LTD[0].norm(dim=-1)).mean()
    assert float(by_hand) == pytest.approx(receipt.mean_relative_norm, rel=1e-4)


def rolled(stage: Stage) -> Stage:
    return Stage.make(stage.op, stage.vector_PBD.roll(1, 1), stage.target_PB.roll(1, 1), stage.sites_PB.roll(1, 1))


def scaled(factor: float) -> Any:
    def change(stage: Stage) -> Stage:
        return Stage.make(stage.op, factor * stage.vector_PBD, stage.target_PB, stage.sites_PB)

    return change


def other_role(stage: Stage) -> Stage:
    return Stage.make(stage.op, stage.vector_PBD.flip(0), stage.target_PB.flip(0), stage.sites_PB.flip(0))


class NeverAttached(RowSteering):
    """Hooks that are not there."""

    def __enter__(self) -> RowSteering:
        return self


class NextBlock(RowSteering):
    """Hooks on the block after the one that was meant."""

    def __enter__(self) -> RowSteering:
        for layer in self._stages:
            self._handles.append(self._blocks[layer + 1].register_forward_hook(self._hook))
        return self


class ForgetsWhoSitsWhere(RowSteering):
    """Rows get the vectors of their neighbours."""

    def seat(self, condition_A: torch.Tensor, claimed_A: Sequence[int]) -> Seated:
        return super().seat(condition_A.roll(1), claimed_A)


class KeepsOldSeats(RowSteering):
    """Who has ended keeps its vector in the tables, so that whoever comes after gets it."""

    first: torch.Tensor | None = None

    def seat(self, condition_A: torch.Tensor, claimed_A: Sequence[int]) -> Seated:
        if self.first is None or len(self.first) < len(condition_A):
            self.first = condition_A
        return super().seat(self.first[: len(condition_A)], claimed_A)


class TouchesPadding(RowSteering):
    """Padding is steered as if it were prompt."""

    def _apply(self, stage: Stage, h_ATD: torch.Tensor) -> torch.Tensor:
        assert self._now is not None
        role_AT = self._now.role_AT
        self._now.role_AT = role_AT.clamp(min=0)
        try:
            return super()._apply(stage, h_ATD)
        finally:
            self._now.role_AT = role_AT


def altered(change: Any) -> Any:
    def stages(built: Stages) -> Stages:
        return {layer: [change(stage) for stage in group] for layer, group in built.items()}

    return stages


def moved(built: Stages) -> Stages:
    return {layer + 1: group for layer, group in built.items()}


def doubled(built: Stages) -> Stages:
    return {**built, **moved(built)}


FAULTS: dict[str, tuple[Any, type[RowSteering]]] = {
    "hook not applied": (None, NeverAttached),
    "wrong row": (altered(rolled), RowSteering),
    "wrong sign": (altered(scaled(-1.0)), RowSteering),
    "half the strength": (altered(scaled(0.5)), RowSteering),
    "wrong layer": (moved, RowSteering),
    "one layer too many": (doubled, RowSteering),
    "hook on the next block": (None, NextBlock),
    "wrong span": (altered(other_role), RowSteering),
    "rows mixed up": (None, ForgetsWhoSitsWhere),
    "tables not compacted": (None, KeepsOldSeats),
    "padding steered": (None, TouchesPadding),
}


class FaultyEngine(Engine):
    """An engine whose steering is built wrongly on purpose."""

    fault: tuple[Any, type[RowSteering]] = (None, RowSteering)

    def _steering(self, requests: Sequence[Request], bank: Any, probes: Sequence[Probe] = ()) -> RowSteering:
        change, kind = self.fault
        stages = build_stages(requests, bank, torch.device("cpu"))
        claims = build_claims(requests, bank, self.d_model)
        assert not probes
        return kind(self._loaded.blocks, change(stages) if change else stages, claims)


def fault_requests(repeats: int = 1) -> list[Request]:
    """Rows of several lengths and concepts, half of them unsteered, some ending early. Long prompts are shared."""
    steerings = (None, Steering("desperate", 0.3), Steering("calm", 0.3, span="prompt"))
    return [
        Request(
            prompt=PROMPT * repeats * (1 + row % 3),
            steering=steerings[row * 2 % 3],
            sampling=Sampling(max_new_tokens=3 + row, ignore_eos=True),
            seed=row,
        )
        for row in range(9)
    ]


@pytest.mark.parametrize("repeats", [1, 4], ids=["own prompts", "shared prompts"])
@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_raises_a_receipt_error(engine: Engine, bank: ConceptBank, name: str, repeats: int) -> None:
    """Each fault in applying the steering stops the run; rows handed out before it are those of a healthy engine."""
    faulty = FaultyEngine(engine._loaded)
    faulty.fault = FAULTS[name]
    returned: list[Any] = []
    with pytest.raises(ReceiptError, match="not applied as requested"):
        returned += faulty.generate(fault_requests(repeats), bank, on_batch=returned.extend)
    healthy = engine.generate(fault_requests(repeats), bank)
    assert all(completion == healthy[place] for place, completion in returned)
    assert len(returned) < len(healthy)


def test_the_same_rows_without_a_fault_pass(engine: Engine, bank: ConceptBank) -> None:
    """The fault tests fail for the fault, not for their rows."""
    healthy = FaultyEngine(engine._loaded)
    assert healthy.generate(fault_requests(), bank) == engine.generate(fault_requests(), bank)
    leaves_alone = healthy.describe()["stats"]["shared_tokens"]
    assert healthy.generate(fault_requests(4), bank) == engine.generate(fault_requests(4), bank)
    assert healthy.describe()["stats"]["shared_tokens"] > 2 * leaves_alone


def finish(session: Session) -> None:
    while session.pending:
        session.step()


@pytest.mark.parametrize(("repeats", "strays"), [(1, 1), (30, 2)], ids=["leaf", "beginning and leaf"])
def test_rows_read_together_under_other_steerings_are_noticed(
    engine: Engine, bank: ConceptBank, repeats: int, strays: int
) -> None:
    """If what is done to two prompts were taken for the same, one row's counts would stand for the other's."""
    strengths = (0.1, 0.2)
    requests = [Request(prompt=PROMPT * repeats, steering=Steering("calm", s), sampling=TEN) for s in strengths]
    assert len(engine.generate(requests, bank)) == 2
    with engine.session(bank) as session:
        session.add(engine.row(index, request, bank) for index, request in enumerate(requests))
        taken_for = session._incoming[0].prompt_steering
        session._incoming = [replace(row, prompt_steering=taken_for) for row in session._incoming]
        with pytest.raises(ReceiptError, match=f"{strays} tokens changed that should not"):
            finish(session)


def test_tables_and_claims_agree(bank: ConceptBank) -> None:
    """The two separate constructions give the same numbers for mixed requests."""
    mixed = (Steering("calm", 0.3, op="clamp"), Steering("happy", -0.2), Steering("calm", 0.1, span="prompt"))
    requests = [*fault_requests(), Request(prompt="x", steering=mixed, sampling=TEN)]
    stages = build_stages(requests, bank, torch.device("cpu"))
    claims = build_claims(requests, bank, 32)
    assert list(claims) == list(stages)
    for layer, group in claims.items():
        for claim, stage in zip(group, stages[layer], strict=True):
            assert claim.op == stage.op
            np.testing.assert_allclose(claim.vector_PBD, stage.vector_PBD.numpy(), atol=1e-6)
            np.testing.assert_allclose(claim.target_PB, stage.target_PB.numpy(), atol=1e-6)
            np.testing.assert_array_equal(claim.sites_PB, stage.sites_PB.numpy())
