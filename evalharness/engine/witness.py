"""Counts, from the residual stream before and after an operation, the tokens that changed exactly as claimed.

It never sees the tables the change was made with. Shapes: A rows of the tensors, B rows of the batch, R rows of the
batch that the tensors' rows stand for, T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from evalharness.engine.claims import Tally
from evalharness.engine.stages import Stage

TOLERANCE = 0.02
"""Relative error up to which a change counts as the claimed one, beside the rounding of the residual stream."""


class Witness:
    """Running counts for the rows of one batch."""

    def __init__(self, n_rows: int, device: torch.device) -> None:
        self._rows_R = torch.arange(n_rows, device=device)
        self._places_R = self._rows_R
        self._fits_R = torch.ones(n_rows, dtype=torch.bool, device=device)
        self._applied_B = torch.zeros(n_rows, dtype=torch.int64, device=device)
        self._stray_B = torch.zeros_like(self._applied_B)
        self._norm_count_B = torch.zeros_like(self._applied_B)
        self._norm_sum_B = torch.zeros(n_rows, dtype=torch.float64, device=device)

    def keep(self, rows_A: Tensor) -> None:
        """From now on the tensors hold only these of the active rows."""
        self._rows_R = self._rows_R[rows_A]
        self._places_R = torch.arange(len(rows_A), device=rows_A.device)
        self._fits_R = self._fits_R[rows_A]

    @contextmanager
    def standing_for(self, rows_R: Tensor, places_R: Tensor, fits_R: Tensor) -> Iterator[None]:
        """Inside, row `places_R[i]` of the tensors is computed for row `rows_R[i]` of the batch, and counts for it.

        Where `fits_R` is false the two claim different things, and what happens is stray for that row.
        """
        self._stray_B.index_add_(0, rows_R, (~fits_R).long())
        before = (self._rows_R, self._places_R, self._fits_R)
        self._rows_R, self._places_R, self._fits_R = rows_R, places_R, fits_R
        try:
            yield
        finally:
            self._rows_R, self._places_R, self._fits_R = before

    def observe(
        self, claim: Stage | None, role_AT: Tensor, roles: Sequence[int], before_ATD: Tensor, after_ATD: Tensor
    ) -> None:
        """Compare one operation's effect with its claim; None claims that nothing changes."""
        epsilon = torch.finfo(after_ATD.dtype).eps
        before_ATD, after_ATD = before_ATD.to(torch.float32), after_ATD.to(torch.float32)
        change_ATD = after_ATD - before_ATD
        size_AT = torch.linalg.vector_norm(change_ATD, dim=-1)
        norm_AT = torch.linalg.vector_norm(before_ATD, dim=-1)
        rounding_AT = 4 * epsilon * (norm_AT + size_AT)
        claimed_AT = torch.zeros_like(size_AT, dtype=torch.bool)
        for role in roles if claim is not None else ():
            assert claim is not None
            if not claim.active_P[role]:
                continue
            here_AT = (role_AT == role) & (claim.sites_PB[role] > 0)[:, None]
            along_AT, wanted_AT = _along_and_wanted(claim, role, before_ATD, change_ATD)
            slack_AT = TOLERANCE * wanted_AT.abs() + rounding_AT
            # Right along the vector, and nothing beside it.
            right_AT = here_AT & ((along_AT - wanted_AT).abs() <= slack_AT)
            right_AT &= (size_AT - wanted_AT.abs()).abs() <= slack_AT
            count_A = right_AT.sum(1)
            relative_A = (size_AT / norm_AT.clamp(min=1e-30) * right_AT).sum(1, dtype=torch.float64)
            self._add(self._applied_B, count_A * claim.sites_PB[role])
            self._add(self._norm_count_B, count_A)
            self._add(self._norm_sum_B, relative_A)
            claimed_AT |= here_AT
        self._add(self._stray_B, ((size_AT != 0) & ~claimed_AT).sum(1))

    def _add(self, total_B: Tensor, seen_A: Tensor) -> None:
        """Count what was seen in the tensors' rows for the rows of the batch that they stand for."""
        total_B.index_add_(0, self._rows_R, seen_A[self._places_R] * self._fits_R)

    def tallies(self) -> list[Tally]:
        """What was counted for each row of the batch."""
        columns = (self._applied_B, self._stray_B, self._norm_sum_B, self._norm_count_B)
        return [
            Tally(applied=applied, stray=stray, relative_norm_sum=norm_sum, relative_norm_count=count)
            for applied, stray, norm_sum, count in zip(*(column.tolist() for column in columns), strict=True)
        ]


def _along_and_wanted(claim: Stage, role: int, before_ATD: Tensor, change_ATD: Tensor) -> tuple[Tensor, Tensor]:
    """Length of the change along the claimed direction, and the length claimed, each [A, T] (or [A, 1])."""
    vector_A1D = claim.vector_PBD[role][:, None, :]
    along_AT = (change_ATD * vector_A1D).sum(-1)
    if claim.op == "project":
        return along_AT, claim.target_PB[role][:, None] - (before_ATD * vector_A1D).sum(-1)
    wanted_A1 = torch.linalg.vector_norm(vector_A1D, dim=-1)
    return along_AT / wanted_A1.clamp(min=1e-30), wanted_A1
