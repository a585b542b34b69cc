"""Stories -> concept vectors, by the paper's recipe, all layers in one pass.

Shapes: S stories, M wanted directions, L layers, D width, T tokens. Every wanted direction before denoising is a
weighted sum of story means (its weights are in `controls.py`), so one pass keeps M x L x D sums in float64 however
large the corpus is; story means themselves are kept at the steer layers only, for the held-out check.
torch is not imported here: the engine hands out tensors, and what is done to them on their device are methods.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalharness.concepts.bank import ConceptBank, Origin
from evalharness.concepts.check import HeldOut, decide
from evalharness.concepts.controls import control_name, difference_weights, gaussian_direction, permuted_weights
from evalharness.concepts.cues import Cues, story_cues
from evalharness.concepts.manifest import CheckResult, ControlKind, CorpusRecord
from evalharness.concepts.spec import CheckSpec, ExtractionSpec
from evalharness.errors import BankError
from evalharness.ids import sha256_json

if TYPE_CHECKING:
    from evalharness.engine import Engine

StoryRow = Mapping[str, Any]
"""`concept`, `topic`, `person`, `text`, and optionally `cues` (ids of the sentences that show the feeling)."""
NeutralRow = Mapping[str, Any]
"""`text`, or `messages` of a chat."""

Float64 = NDArray[np.float64]
TWIN_SEED = 0


def extract(
    engine: Engine,
    stories: Iterable[StoryRow],
    neutral: Iterable[NeutralRow] = (),
    spec: ExtractionSpec = ExtractionSpec(),  # noqa: B008 - frozen
) -> ConceptBank:
    """Extract a bank with controls, mean norms and the result of the held-out check.

    Mean residual per story over the tokens from `spec.skip` on; mean per concept minus the mean of the concept means;
    minus the leading principal components of the neutral texts' means; unit length.

    Raises:
        BankError: a row without its fields, fewer than two concepts, a concept whose stories are all too short, or
            denoising without at least two neutral texts that are long enough.
    """
    layers, steer = spec.resolve_layers(engine.n_layers)
    corpus = _read_corpus(engine, stories, spec.skip)
    neutral_rows = list(neutral)
    neutral_ids = _read_neutral(engine, neutral_rows, spec) if spec.denoise else []
    sums = _sum_stories(engine, corpus, _weights(corpus.labels, spec), layers, steer, spec.skip)
    basis_L = _neutral_components(engine, neutral_ids, layers, spec)
    clean_MLD = _remove(sums.raw_MLD, basis_L)

    arrays, controls = _name_directions(clean_MLD, corpus.names, spec)
    bank = ConceptBank.from_arrays(
        arrays, layers=layers, mean_norms=sums.norm_L.tolist(), steer_layers=steer, controls=controls
    )
    short = len(neutral_rows) - len(neutral_ids) if spec.denoise else 0
    sizes_CL = np.linalg.norm(clean_MLD[: len(corpus.names)], axis=-1) / sums.norm_L
    origin = Origin(
        model_sha256=engine.model_sha256,
        model_source=str(engine.describe()["source"]),
        spec=asdict(spec),
        corpus=CorpusRecord(
            n_stories=len(corpus.labels),
            n_story_tokens=sums.n_tokens,
            n_neutral=len(neutral_ids),
            dropped={**corpus.dropped, **({"neutral": short} if short else {})},
            stories_sha256=sha256_json([list(ids) for ids in corpus.token_ids]),
            neutral_sha256=sha256_json([list(ids) for ids in neutral_ids]),
        ),
        natural_strengths={name: tuple(map(float, row)) for name, row in zip(corpus.names, sizes_CL, strict=True)},
    )
    bank = bank.with_origin(origin)
    if spec.check is None:
        return bank
    kept_basis = [basis_L[layers.index(layer)] for layer in steer]
    means_SKD = _remove(sums.kept_SKD, kept_basis).astype(np.float32)
    return bank.with_check(_check(engine, corpus, neutral_ids, means_SKD, steer, spec))


def check_bank(
    engine: Engine,
    bank: ConceptBank,
    stories: Iterable[StoryRow],
    spec: ExtractionSpec = ExtractionSpec(),  # noqa: B008 - frozen
    *,
    neutral: Iterable[NeutralRow] = (),
) -> CheckResult:
    """Run the held-out check on these stories at the bank's steer layers.

    The bank's own vectors are not used: each story is judged by vectors from the others, so that nothing is judged by
    what it helped to build. Without neutral texts nothing is denoised.

    Raises:
        BankError: the bank belongs to another model, or the stories break the rules of `extract`.
    """
    bank.require_model(engine.model_sha256)
    corpus = _read_corpus(engine, stories, spec.skip)
    neutral_rows = list(neutral)
    neutral_ids = _read_neutral(engine, neutral_rows, spec) if neutral_rows and spec.denoise else []
    kept_SKD = _story_means(engine, corpus, neutral_ids, bank.steer_layers, spec)
    return _check(engine, corpus, neutral_ids, kept_SKD, bank.steer_layers, spec)


class _Corpus(NamedTuple):
    token_ids: list[tuple[int, ...]]
    labels: list[str]
    topics: list[str]
    cues: Cues
    names: list[str]
    dropped: dict[str, int]


class _Sums(NamedTuple):
    raw_MLD: Float64
    norm_L: Float64
    n_tokens: int
    kept_SKD: NDArray[np.float32]
    """Story means at the steer layers."""


def _read_corpus(engine: Engine, stories: Iterable[StoryRow], skip: int) -> _Corpus:
    token_ids, kept_rows, dropped = [], [], dict[str, int]()
    names: dict[str, None] = {}
    for number, row in enumerate(stories):
        if not row.get("concept") or not row.get("text"):
            raise BankError(
                "A story lacks a field.", expected="concept, topic, text", got=", ".join(row), where=f"story {number}"
            )
        names[str(row["concept"])] = None
        ids = engine.render(str(row["text"]))[: engine.model_length]
        if len(ids) <= skip:
            dropped[str(row["concept"])] = dropped.get(str(row["concept"]), 0) + 1
            continue
        token_ids.append(ids)
        kept_rows.append(row)
    labels = [str(row["concept"]) for row in kept_rows]
    empty = sorted(set(names) - set(labels))
    if empty or len(names) < 2:
        raise BankError(
            "A concept has no story that is long enough." if empty else "Concept vectors need at least two concepts.",
            expected=f"stories of more than {skip} tokens",
            got=", ".join(f"{name}: {dropped.get(name, 0)} too short" for name in empty) or ", ".join(names) or "none",
            fix="use longer stories or a smaller skip" if empty else "give stories of several concepts",
        )
    # In the order of the stories that are left: `_weights` orders the concepts in the same way.
    names_in_order = list(dict.fromkeys(labels))
    topics = [str(row.get("topic", "")) for row in kept_rows]
    return _Corpus(token_ids, labels, topics, story_cues(kept_rows), names_in_order, dropped)


def _weights(labels: Sequence[str], spec: ExtractionSpec) -> Float64:
    """Rows: the concepts in order of appearance, then the permuted controls."""
    concepts = [difference_weights(labels, name) for name in dict.fromkeys(labels)]
    return np.stack([*concepts, *(permuted_weights(labels, spec.seed, number) for number in range(spec.permuted))])


def _sum_stories(
    engine: Engine,
    corpus: _Corpus,
    weights_MS: Float64,
    layers: Sequence[int],
    kept: Sequence[int],
    skip: int,
) -> _Sums:
    raw_MLD = np.zeros((len(weights_MS), len(layers), engine.d_model))
    norm_L = np.zeros(len(layers))
    kept_SKD = np.zeros((len(corpus.labels), len(kept), engine.d_model), dtype=np.float32)
    places = [list(layers).index(layer) for layer in kept]
    n_tokens = 0
    for story, h_LTD in engine.forward_residuals(corpus.token_ids, layers):
        tail_LTD = h_LTD[:, skip:].double()
        mean_LD: Float64 = tail_LTD.mean(1).cpu().numpy()
        norm_L += tail_LTD.norm(dim=-1).sum(1).cpu().numpy()
        n_tokens += tail_LTD.shape[1]
        raw_MLD += weights_MS[:, story, None, None] * mean_LD
        kept_SKD[story] = mean_LD[places]
    return _Sums(raw_MLD, norm_L / n_tokens, n_tokens, kept_SKD)


def _read_neutral(engine: Engine, rows: Sequence[NeutralRow], spec: ExtractionSpec) -> list[tuple[int, ...]]:
    """Token ids of the neutral texts that reach beyond the offset."""
    rendered = [engine.render(row.get("messages") or row.get("text") or "")[: engine.model_length] for row in rows]
    long_enough = [ids for ids in rendered if len(ids) > spec.skip]
    if len(long_enough) < 2:
        raise BankError(
            "Denoising needs at least two neutral texts that are long enough.",
            expected=f"texts of more than {spec.skip} tokens",
            got=f"{len(long_enough)} of {len(rows)}",
            fix="give neutral texts, or set denoise to 0",
        )
    return long_enough


def _neutral_components(
    engine: Engine, neutral_ids: Sequence[tuple[int, ...]], layers: Sequence[int], spec: ExtractionSpec
) -> list[Float64]:
    """Per layer, orthonormal rows to remove: the leading components of the neutral texts' mean residuals."""
    if not neutral_ids:
        return [np.zeros((0, engine.d_model)) for _ in layers]
    mean_NLD = np.zeros((len(neutral_ids), len(layers), engine.d_model))
    for text, h_LTD in engine.forward_residuals(neutral_ids, layers):
        mean_NLD[text] = h_LTD[:, spec.skip :].double().mean(1).cpu().numpy()
    centred_NLD = mean_NLD - mean_NLD.mean(0)
    return [_leading_components(centred_NLD[:, layer], spec.denoise) for layer in range(len(layers))]


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


