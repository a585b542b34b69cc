"""The logit lens: which tokens a concept's direction makes more, and less, likely by itself.

Reported, never required: what comes out depends on how far the layer is from the output, and on a small vocabulary
the words of a feeling may not be tokens at all. It is for a reader's eye, not for a bar.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evalharness.concepts.bank import ConceptBank
from evalharness.concepts.battery_record import Lens, LensWords

if TYPE_CHECKING:
    from evalharness.engine import Engine

TOKENS = 10
TOGETHER = 16
"""Directions at a time: each gives one number for every token of the vocabulary."""


def read_lens(engine: Engine, bank: ConceptBank) -> Lens:
    """The strongest tokens of every concept at the middle one of the steer layers, at strength 1.

    Tokens without a text of their own (special ones, parts of a character, unused places) are left out.

    Raises:
        ModelError: the model has no final norm and linear head that account for its own logits.
    """
    layer = bank.steer_layers[len(bank.steer_layers) // 2]
    texts = engine.token_texts(range(engine.vocab_size))
    known = np.array([place for place, text in enumerate(texts) if text.strip() and "\ufffd" not in text])
    words = {}
    for start in range(0, len(bank.concepts), TOGETHER):
        names = bank.concepts[start : start + TOGETHER]
        vectors_ND = np.stack([bank.vector(name, layer) for name in names]) * bank.mean_norm(layer)
        for name, logits_V in zip(names, engine.unembed(vectors_ND), strict=True):
            order = known[np.argsort(-logits_V[known], kind="stable")]
            top, bottom = order[:TOKENS], order[::-1][:TOKENS]
            words[name] = LensWords(top=tuple(texts[i] for i in top), bottom=tuple(texts[i] for i in bottom))
    return Lens(layer=layer, words=words)
