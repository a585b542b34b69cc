"""A recipe -> a concept bank, with the controls that grids ask for and the result of the held-out check."""

from __future__ import annotations

import shutil
from pathlib import Path

from evalharness.concepts import ConceptBank, ExtractionSpec, extract, extract_pairs
from evalharness.corpora import load_contrast, load_neutral, load_stories, read_rows
from evalharness.engine import Engine
from evalharness.grid import Controls
from evalharness.suite import BankSpec, Suite


def suite_controls(suite: Suite) -> Controls:
    """The most controls of each kind that any block of the suite uses."""
    used = [block.grid.controls for block in suite.blocks]
    return Controls(
        gaussian=max(controls.gaussian for controls in used),
        permuted=max(controls.permuted for controls in used),
        contrast=max(controls.contrast for controls in used),
        mean=any(controls.mean for controls in used),
    )


def build_bank(engine: Engine, recipe: BankSpec, controls: Controls, *, partial: Path | None = None) -> ConceptBank:
    """Extract concepts and controls from the recipe's corpora. Sums so far are kept in the folder `partial`.

    Raises:
        UsageError: a corpus that cannot be read, or a layer that the model lacks.
    """
    spec = _extraction(recipe, controls)
    unrelated = load_contrast(recipe) if controls.contrast else ()
    return extract(engine, load_stories(recipe), load_neutral(recipe), spec, contrast=unrelated, partial=partial)


def build_bank_into(engine: Engine, recipe: BankSpec, controls: Controls, folder: Path) -> None:
    """Extract a bank into its folder. What was summed is kept there until it is whole, so a stopped call continues.

    Raises:
        UsageError: a corpus that cannot be read, or a layer that the model lacks.
        StorageError: the folder cannot be written.
    """
    partial = folder / "partial"
    build_bank(engine, recipe, controls, partial=partial).save(folder)
    shutil.rmtree(partial)


def build_pair_bank(engine: Engine, pairs: str, recipe: BankSpec, controls: Controls) -> ConceptBank:
    """The same from matched pairs (JSONL, Parquet or hub data set with concept, side, pair, text or messages).

    Raises:
        UsageError: a corpus that cannot be read, or a layer that the model lacks.
        BankError: pairs that do not match up.
    """
    unrelated = load_contrast(recipe) if controls.contrast else ()
    rows = read_rows(pairs, ("side", "pair"))
    return extract_pairs(engine, rows, load_neutral(recipe), _extraction(recipe, controls), contrast=unrelated)


def _extraction(recipe: BankSpec, controls: Controls) -> ExtractionSpec:
    return ExtractionSpec(
        steer_layers=None if recipe.steer_layers is None else tuple(recipe.steer_layers),
        depth=recipe.depth,
        skip=recipe.skip,
        denoise=recipe.denoise,
        gaussian=controls.gaussian,
        permuted=controls.permuted,
        contrast=controls.contrast,
        mean=controls.mean,
        seed=recipe.seed,
    )
