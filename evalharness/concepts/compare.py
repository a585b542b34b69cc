"""Two banks side by side: how far each concept turned, how norms and strengths moved, whether the geometry held.

C concepts, L layers, D width. numpy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from evalharness.concepts.bank import ConceptBank
from evalharness.errors import BankError
from evalharness.row import ControlKind

Cosine = Annotated[float, Field(ge=-1, le=1)]
Ratio = Annotated[float, Field(gt=0, allow_inf_nan=False)]
MIN_CONCEPTS = 3
"""Fewer have fewer than three pairs, and a correlation over them says nothing."""
_NOT_THE_VECTORS = {"layers", "steer_layers", "depth", "gaussian", "permuted", "contrast", "mean", "check"}
"""Parts of a recipe that decide what is kept of the directions, not which way they point."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BankFacts(_Record):
    """One of the two banks."""

    model_sha256: str | None
    model_source: str | None
    recipe: str | None
    steer_layers: tuple[int, ...]
    stories_sha256: str | None
    check_passed: bool | None
    """None = never checked."""


class ConceptDrift(_Record):
    """One concept in both banks, by layer."""

    name: str
    cosines: tuple[Cosine, ...]
    """Between its two unit vectors: 1 = the direction stayed."""
    cosine: Cosine
    """Mean over the ranked layers."""
    strength_ratios: tuple[Ratio, ...] | None
    """Natural strength in the second bank over that in the first; None where a bank does not tell it."""
    strength_ratio: Ratio | None
    """Geometric mean over the ranked layers."""


class ControlDrift(_Record):
    """One control in both banks: how far a direction turns that carries no single concept."""

    name: str
    kind: ControlKind
    cosines: tuple[Cosine, ...]


class LayerDrift(_Record):
    """One layer in both banks."""

    layer: int
    norm_a: Ratio
    norm_b: Ratio
    norm_ratio: Ratio
    """Mean residual norm in the second bank over that in the first: how the unit of strength moved."""
    geometry: Cosine | None
    """Correlation of the two concept-by-concept cosine matrices over all pairs of concepts; 1 = the same arrangement,
    whichever way it is turned. None with fewer than three concepts, or where all pairs are alike."""
    cosine_low: Cosine
    cosine_median: Cosine
    cosine_high: Cosine
    """Over the concepts."""


class BankComparison(_Record):
    """What `vectors compare` says."""

    schema_: Literal["bank-comparison/1"] = Field(default="bank-comparison/1", alias="schema")
    a: BankFacts
    b: BankFacts
    differences: tuple[str, ...]
    """In what recipes or corpora differ; empty where the checkpoints alone can account for a drift."""
    ranked_by: tuple[int, ...]
    """Layers that either bank steers: the order of the concepts follows their mean cosine there."""
    layers: tuple[LayerDrift, ...]
    concepts: tuple[ConceptDrift, ...]
    """Most changed first."""
    controls: tuple[ControlDrift, ...]
    notes: tuple[str, ...]
    """What was left out, and why."""


def compare_banks(a: ConceptBank, b: ConceptBank, *, different_corpora: bool = False) -> BankComparison:
    """Compare the banks of two checkpoints of one architecture, made by one recipe from the same texts.

    Raises:
        BankError: other widths or layers, no concept in common, or other recipes or corpora without
            `different_corpora`, since a drift would then be theirs as much as the checkpoints'.
    """
    _require_same_shape(a, b)
    differences = recipe_differences(a, b)
    if differences and not different_corpora:
        raise BankError(
            "The banks were not made in the same way, so a drift would not be the checkpoints' alone.",
            expected="one recipe and the same texts",
            got="; ".join(differences),
            fix="build both banks alike, or allow it (--different-corpora), and the comparison will say so",
        )
    names = [name for name in a.concepts if name in b.concepts]
    if not names:
        raise BankError(
            "The banks have no concept in common.",
            expected=", ".join(a.concepts[:20]),
            got=", ".join(b.concepts[:20]),
        )
    ranked = tuple(layer for layer in a.layers if layer in {*a.steer_layers, *b.steer_layers})
    cosines_CL = _cosines(a, b, names)
    concepts = [_concept(a, b, name, row_L, ranked) for name, row_L in zip(names, cosines_CL, strict=True)]
    controls, notes = _controls(a, b)
    return BankComparison(
        a=_facts(a),
        b=_facts(b),
        differences=differences,
        ranked_by=ranked,
        layers=tuple(_layer(a, b, names, place, cosines_CL[:, place]) for place in range(len(a.layers))),
        concepts=tuple(sorted(concepts, key=lambda drift: (drift.cosine, drift.name))),
        controls=controls,
        notes=(*_missing(a, b), *notes),
    )


def recipe_differences(a: ConceptBank, b: ConceptBank) -> tuple[str, ...]:
    """In what the making of two banks differs, apart from the model."""
    found = []
    if a.origin.recipe != b.origin.recipe or a.origin.recipe is None:
        found.append(f"recipe: {a.origin.recipe or 'unknown'} and {b.origin.recipe or 'unknown'}")
    for name in sorted({*(a.origin.spec or {}), *(b.origin.spec or {})} - _NOT_THE_VECTORS):
        first, second = (bank.origin.spec or {} for bank in (a, b))
        if first.get(name) != second.get(name):
            found.append(f"{name}: {first.get(name)} and {second.get(name)}")
    if a.origin.corpus is None or b.origin.corpus is None:
        return (*found, "corpus: not on record")
    for text in ("stories", "neutral"):
        first, second = (getattr(bank.origin.corpus, f"{text}_sha256") for bank in (a, b))
        if first != second:
            found.append(f"{text}: {first[:12]} and {second[:12]} (hashes of their tokens)")
    if a.origin.corpus.contrast_sets != b.origin.corpus.contrast_sets:
        found.append("contrast sets: other sets")
    return tuple(found)


