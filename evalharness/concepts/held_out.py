"""Runs the held-out check: story means of the model and of its random-weights twin, for `check.decide` to judge.

X stories of the check, K layers, D width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from evalharness.concepts.bank import ConceptBank
from evalharness.concepts.check import decide
from evalharness.concepts.manifest import CheckResult
from evalharness.concepts.neutral import Neutral, neutral_components, read_neutral, remove
from evalharness.concepts.reading import TextRow, text_means, token_ids
from evalharness.concepts.spec import CheckSpec, ExtractionSpec
from evalharness.concepts.stories import Stories, StoryRow, read_stories

if TYPE_CHECKING:
    from evalharness.engine import Engine

TWIN_SEED = 0


def chosen_stories(corpus: Stories, bars: CheckSpec | None) -> list[int]:
    """The stories that are judged: all, or an even share of a large corpus."""
    most = (bars or CheckSpec()).max_stories
    count = len(corpus.kept_S)
    chosen: list[int] = np.unique(np.linspace(0, count - 1, min(most, count)).astype(int)).tolist()
    return chosen


def story_means(
    engine: Engine,
    corpus: Stories,
    chosen_X: Sequence[int],
    neutral: Neutral,
    layers: Sequence[int],
    spec: ExtractionSpec,
) -> NDArray[np.float32]:
    """Denoised means [X, K, D] of the chosen stories at these layers."""
    means_XKD = np.zeros((len(chosen_X), len(layers), engine.d_model), np.float32)

    def ids_of(slot: int) -> tuple[int, ...]:
        return token_ids(engine, corpus.rows[int(corpus.kept_S[chosen_X[slot]])])

    for story in text_means(engine, ids_of, range(len(chosen_X)), layers, spec.skip):
        means_XKD[story.text] = story.mean_LD
    basis_L = neutral_components(engine, neutral, layers, spec.skip, spec.denoise)
    return remove(means_XKD, basis_L).astype(np.float32)


def check_stories(
    engine: Engine,
    corpus: Stories,
    neutral: Neutral,
    chosen: tuple[Sequence[int], NDArray[np.float32]],
    layers: Sequence[int],
    spec: ExtractionSpec,
) -> CheckResult:
    """Judge the model's means of the chosen stories, then the means of the same stories in a random-weights twin.

    The twin is read at the same layers and at block 0, where its residual stream is hardly more than the words.
    """
    chosen_X, means_XKD = chosen
    with engine.random_twin(TWIN_SEED) as twin:
        twin_XKD = story_means(twin, corpus, chosen_X, neutral, [*layers, 0], spec)
    twins, bars = [twin_XKD[:, :-1], twin_XKD[:, -1:]], spec.check or CheckSpec()
    return decide(corpus.held_out(chosen_X), means_XKD, twins, layers=tuple(layers), bars=bars)


def check_layers(
    engine: Engine,
    stories: Iterable[StoryRow],
    neutral: Iterable[TextRow],
    layers: Sequence[int],
    spec: ExtractionSpec = ExtractionSpec(),
) -> tuple[CheckResult, ...]:
    """The held-out check at each of these layers by itself. Model and twin read each corpus once, for all layers.

    Without neutral texts nothing is denoised.

    Raises:
        BankError: the stories break the rules of `extract`.
    """
    corpus = read_stories(engine, stories, spec.skip)
    rows = list(neutral)
    quiet = read_neutral(engine, rows, spec.skip) if rows and spec.denoise else Neutral()
    chosen_X = chosen_stories(corpus, spec.check)
    means_XKD = story_means(engine, corpus, chosen_X, quiet, layers, spec)
    with engine.random_twin(TWIN_SEED) as twin:
        # Block 0 comes last: the twin's second place, whatever the layer (see `check_stories`).
        twin_XKD = story_means(twin, corpus, chosen_X, quiet, [*layers, 0], spec)
    held_out, bars = corpus.held_out(chosen_X), spec.check or CheckSpec()
    return tuple(
        decide(held_out, means_XKD[:, [k]], [twin_XKD[:, [k]], twin_XKD[:, [len(layers)]]], layers=(layer,), bars=bars)
        for k, layer in enumerate(layers)
    )


def check_bank(
    engine: Engine,
    bank: ConceptBank,
    stories: Iterable[StoryRow],
    spec: ExtractionSpec = ExtractionSpec(),
    *,
    neutral: Iterable[TextRow] = (),
) -> CheckResult:
    """Run the held-out check on these stories at the bank's steer layers.

    The bank's own vectors are not used: each story is judged by vectors from the others, so that nothing is judged by
    what it helped to build. Without neutral texts nothing is denoised.

    Raises:
        BankError: the bank belongs to another model, or the stories break the rules of `extract`.
    """
    bank.require_model(engine.model_sha256)
    corpus = read_stories(engine, stories, spec.skip)
    rows = list(neutral)
    quiet = read_neutral(engine, rows, spec.skip) if rows and spec.denoise else Neutral()
    chosen_X = chosen_stories(corpus, spec.check)
    means_XKD = story_means(engine, corpus, chosen_X, quiet, bank.steer_layers, spec)
    return check_stories(engine, corpus, quiet, (chosen_X, means_XKD), bank.steer_layers, spec)