def _remove(raw_MLD: NDArray[Any], basis_L: Sequence[Float64]) -> Float64:
    """Rows per layer without their part in that layer's basis."""
    clean = [raw_MLD[:, layer] - raw_MLD[:, layer] @ basis.T @ basis for layer, basis in enumerate(basis_L)]
    return np.stack(clean, axis=1)


def _name_directions(
    clean_MLD: Float64, names: Sequence[str], spec: ExtractionSpec
) -> tuple[dict[str, Float64], dict[str, ControlKind]]:
    arrays: dict[str, Float64] = {name: clean_MLD[place] for place, name in enumerate(names)}
    controls: dict[str, ControlKind] = {}
    shape_LD = (clean_MLD.shape[1], clean_MLD.shape[2])

    def add(kind: ControlKind, number: int, rows_LD: Float64) -> None:
        arrays[control_name(kind, number)] = rows_LD
        controls[control_name(kind, number)] = kind

    for number in range(spec.gaussian):
        add("gaussian", number, gaussian_direction(spec.seed, number, shape_LD))
    for number in range(spec.permuted):
        add("permuted", number, clean_MLD[len(names) + number])
    if spec.mean:
        concepts_CLD = clean_MLD[: len(names)]
        units_CLD = concepts_CLD / np.linalg.norm(concepts_CLD, axis=-1, keepdims=True).clip(min=1e-300)
        add("mean", 0, units_CLD.mean(0))
    return arrays, controls