def geometry(a_CD: NDArray[np.float64], b_CD: NDArray[np.float64]) -> float | None:
    """Correlation of two cosine matrices of unit rows, over the pairs of rows; None where it is undefined."""
    if len(a_CD) < MIN_CONCEPTS:
        return None
    pairs = np.triu_indices(len(a_CD), k=1)
    first, second = (rows_CD @ rows_CD.T for rows_CD in (a_CD, b_CD))
    centred = [matrix[pairs] - matrix[pairs].mean() for matrix in (first, second)]
    size = float(np.linalg.norm(centred[0]) * np.linalg.norm(centred[1]))
    return None if size < 1e-12 else _clip(float(centred[0] @ centred[1]) / size)


def _require_same_shape(a: ConceptBank, b: ConceptBank) -> None:
    if (a.d_model, a.layers) != (b.d_model, b.layers):
        raise BankError(
            "The banks belong to models of different shapes, whose directions cannot be compared.",
            expected=f"width {a.d_model}, layers {list(a.layers)}",
            got=f"width {b.d_model}, layers {list(b.layers)}",
            fix="compare checkpoints of one architecture, with banks of the same layers",
        )


def _cosines(a: ConceptBank, b: ConceptBank, names: Sequence[str]) -> NDArray[np.float64]:
    """Cosine of each name's two vectors, [C, L]."""
    rows = [[float(_row(a, name, layer) @ _row(b, name, layer)) for layer in a.layers] for name in names]
    cosines: NDArray[np.float64] = np.clip(np.array(rows, dtype=np.float64), -1, 1)
    return cosines


def _row(bank: ConceptBank, name: str, layer: int) -> NDArray[np.float64]:
    """The unit vector at full length in float64: float32 rounding must not show as drift."""
    vector_D = bank.vector(name, layer).astype(np.float64)
    unit_D: NDArray[np.float64] = vector_D / np.linalg.norm(vector_D)
    return unit_D


def _concept(
    a: ConceptBank, b: ConceptBank, name: str, cosines_L: NDArray[np.float64], ranked: Sequence[int]
) -> ConceptDrift:
    at = [a.layers.index(layer) for layer in ranked]
    before, after = ((bank.origin.natural_strengths or {}).get(name) for bank in (a, b))
    ratios = None
    if before and after and min(*before, *after) > 0:
        ratios = tuple(second / first for first, second in zip(before, after, strict=True))
    return ConceptDrift(
        name=name,
        cosines=tuple(cosines_L.tolist()),
        cosine=_clip(float(cosines_L[at].mean())),
        strength_ratios=ratios,
        strength_ratio=None if ratios is None else float(np.exp(np.mean(np.log([ratios[place] for place in at])))),
    )


def _layer(
    a: ConceptBank, b: ConceptBank, names: Sequence[str], place: int, cosines_C: NDArray[np.float64]
) -> LayerDrift:
    layer = a.layers[place]
    before, after = (np.stack([_row(bank, name, layer) for name in names]) for bank in (a, b))
    return LayerDrift(
        layer=layer,
        norm_a=a.mean_norm(layer),
        norm_b=b.mean_norm(layer),
        norm_ratio=b.mean_norm(layer) / a.mean_norm(layer),
        geometry=geometry(before, after),
        cosine_low=float(cosines_C.min()),
        cosine_median=float(np.median(cosines_C)),
        cosine_high=float(cosines_C.max()),
    )


def _controls(a: ConceptBank, b: ConceptBank) -> tuple[tuple[ControlDrift, ...], list[str]]:
    """The controls that depend on the model, and a word on those that do not."""
    shared = [name for name, kind in a.controls.items() if b.controls.get(name) == kind]
    gaussian = [name for name in shared if a.controls[name] == "gaussian"]
    read = [name for name in shared if name not in gaussian]
    found = tuple(
        ControlDrift(name=name, kind=a.controls[name], cosines=tuple(row_L.tolist()))
        for name, row_L in zip(read, _cosines(a, b, read), strict=True)
    )
    if not gaussian:
        return found, []
    return found, [
        f"{len(gaussian)} Gaussian controls are left out: they are drawn from the recipe's seed and not read from a "
        "model, so under one seed they are equal by construction"
    ]


def _missing(a: ConceptBank, b: ConceptBank) -> list[str]:
    lists = (
        ("first", sorted(set(a.concepts) - set(b.concepts))),
        ("second", sorted(set(b.concepts) - set(a.concepts))),
    )
    return [f"only in the {which} bank: {', '.join(names)}" for which, names in lists if names]


def _facts(bank: ConceptBank) -> BankFacts:
    origin = bank.origin
    return BankFacts(
        model_sha256=origin.model_sha256,
        model_source=origin.model_source,
        recipe=origin.recipe,
        steer_layers=bank.steer_layers,
        stories_sha256=None if origin.corpus is None else origin.corpus.stories_sha256,
        check_passed=None if bank.check is None else bank.check.passed,
    )


def _clip(value: float) -> float:
    """Rounding can lead a cosine past 1."""
    return max(-1.0, min(1.0, value))
