"""Grids of conditions that are as distinct as they can be: each has a direction and a strength of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from evalharness.bench import MEAN_NORM
from evalharness.concepts import ConceptBank
from evalharness.request import Request, Sampling, Span, Steering


class GridShape(NamedTuple):
    """How large a grid is."""

    rows: int
    """Over all conditions."""
    conditions: int
    """0: no row is steered."""
    new_tokens: int


def grid_requests(
    prompt: Sequence[int], bank: ConceptBank, shape: GridShape, span: Span, *, first_seed: int = 0
) -> list[Request]:
    """Rows of one prompt under the bank's directions, one for each condition and each with its own strength."""
    rows, conditions, new_tokens = shape
    sampling = Sampling(max_new_tokens=new_tokens, ignore_eos=True)
    (layer,) = bank.layers
    steerings = [
        Steering(name, 0.05 + 0.001 * number, layers=(layer,), span=span)
        for number, name in enumerate(bank.names[:conditions])
    ]
    return [
        Request(
            prompt=prompt,
            steering=steerings[row % conditions] if conditions else None,
            sampling=sampling,
            seed=first_seed + row,
        )
        for row in range(rows)
    ]


def directions(d_model: int, layer: int, count: int) -> ConceptBank:
    """So many random directions at one layer."""
    drawn = np.random.default_rng(0).standard_normal((count, 1, d_model)).astype(np.float32)
    arrays = {f"direction {number:02}": vector for number, vector in enumerate(drawn)}
    return ConceptBank.from_arrays(arrays, layers=[layer], mean_norms=[MEAN_NORM])
