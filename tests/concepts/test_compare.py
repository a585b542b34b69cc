"""Two banks side by side: planted turns are read back, and what would not be the checkpoints' alone is refused."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evalharness.cli import _run
from evalharness.concepts import ConceptBank, ExtractionSpec, extract
from evalharness.concepts.bank import Origin
from evalharness.concepts.compare import BankComparison, compare_banks, geometry, recipe_differences
from evalharness.concepts.manifest import CorpusRecord
from evalharness.engine import Engine
from evalharness.errors import BankError
from evalharness.report.bank_comparison import comparison_markdown, comparison_svg, write_comparison
from evalharness.row import ControlKind

WIDTH, LAYERS = 24, (1, 3)
CONCEPTS = ("calm", "angry", "sad", "proud")
KINDS: dict[str, ControlKind] = {
    "gaussian-00": "gaussian",
    "permuted-00": "permuted",
    "contrast-00": "contrast",
    "mean-of-concepts": "mean",
}
NATURAL: dict[str, tuple[float, ...]] = dict.fromkeys(CONCEPTS, (0.1, 0.2))
CORPUS = CorpusRecord(
    n_stories=8,
    n_story_tokens=80,
    n_neutral=4,
    dropped={},
    stories_sha256="c" * 64,
    neutral_sha256="d" * 64,
    contrast_sets=("up or down",),
)
ORIGIN = Origin(
    recipe="stories",
    model_sha256="a" * 64,
    model_source="before",
    spec={"skip": 50, "denoise": 0.5, "seed": 0, "gaussian": 1},
    corpus=CORPUS,
    natural_strengths=NATURAL,
)


def vectors(seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal((len(LAYERS), WIDTH)) for name in (*CONCEPTS, *KINDS)}


def bank(arrays: dict[str, Any], norms: tuple[float, ...] = (2.0, 4.0), **origin: Any) -> ConceptBank:
    controls = {name: kind for name, kind in KINDS.items() if name in arrays}
    made = ConceptBank.from_arrays(arrays, layers=LAYERS, mean_norms=norms, steer_layers=[3], controls=controls)
    return made.with_origin(replace(ORIGIN, **origin))


def turned(vector: Any, cosine: float) -> Any:
    """A vector that has this cosine with `vector`."""
    unit = vector / np.linalg.norm(vector)
    across = np.roll(unit, 1) - unit * (unit @ np.roll(unit, 1))
    return cosine * unit + np.sqrt(1 - cosine**2) * across / np.linalg.norm(across)


AFTER: dict[str, Any] = {"model_sha256": "b" * 64, "model_source": "after"}


def test_a_bank_compared_with_itself_has_not_moved() -> None:
    """Cosines and geometry are 1 to rounding, norms and strengths stand."""
    found = compare_banks(bank(vectors()), bank(vectors(), **AFTER))

    assert found.differences == ()
    assert all(cosine == pytest.approx(1, abs=1e-9) for drift in found.concepts for cosine in drift.cosines)
    assert [(drift.norm_ratio, drift.layer) for drift in found.layers] == [(1.0, 1), (1.0, 3)]
    assert all(drift.geometry == pytest.approx(1) for drift in found.layers)
    assert all(drift.strength_ratio == pytest.approx(1) for drift in found.concepts)


def test_planted_turns_are_read_back_most_changed_first() -> None:
    """At the steered layer one concept keeps its direction, one is turned by a known angle, one is reversed."""
    before, after = vectors(), vectors()
    after["angry"] = np.stack([before["angry"][0], turned(before["angry"][1], 0.3)])
    after["sad"] = np.stack([turned(before["sad"][0], 0.1), -before["sad"][1]])
    strengths = {**NATURAL, "calm": (0.3, 0.1)}
    found = compare_banks(bank(before), bank(after, (3.0, 2.0), natural_strengths=strengths, **AFTER))

    assert found.ranked_by == (3,)
    assert [drift.name for drift in found.concepts][:2] == ["sad", "angry"]
    by_name = {drift.name: drift for drift in found.concepts}
    assert by_name["sad"].cosines == pytest.approx((0.1, -1.0), abs=1e-6)
    assert by_name["angry"].cosines == pytest.approx((1.0, 0.3), abs=1e-6)
    assert by_name["proud"].cosine == pytest.approx(1)
    assert by_name["calm"].strength_ratios == pytest.approx((3.0, 0.5))
    assert by_name["calm"].strength_ratio == pytest.approx(0.5)
    assert [drift.norm_ratio for drift in found.layers] == [1.5, 0.5]
    assert (found.layers[1].cosine_low, found.layers[1].cosine_high) == pytest.approx((-1, 1), abs=1e-6)


def test_a_common_turn_of_all_concepts_keeps_the_geometry() -> None:
    """A rotation of the whole space changes each cosine and no arrangement; other directions change both."""
    rotation, _ = np.linalg.qr(np.random.default_rng(5).standard_normal((WIDTH, WIDTH)))
    before = vectors()
    rotated = compare_banks(bank(before), bank({name: rows @ rotation for name, rows in before.items()}, **AFTER))
    other = compare_banks(bank(before), bank(vectors(9), **AFTER))

    assert all(drift.geometry == pytest.approx(1, abs=1e-5) for drift in rotated.layers)
    assert max(drift.cosine for drift in rotated.concepts) < 0.9
    assert all(drift.geometry is not None and drift.geometry < 0.95 for drift in other.layers)


def test_geometry_is_undefined_rather_than_guessed() -> None:
    """Two concepts have one pair; concepts that all stand alike have no arrangement."""
    assert geometry(np.eye(4)[:2], np.eye(4)[:2]) is None
    assert geometry(np.eye(4)[:3], np.eye(4)[:3]) is None
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((5, 6))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    pairs = np.triu_indices(5, 1)
    by_hand = np.corrcoef((rows @ rows.T)[pairs], (rows[::-1] @ rows[::-1].T)[pairs])[0, 1]
    assert geometry(rows, rows[::-1]) == pytest.approx(by_hand)


def test_controls_stand_beside_and_gaussian_ones_are_left_out() -> None:
    """A Gaussian direction is equal by construction: showing its 1.0 would flatter the rest."""
    after = vectors()
    after["permuted-00"] = np.stack([turned(row, 0.4) for row in after["permuted-00"]])
    found = compare_banks(bank(vectors()), bank(after, **AFTER))

    assert [(drift.name, drift.kind) for drift in found.controls] == [
        ("permuted-00", "permuted"),
        ("contrast-00", "contrast"),
        ("mean-of-concepts", "mean"),
    ]
    assert found.controls[0].cosines == pytest.approx((0.4, 0.4), abs=1e-6)
    assert any("1 Gaussian controls are left out" in note and "by construction" in note for note in found.notes)


def test_concepts_of_one_bank_only_are_named() -> None:
    """They are compared with nothing, and not forgotten."""
    fewer = {name: rows for name, rows in vectors().items() if name != "proud"}
    found = compare_banks(bank(vectors()), bank(fewer, **AFTER))

    assert "only in the first bank: proud" in found.notes
    assert "proud" not in {drift.name for drift in found.concepts}
    with pytest.raises(BankError, match="no concept in common"):
        compare_banks(bank({"calm": vectors()["calm"]}), bank({"sad": vectors()["sad"]}, **AFTER))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"recipe": "contrast"}, "recipe: stories and contrast"),
        ({"recipe": None}, "recipe: stories and unknown"),
        ({"spec": {**(ORIGIN.spec or {}), "skip": 20}}, "skip: 50 and 20"),
        ({"corpus": None}, "corpus: not on record"),
        ({"corpus": CORPUS.model_copy(update={"stories_sha256": "e" * 64})}, "stories: cccccccccccc and eeee"),
        ({"corpus": CORPUS.model_copy(update={"contrast_sets": ("other",)})}, "contrast sets"),
    ],
    ids=["recipe", "unknown recipe", "offset", "no corpus", "stories", "contrast sets"],
)
def test_banks_that_were_not_made_alike_need_permission(change: dict[str, Any], named: str) -> None:
    """The refusal names what differs; where it is allowed, every form of the result says so."""
    other = bank(vectors(), **AFTER, **change)
    with pytest.raises(BankError, match="--different-corpora") as caught:
        compare_banks(bank(vectors()), other)
    assert named in str(caught.value)
    found = compare_banks(bank(vectors()), other, different_corpora=True)
    assert any(named in text for text in found.differences)
    assert "Not made alike" in comparison_markdown(found)


def test_the_number_of_controls_is_no_difference() -> None:
    """How many Gaussian directions a bank has does not turn its concepts."""
    assert recipe_differences(bank(vectors()), bank(vectors(), spec={**(ORIGIN.spec or {}), "gaussian": 20})) == ()


def test_other_shapes_are_refused() -> None:
    """Directions of different spaces have no cosine."""
    narrow = ConceptBank.from_arrays({"calm": np.ones((2, 5))}, layers=LAYERS, mean_norms=[1, 1])
    shifted = ConceptBank.from_arrays({"calm": np.ones((2, WIDTH))}, layers=[1, 2], mean_norms=[1, 1])
    for other in (narrow, shifted):
        with pytest.raises(BankError, match="different shapes"):
            compare_banks(bank(vectors()), other, different_corpora=True)


def test_the_forms_agree_and_are_stable(tmp_path: Path) -> None:
    """JSON reads back as the strict record; the same comparison gives the same bytes; the figure is sound XML."""
    found = compare_banks(bank(vectors()), bank(vectors(4), **AFTER))
    first, again = (write_comparison(found, tmp_path / name) for name in ("first", "again"))

    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    assert BankComparison.model_validate_json(first.json.read_bytes()) == found
    assert json.loads(first.json.read_text())["schema"] == "bank-comparison/1"
    assert ET.parse(first.svg).getroot().tag.endswith("svg")
    text = first.markdown.read_text()
    order = [text.index(f"| {drift.name} |") for drift in found.concepts]
    assert order == sorted(order)
    assert "a" * 64 in text
    assert "b" * 64 in text


def test_names_of_strangers_do_nothing() -> None:
    """A concept's name can be markup of any kind."""
    hostile = "<script>|[x](http://evil) \x1b[31m **y**"
    arrays = {hostile: vectors()["calm"], "sad": vectors()["sad"]}
    found = compare_banks(bank(arrays, natural_strengths={}), bank(arrays, natural_strengths={}, **AFTER))
    page, figure = comparison_markdown(found), comparison_svg(found)

    for shown in (page, figure):
        assert "<script>" not in shown
        assert "\x1b" not in shown
    assert "[x](" not in page
    assert "–" in page  # no natural strength and no geometry of two concepts


