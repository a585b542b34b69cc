"""The parts of the battery that need no model: known answers on made-up numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evalharness.concepts import ConceptBank
from evalharness.concepts.bag_of_words import read_bag_of_words, word_vectors
from evalharness.concepts.check import HeldOut
from evalharness.concepts.cues import Cues
from evalharness.concepts.geometry import clusters, components, read_geometry
from evalharness.concepts.implicit import Scenarios, judge_scenarios
from evalharness.concepts.norms import Norms, Rating, read_norms
from evalharness.concepts.numeric import sign_test, spearman
from evalharness.concepts.stability import read_stability, shuffle_inside, split
from evalharness.concepts.story_vectors import concept_vectors, unit
from evalharness.errors import ContentError

TARGETS = ("calm", "loving", "sad", "proud", "angry")


def made_up_scenarios(signal: float, seed: int = 0) -> tuple[np.ndarray, Scenarios, np.ndarray]:
    """Residuals `[30, 2, 16]` with a huge shared part, and vectors of which one lies along that part."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((5, 2, 16))
    shared = 50 * rng.standard_normal((2, 16))
    vectors[1] += 0.05 * shared
    label = np.repeat(np.arange(5), 6)
    at = shared + signal * vectors[label] + 0.3 * rng.standard_normal((30, 2, 16))
    scenarios = Scenarios(targets=TARGETS, label_N=label, ids_N=((0,),) * 30, n_too_long=0, form="plain")
    return at, scenarios, vectors


def test_scenarios_are_read_through_what_they_share() -> None:
    """Centred on both sides, the diagonal stands out although one vector is high on everything."""
    at, scenarios, vectors = made_up_scenarios(1.0)
    found = judge_scenarios(at, scenarios, vectors, (1, 2), 199)
    table = np.array(found.cosines)
    assert found.top1 > 0.9
    assert found.p_value == 1 / 200
    assert (table.argmax(0) == np.arange(5)).all()
    plain = np.einsum("nkd,ckd->nc", unit(at), unit(vectors))
    assert (plain.argmax(1) == 1).mean() > 0.9


def test_the_matrix_has_vectors_as_rows() -> None:
    """A vector that answers to another concept's scenarios stands in its row and their column."""
    at, scenarios, vectors = made_up_scenarios(1.0)
    vectors[4] = vectors[0]
    table = np.array(judge_scenarios(at, scenarios, vectors, (1, 2), 9).cosines)
    assert table[4, 0] > 0.5 > table[4, 4]


def test_noise_is_read_at_chance() -> None:
    """Over many draws a fifth is right and small p-values are rare."""
    found = [judge_scenarios(*made_up_scenarios(0.0, seed), (1, 2), 99) for seed in range(40)]
    assert 0.1 < np.mean([one.top1 for one in found]) < 0.3
    assert sum(one.p_value <= 0.05 for one in found) <= 6


def made_up_stories(signal: float, seed: int = 0, topics: int = 6) -> tuple[np.ndarray, list[str], list[str]]:
    """Means `[X, 1, 32]` of four concepts, `topics` x 3 stories each, with strong topics."""
    rng = np.random.default_rng(seed)
    concept, topic = rng.standard_normal((4, 32)), 2 * rng.standard_normal((topics, 32))
    rows = [(c, t) for c in range(4) for t in range(topics) for _ in range(3)]
    means = np.array([signal * concept[c] + topic[t] + rng.standard_normal(32) for c, t in rows], np.float32)
    return means[:, None], [f"c{c}" for c, _ in rows], [f"t{t}" for _, t in rows]


def test_stability_sees_a_signal_and_no_other() -> None:
    """Halves agree on planted concepts; without them they are where shuffled labels are."""
    means, labels, topics = made_up_stories(1.0)
    found = read_stability(means, labels, topics, {})
    assert found is not None
    assert found.low > 0.7 > found.bar
    assert found.bank_median is None
    above = 0
    for seed in range(20):
        nothing = read_stability(*made_up_stories(0.0, seed), {})
        assert nothing is not None
        above += nothing.median > nothing.bar
    assert above <= 4


