"""Directions that a concept must beat: random, from shuffled labels, and what all concepts share. No torch.

The unrelated contrast sets, the fourth kind, are read like any pairs (`pairs.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evalharness.ids import derive_seed
from evalharness.row import ControlKind

MEAN_NAME = "mean-of-concepts"


def control_name(kind: ControlKind, number: int = 0) -> str:
    """The name of a control in a bank: `gaussian-00`, `permuted-00`, `contrast-00`, `mean-of-concepts`."""
    return MEAN_NAME if kind == "mean" else f"{kind}-{number:02d}"


def gaussian_direction(seed: int, number: int, shape_LD: tuple[int, int]) -> NDArray[np.float64]:
    """Independent random unit vectors per layer. The number alone decides: asking for more leaves these as they are."""
    rng = np.random.default_rng(derive_seed("gaussian", seed, number))
    rows_LD = rng.standard_normal(shape_LD)
    unit_LD: NDArray[np.float64] = rows_LD / np.linalg.norm(rows_LD, axis=1, keepdims=True)
    return unit_LD


def difference_weights(labels: Sequence[str], concept: str) -> NDArray[np.float64]:
    """Weights over stories whose weighted sum is the mean of `concept` minus the mean of all concepts' means."""
    names, place_S = np.unique(np.asarray(labels), return_inverse=True)
    size_C = np.bincount(place_S)
    grand_S = 1 / (len(names) * size_C[place_S])
    own_S = (np.asarray(labels) == concept) / size_C[names.tolist().index(concept)]
    result: NDArray[np.float64] = own_S - grand_S
    return result


def permuted_labels(labels: Sequence[str], seed: int, number: int) -> list[str]:
    """The same labels handed out to other stories; every group keeps its size."""
    rng = np.random.default_rng(derive_seed("permuted", seed, number))
    return [labels[place] for place in rng.permutation(len(labels))]


def permuted_weights(labels: Sequence[str], seed: int, number: int) -> NDArray[np.float64]:
    """`difference_weights` of one concept under shuffled labels; the concepts take turns."""
    names = sorted(set(labels))
    return difference_weights(permuted_labels(labels, seed, number), names[number % len(names)])