def _story_means(
    engine: Engine, corpus: _Corpus, neutral_ids: Sequence[tuple[int, ...]], layers: Sequence[int], spec: ExtractionSpec
) -> NDArray[np.float32]:
    """Denoised story means [S, K, D] at these layers."""
    nothing_MS = np.zeros((0, len(corpus.labels)))
    kept_SKD = _sum_stories(engine, corpus, nothing_MS, layers, layers, spec.skip).kept_SKD
    return _remove(kept_SKD, _neutral_components(engine, neutral_ids, layers, spec)).astype(np.float32)


def _check(
    engine: Engine,
    corpus: _Corpus,
    neutral_ids: Sequence[tuple[int, ...]],
    means_SKD: NDArray[np.float32],
    layers: Sequence[int],
    spec: ExtractionSpec,
) -> CheckResult:
    """Judge the model's story means, then the same stories' means in a random-weights twin.

    The twin is read at the steer layers and at block 0, where its residual stream is hardly more than the words.
    """
    bars = spec.check or CheckSpec()
    count = min(bars.max_stories, len(corpus.labels))
    chosen = np.unique(np.linspace(0, len(corpus.labels) - 1, count).astype(int)).tolist()
    part = _Corpus(
        [corpus.token_ids[i] for i in chosen],
        [corpus.labels[i] for i in chosen],
        [corpus.topics[i] for i in chosen],
        Cues(tuple(corpus.cues.per_story[i] for i in chosen), corpus.cues.source),
        corpus.names,
        {},
    )
    with engine.random_twin(TWIN_SEED) as twin:
        at_steer_SKD = _story_means(twin, part, neutral_ids, layers, spec)
        at_words_SKD = _story_means(twin, part, neutral_ids, [0], spec)
    held_out = HeldOut(tuple(part.labels), tuple(part.topics), part.cues)
    return decide(held_out, means_SKD[chosen], [at_steer_SKD, at_words_SKD], layers=tuple(layers), bars=bars)
