"""Raw differences -> the named directions of a bank: concepts first, then their controls of four kinds.

M directions, C concepts, L layers, D width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from evalharness.concepts.controls import control_name, gaussian_direction
from evalharness.concepts.neutral import remove
from evalharness.concepts.pairs import PairRow, read_pairs, sum_pairs
from evalharness.concepts.reading import Float64
from evalharness.concepts.spec import ExtractionSpec
from evalharness.errors import BankError
from evalharness.row import ControlKind

if TYPE_CHECKING:
    from evalharness.engine import Engine


@dataclass(frozen=True, slots=True)
class Contrasts:
    """Directions of unrelated contrast sets, in the order of the corpus."""

    names: tuple[str, ...]
    clean_QLD: Float64


@dataclass(frozen=True, slots=True)
class Named:
    """What `ConceptBank.from_arrays` takes."""

    arrays: dict[str, Float64]
    controls: dict[str, ControlKind]


def contrast_directions(
    engine: Engine, rows: Iterable[PairRow], basis_L: Sequence[Float64], spec: ExtractionSpec
) -> Contrasts:
    """Differences of the first `spec.contrast` sets, by the steps of the concepts.

    Raises:
        BankError: unusable pairs, or fewer sets than the recipe wants.
    """
    layers, _ = spec.resolve_layers(engine.n_layers)
    listed = list(rows)
    if spec.contrast == 0 or (spec.contrast is None and not listed):
        return Contrasts((), np.zeros((0, len(layers), engine.d_model)))
    names = list(dict.fromkeys(str(row.get("concept") or row.get("set")) for row in listed))
    wanted = len(names) if spec.contrast is None else spec.contrast
    if len(names) < wanted:
        raise BankError(
            "There are too few contrast sets.",
            expected=f"{wanted} sets",
            got=f"{len(names)}: {', '.join(names) or 'none'}",
            fix="give a corpus with more sets, or ask for fewer contrast controls",
        )
    used = [row for row in listed if str(row.get("concept") or row.get("set")) in names[:wanted]]
    pairs = read_pairs(engine, used, spec.skip)
    sums = sum_pairs(engine, pairs, layers, (), spec.skip)
    return Contrasts(pairs.names, remove(sums.raw_QLD, basis_L))


def name_directions(clean_MLD: Float64, names: Sequence[str], unrelated: Contrasts, spec: ExtractionSpec) -> Named:
    """Give every direction its name. `clean_MLD` are the concepts, in the order of `names`, then the permuted ones."""
    arrays: dict[str, Float64] = {name: clean_MLD[place] for place, name in enumerate(names)}
    controls: dict[str, ControlKind] = {}

    def add(kind: ControlKind, number: int, rows_LD: Float64) -> None:
        arrays[control_name(kind, number)] = rows_LD
        controls[control_name(kind, number)] = kind

    for number in range(spec.gaussian):
        add("gaussian", number, gaussian_direction(spec.seed, number, (clean_MLD.shape[1], clean_MLD.shape[2])))
    for number in range(spec.permuted):
        add("permuted", number, clean_MLD[len(names) + number])
    for number, rows_LD in enumerate(unrelated.clean_QLD):
        add("contrast", number, rows_LD)
    if spec.mean:
        concepts_CLD = clean_MLD[: len(names)]
        units_CLD = concepts_CLD / np.linalg.norm(concepts_CLD, axis=-1, keepdims=True).clip(min=1e-300)
        add("mean", 0, units_CLD.mean(0))
    return Named(arrays, controls)
