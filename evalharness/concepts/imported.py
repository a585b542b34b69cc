"""Steering vectors of another tool -> a bank: their directions, and mean norms measured on the model they steer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from evalharness.concepts.bank import ConceptBank
from evalharness.concepts.exchange import SteeringVectors
from evalharness.concepts.extract import origin_of
from evalharness.concepts.manifest import CorpusRecord
from evalharness.concepts.neutral import Neutral
from evalharness.concepts.reading import Float64, text_means, token_ids, windows
from evalharness.concepts.spec import ExtractionSpec
from evalharness.concepts.stories import Stories, StoryRow, read_stories
from evalharness.errors import BankError

if TYPE_CHECKING:
    from evalharness.engine import Engine

STRENGTHS = "strength_of_coefficient_1"
"""Key of a bank's spec: per layer, the strength that the file's own length is."""


def import_bank(
    engine: Engine,
    vectors: SteeringVectors,
    name: str,
    stories: Iterable[StoryRow],
    spec: ExtractionSpec = ExtractionSpec(),
    source: dict[str, object] | None = None,
) -> ConceptBank:
    """A bank with one concept whose vectors come from a file. It has no held-out check, so no verdict can rest on it.

    No file tells mean residual norms, so they are measured: over the tokens of `stories` from `spec.skip` on,
    as in extraction. Without `spec.steer_layers` a steering acts on all layers of the file, as the file does elsewhere.
    `source` is what the bank's spec says about the file.

    Raises:
        BankError: the model has another width or lacks a layer, a vector is zero or not finite, the file says that it
            was exported from a bank of another model, or the stories break the rules of `extract`.
    """
    _require_fit(engine, vectors)
    layers = vectors.layers
    corpus = read_stories(engine, stories, spec.skip)
    norms_L, n_tokens = mean_norms(engine, corpus, layers, spec.skip)
    deltas_LD = np.stack([vectors.deltas[layer] for layer in layers]).astype(np.float64)
    bank = ConceptBank.from_arrays(
        {name: deltas_LD},
        layers=layers,
        mean_norms=norms_L.tolist(),
        steer_layers=spec.steer_layers or layers,
    )
    strengths_L = np.linalg.norm(deltas_LD, axis=1) / norms_L
    record = None if vectors.record is None else vectors.record.model_dump(mode="json", by_alias=True)
    origin = replace(
        origin_of(engine, "imported", spec),
        spec={**(source or {}), "skip": spec.skip, STRENGTHS: strengths_L.tolist(), "exported": record},
        corpus=CorpusRecord(
            n_stories=len(corpus.kept_S),
            n_story_tokens=n_tokens,
            n_neutral=0,
            dropped=corpus.dropped,
            stories_sha256=corpus.sha256,
            neutral_sha256=Neutral().sha256,
        ),
    )
    return bank.with_origin(origin)


def coefficient_strengths(bank: ConceptBank) -> tuple[float, ...]:
    """Per layer of an imported bank: the strength that coefficient 1 of its file is."""
    told = (bank.origin.spec or {})[STRENGTHS]
    assert isinstance(told, list)
    return tuple(map(float, told))


def mean_norms(engine: Engine, corpus: Stories, layers: Sequence[int], skip: int) -> tuple[Float64, int]:
    """Mean token norm per layer over the kept stories from the offset on, and the number of these tokens."""
    norm_L, n_tokens = np.zeros(len(layers)), 0

    def ids_of(place: int) -> tuple[int, ...]:
        return token_ids(engine, corpus.rows[int(corpus.kept_S[place])])

    for window in windows(range(len(corpus.kept_S))):
        for story in text_means(engine, ids_of, window, layers, skip):
            norm_L += story.norm_L
            n_tokens += story.n_tokens
    return norm_L / n_tokens, n_tokens


def _require_fit(engine: Engine, vectors: SteeringVectors) -> None:
    if vectors.d_model != engine.d_model or vectors.layers[-1] >= engine.n_layers:
        raise BankError(
            "The steering vectors do not fit the model.",
            expected=f"width {engine.d_model}, layers 0 to {engine.n_layers - 1}",
            got=f"width {vectors.d_model}, layers {', '.join(map(str, vectors.layers))}",
            fix="name the model that the file was made for",
        )
    exported = None if vectors.record is None else vectors.record.model_sha256
    if exported is not None and exported != engine.model_sha256:
        raise BankError(
            "The file was exported from a bank of another model, and as an import it would no longer say so.",
            expected=f"weights with sha256 {exported}",
            got=f"weights with sha256 {engine.model_sha256}",
            fix="use that bank itself: evalharness run --bank FOLDER --transfer-bank",
        )
