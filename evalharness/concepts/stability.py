"""Stability: whether two halves of the stories give the same vectors.

Required to pass: a direction that its own corpus does not repeat is noise, whatever it reads. It is no evidence of
meaning, since halves share words, and the words of a concept recur; that is the twin's task in the other parts.
The bar is the same statistic under labels shuffled inside the topics, which keeps what topics alone make stable.
X stories, C concepts, K layers, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from evalharness.concepts.battery_record import Stability
from evalharness.concepts.check import Means
from evalharness.concepts.reading import Float64
from evalharness.concepts.story_vectors import concept_vectors, unit

SPLITS, PERMUTATIONS = 20, 200
Labels = NDArray[np.intp]


class Half(NamedTuple):
    """The stories of each side."""

    one: Labels
    other: Labels


def read_stability(
    means_XKD: Means, labels: Sequence[str], topics: Sequence[str], own: dict[str, Float64]
) -> Stability | None:
    """Compare halves; `own` are the bank's vectors `[K, D]`. None with fewer than two concepts of two stories.

    Every split is drawn anew; the shuffled labels are split once each, so that their spread is rather too wide than
    too narrow.
    """
    counted = [name for name in dict.fromkeys(labels) if labels.count(name) > 1]
    kept = np.array([place for place, label in enumerate(labels) if label in counted], dtype=np.intp)
    if len(counted) < 2:
        return None
    x_XKD = means_XKD[kept]
    label_X = np.array([counted.index(labels[place]) for place in kept], dtype=np.intp)
    topic_X = np.unique(np.asarray(topics)[kept], return_inverse=True)[1]
    rng = np.random.default_rng(0)
    cosine_C = np.mean([_cosines(x_XKD, label_X, split(label_X, topic_X, rng)) for _ in range(SPLITS)], axis=0)
    permuted = []
    for _ in range(PERMUTATIONS):
        shuffled_X = shuffle_inside(label_X, topic_X, rng)
        permuted.append(float(np.median(_cosines(x_XKD, shuffled_X, split(shuffled_X, topic_X, rng)))))
    permuted_95 = float(np.quantile(permuted, 0.95))
    return Stability(
        cosines=dict(zip(counted, map(float, cosine_C), strict=True)),
        median=float(np.median(cosine_C)),
        low=float(cosine_C.min()),
        high=float(cosine_C.max()),
        permuted_95=permuted_95,
        bar=max(0.0, permuted_95),
        n_splits=SPLITS,
        n_permutations=PERMUTATIONS,
        bank_median=_bank_median(concept_vectors(x_XKD, label_X), counted, own),
    )


def split(label_X: Labels, topic_X: Labels, rng: Generator) -> Half:
    """Each concept's stories by turns to either side, topic by topic, so that the sides differ by at most one story.

    A topic with several stories of a concept is thereby on both sides.
    """
    sides: tuple[list[int], list[int]] = ([], [])
    topic_order = rng.permutation(int(topic_X.max()) + 1)
    noise_X = rng.random(len(label_X))
    for concept in range(int(label_X.max()) + 1):
        own = np.flatnonzero(label_X == concept)
        ordered = own[np.lexsort((noise_X[own], topic_order[topic_X[own]]))]
        first = int(rng.integers(2))
        for turn, story in enumerate(ordered.tolist()):
            sides[(turn + first) % 2].append(story)
    return Half(np.array(sides[0], dtype=np.intp), np.array(sides[1], dtype=np.intp))


def shuffle_inside(label_X: Labels, topic_X: Labels, rng: Generator) -> Labels:
    """Labels handed out anew inside each topic. Topics of one concept only are shuffled with one another."""
    mixed_X = label_X.copy()
    alone: list[int] = []
    for topic in range(int(topic_X.max()) + 1):
        inside = np.flatnonzero(topic_X == topic)
        if len(set(label_X[inside].tolist())) == 1:
            alone.extend(inside.tolist())
        else:
            mixed_X[inside] = label_X[rng.permutation(inside)]
    mixed_X[alone] = label_X[rng.permutation(alone)] if alone else label_X[alone]
    return mixed_X


def _cosines(x_XKD: Means, label_X: Labels, half: Half) -> Float64:
    """Per concept between the halves, averaged over the layers."""
    one_CKD, other_CKD = (concept_vectors(x_XKD[side], label_X[side]) for side in half)
    result: Float64 = (one_CKD * other_CKD).sum(-1).mean(-1)
    return result


def _bank_median(vectors_CKD: Float64, names: Sequence[str], own: dict[str, Float64]) -> float | None:
    """Of the cosines between these vectors and the bank's, over the concepts that both have."""
    found = [
        float((vectors_CKD[place] * unit(own[name])).sum(-1).mean()) for place, name in enumerate(names) if name in own
    ]
    return float(np.median(found)) if found else None
