"""What varies without a feeling: principal components of neutral texts, removed from every direction.

N texts, L layers, D width, K components.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evalharness.concepts.reading import Float64, TextRow, text_means, token_ids
from evalharness.errors import BankError
from evalharness.ids import sha256_json

if TYPE_CHECKING:
    from evalharness.engine import Engine

MOST_TEXTS = 1000
"""More neutral texts than this are thinned, evenly: the components come from a matrix of texts by texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Neutral:
    """Token ids of the neutral texts that reach beyond the offset, and how many did not."""

    ids: tuple[tuple[int, ...], ...] = ()
    n_short: int = 0

    @property
    def sha256(self) -> str:
        """Over the token ids."""
        return sha256_json([list(ids) for ids in self.ids])


def read_neutral(engine: Engine, rows: Iterable[TextRow], skip: int) -> Neutral:
    """Render the neutral texts.

    Raises:
        BankError: fewer than two are long enough.
    """
    listed = list(rows)
    places = np.unique(np.linspace(0, len(listed) - 1, min(len(listed), MOST_TEXTS)).astype(int))
    rendered = [token_ids(engine, listed[place]) for place in places.tolist()]
    long_enough = tuple(ids for ids in rendered if len(ids) > skip)
    if len(long_enough) < 2:
        raise BankError(
            "Denoising needs at least two neutral texts that are long enough.",
            expected=f"texts of more than {skip} tokens",
            got=f"{len(long_enough)} of {len(listed)}",
            fix="give neutral texts, or set denoise to 0",
        )
    return Neutral(ids=long_enough, n_short=len(rendered) - len(long_enough))


def neutral_components(
    engine: Engine, neutral: Neutral, layers: Sequence[int], skip: int, share: float
) -> list[Float64]:
    """Per layer orthonormal rows [K, D]: the leading components of the texts' mean residuals, up to this variance."""
    if not neutral.ids:
        return [np.zeros((0, engine.d_model)) for _ in layers]
    mean_NLD = np.zeros((len(neutral.ids), len(layers), engine.d_model))
    for text in text_means(engine, neutral.ids.__getitem__, range(len(neutral.ids)), layers, skip):
        mean_NLD[text.text] = text.mean_LD
    centred_NLD = mean_NLD - mean_NLD.mean(0)
    return [_leading_components(centred_NLD[:, layer], share) for layer in range(len(layers))]


def _leading_components(centred_ND: Float64, share: float) -> Float64:
    """Orthonormal rows [K, D]: the fewest principal components with at least this share of the variance."""
    gram_NN = centred_ND @ centred_ND.T
    variance_N, left_NN = np.linalg.eigh(gram_NN)
    variance_N, left_NN = variance_N[::-1].clip(min=0), left_NN[:, ::-1]
    reached_N = np.cumsum(variance_N) / max(float(variance_N.sum()), 1e-300)
    count = int(np.searchsorted(reached_N, share)) + 1
    rows_KD: Float64 = left_NN[:, :count].T @ centred_ND
    # A second orthonormalisation: rows made through the Gram matrix are orthogonal only to half precision.
    basis_DK, _ = np.linalg.qr(rows_KD.T)
    result: Float64 = basis_DK.T
    return result


def remove(raw_MLD: NDArray[Any], basis_L: Sequence[Float64]) -> Float64:
    """Rows per layer without their part in that layer's basis."""
    clean = [raw_MLD[:, layer] - raw_MLD[:, layer] @ basis.T @ basis for layer, basis in enumerate(basis_L)]
    return np.stack(clean, axis=1)
