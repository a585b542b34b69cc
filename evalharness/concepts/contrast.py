"""Matched pairs -> vectors of any concept that can be said in two ways: evaluation awareness, a persona, refusal.

Difference of means over pairs, with the controls and the held-out check that stories have.
N pairs, Q concepts, M directions, L layers, K steer layers, D width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from evalharness.concepts.bank import ConceptBank
from evalharness.concepts.check import binomial_tail
from evalharness.concepts.directions import contrast_directions, name_directions
from evalharness.concepts.extract import origin_of
from evalharness.concepts.held_out import TWIN_SEED
from evalharness.concepts.manifest import CheckResult, CorpusRecord
from evalharness.concepts.neutral import Neutral, neutral_components, read_neutral, remove
from evalharness.concepts.pairs import PairRow, Pairs, read_pairs, sum_pairs
from evalharness.concepts.reading import Float64, TextRow
from evalharness.concepts.spec import CheckSpec, ExtractionSpec
from evalharness.ids import derive_seed

if TYPE_CHECKING:
    from evalharness.engine import Engine

CHANCE = 0.5
LEAST_MARGIN = 0.1
"""How far above the twin's the share of pairs read right must be. Pairs differ by few words, so the twin reads many."""


def extract_pairs(
    engine: Engine,
    pairs: Iterable[PairRow],
    neutral: Iterable[TextRow] = (),
    spec: ExtractionSpec = ExtractionSpec(skip=0),
    *,
    contrast: Iterable[PairRow] = (),
) -> ConceptBank:
    """Extract a bank from matched pairs: mean of the positive minus mean of the negative texts, after `spec.skip`.

    The permuted controls swap the sides of every pair by a coin; Gaussian, unrelated and mean controls are as for
    stories. The mean norms are over all texts of the pairs.

    Raises:
        BankError: pairs that do not match up or are too short, or denoising without neutral texts.
    """
    layers, steer = spec.resolve_layers(engine.n_layers)
    read = read_pairs(engine, pairs, spec.skip)
    quiet = read_neutral(engine, neutral, spec.skip) if spec.denoise else Neutral()
    basis_L = neutral_components(engine, quiet, layers, spec.skip, spec.denoise)
    sums = sum_pairs(engine, read, layers, range(len(layers)), spec.skip)
    swapped_PLD = _swapped(read, sums.difference_NKD, spec)
    clean_MLD = remove(np.concatenate([sums.raw_QLD, swapped_PLD]), basis_L)
    unrelated = contrast_directions(engine, contrast, basis_L, spec)
    named = name_directions(clean_MLD, read.names, unrelated, spec)
    bank = ConceptBank.from_arrays(
        named.arrays, layers=layers, mean_norms=sums.mean_norm_L.tolist(), steer_layers=steer, controls=named.controls
    )
    sizes_QL = np.linalg.norm(clean_MLD[: len(read.names)], axis=-1) / sums.mean_norm_L
    record = CorpusRecord(
        n_stories=2 * len(read.ids),
        n_story_tokens=sums.n_tokens,
        n_neutral=len(quiet.ids),
        dropped={**read.dropped, **({"neutral": quiet.n_short} if quiet.n_short else {})},
        stories_sha256=read.sha256,
        neutral_sha256=quiet.sha256,
        contrast_sets=unrelated.names,
    )
    natural = {name: tuple(map(float, row)) for name, row in zip(read.names, sizes_QL, strict=True)}
    bank = bank.with_origin(replace(origin_of(engine, "contrast", spec), corpus=record, natural_strengths=natural))
    if spec.check is None:
        return bank
    places = [layers.index(layer) for layer in steer]
    kept_NKD = remove(sums.difference_NKD[:, places], [basis_L[place] for place in places])
    with engine.random_twin(TWIN_SEED) as twin:
        twin_basis = neutral_components(twin, quiet, steer, spec.skip, spec.denoise)
        twin_sums = sum_pairs(twin, read, steer, range(len(steer)), spec.skip)
        twin_NKD = remove(twin_sums.difference_NKD, twin_basis)
    return bank.with_check(judge_pairs(read, kept_NKD, twin_NKD, steer, spec.check))


def _swapped(pairs: Pairs, difference_NLD: NDArray[np.float32], spec: ExtractionSpec) -> Float64:
    """Per permuted control the mean difference of one concept, in turn, with sides swapped by a coin per pair."""
    rows = []
    for number in range(spec.permuted):
        mine = difference_NLD[pairs.set_N == number % len(pairs.names)].astype(np.float64)
        rng = np.random.default_rng(derive_seed("swapped", spec.seed, number))
        rows.append((rng.choice((-1.0, 1.0), len(mine))[:, None, None] * mine).mean(0))
    return np.stack(rows) if rows else np.zeros((0, *difference_NLD.shape[1:]))


def read_right(pairs: Pairs, difference_NKD: Float64) -> NDArray[np.bool_]:
    """Per pair, whether a vector from the other pairs of its set points from its negative to its positive text."""
    right_N = np.zeros(len(pairs.ids), dtype=bool)
    for place in range(len(pairs.names)):
        inside = np.flatnonzero(pairs.set_N == place)
        total_KD = difference_NKD[inside].sum(0)
        for pair in inside.tolist():
            vector_KD = (total_KD - difference_NKD[pair]) / max(1, len(inside) - 1)
            sizes_K = np.linalg.norm(vector_KD, axis=-1) * np.linalg.norm(difference_NKD[pair], axis=-1)
            cosine = ((vector_KD * difference_NKD[pair]).sum(-1) / np.maximum(sizes_K, 1e-300)).mean()
            right_N[pair] = cosine > 0
    return right_N


def judge_pairs(
    pairs: Pairs, model_NKD: Float64, twin_NKD: Float64, layers: Sequence[int], bars: CheckSpec
) -> CheckResult:
    """Each pair is left out and read by the others; every concept has to stand, and the model above its twin."""
    right_N, twin_N = read_right(pairs, model_NKD), read_right(pairs, twin_NKD)
    only_model, only_twin = int((right_N & ~twin_N).sum()), int((~right_N & twin_N).sum())
    twin_p = 1.0 if only_model + only_twin == 0 else binomial_tail(only_model, only_model + only_twin)
    share, twin_share = float(right_N.mean()), float(twin_N.mean())
    reasons = []
    for place, name in enumerate(pairs.names):
        mine = right_N[pairs.set_N == place]
        right = int(mine.sum())
        p_value = binomial_tail(right, len(mine))
        if p_value > bars.max_p:
            reasons.append(
                f"{name}: {right} of {len(mine)} held-out pairs read right, p = {p_value:.3f} > {bars.max_p}"
            )
    if share - twin_share < LEAST_MARGIN or twin_p > bars.max_p:
        reasons.append(
            f"a random-weights twin reads the pairs almost as well: {share:.3f} against {twin_share:.3f}, needed "
            f"{LEAST_MARGIN} more with p <= {bars.max_p}, p = {twin_p:.3f}; the words that differ may be all there is"
        )
    return CheckResult(
        passed=not reasons,
        top1=share,
        top5=1.0,
        chance=CHANCE,
        p_value=binomial_tail(int(right_N.sum()), len(right_N)),
        twin_top1=twin_share,
        twin_p_value=twin_p,
        margin=share - max(twin_share, CHANCE),
        n_heldout=len(right_N),
        n_concepts=len(pairs.names),
        layers=tuple(layers),
        cues="none",
        required={"max_p": bars.max_p, "min_margin": LEAST_MARGIN},
        reasons=tuple(reasons),
    )
