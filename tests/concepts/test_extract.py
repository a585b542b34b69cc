"""Extraction equals a naive loop over the recipe, and refuses what it cannot use."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evalharness.concepts import CheckSpec, ExtractionSpec, check_bank, extract, reading
from evalharness.concepts.controls import control_name, difference_weights, permuted_labels
from evalharness.concepts.sums import PARTIAL, StorySums
from evalharness.engine import Engine
from evalharness.errors import BankError, UsageError

SPEC = ExtractionSpec(skip=5, gaussian=3, permuted=3, depth=0.5, check=None)


def story_mean(engine: Engine, text: str, skip: int) -> np.ndarray:
    """[layers, d] of one story, read alone."""
    ((_, read),) = engine.forward_residuals([engine.render(text)])
    result: np.ndarray = read[:, skip:].double().mean(1).numpy()
    return result


def naive_vectors(
    engine: Engine, stories: list[dict[str, Any]], labels: list[str], neutral: list[dict[str, Any]], layer: int
) -> dict[str, np.ndarray]:
    """The paper's recipe in plain loops at one layer."""
    means = [story_mean(engine, story["text"], 5)[layer] for story in stories]
    of = {
        name: np.mean([m for m, label in zip(means, labels, strict=True) if label == name], 0) for name in set(labels)
    }
    grand = np.mean(list(of.values()), 0)
    texts = []
    for row in neutral:
        ((_, read),) = engine.forward_residuals([engine.render(row.get("messages") or row["text"])])
        texts.append(read[layer, 5:].double().mean(0).numpy())
    covariance = np.cov(np.array(texts).T, bias=True)
    variances, directions = np.linalg.eigh(covariance)
    kept = 0.0
    basis = []
    for place in np.argsort(-variances):
        basis.append(directions[:, place])
        kept += variances[place]
        if kept >= 0.5 * variances.sum():
            break
    vectors = {}
    for name, mean in of.items():
        vector = mean - grand
        for direction in basis:
            vector = vector - (vector @ direction) * direction
        vectors[name] = vector / np.linalg.norm(vector)
    return vectors


def test_vectors_equal_a_naive_loop(engine: Engine, stories: Any, neutral: Any) -> None:
    """Batched, weighted and streamed, the concepts and a permuted control are those of plain loops, at each layer."""
    bank = extract(engine, stories, neutral, SPEC)
    labels = [story["concept"] for story in stories]
    shuffled = permuted_labels(labels, SPEC.seed, 1)
    for layer in (0, 3):
        expected = naive_vectors(engine, stories, labels, neutral, layer)
        for name, vector in expected.items():
            np.testing.assert_allclose(vector, bank.vector(name, layer), atol=2e-4)
        control = naive_vectors(engine, stories, shuffled, neutral, layer)[sorted(set(labels))[1]]
        np.testing.assert_allclose(control, bank.vector("permuted-01", layer), atol=2e-4)
    units = np.mean([bank.vector(name, 2).astype(float) for name in bank.concepts], 0)
    np.testing.assert_allclose(units / np.linalg.norm(units), bank.vector("mean-of-concepts", 2), atol=1e-3)


def test_mean_norms_are_over_the_same_tokens(engine: Engine, stories: Any) -> None:
    """The unit of strength is the mean norm of the story tokens after the offset, and the manifest counts them."""
    bank = extract(
        engine, stories, (), ExtractionSpec(skip=5, denoise=0, gaussian=0, permuted=0, mean=False, check=None)
    )
    norms, tokens = np.zeros(4), 0
    for story in stories:
        ((_, read),) = engine.forward_residuals([engine.render(story["text"])])
        norms += read[:, 5:].norm(dim=-1).sum(1).numpy()
        tokens += read.shape[1] - 5
    np.testing.assert_allclose(norms / tokens, [bank.mean_norm(layer) for layer in range(4)], rtol=1e-5)
    assert bank.origin.corpus is not None
    assert (tokens, 36, {}) == (
        bank.origin.corpus.n_story_tokens,
        bank.origin.corpus.n_stories,
        bank.origin.corpus.dropped,
    )


