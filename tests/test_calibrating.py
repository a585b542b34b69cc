"""Calibration end to end: an organism has a window, a checkpoint of random weights has no layer that passes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evalharness.calibrating import apply, calibrate_into, dialogue_trial, file_trial, scenario_trial
from evalharness.checkpoint import resolve_checkpoint
from evalharness.cli import _run
from evalharness.concepts import (
    BankCalibration,
    CalibrationSpec,
    ConceptBank,
    Corpora,
    ExtractionSpec,
    Trial,
    calibrate,
    check_bank,
    extract,
)
from evalharness.engine import Engine
from evalharness.errors import BankError, ContentError, UsageError
from evalharness.organisms.corpus import emotion_stories, neutral_texts
from evalharness.request import Sampling

NAMES = ("desperate", "calm", "angry", "happy")
RECIPE = ExtractionSpec(skip=20, check=None, gaussian=0, permuted=0, contrast=0, mean=False)


@pytest.fixture(scope="module")
def bank() -> ConceptBank:
    """Random directions that fit the tiny checkpoint."""
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal((4, 32)) for name in ("sad", "calm", "happy")}
    return ConceptBank.from_arrays(arrays, layers=range(4), mean_norms=[2.0, 3.0, 4.0, 5.0])


@pytest.fixture(scope="module")
def emotional(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> tuple[Path, BankCalibration]:  # noqa: ARG001
    """The bank's folder and what calibration found on the organism's own scenario."""
    folder = tmp_path_factory.mktemp("emotional")
    with Engine.load(resolve_checkpoint("organism:emotional")) as engine:
        stories = emotion_stories(11, 16, NAMES)
        bank = extract(engine, stories, neutral_texts(11, 30), replace(RECIPE, steer_layers=(4,)))
        bank.save(folder)
        corpora = Corpora(stories=emotion_stories(1, 16, NAMES), neutral=neutral_texts(1, 30), extraction=RECIPE)
        trial = scenario_trial("blackmail/organism", "main", 10, 1, None)
        spec = CalibrationSpec(strengths=(1.0, 0.25), samples=10, seed=1)
        found = calibrate_into(engine, bank, corpora, replace(trial, format="[a-z]"), spec, folder / "calibration")
    return folder, found


def test_the_organism_has_a_window(emotional: tuple[Path, BankCalibration]) -> None:
    """Both layers of the middle pass; 0.25 is usable at layer 2, and strength 1 is word salad that the guard sees."""
    _, found = emotional
    assert [2, 3] == [layer.layer for layer in found.layers]
    assert all(layer.check.passed and layer.check.layers == (layer.layer,) for layer in found.layers)
    assert found.layers[0].window == 0.25
    assert not found.layers[0].open_ended
    assert found.reasons == ()
    assert found.concepts == ("desperate", "calm")
    curve = found.layers[0].curve
    assert [-1.0, -0.25, 0.25, 1.0] == [point.strength for point in curve if point.concept == "calm"]
    for point in curve:
        assert point.mean_relative_norm == pytest.approx(abs(point.strength), rel=0.3)
        assert point.nll_ratio is not None
        assert (point.nll_ratio > 3) == (abs(point.strength) == 1.0) == bool(point.faults)
    assert {-0.25, 0.25} <= set(found.ladder)
    assert max(found.ladder) == found.picked_layer.window


def test_files_say_the_same(emotional: tuple[Path, BankCalibration]) -> None:
    """The record reads back as it was, unknown fields are refused, page and plot are there."""
    folder, found = emotional
    text = (folder / "calibration" / "calibration.json").read_text()
    assert BankCalibration.model_validate_json(text) == found
    assert json.loads(text)["schema"] == "bank-calibration/1"
    with pytest.raises(ValueError, match="surprise"):
        BankCalibration.model_validate({**json.loads(text), "surprise": 1})
    page = (folder / "calibration" / "calibration.md").read_text()
    assert f"layer {found.picked}, usable up to strength" in page
    assert "no: nll" in page
    svg = (folder / "calibration" / "calibration.svg").read_text()
    assert "random-weights twin" in svg
    assert "desperate" in svg


def test_applying_moves_the_steer_layer_with_its_check(emotional: tuple[Path, BankCalibration]) -> None:
    """The bank steers the picked layer and carries the check made there; its vectors stay."""
    folder, found = emotional
    before = ConceptBank.load(folder)
    assert before.steer_layers == (4,)
    assert apply(before, found, folder)
    after = ConceptBank.load(folder)
    assert after.steer_layers == (found.picked,)
    assert after.check == found.picked_layer.check
    assert before.fingerprint("calm", after.layers) == after.fingerprint("calm", after.layers)
    against = found.model_copy(update={"reasons": ("no layer passed",), "picked": 3})
    assert not apply(after, against, folder)
    assert ConceptBank.load(folder).steer_layers == (found.picked,)
    with pytest.raises(BankError, match="no vectors for this layer"):
        after.steered_at([9], None)


def test_random_weights_pass_nowhere(engine: Engine, bank: ConceptBank) -> None:
    """Strengths are tried at the best layer all the same, and the result says that none passed."""
    stories = emotion_stories(1, 8, ("calm", "sad"))
    corpora = Corpora(stories=stories, extraction=ExtractionSpec(skip=10, denoise=0))
    trial = Trial(prompts=["At five"], source="a test", sampling=Sampling(max_new_tokens=8))
    found = calibrate(engine, bank, corpora, trial, CalibrationSpec(layers=(1, 2), samples=4, strengths=(0.01,)))
    assert not any(layer.check.passed for layer in found.layers)
    # Reading all layers at once gives what reading one does.
    alone = check_bank(engine, bank.steered_at([2], None), stories, corpora.extraction)
    assert found.layers[1].check == alone
    assert "no layer passed the held-out check" in found.reasons[0]
    assert [found.picked] == [layer.layer for layer in found.layers if layer.window is not None]


def test_what_cannot_be_calibrated(engine: Engine, bank: ConceptBank) -> None:
    """Mistakes are told before any corpus is read."""

    class Unread(list[Any]):
        def __len__(self) -> int:
            raise AssertionError("the corpus was read")

    corpora = Corpora(stories=Unread())
    trial = Trial(prompts=["At five"], source="a test", sampling=Sampling(max_new_tokens=8))
    with pytest.raises(BankError, match="no concept"):
        calibrate(engine, bank, corpora, trial, CalibrationSpec(concepts=("clam",)))
    with pytest.raises(BankError, match="no vectors for this layer"):
        calibrate(engine, bank, corpora, trial, CalibrationSpec(layers=(7,)))
    with pytest.raises(UsageError, match="no regular expression"):
        calibrate(engine, bank, corpora, replace(trial, format="("))
    with pytest.raises(UsageError, match="cannot be tried"):
        calibrate(engine, bank, corpora, replace(trial, prompts=[[5] * engine.model_length]))
    with pytest.raises(UsageError, match="strengths"):
        CalibrationSpec(strengths=(0.1, -0.1))


def test_prompts(engine: Engine, tmp_path: Path) -> None:
    """From a file as they stand there, from the dialogues up to the first question, from a scenario as it samples."""
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"text": "At five"}\n{"text": "At six"}\n{"text": "At seven"}\n')
    assert list(file_trial(str(path), 2, 7).prompts) == ["At five", "At six"]
    assert file_trial(str(path), 2, 7).sampling.max_new_tokens == 7
    path.write_text('{"words": "At five"}\n')
    with pytest.raises(ContentError, match="text or messages"):
        file_trial(str(path), 2, None)
    dialogues: Any = dialogue_trial(engine, 5, None).prompts
    assert [1] * 5 == [sum(message["role"] == "user" for message in prompt) for prompt in dialogues]
    assert all(prompt[-1]["role"] == "user" for prompt in dialogues)
    assert scenario_trial("blackmail/organism", "main", 2, 0, None).sampling.max_new_tokens == 160


def test_the_verb_takes_one_kind_of_prompts(
    emotional: tuple[Path, BankCalibration], capsys: pytest.CaptureFixture[str]
) -> None:
    """A file and a scenario at once are a mistake of the user's."""
    both = ["--prompts", "x.jsonl", "--scenario", "blackmail/organism"]
    assert _run(["vectors", "calibrate", str(emotional[0]), "--model", "organism:emotional", *both]) == 2
    assert "exclude one another" in capsys.readouterr().err
