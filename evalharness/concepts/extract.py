"""Stories -> concept vectors, by the paper's recipe, all layers in one pass.

S stories, X of them in the held-out check, M wanted directions, L layers, K steer layers, D width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evalharness.concepts.bank import ConceptBank, Origin
from evalharness.concepts.controls import permuted_weights
from evalharness.concepts.directions import contrast_directions, name_directions
from evalharness.concepts.held_out import check_stories, chosen_stories
from evalharness.concepts.manifest import CorpusRecord, Recipe
from evalharness.concepts.neutral import Neutral, neutral_components, read_neutral, remove
from evalharness.concepts.pairs import PairRow
from evalharness.concepts.reading import TextRow, text_means, token_ids, windows
from evalharness.concepts.spec import ExtractionSpec
from evalharness.concepts.stories import Stories, StoryRow, read_stories
from evalharness.concepts.sums import StorySums, SumPlan
from evalharness.ids import sha256_json

if TYPE_CHECKING:
    from evalharness.engine import Engine


def extract(
    engine: Engine,
    stories: Iterable[StoryRow],
    neutral: Iterable[TextRow] = (),
    spec: ExtractionSpec = ExtractionSpec(),
    *,
    contrast: Iterable[PairRow] = (),
    partial: Path | None = None,
) -> ConceptBank:
    """Extract a bank with controls, mean norms and the result of the held-out check.

    Mean residual per story over the tokens from `spec.skip` on; mean per concept minus the mean of the concept means;
    minus the leading principal components of the neutral texts' means; unit length (Sofroniew et al. 2026, extraction).
    `contrast` are unrelated pairs, whose differences become controls by the same steps. Sums so far are kept in the
    folder `partial` after every window of stories, and an extraction that was stopped continues from there.

    Raises:
        BankError: a row without its fields, fewer than two concepts, a concept whose stories are all too short, or
            denoising without at least two neutral texts that are long enough.
        StorageError: `partial` cannot be written.
    """
    layers, steer = spec.resolve_layers(engine.n_layers)
    corpus = read_stories(engine, stories, spec.skip)
    quiet = read_neutral(engine, neutral, spec.skip) if spec.denoise else Neutral()
    chosen_X = chosen_stories(corpus, spec.check)
    sums = _sum_stories(engine, corpus, chosen_X, spec, partial)
    basis_L = neutral_components(engine, quiet, layers, spec.skip, spec.denoise)
    clean_MLD = remove(sums.differences, basis_L)

    unrelated = contrast_directions(engine, contrast, basis_L, spec)
    named = name_directions(clean_MLD, corpus.names, unrelated, spec)
    bank = ConceptBank.from_arrays(
        named.arrays, layers=layers, mean_norms=sums.mean_norms.tolist(), steer_layers=steer, controls=named.controls
    )
    sizes_CL = np.linalg.norm(clean_MLD[: len(corpus.names)], axis=-1) / sums.mean_norms
    origin = replace(
        origin_of(engine, "stories", spec),
        corpus=CorpusRecord(
            n_stories=len(corpus.kept_S),
            n_story_tokens=sums.n_tokens,
            n_neutral=len(quiet.ids),
            dropped={**corpus.dropped, **({"neutral": quiet.n_short} if quiet.n_short else {})},
            stories_sha256=corpus.sha256,
            neutral_sha256=quiet.sha256,
            contrast_sets=unrelated.names,
        ),
        natural_strengths={name: tuple(map(float, row)) for name, row in zip(corpus.names, sizes_CL, strict=True)},
    )
    bank = bank.with_origin(origin)
    if spec.check is None:
        return bank
    kept_basis = [basis_L[layers.index(layer)] for layer in steer]
    means_XKD = remove(sums.kept, kept_basis).astype(np.float32)
    return bank.with_check(check_stories(engine, corpus, quiet, (chosen_X, means_XKD), steer, spec))


def origin_of(engine: Engine, recipe: Recipe, spec: ExtractionSpec) -> Origin:
    """Everything of an origin that the engine and the recipe tell."""
    told = engine.describe()
    return Origin(
        recipe=recipe,
        model_sha256=engine.model_sha256,
        model_source=str(told["source"]),
        tokenizer_sha256=engine.tokenizer_sha256,
        chat_template_sha256=engine.chat_template_sha256,
        versions={
            "evalharness": version("evalharness"),
            **{k: str(told[k]) for k in ("torch", "transformers", "dtype")},
        },
        spec=asdict(spec),
    )


def _sum_stories(
    engine: Engine, corpus: Stories, chosen_X: Sequence[int], spec: ExtractionSpec, partial: Path | None
) -> StorySums:
    layers, steer = spec.resolve_layers(engine.n_layers)
    labels = corpus.labels
    plan = SumPlan(
        label_S=corpus.label_S,
        weights_PS=np.stack([permuted_weights(labels, spec.seed, number) for number in range(spec.permuted)])
        if spec.permuted
        else np.zeros((0, len(labels))),
        chosen_X=chosen_X if spec.check is not None else (),
        kept_layers=[layers.index(layer) for layer in steer],
        key=sha256_json([engine.model_sha256, engine.decoding(), asdict(spec), corpus.sha256, labels]),
    )
    sums = StorySums(plan, len(layers), engine.d_model)
    done = sums.restore(partial) if partial is not None else False
    for number, window in enumerate(windows(range(len(labels)))):
        if done and number < sums.windows_done:
            continue
        for story in text_means(engine, lambda place: _ids(engine, corpus, place), window, layers, spec.skip):
            sums.add(story)
        sums.windows_done = number + 1
        if partial is not None:
            sums.save(partial)
    return sums


def _ids(engine: Engine, corpus: Stories, story: int) -> tuple[int, ...]:
    return token_ids(engine, corpus.rows[int(corpus.kept_S[story])])