def test_controls_are_unit_vectors_with_their_kind(engine: Engine, stories: Any, neutral: Any) -> None:
    """Names, kinds and lengths of all vectors; asking for fewer controls leaves the others as they were."""
    bank = extract(engine, stories, neutral, SPEC)
    kinds = {"gaussian": 3, "permuted": 3, "mean": 1}
    assert {control_name(k, n): k for k, count in kinds.items() for n in range(count)} == bank.controls  # type: ignore[arg-type]
    assert ("calm", "angry", "sad") == bank.concepts
    for name in bank.names:
        assert [1.0] * 4 == pytest.approx([np.linalg.norm(bank.vector(name, layer)) for layer in bank.layers], abs=1e-5)
    fewer = extract(engine, stories, neutral, ExtractionSpec(skip=5, gaussian=1, permuted=1, check=None))
    for name in ("gaussian-00", "permuted-00"):
        np.testing.assert_array_equal(fewer.vector(name, 1), bank.vector(name, 1))


def test_permuted_labels_keep_group_sizes() -> None:
    """Shuffling hands the same labels to other stories; numbers differ from each other and repeat with the seed."""
    labels = ["calm"] * 5 + ["sad"] * 2 + ["angry"] * 9
    shuffled = [permuted_labels(labels, 0, number) for number in range(5)]
    assert all(sorted(labels) == sorted(one) for one in shuffled)
    assert len({tuple(one) for one in shuffled}) == 5
    assert permuted_labels(labels, 0, 3) == shuffled[3]


def test_difference_weights_with_unequal_groups() -> None:
    """The grand mean is the mean of the concept means, so a large group does not pull it."""
    labels = ["a", "a", "a", "b"]
    values = np.array([1.0, 2.0, 6.0, 10.0])
    assert 3.0 - (3.0 + 10.0) / 2 == pytest.approx(difference_weights(labels, "a") @ values)


def test_own_corpus_order_does_not_matter(engine: Engine, stories: Any, neutral: Any) -> None:
    """Reading the stories in another order gives the same concept vectors."""
    spec = ExtractionSpec(skip=5, gaussian=0, permuted=0, check=None)
    there, back = extract(engine, stories, neutral, spec), extract(engine, stories[::-1], neutral, spec)
    for name in ("calm", "angry", "sad"):
        np.testing.assert_allclose(there.vector(name, 2), back.vector(name, 2), atol=1e-4)


def test_short_stories_are_dropped_and_counted(engine: Engine, stories: Any) -> None:
    """A story that ends before the offset is left out and counted; a concept without any story left is an error."""
    spec = ExtractionSpec(skip=15, denoise=0, gaussian=0, permuted=0, mean=False, check=None)
    short = {"concept": "sad", "topic": "garden", "text": "Grey rain."}
    bank = extract(engine, [short, *stories, short], (), spec)
    assert bank.origin.corpus is not None
    assert bank.origin.corpus.dropped == {"sad": 2}
    plain = extract(engine, stories, (), spec)
    for name in ("calm", "angry", "sad"):
        np.testing.assert_allclose(plain.vector(name, 1), bank.vector(name, 1), atol=1e-5)
    with pytest.raises(BankError, match="bored: 1 too short"):
        extract(engine, [*stories, {**short, "concept": "bored"}], (), spec)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [{"text": "x", "topic": "y"}], "lacks a field"),
        (lambda rows: rows[:5], "at least two concepts"),
        (lambda rows: [], "at least two concepts"),
    ],
)
def test_unusable_stories(engine: Engine, stories: Any, change: Any, message: str) -> None:
    """Missing fields, one concept, or nothing at all are a BankError."""
    with pytest.raises(BankError, match=message):
        extract(engine, change(stories), (), ExtractionSpec(skip=5, denoise=0))


def test_denoising_needs_neutral_texts(engine: Engine, stories: Any) -> None:
    """Asking for it without neutral texts says what to do."""
    with pytest.raises(BankError, match="denoise to 0"):
        extract(engine, stories, (), SPEC)


