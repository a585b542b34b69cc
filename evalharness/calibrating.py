"""A bank calibrated for prompts of a scenario, a file or everyday dialogues: run, written beside the bank, applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from evalharness.concepts import (
    BankCalibration,
    CalibrationSpec,
    ConceptBank,
    Corpora,
    ExtractionSpec,
    Trial,
    calibrate,
)
from evalharness.corpora import corpus, load_neutral, load_stories, read_rows
from evalharness.engine import Engine
from evalharness.errors import ContentError, StorageError
from evalharness.report.calibration import calibration_markdown
from evalharness.report.calibration_figure import calibration_svg
from evalharness.request import Sampling
from evalharness.scenario import load_scenario
from evalharness.suite import BankSpec

RESULT, PAGE, FIGURE = "calibration.json", "calibration.md", "calibration.svg"
USUAL_TOKENS = 128
"""Most new tokens where neither the user nor a scenario says."""


def scenario_trial(name: str, variant: str, draws: int, seed: int, max_new_tokens: int | None) -> Trial:
    """Draws of a scenario's variant, answered as the scenario says.

    Raises:
        ContentError: no such scenario or variant.
    """
    scenario = load_scenario(name)
    prompts = [scenario.render(variant, seed + number).messages for number in range(draws)]
    sampling = Sampling(max_new_tokens=USUAL_TOKENS) if scenario.sampling is None else scenario.sampling.build()
    return Trial(
        prompts=prompts,
        source=f"scenario {name}, variant {variant}, draws from seed {seed}",
        sampling=_limited(sampling, max_new_tokens),
    )


def file_trial(path: str, draws: int, max_new_tokens: int | None) -> Trial:
    """The first rows of a JSONL or Parquet file (or hub data set) with text or messages.

    Raises:
        ContentError: not to be read, or a row with neither.
    """
    table = read_rows(path, ())
    rows = [table[number] for number in range(min(draws, len(table)))]
    prompts = [row.get("messages") or row.get("text") for row in rows]
    if not prompts or not all(prompts):
        raise ContentError("A prompt file needs prompts.", expected="text or messages in every row", where=path)
    return Trial(prompts=prompts, source=f"prompts from {Path(path).name}", sampling=_limited(None, max_new_tokens))


def dialogue_trial(engine: Engine, draws: int, max_new_tokens: int | None) -> Trial:
    """The first user turns of the neutral dialogues; as plain text for a checkpoint without a chat template."""
    dialogues = corpus("neutral_dialogues")
    count = min(draws, len(dialogues))
    prompts = [_first_turn(dialogues[number * len(dialogues) // count]["messages"]) for number in range(count)]
    chat = engine.chat_template_sha256 is not None
    return Trial(
        prompts=prompts if chat else [prompt[-1]["content"] for prompt in prompts],
        source="first user turns of neutral_dialogues",
        sampling=_limited(None, max_new_tokens),
    )


def corpora_of(bank: ConceptBank, stories: str, neutral: str, skip: int | None, seed: int) -> Corpora:
    """What the check reads, by the recipe the bank was built with; `skip` None = the bank's own.

    Raises:
        ContentError: a corpus that cannot be read.
    """
    recipe = BankSpec(stories=stories, neutral=neutral, seed=seed)
    extraction = ExtractionSpec.as_built(bank.origin.spec, skip)
    return Corpora(stories=load_stories(recipe), neutral=load_neutral(recipe), extraction=extraction)


def calibrate_into(
    engine: Engine, bank: ConceptBank, corpora: Corpora, trial: Trial, spec: CalibrationSpec, folder: Path
) -> BankCalibration:
    """Calibrate, and write the record, a page and a figure into the folder.

    Raises:
        StorageError: the folder cannot be written.
    """
    found = calibrate(engine, bank, corpora, trial, spec)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RESULT).write_text(found.model_dump_json(indent=1, by_alias=True) + "\n", encoding="utf-8")
        (folder / PAGE).write_text(calibration_markdown(found, FIGURE), encoding="utf-8")
        (folder / FIGURE).write_text(calibration_svg(found), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"The calibration could not be written to {folder}: {error}") from error
    return found


def apply(bank: ConceptBank, found: BankCalibration, folder: Path) -> bool:
    """Make the picked layer the bank's steer layer, with the check that was made there; False if there is none.

    A calibration that gives reasons against its own pick changes nothing.

    Raises:
        StorageError: the bank cannot be written.
    """
    if found.reasons:
        return False
    bank.steered_at([found.picked], found.picked_layer.check).save(folder)
    return True


def _limited(sampling: Sampling | None, max_new_tokens: int | None) -> Sampling:
    if sampling is None:
        return Sampling(max_new_tokens=max_new_tokens or USUAL_TOKENS)
    return Sampling(
        max_new_tokens=max_new_tokens or sampling.max_new_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        stop=sampling.stop,
    )


def _first_turn(messages: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """Everything up to the first thing the user says."""
    first = next(place for place, message in enumerate(messages) if message["role"] == "user")
    return list(messages[: first + 1])
