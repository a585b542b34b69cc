"""How the concept vectors of a bank lie to one another: principal components, clusters, and ratings of their words.

Reported, never required. That the first component looks like valence is a check of good sense, which word embeddings
pass as well (Sofroniew et al. 2026, geometry); and components of few concepts are whatever these concepts are.
Vectors have unit length, so that no component follows their sizes. C concepts, D width, J components.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage

from evalharness.concepts.bank import ConceptBank
from evalharness.concepts.battery_record import Geometry, NormCorrelations
from evalharness.concepts.norms import Norms
from evalharness.concepts.reading import Float64

LEAST_CONCEPTS = 3
MOST_SHARES, MOST_CLUSTERS = 10, 10
RATED_COMPONENTS = 3
LEAST_WORDS = 5
"""A correlation over fewer words is no correlation."""


def read_geometry(bank: ConceptBank, norms: Norms | None) -> Geometry:
    """Components and clusters at the middle one of the steer layers; needs `LEAST_CONCEPTS` concepts."""
    layer = bank.steer_layers[len(bank.steer_layers) // 2]
    units_CD = np.stack([bank.vector(name, layer) for name in bank.concepts]).astype(np.float64)
    scores_CJ, shares_J = components(units_CD)
    return Geometry(
        layer=layer,
        variance_shares=tuple(map(float, shares_J[:MOST_SHARES])),
        pc1=dict(zip(bank.concepts, map(float, scores_CJ[:, 0]), strict=True)),
        pc2=dict(zip(bank.concepts, map(float, scores_CJ[:, 1]), strict=True)),
        clusters=clusters(units_CD, bank.concepts),
        norms=None if norms is None else correlations(scores_CJ, bank.concepts, norms),
    )


def components(units_CD: Float64) -> tuple[Float64, Float64]:
    """Scores of the concepts `[C, J]` and shares of variance `[J]`; the concept farthest out lies on the plus side."""
    left_CJ, size_J, _ = np.linalg.svd(units_CD - units_CD.mean(0), full_matrices=False)
    scores_CJ = left_CJ * size_J
    farthest_J = np.abs(scores_CJ).argmax(0)
    signs_J = np.where(scores_CJ[farthest_J, np.arange(scores_CJ.shape[1])] < 0, -1.0, 1.0)
    return scores_CJ * signs_J, size_J**2 / max(float((size_J**2).sum()), 1e-300)


def clusters(units_CD: Float64, names: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Hierarchical clusters: about as many as the root of the number of concepts, at most ten."""
    wanted = min(MOST_CLUSTERS, math.ceil(math.sqrt(len(names))))
    place_C: NDArray[np.int32] = fcluster(linkage(units_CD, "average", metric="cosine"), wanted, "maxclust")
    groups = [tuple(np.asarray(names)[place_C == place].tolist()) for place in np.unique(place_C)]
    return tuple(sorted(groups, key=lambda group: (-len(group), group)))


def correlations(scores_CJ: Float64, names: tuple[str, ...], norms: Norms) -> NormCorrelations | None:
    """Pearson correlations over the shared words; None with too few of them, or with ratings that do not vary.

    The sign of a component is a convention: only the size of its correlation means anything.
    """
    shared = [place for place, name in enumerate(names) if name.lower() in norms.ratings]
    table = np.array([norms.ratings[names[place].lower()] for place in shared])
    if len(shared) < LEAST_WORDS or (np.ptp(table, axis=0) == 0).any():
        return None
    count = min(RATED_COMPONENTS, scores_CJ.shape[1])
    valence, arousal = (
        tuple(float(np.corrcoef(scores_CJ[shared, j], ratings)[0, 1].clip(-1, 1)) for j in range(count))
        for ratings in table.T
    )
    return NormCorrelations(n=len(shared), valence=valence, arousal=arousal)
