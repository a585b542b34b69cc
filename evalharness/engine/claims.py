"""What a request says must happen to its row, worked out in plain loops and float64, without looking at the hooks.

The hooks' tables (`steering.py`) and these claims are built by separate code from the same requests. The witness inside
the hook compares what really changed with the claims, so a fault in either shows up as a receipt that does not add up.
No torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evalharness.engine.vectors import VectorBank, layers_of, vector_sha256
from evalharness.errors import ReceiptError
from evalharness.request import Receipt, Request, Span

Role = Literal["prompt", "generation"]
ROLES: tuple[Role, Role] = ("prompt", "generation")
SPAN_ROLES: dict[Span, tuple[Role, ...]] = {
    "all": ("prompt", "generation"),
    "prompt": ("prompt",),
    "generation": ("generation",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One operation at one layer, for every row of a batch (P roles, B rows, D width)."""

    op: Literal["add", "project"]
    vector_PBD: NDArray[np.float32]
    """add: the summed shift; project: the unit vector. Zero where the row has no such operation."""
    target_PB: NDArray[np.float32]
    """project: the projection afterwards (0 for ablate); add: unused."""
    sites_PB: NDArray[np.int64]
    """How many steerings act on a token of role P in row B."""


def build_claims(requests: Sequence[Request], bank: VectorBank | None, d_model: int) -> dict[int, list[Claim]]:
    """The operations per layer in the order they act: all adds as one sum, then ablate and clamp as requested."""
    stages: dict[tuple[int, int], Claim] = {}
    for row, request in enumerate(requests):
        projections: dict[int, int] = {}
        for steering in request.steerings:
            assert bank is not None
            for layer in layers_of(steering, bank):
                add = steering.op == "add"
                projections[layer] = projections.get(layer, 0) + (not add)
                stage = 0 if add else projections[layer]
                if (layer, stage) not in stages:
                    stages[layer, stage] = _empty("add" if add else "project", len(requests), d_model)
                claim = stages[layer, stage]
                unit = bank.vector(steering.concept, layer).astype(np.float64)
                length = steering.strength * bank.mean_norm(layer)
                for role in SPAN_ROLES[steering.span]:
                    at = (ROLES.index(role), row)
                    claim.sites_PB[at] += 1
                    if add:
                        claim.vector_PBD[at] += (length * unit).astype(np.float32)
                    else:
                        claim.vector_PBD[at] = unit
                        claim.target_PB[at] = 0.0 if steering.op == "ablate" else length
    claims: dict[int, list[Claim]] = {}
    for layer, stage in sorted(stages):
        claims.setdefault(layer, []).append(stages[layer, stage])
    return claims


def _empty(op: Literal["add", "project"], rows: int, d_model: int) -> Claim:
    return Claim(
        op=op,
        vector_PBD=np.zeros((len(ROLES), rows, d_model), dtype=np.float32),
        target_PB=np.zeros((len(ROLES), rows), dtype=np.float32),
        sites_PB=np.zeros((len(ROLES), rows), dtype=np.int64),
    )


def expected_applications(request: Request, bank: VectorBank | None, prompt_tokens: int, output_tokens: int) -> int:
    """(steering, layer, token) applications that a request implies.

    Every prompt token runs through the layers, and every drawn token but the last, which is never fed back. A row
    that drew nothing was never run.
    """
    if output_tokens == 0 or bank is None:
        return 0
    tokens: dict[Role, int] = {"prompt": prompt_tokens, "generation": output_tokens - 1}
    return sum(
        len(layers_of(steering, bank)) * sum(tokens[role] for role in SPAN_ROLES[steering.span])
        for steering in request.steerings
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What the witness counted for one row."""

    applied: int = 0
    stray: int = 0
    """Tokens that changed although nothing was to happen to them."""
    relative_norm_sum: float = 0.0
    relative_norm_count: int = 0


def make_receipt(request: Request, bank: VectorBank | None, expected: int, tally: Tally) -> Receipt:
    """The receipt of one row.

    Raises:
        ReceiptError: the hooks did not apply exactly what the request implies.
    """
    if tally.applied != expected or tally.stray:
        raise ReceiptError(
            f"Steering was not applied as requested: {tally.applied} of {expected} (layer, token) applications were "
            f"seen to have the requested effect, and {tally.stray} tokens changed that should not have.\n"
            f"  row: {request.id!r}\n  steering: {request.steerings!r}"
        )
    if not request.steerings:
        return Receipt()
    assert bank is not None
    pairs = [(steering.concept, layer) for steering in request.steerings for layer in layers_of(steering, bank)]
    count = tally.relative_norm_count
    return Receipt(
        vector_sha256=tuple(vector_sha256(bank.vector(concept, layer)) for concept, layer in pairs),
        layers=tuple(sorted({layer for _, layer in pairs})),
        applied=tally.applied,
        expected=expected,
        mean_relative_norm=tally.relative_norm_sum / count if count else None,
    )
