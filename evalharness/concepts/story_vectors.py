"""Story means in memory -> one direction per concept: what the checks compare with a bank's own vectors.

X stories, C concepts, K layers, D width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalharness.concepts.reading import Float64


def concept_vectors(means_XKD: NDArray[Any], label_X: NDArray[np.integer[Any]]) -> Float64:
    """Each concept's mean minus the mean of the concepts' means, at unit length, `[C, K, D]`.

    Labels count from 0 without a gap. The centring is that of `extract`.
    """
    order_X = np.argsort(label_X, kind="stable")
    size_C = np.bincount(label_X)
    starts_C = np.concatenate([[0], np.cumsum(size_C)[:-1]])
    sum_CKD = np.add.reduceat(means_XKD[order_X].astype(np.float64), starts_C, axis=0)
    return unit(centred(sum_CKD / size_C[:, None, None]))


def centred(rows_CKD: NDArray[Any]) -> Float64:
    """Rows minus their mean."""
    result: Float64 = rows_CKD - rows_CKD.mean(0)
    return result


def unit(rows: NDArray[Any]) -> Float64:
    """Rows at length 1 over their last axis; a zero row stays zero."""
    result: Float64 = rows / np.linalg.norm(rows, axis=-1, keepdims=True).clip(min=1e-300)
    return result


def cosines(rows_NKD: NDArray[Any], vectors_CKD: NDArray[Any]) -> Float64:
    """Cosine of every row with every vector, averaged over the layers, `[N, C]`. Nothing is centred here."""
    table: Float64 = np.einsum("nkd,ckd->nc", unit(rows_NKD), unit(vectors_CKD)) / rows_NKD.shape[1]
    return table
