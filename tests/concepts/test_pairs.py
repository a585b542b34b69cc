"""Pairs: differences equal a naive loop, as controls beside stories and as concepts of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from evalharness.checkpoint import resolve_checkpoint
from evalharness.concepts import CheckSpec, ExtractionSpec, extract, extract_pairs
from evalharness.concepts.contrast import judge_pairs, read_right
from evalharness.concepts.pairs import Pairs, read_pairs
from evalharness.engine import Engine
from evalharness.errors import BankError
from evalharness.organisms.corpus import emotion_stories

SETS = {"shelf": ("upper", "lower"), "street": ("odd", "even")}


@pytest.fixture(scope="module")
def pairs() -> list[dict[str, Any]]:
    """Two sets of six pairs that differ in one word."""
    return [
        {
            "set": name,
            "side": side,
            "pair": pair,
            "text": f"Box {pair} was put on the {side} {name} by noon. It had a lid.",
        }
        for name, sides in SETS.items()
        for pair in range(6)
        for side in sides
    ]


def naive_difference(engine: Engine, rows: list[dict[str, Any]], name: str, skip: int) -> np.ndarray:
    """Mean of the first side minus mean of the second, [layers, d], in plain loops."""
    means: dict[str, list[np.ndarray]] = {side: [] for side in SETS[name]}
    for row in rows:
        if row["set"] == name:
            ((_, read),) = engine.forward_residuals([engine.render(row["text"])])
            means[row["side"]].append(read[:, skip:].double().mean(1).numpy())
    first, second = (np.mean(means[side], 0) for side in SETS[name])
    difference: np.ndarray = first - second
    return difference


def test_contrast_controls_equal_a_naive_loop(engine: Engine, stories: Any, pairs: list[dict[str, Any]]) -> None:
    """The directions of the sets, in the order of the corpus, marked as controls; asking for fewer leaves the first."""
    spec = ExtractionSpec(skip=5, denoise=0, gaussian=0, permuted=0, mean=False, check=None)
    bank = extract(engine, stories, (), spec, contrast=pairs)
    assert {"contrast-00": "contrast", "contrast-01": "contrast"} == bank.controls
    assert bank.origin.corpus is not None
    assert tuple(SETS) == bank.origin.corpus.contrast_sets
    for number, name in enumerate(SETS):
        expected = naive_difference(engine, pairs, name, 5)
        for layer in range(4):
            unit = expected[layer] / np.linalg.norm(expected[layer])
            np.testing.assert_allclose(unit, bank.vector(f"contrast-{number:02d}", layer), atol=2e-4)
    one = extract(engine, stories, (), ExtractionSpec(**{**vars_of(spec), "contrast": 1}), contrast=pairs)
    np.testing.assert_array_equal(one.vector("contrast-00", 2), bank.vector("contrast-00", 2))
    assert "contrast-01" not in one.names
    with pytest.raises(BankError, match="too few contrast sets"):
        extract(engine, stories, (), ExtractionSpec(**{**vars_of(spec), "contrast": 3}), contrast=pairs)


def vars_of(spec: ExtractionSpec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in ExtractionSpec.__slots__}


def test_pairs_as_concepts(engine: Engine, pairs: list[dict[str, Any]], neutral: Any) -> None:
    """A bank of two concepts whose vectors are the differences, with every kind of control and both norms right."""
    spec = ExtractionSpec(skip=2, denoise=0, gaussian=2, permuted=3, check=None)
    bank = extract_pairs(engine, pairs, neutral, spec, contrast=pairs)
    assert tuple(SETS) == bank.concepts
    assert bank.origin.recipe == "contrast"
    kinds = sorted(set(bank.controls.values()))
    assert ["contrast", "gaussian", "mean", "permuted"] == kinds
    for name in SETS:
        expected = naive_difference(engine, pairs, name, 2)[1]
        np.testing.assert_allclose(expected / np.linalg.norm(expected), bank.vector(name, 1), atol=2e-4)
    swapped = bank.vector("permuted-00", 1)
    assert abs(float(swapped @ bank.vector("shelf", 1))) < 0.99


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [*rows, {**rows[0], "side": "middle"}], "exactly two sides"),
        (lambda rows: rows[:-1], "lacks a side"),
        (lambda rows: [*rows, rows[0]], "one side twice"),
        (lambda rows: [{**rows[0], "text": ""}, *rows[1:]], "lacks a field"),
        (lambda rows: rows[:2], "Too few pairs"),
        (lambda rows: [], "no pairs"),
    ],
)
def test_unusable_pairs(engine: Engine, pairs: list[dict[str, Any]], change: Any, message: str) -> None:
    """What does not match up is a BankError that says where."""
    with pytest.raises(BankError, match=message):
        read_pairs(engine, change(pairs), 0)


def made_up(meaning: float, seed: int = 0) -> tuple[Pairs, np.ndarray]:
    """Differences of two sets of 20 pairs with a common direction of this size."""
    rng = np.random.default_rng(seed)
    direction = rng.standard_normal((2, 1, 16))
    sets = np.repeat([0, 1], 20).astype(np.int32)
    difference = meaning * direction[sets] + rng.standard_normal((40, 1, 16))
    blank: Any = tuple(((0,), (0,)) for _ in range(40))
    return Pairs(names=("a", "b"), set_N=sets, ids=blank, dropped={}, sha256="0" * 64), difference


def test_held_out_pairs() -> None:
    """A common direction is read and passes above a twin of noise; noise and an equal twin do not."""
    pairs, told = made_up(2.0)
    _, noise = made_up(0.0, 1)
    assert read_right(pairs, told).mean() > 0.95
    assert judge_pairs(pairs, told, noise, [0], CheckSpec()).passed
    assert not judge_pairs(pairs, noise, told, [0], CheckSpec()).passed
    equal = judge_pairs(pairs, told, told, [0], CheckSpec())
    assert not equal.passed
    assert "random-weights twin" in equal.reasons[0]


def test_one_concept_that_is_not_read_fails_the_bank() -> None:
    """Pooled it would pass; the concept without a direction is named."""
    pairs, told = made_up(3.0)
    _, noise = made_up(0.0, 5)
    told[20:] = noise[20:]
    result = judge_pairs(pairs, told, noise, [0], CheckSpec())
    assert not result.passed
    assert any(reason.startswith("b:") for reason in result.reasons)


@pytest.fixture(scope="module")
def organism() -> Iterator[Engine]:
    """A model that has learned what its emotions are."""
    with Engine.load(resolve_checkpoint("organism:emotional")) as loaded:
        yield loaded


def test_pairs_of_an_organism_point_where_its_stories_do(organism: Engine) -> None:
    """Desperate against calm texts on equal topics: the difference is along desperate and against calm."""
    stories = emotion_stories(5, 40, ("desperate", "calm"))
    spec = ExtractionSpec(skip=20, denoise=0, steer_layers=(2,), gaussian=0, permuted=0, mean=False)
    rows = [
        {"concept": "pressed", "side": story["concept"], "pair": number % 40, "text": story["text"]}
        for number, story in enumerate(stories)
    ]
    bank = extract_pairs(organism, rows, (), spec)
    reference = extract(organism, stories, (), ExtractionSpec(**{**vars_of(spec), "check": None}))
    assert float(bank.vector("pressed", 2) @ reference.vector("desperate", 2)) > 0.99
    assert bank.check is not None
    assert bank.check.top1 > 0.9