def test_topics_alone_are_not_stable() -> None:
    """Concepts that differ in their topics only pass no bar: the shuffle keeps each topic's labels."""
    means, labels, topics = made_up_stories(0.0)
    biased = [place for place, label in enumerate(labels) if topics[place] in ("t0", "t1") or label == "c0"]
    found = read_stability(means[biased], [labels[p] for p in biased], [topics[p] for p in biased], {})
    assert found is not None
    assert found.bar > 0.1


def test_a_bank_is_compared_with_its_stories() -> None:
    """Its own vectors agree with the stories, those of others do not."""
    means, labels, topics = made_up_stories(1.0)
    names = sorted(set(labels))
    vectors = concept_vectors(means, np.array([names.index(label) for label in labels]))
    own = {name: vectors[place] for place, name in enumerate(names)}
    right = read_stability(means, labels, topics, own)
    wrong = read_stability(means, labels, topics, dict(zip(names, reversed(own.values()), strict=True)))
    assert right is not None
    assert wrong is not None
    assert right.bank_median == pytest.approx(1)
    assert wrong.bank_median is not None
    assert wrong.bank_median < 0.3


def test_splits_and_shuffles_keep_what_they_should() -> None:
    """Sides differ by at most one story of a concept, topics are on both; shuffling keeps each topic's labels."""
    rng = np.random.default_rng(0)
    label, topic = np.repeat([0, 1, 2], 8), np.tile([0, 0, 1, 1, 2, 2, 3, 3], 3)
    half = split(label, topic, rng)
    assert sorted([*half.one, *half.other]) == list(range(24))
    for concept in range(3):
        for place in range(4):
            assert {1} == {int(((label[side] == concept) & (topic[side] == place)).sum()) for side in half}
    mixed = shuffle_inside(label, topic, rng)
    assert (mixed != label).any()
    for place in range(4):
        assert sorted(mixed[topic == place]) == sorted(label[topic == place])
    alone = shuffle_inside(label, np.arange(24), rng)
    assert sorted(alone) == sorted(label)
    assert (alone != label).any()


def test_one_story_a_concept_cannot_be_halved() -> None:
    """There is nothing to compare."""
    assert read_stability(np.ones((2, 1, 3), np.float32), ["a", "b"], ["t", "t"], {}) is None


def words_held_out(texts: list[str], labels: list[str]) -> HeldOut:
    """Topics by turns, no cues."""
    return HeldOut(
        tuple(labels), tuple(f"t{n % 2}" for n in range(len(texts))), Cues((frozenset(),) * len(texts), "none")
    )


def test_a_bag_of_words_reads_words() -> None:
    """Stories with words of their own are told apart, stories of the same words are not."""
    labels = ["calm"] * 4 + ["sad"] * 4
    own = read_bag_of_words(words_held_out(["", ""] * 4, labels), ["the slow breath"] * 4 + ["the grey rain"] * 4)
    same = read_bag_of_words(words_held_out([""] * 8, labels), ["the sky", "the sea", "a sky", "a sea"] * 2)
    assert (1.0, 8, 5) == (own.top1, own.n, own.n_words)
    assert same.top1 == 0.0


def test_word_vectors_are_log_tf_times_idf() -> None:
    """Twice "rain" of two texts: (1 + ln 2) x ln 2; a word of every text weighs nothing."""
    table = word_vectors(["Rain, rain and", "and sun"])[:, 0]
    assert sorted([0.0, 0.0, (1 + np.log(2)) * np.log(2)]) == pytest.approx(sorted(table[0].tolist()))


