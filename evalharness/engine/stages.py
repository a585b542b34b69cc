"""The tables that the hooks add or project with, built for a whole batch at once.

Shapes: P roles (0 prompt, 1 generation), B rows, A rows still active, D width, K distinct concepts at a layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from evalharness.engine.claims import ROLES, SPAN_ROLES, Claim
from evalharness.engine.vectors import VectorBank, layers_of
from evalharness.request import Request, Steering

PADDING, PROMPT, GENERATION = -1, ROLES.index("prompt"), ROLES.index("generation")
"""What a token is: role numbers, and -1 for padding and for rows that have ended."""

Op = Literal["add", "project"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One operation at one layer for all rows; the fields mean what they mean in `Claim`."""

    op: Op
    vector_PBD: Tensor
    target_PB: Tensor
    sites_PB: Tensor
    active_P: tuple[bool, ...]
    """Whether any row acts on this role at all."""

    @staticmethod
    def make(op: Op, vector_PBD: Tensor, target_PB: Tensor, sites_PB: Tensor) -> Stage:
        """A stage from its tensors."""
        return Stage(op, vector_PBD, target_PB, sites_PB, tuple(bool(a) for a in (sites_PB > 0).any(1).tolist()))

    @staticmethod
    def of_claim(claim: Claim, device: torch.device) -> Stage:
        """The same numbers on the device."""
        arrays = (claim.vector_PBD, claim.target_PB, claim.sites_PB)
        return Stage.make(claim.op, *(torch.from_numpy(array).to(device) for array in arrays))

    def keep(self, rows_A: Tensor) -> Stage:
        """The stage for these rows only."""
        tensors = (self.vector_PBD, self.target_PB, self.sites_PB)
        return Stage.make(self.op, *(tensor.index_select(1, rows_A) for tensor in tensors))

    def alike(self, role: int, rows_R: Tensor, others_R: Tensor) -> Tensor:
        """Whether each of these rows does exactly the same to tokens of this role as another row, bool [R]."""
        vector_BD, target_B, sites_B = self.vector_PBD[role], self.target_PB[role], self.sites_PB[role]
        same_R = (target_B[rows_R] == target_B[others_R]) & (sites_B[rows_R] == sites_B[others_R])
        return same_R & (vector_BD[rows_R] == vector_BD[others_R]).all(-1)


Stages = dict[int, list[Stage]]
"""Per layer, the operations in the order they act."""


def keep_rows(stages: Stages, rows_A: Tensor) -> Stages:
    """Every stage for these rows only."""
    return {layer: [stage.keep(rows_A) for stage in group] for layer, group in stages.items()}


def build_stages(requests: Sequence[Request], bank: VectorBank | None, device: torch.device) -> Stages:
    """Per layer: one stage with the sum of all adds, then one for each further ablate or clamp of a row."""
    by_layer: dict[int, list[tuple[int, Steering]]] = {}
    for row, request in enumerate(requests):
        for steering in request.steerings:
            assert bank is not None
            for layer in layers_of(steering, bank):
                by_layer.setdefault(layer, []).append((row, steering))
    stages: Stages = {}
    for layer, entries in sorted(by_layer.items()):
        assert bank is not None
        names = sorted({steering.concept for _, steering in entries})
        vectors_KD = torch.stack([torch.from_numpy(bank.vector(name, layer).copy()) for name in names]).to(device)
        table = _Table(names, vectors_KD, bank.mean_norm(layer), len(requests))
        adds = [entry for entry in entries if entry[1].op == "add"]
        rounds = _rounds([entry for entry in entries if entry[1].op != "add"])
        groups = ([("add", adds)] if adds else []) + [("project", group) for group in rounds]
        stages[layer] = [table.stage("add" if op == "add" else "project", group) for op, group in groups]
    return stages


def _rounds(entries: Sequence[tuple[int, Steering]]) -> list[list[tuple[int, Steering]]]:
    """Round k holds every row's k-th projection, in the order of its request."""
    rounds: list[list[tuple[int, Steering]]] = []
    for row, steering in entries:
        free = next((group for group in rounds if all(other != row for other, _ in group)), None)
        if free is None:
            rounds.append(free := [])
        free.append((row, steering))
    return rounds


@dataclass(frozen=True, slots=True)
class _Table:
    """The vectors of one layer, and the unit of strength there."""

    names: list[str]
    vectors_KD: Tensor
    mean_norm: float
    n_rows: int

    def stage(self, op: Op, entries: Sequence[tuple[int, Steering]]) -> Stage:
        """Weights [P, B, K] times unit vectors [K, D]."""
        weight_PBK = torch.zeros(len(ROLES), self.n_rows, len(self.names))
        target_PB = torch.zeros(len(ROLES), self.n_rows)
        sites_PB = torch.zeros(len(ROLES), self.n_rows, dtype=torch.int64)
        for row, steering in entries:
            length = steering.strength * self.mean_norm
            for role in SPAN_ROLES[steering.span]:
                at = (ROLES.index(role), row)
                weight_PBK[(*at, self.names.index(steering.concept))] += length if op == "add" else 1.0
                target_PB[at] = length if steering.op == "clamp" else 0.0
                sites_PB[at] += 1
        device = self.vectors_KD.device
        return Stage.make(op, weight_PBK.to(device) @ self.vectors_KD, target_PB.to(device), sites_PB.to(device))
