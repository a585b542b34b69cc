"""The held-out check: each story is read by vectors from stories that share neither its topic nor any of its cues.

Word overlap alone separates stories, so a model of random weights would pass a plain hold-out. Two things prevent
that: cues are left out as topics are, and the same readings from a random-weights twin must be clearly worse.
No torch. Shapes: S stories, C concepts, K steer layers, D width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalharness.concepts.cues import Cues
from evalharness.concepts.manifest import CheckResult
from evalharness.concepts.spec import CheckSpec

Means = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What the check knows about each story."""

    labels: tuple[str, ...]
    topics: tuple[str, ...]
    cues: Cues


class Readings(NamedTuple):
    """How well stories are read."""

    top1: float
    top5: float
    n: int
    predicted_S: NDArray[np.intp]
    true_S: NDArray[np.intp]


def read_held_out(held_out: HeldOut, means_SKD: Means) -> Readings:
    """Classify every story by the highest cosine, centred, averaged over the steer layers.

    A story counts only if every concept still has a story when its topic (and its cues) are left out.
    """
    names = sorted(set(held_out.labels))
    label_S = np.array([names.index(label) for label in held_out.labels])
    topic_S = np.unique(np.asarray(held_out.topics), return_inverse=True)[1]
    x_SKD = means_SKD.astype(np.float64)
    ranks = []
    for topic in range(int(topic_S.max()) + 1):
        inside, outside = np.flatnonzero(topic_S == topic), np.flatnonzero(topic_S != topic)
        size_C = np.bincount(label_S[outside], minlength=len(names))
        if (size_C == 0).any():
            continue
        sum_CKD = np.zeros((len(names), *x_SKD.shape[1:]))
        np.add.at(sum_CKD, label_S[outside], x_SKD[outside])
        for story in inside.tolist():
            rank = _rank_of_truth(held_out, story, outside, label_S, x_SKD, sum_CKD / size_C[:, None, None])
            if rank is not None:
                ranks.append((story, *rank))
    if not ranks:
        return Readings(0.0, 0.0, 0, np.zeros(0, np.intp), np.zeros(0, np.intp))
    table = np.array(ranks)
    return Readings(
        top1=float((table[:, 1] < 1).mean()),
        top5=float((table[:, 1] < 5).mean()),
        n=len(table),
        predicted_S=table[:, 2],
        true_S=label_S[table[:, 0]],
    )


class _Rank(NamedTuple):
    rank: int
    best: int


def _rank_of_truth(
    held_out: HeldOut,
    story: int,
    outside: NDArray[np.intp],
    label_S: NDArray[np.intp],
    x_SKD: NDArray[np.float64],
    mean_CKD: NDArray[np.float64],
) -> _Rank | None:
    """Place of the right concept (0 = first) and the concept that came first; None without material to judge by."""
    truth = label_S[story]
    shown = held_out.cues.per_story
    if shown[story]:
        own = outside[label_S[outside] == truth]
        apart = [other for other in own if not (shown[other] & shown[story])]
        if not apart:
            return None
        mean_CKD = mean_CKD.copy()
        mean_CKD[truth] = x_SKD[apart].mean(0)
    centre_KD = mean_CKD.mean(0)
    vector_CKD, at_KD = mean_CKD - centre_KD, x_SKD[story] - centre_KD
    sizes = np.linalg.norm(vector_CKD, axis=-1) * np.linalg.norm(at_KD, axis=-1)
    cosine_C = ((vector_CKD * at_KD).sum(-1) / np.maximum(sizes, 1e-300)).mean(-1)
    # Ties count against: where nothing differs, nothing was read.
    return _Rank(int((cosine_C >= cosine_C[truth]).sum()) - 1, int(cosine_C.argmax()))


def decide(
    held_out: HeldOut, means_SKD: Means, twins_SKD: Sequence[Means], *, layers: tuple[int, ...], bars: CheckSpec
) -> CheckResult:
    """Read the stories with the model and with its twin (at its best place), and hold the result against the bars."""
    model = read_held_out(held_out, means_SKD)
    twin = max((read_held_out(held_out, twin_SKD) for twin_SKD in twins_SKD), key=lambda readings: readings.top1)
    n_concepts = len(set(held_out.labels))
    chance = 1 / n_concepts
    p_value = permutation_p(model.predicted_S, model.true_S, bars.permutations)
    margin = model.top1 - max(twin.top1, chance)
    needed, least = bars.min_times_chance * chance, bars.min_margin_times_chance * chance
    twin_p = _paired_p(model, twin)
    reasons = []
    if model.n == 0:
        reasons.append("no story could be held out: every concept needs stories on several topics, with several cues")
    if p_value > bars.max_p:
        reasons.append(f"held-out stories are not read better than by chance: p = {p_value:.3f} > {bars.max_p}")
    if model.top1 < min(needed, 0.9):
        reasons.append(f"top-1 {model.top1:.3f} is below {bars.min_times_chance:g} x chance = {needed:.3f}")
    if margin < least or twin_p > bars.max_p:
        reasons.append(
            f"a random-weights twin reads the stories almost as well: top-1 {model.top1:.3f} against "
            f"{twin.top1:.3f} (chance {chance:.3f}), margin {margin:.3f}, needed {least:.3f} with p <= {bars.max_p}, "
            f"p = {twin_p:.3f}"
        )
    required = {key: float(value) for key, value in asdict(bars).items() if key.startswith(("max_p", "min_"))}
    return CheckResult(
        passed=not reasons,
        top1=model.top1,
        top5=model.top5,
        chance=chance,
        p_value=p_value,
        twin_top1=twin.top1,
        twin_p_value=twin_p,
        margin=margin,
        n_heldout=model.n,
        n_concepts=n_concepts,
        layers=layers,
        cues=held_out.cues.source,
        required=required,
        reasons=tuple(reasons),
    )


def _paired_p(model: Readings, twin: Readings) -> float:
    """One-sided exact McNemar test, over the stories that only one of the two reads right."""
    right, twin_right = model.predicted_S == model.true_S, twin.predicted_S == twin.true_S
    only_model, only_twin = int((right & ~twin_right).sum()), int((~right & twin_right).sum())
    return binomial_tail(only_model, only_model + only_twin)


def binomial_tail(k: int, n: int) -> float:
    """Chance of at least k heads in n throws of a fair coin."""
    tail: int = sum(math.comb(n, heads) for heads in range(k, n + 1))
    return float(tail / 2**n)


def permutation_p(predicted_S: NDArray[np.intp], true_S: NDArray[np.intp], permutations: int) -> float:
    """Share of shuffled truths that agree with the predictions at least as often as the real ones."""
    if len(true_S) == 0:
        return 1.0
    rng = np.random.default_rng(0)
    hits = int((predicted_S == true_S).sum())
    beaten = sum(int((predicted_S == rng.permutation(true_S)).sum()) >= hits for _ in range(permutations))
    return (1 + beaten) / (1 + permutations)
