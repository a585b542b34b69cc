"""Counts, from the residual stream before and after an operation, the tokens that changed exactly as claimed.

It never sees the tables the change was made with. Shapes: A rows of the tensors, T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from evalharness.engine.claims import Tally
from evalharness.engine.stages import Stage

TOLERANCE = 0.02
"""Relative error up to which a change counts as the claimed one, beside the rounding of the residual stream."""
APPLIED, STRAY, NORM_SUM, NORM_COUNT = range(4)
"""Columns of the counts; float64 holds integers of this size exactly."""


def no_counts(n_rows: int, device: torch.device) -> Tensor:
    """Nothing seen yet, `[A, 4]`."""
    return torch.zeros(n_rows, 4, dtype=torch.float64, device=device)


def observe(
    counts_A4: Tensor, claim: Stage | None, role_AT: Tensor, roles: Sequence[int], before_after: tuple[Tensor, Tensor]
) -> None:
    """Compare one operation's effect with its claim and add what was seen; None claims that nothing changes."""
    epsilon = torch.finfo(before_after[1].dtype).eps
    before_ATD, after_ATD = (h_ATD.to(torch.float32) for h_ATD in before_after)
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
        counts_A4[:, APPLIED] += count_A * claim.sites_PB[role]
        counts_A4[:, NORM_SUM] += (size_AT / norm_AT.clamp(min=1e-30) * right_AT).sum(1, dtype=torch.float64)
        counts_A4[:, NORM_COUNT] += count_A
        claimed_AT |= here_AT
    counts_A4[:, STRAY] += ((size_AT != 0) & ~claimed_AT).sum(1)


def tallies(counts_A4: Tensor) -> list[Tally]:
    """The counts as records."""
    return [
        Tally(
            applied=round(applied),
            stray=round(stray),
            relative_norm_sum=norm_sum,
            relative_norm_count=round(norm_count),
        )
        for applied, stray, norm_sum, norm_count in counts_A4.tolist()
    ]


def _along_and_wanted(claim: Stage, role: int, before_ATD: Tensor, change_ATD: Tensor) -> tuple[Tensor, Tensor]:
    """Length of the change along the claimed direction, and the length claimed, each [A, T] (or [A, 1])."""
    vector_A1D = claim.vector_PBD[role][:, None, :]
    along_AT = (change_ATD * vector_A1D).sum(-1)
    if claim.op == "project":
        return along_AT, claim.target_PB[role][:, None] - (before_ATD * vector_A1D).sum(-1)
    wanted_A1 = torch.linalg.vector_norm(vector_A1D, dim=-1)
    return along_AT / wanted_A1.clamp(min=1e-30), wanted_A1