def test_checkpoints_are_compared_from_the_command_line(
    engine: Engine, checkpoint: Any, stories: Any, neutral: Any, tmp_path: Path, capsys: Any
) -> None:
    """Two random checkpoints from one corpus: nothing in common but the Gaussian controls, which are not shown."""
    spec = ExtractionSpec(skip=5, gaussian=2, permuted=2, check=None)
    extract(engine, stories, neutral, spec).save(tmp_path / "a")
    with Engine.load(checkpoint(seed=1)) as other:
        extract(other, stories, neutral, spec).save(tmp_path / "b")
        extract(other, stories, neutral, replace(spec, skip=6)).save(tmp_path / "c")
    banks = [str(tmp_path / name) for name in "abc"]

    assert _run(["vectors", "compare", *banks[:2], "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "most changed concepts" in said
    assert "permuted-01" in said
    assert "gaussian-00" not in said
    found = BankComparison.model_validate_json((tmp_path / "out" / "comparison.json").read_bytes())
    assert all(abs(drift.cosine) < 0.9 for drift in found.concepts)
    assert _run(["vectors", "compare", banks[0], banks[2]]) == 2
    assert "skip: 5 and 6" in capsys.readouterr().err
    assert _run(["vectors", "compare", banks[0], banks[2], "--different-corpora"]) == 0
    assert "not made alike: skip" in capsys.readouterr().out