def test_sign_test_and_spearman() -> None:
    """Exact values; ties count half, and a constant has no rank correlation."""
    assert sign_test(5, 5) == 1 / 32
    assert sign_test(0, 5) == 1.0
    assert sign_test(12, 13) == 14 / 2**13
    assert spearman([1, 2, 3], [10, 20, 15]) == pytest.approx(0.5)
    assert spearman([1, 2, 3], [-1.0, -2.0, -9.0]) == pytest.approx(-1)
    assert spearman([1, 2, 3], [4, 4, 4]) is None
    assert spearman([1, 2, 3, 4], [5, 5, 6, 7]) == pytest.approx(4.5 / 4.5**0.5 / 5**0.5)


def plane_bank() -> ConceptBank:
    """Six concepts: two tight groups on either side of the first axis."""
    rows: dict[str, Any] = {f"good{n}": [[3.0, 0.1 * n, 0.2]] for n in range(3)}
    rows |= {f"bad{n}": [[-3.0, 0.1 * n, 0.2]] for n in range(3)}
    return ConceptBank.from_arrays(rows, layers=[4], mean_norms=[1.0])


def test_geometry_of_two_groups() -> None:
    """One component has nearly all the variance, the groups are clusters, and ratings of the groups go with PC1."""
    bank = plane_bank()
    norms = Norms(
        {name: Rating(8.0 if name.startswith("good") else 2.0, float(n)) for n, name in enumerate(bank.concepts)}
    )
    found = read_geometry(bank, norms)
    assert found.variance_shares[0] > 0.98
    assert 1 == pytest.approx(sum(found.variance_shares))
    assert abs(found.pc1["good0"] - found.pc1["bad0"]) == pytest.approx(2, abs=0.05)
    assert found.norms is not None
    assert found.norms.n == 6
    assert abs(found.norms.valence[0]) == pytest.approx(1, abs=1e-3)
    units = np.stack([bank.vector(name, 4) for name in bank.concepts]).astype(float)
    groups = clusters(units[[0, 1, 3, 4]], ("good0", "good1", "bad0", "bad1"))
    assert {("bad0", "bad1"), ("good0", "good1")} == {tuple(sorted(group)) for group in groups}


def test_components_do_not_depend_on_a_sign() -> None:
    """The concept farthest out is on the plus side, whatever the solver says."""
    rows = np.random.default_rng(0).standard_normal((7, 5))
    scores, shares = components(rows)
    mirrored, _ = components(rows @ np.diag([-1, 1, 1, -1, 1]))
    np.testing.assert_allclose(scores, mirrored, atol=1e-9)
    assert (scores[np.abs(scores).argmax(0), np.arange(5)] > 0).all()
    assert shares.sum() == pytest.approx(1)


def test_too_few_rated_words() -> None:
    """Four words are no correlation."""
    norms = Norms({name: Rating(float(n), 1.0 - n) for n, name in enumerate(plane_bank().concepts[:4])})
    assert read_geometry(plane_bank(), norms).norms is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("word,valence\nsad,1\n", "lack a column"),
        ("", "an empty file"),
        ("word,valence,arousal\nsad,1,high\n", "line 2"),
        ("word,valence,arousal\nsad,1,2\nSAD,1,2\n", "line 3"),
        ("word,valence,arousal\nsad,nan,2\n", "line 2"),
    ],
)
def test_damaged_norms(tmp_path: Path, text: str, message: str) -> None:
    """File, line and column are named."""
    path = tmp_path / "norms.csv"
    path.write_text(text)
    with pytest.raises(ContentError, match=message) as caught:
        read_norms(path)
    assert str(path) in str(caught.value)


def test_norms_are_read(tmp_path: Path) -> None:
    """Other columns are passed over, and words lose their capitals."""
    path = tmp_path / "norms.csv"
    path.write_text("id,word,valence,arousal\n1,Sad,1.5,2\n")
    assert {"sad": (1.5, 2.0)} == read_norms(path).ratings
