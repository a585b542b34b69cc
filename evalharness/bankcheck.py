"""`vectors check`: a stored bank, its model and the corpora -> the battery, its files, and the verdict in the bank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalharness.concepts import ConceptBank, ExtractionSpec
from evalharness.concepts.battery import Material, run_battery
from evalharness.concepts.battery_files import write_battery
from evalharness.concepts.battery_record import Battery
from evalharness.concepts.norms import read_norms
from evalharness.corpora import ORGANISM, load_neutral, load_stories, numeric_templates, read_scenarios
from evalharness.engine import Engine
from evalharness.selfwritten import STORIES
from evalharness.suite import BankSpec

SELF = "self"
CHECK = "check"
"""The folder inside of a bank's that holds its check."""
NO_ORGANISM_SCENARIOS = "no scenarios in the language of the organisms"
NO_SCENARIOS_WANTED = "scenarios were switched off"
IMPLICIT, NONE = "implicit_scenarios", "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRequest:
    """What a user may choose."""

    stories: str = "emotion_stories"
    """As in a suite's recipe, or `self`: those that the checkpoint wrote when the bank was built."""
    neutral: str = "neutral_dialogues"
    scenarios: str | None = None
    """`implicit_scenarios` (English), a file with concept and text, or `none`; None = by the stories."""
    skip: int | None = None
    """None = as the bank was built."""
    norms: Path | None = None
    out: Path | None = None
    """Folder for the results; None = `check` in the bank's folder."""
    seed: int = 1


def check_folder(engine: Engine, folder: Path, request: CheckRequest) -> Battery:
    """Run the battery on a stored bank, write its results, and put the verdict into the bank's manifest.

    Raises:
        BankError: no bank, one of another model, or one whose concepts have no story (one made from pairs, perhaps).
        ContentError: a corpus or norms that cannot be read.
        StorageError: results or manifest cannot be written.
    """
    bank = ConceptBank.load(folder)
    bank.require_model(engine.model_sha256)
    stories = str(folder / SELF / STORIES) if request.stories == SELF else request.stories
    recipe = BankSpec(stories=stories, neutral=request.neutral, seed=request.seed)
    spec = ExtractionSpec.as_built(bank.origin.spec, request.skip, request.seed)
    battery = run_battery(engine, bank, load_stories(recipe), material_for(recipe, request), spec)
    verdict = write_battery(battery, request.out or folder / CHECK)
    bank.with_battery(battery.held_out, verdict).save(folder)
    return battery


def material_for(recipe: BankSpec, request: CheckRequest) -> Material:
    """The texts besides the stories. Our scenarios and templates are English, which the organisms do not read."""
    norms = None if request.norms is None else read_norms(request.norms)
    neutral = load_neutral(recipe)
    chosen = request.scenarios or (NONE if recipe.stories == ORGANISM else IMPLICIT)
    if chosen == NONE:
        absent = NO_ORGANISM_SCENARIOS if recipe.stories == ORGANISM else NO_SCENARIOS_WANTED
        return Material(neutral=neutral, absent=absent, norms=norms)
    scenarios: Sequence[Any] = list(read_scenarios(chosen))
    if chosen == IMPLICIT:
        return Material(neutral=neutral, scenarios=scenarios, templates=numeric_templates(), norms=norms)
    absent = "no templates in the language of the given scenarios"
    return Material(neutral=neutral, scenarios=scenarios, absent=absent, norms=norms)