def test_layers_and_depth() -> None:
    """Steer layers come from a depth or by name and must be in the bank and in the model."""
    assert ((0, 1, 2, 3, 4), (2,)) == ExtractionSpec(depth=0.5).resolve_layers(5)
    assert ((1, 3), (3,)) == ExtractionSpec(layers=(3, 1), steer_layers=(3,)).resolve_layers(5)
    for spec in (ExtractionSpec(layers=(9,)), ExtractionSpec(layers=(0,)), ExtractionSpec(steer_layers=(7,))):
        with pytest.raises(UsageError, match="layer"):
            spec.resolve_layers(5)
    with pytest.raises(UsageError, match=r"spec\.denoise"):
        ExtractionSpec(denoise=1.0)


def test_random_checkpoint_fails_the_check(engine: Engine, stories: Any, neutral: Any) -> None:
    """Random weights separate these stories by their words, and the check says that a twin does it as well."""
    bank = extract(engine, stories, neutral, ExtractionSpec(skip=5, gaussian=0, permuted=0))
    assert bank.check is not None
    assert not bank.check.passed
    assert any("random-weights twin" in reason for reason in bank.check.reasons)
    assert bank.check.cues == "found"
    again = check_bank(engine, bank, stories, ExtractionSpec(skip=5), neutral=neutral)
    assert again == bank.check


def test_check_is_thinned_on_large_corpora(engine: Engine, stories: Any, neutral: Any) -> None:
    """With more stories than the check takes, it reads an even share of them."""
    spec = ExtractionSpec(skip=5, gaussian=0, permuted=0, check=CheckSpec(max_stories=18))
    bank = extract(engine, stories, neutral, spec)
    assert bank.check is not None
    assert 0 < bank.check.n_heldout <= 18


def test_a_stopped_extraction_goes_on(
    engine: Engine, stories: Any, neutral: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after two windows of five, it ends with the bank of an uninterrupted one, bit for bit, check included."""
    monkeypatch.setattr(reading, "WINDOW", 8)
    spec = ExtractionSpec(skip=5, gaussian=1, permuted=2)
    whole = extract(engine, stories, neutral, spec)
    read: list[int] = []
    add = StorySums.add

    def until_two_windows(self: StorySums, story: Any) -> None:
        if len(read) == 20:
            raise KeyboardInterrupt
        read.append(story.text)
        add(self, story)

    monkeypatch.setattr(StorySums, "add", until_two_windows)
    with pytest.raises(KeyboardInterrupt):
        extract(engine, stories, neutral, spec, partial=tmp_path)
    again: list[int] = []

    def noted(self: StorySums, story: Any) -> None:
        again.append(story.text)
        add(self, story)

    monkeypatch.setattr(StorySums, "add", noted)
    continued = extract(engine, stories, neutral, spec, partial=tmp_path)
    assert len(again) == len(stories) - 16
    for name in whole.names:
        np.testing.assert_array_equal(whole.vector(name, 2), continued.vector(name, 2))
    assert whole.check == continued.check


def test_sums_of_another_extraction_are_read_anew(engine: Engine, stories: Any, tmp_path: Path) -> None:
    """What lies in the folder counts only for the same model, stories and recipe; damaged sums count as none."""
    spec = ExtractionSpec(skip=5, denoise=0, gaussian=0, permuted=0, mean=False, check=None)
    other = ExtractionSpec(skip=6, denoise=0, gaussian=0, permuted=0, mean=False, check=None)
    extract(engine, stories, (), other, partial=tmp_path)
    fresh, beside = extract(engine, stories, (), spec), extract(engine, stories, (), spec, partial=tmp_path)
    np.testing.assert_array_equal(fresh.vector("sad", 1), beside.vector("sad", 1))
    (tmp_path / PARTIAL).write_bytes(b"no tensors")
    damaged = extract(engine, stories, (), spec, partial=tmp_path)
    np.testing.assert_array_equal(fresh.vector("sad", 1), damaged.vector("sad", 1))


def test_memory_does_not_grow_with_the_corpus(engine: Engine, stories: Any) -> None:
    """Twice the stories hold no more tensors and arrays at a time: what is kept is sums, and a window of tokens."""
    spec = ExtractionSpec(skip=5, denoise=0, gaussian=0, permuted=2, check=None)

    def peak(times: int) -> int:
        rows = [dict(row) for row in stories] * times
        tracemalloc.start()
        extract(engine, rows, (), spec)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(40)
    assert peak(80) < 1.15 * peak(40)
