"""Texts -> means of the residual stream over their tokens from an offset on, in float64.

Rows are read in windows, so that memory does not grow with the corpus; inside of a window the engine batches them by
length. torch is not imported here: the engine hands out tensors, and what is done to them on their device are methods.
Shapes: L layers, T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from evalharness.engine import Engine

WINDOW = 1024
"""Texts whose tokens are held at a time."""

Float64 = NDArray[np.float64]
TextRow = Mapping[str, Any]
"""`text`, or `messages` of a chat, which go through the checkpoint's own template."""


class TextMean(NamedTuple):
    """What one text leaves behind."""

    text: int
    """Its place among the texts."""
    mean_LD: Float64
    norm_L: Float64
    """Sum of the token norms."""
    n_tokens: int


def token_ids(engine: Engine, row: TextRow) -> tuple[int, ...]:
    """The tokens of a row as the model reads it, cut at the model's context."""
    return engine.render(row.get("messages") or row.get("text") or "")[: engine.model_length]


def text_means(
    engine: Engine, ids_of: Callable[[int], Sequence[int]], texts: Sequence[int], layers: Sequence[int], skip: int
) -> Iterator[TextMean]:
    """Read these texts (places that `ids_of` knows; each of more than `skip` tokens), longest first."""
    for place, h_LTD in engine.forward_residuals([ids_of(text) for text in texts], layers):
        tail_LTD = h_LTD[:, skip:].double()
        yield TextMean(
            texts[place],
            tail_LTD.mean(1).cpu().numpy(),
            tail_LTD.norm(dim=-1).sum(1).cpu().numpy(),
            tail_LTD.shape[1],
        )


def windows(texts: Sequence[int]) -> Iterator[Sequence[int]]:
    """The texts in runs of `WINDOW`."""
    for start in range(0, len(texts), WINDOW):
        yield texts[start : start + WINDOW]


def last_residuals(engine: Engine, ids_N: Sequence[Sequence[int]], layers: Sequence[int]) -> Float64:
    """The residual stream at the last token of each row, `[N, L, D]`."""
    last_NLD = np.zeros((len(ids_N), len(layers), engine.d_model))
    for place, h_LTD in engine.forward_residuals(ids_N, layers):
        last_NLD[place] = h_LTD[:, -1].double().cpu().numpy()
    return last_NLD
