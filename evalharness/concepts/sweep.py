"""Calibrating a bank: the held-out check layer by layer, then strengths under a coherence guard where it passes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from evalharness.concepts.bank import ConceptBank
from evalharness.concepts.calibration import BankCalibration, Coherence, CurvePoint, GuardBars, LayerCalibration
from evalharness.concepts.guard import Trial, draw, read, trial_record
from evalharness.concepts.held_out import check_layers
from evalharness.concepts.reading import TextRow
from evalharness.concepts.spec import ExtractionSpec
from evalharness.concepts.stories import StoryRow
from evalharness.concepts.window import best_read, candidate_layers, depth_of, faults, ladder, pick, window
from evalharness.errors import UsageError
from evalharness.request import Completion, Steering

if TYPE_CHECKING:
    from evalharness.engine import Engine

USUAL_CONCEPTS = ("desperate", "calm")
"""Steered where nobody names others: the paper's rates are about these two."""
STRENGTHS = (0.0125, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
"""The paper's sweep, and on to where no model is expected to make sense."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSpec:
    """What is swept."""

    layers: tuple[int, ...] | None = None
    """None = those of the bank from 40 to 75 % of depth."""
    concepts: tuple[str, ...] | None = None
    """None = the usual ones that the bank has, else its first two."""
    strengths: tuple[float, ...] = STRENGTHS
    samples: int = 16
    """Texts per condition. One text is 1/samples of a share: a bar of 0.1 needs more than ten to be a bar."""
    bars: GuardBars = field(default_factory=GuardBars)
    seed: int = 0

    def __post_init__(self) -> None:
        bounds = {
            "strengths": (bool(self.strengths) and all(0 < s < float("inf") for s in self.strengths), "above 0"),
            "samples": (self.samples >= 1, "1 or more"),
            "layers": (self.layers is None or bool(self.layers), "at least one"),
            "concepts": (self.concepts is None or bool(self.concepts), "at least one"),
        }
        for name, (ok, expected) in bounds.items():
            if not ok:
                raise UsageError(f"{name} is out of range.", expected=expected, got=repr(getattr(self, name)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpora:
    """What the held-out check reads."""

    stories: Iterable[StoryRow]
    neutral: Iterable[TextRow] = ()
    """Without neutral texts nothing is denoised."""
    extraction: ExtractionSpec = field(default_factory=ExtractionSpec)
    """`skip`, `denoise` and the bars of the check count here."""


def calibrate(
    engine: Engine,
    bank: ConceptBank,
    corpora: Corpora,
    trial: Trial,
    spec: CalibrationSpec = CalibrationSpec(),
) -> BankCalibration:
    """Sweep layers, then strengths at those that pass, and pick one layer with a ladder of strengths.

    Where no layer passes, strengths are tried at the best one, and the result says so.

    Raises:
        BankError: the bank belongs to another model or lacks a concept or layer, or stories break the rules of
            `extract`.
        UsageError: prompts that leave no room for an answer, or a format that is no regular expression.
    """
    bank.require_model(engine.model_sha256)
    layers = spec.layers or candidate_layers(bank.layers, engine.n_layers)
    layers = tuple(sorted(set(layers)))
    concepts = spec.concepts or usual_concepts(bank)
    # Whatever can be wrong with the request is found before the corpora are read.
    hashes = {concept: bank.fingerprint(concept, layers) for concept in concepts}
    record = trial_record(engine, trial)
    checks = check_layers(engine, corpora.stories, corpora.neutral, layers, corpora.extraction)
    read_at = [
        LayerCalibration(layer=layer, depth=depth_of(layer, engine.n_layers), check=check)
        for layer, check in zip(layers, checks, strict=True)
    ]
    passed = [found for found in read_at if found.check.passed]
    chosen = passed or [best_read(read_at)]
    unsteered, steered = _steer(engine, bank, trial, [found.layer for found in chosen], (concepts, spec))
    done = {found.layer: _with_curve(found, steered[found.layer], spec) for found in chosen}
    every = tuple(done.get(found.layer, found) for found in read_at)
    picked = pick(every)
    reasons = []
    if not passed:
        reasons.append("no layer passed the held-out check; strengths were tried at the one that reads stories best")
    if not picked.window:
        reasons.append(f"not even strength {min(spec.strengths):g} is usable at layer {picked.layer}")
    return BankCalibration(
        model_sha256=engine.model_sha256,
        model_source=str(engine.describe()["source"]),
        vectors_sha256=hashes,
        concepts=tuple(concepts),
        strengths=tuple(sorted(set(spec.strengths))),
        samples=spec.samples,
        seed=spec.seed,
        bars=spec.bars,
        trial=record,
        unsteered=unsteered,
        layers=every,
        picked=picked.layer,
        ladder=ladder(picked.window or 0.0),
        reasons=tuple(reasons),
    )


def usual_concepts(bank: ConceptBank) -> tuple[str, ...]:
    """The usual concepts that the bank has, else its first two."""
    return tuple(name for name in USUAL_CONCEPTS if name in bank.concepts) or bank.concepts[:2]


def _steer(
    engine: Engine,
    bank: ConceptBank,
    trial: Trial,
    layers: Sequence[int],
    wanted: tuple[Sequence[str], CalibrationSpec],
) -> tuple[Coherence, dict[int, list[CurvePoint]]]:
    """The unsteered texts, and the curve at each layer: everything is drawn in one call and scored in one."""
    concepts, spec = wanted
    sizes = sorted(set(spec.strengths))
    signed = [-size for size in reversed(sizes)] + sizes
    steerings = [
        Steering(concept, strength, layers=(layer,)) for layer in layers for concept in concepts for strength in signed
    ]
    drawn = draw(engine, bank, trial, [None, *steerings], spec.samples, spec.seed)
    unsteered, *readings = read(engine, trial, drawn)
    curves: dict[int, list[CurvePoint]] = {layer: [] for layer in layers}
    for steering, texts, coherence in zip(steerings, drawn[1:], readings, strict=True):
        assert steering.layers is not None
        point = CurvePoint(
            concept=steering.concept,
            strength=steering.strength,
            coherence=coherence,
            nll_ratio=coherence.nll / unsteered.nll if unsteered.nll > 0 else None,
            mean_relative_norm=_achieved(texts),
            faults=faults(coherence, unsteered, spec.bars),
        )
        curves[steering.layers[0]].append(point)
    return unsteered, curves


def _with_curve(found: LayerCalibration, curve: Sequence[CurvePoint], spec: CalibrationSpec) -> LayerCalibration:
    reached = window(curve)
    return LayerCalibration(
        layer=found.layer,
        depth=found.depth,
        check=found.check,
        curve=tuple(curve),
        window=reached,
        open_ended=reached == max(spec.strengths),
    )


def _achieved(texts: Sequence[Completion]) -> float:
    """Mean relative norm over the texts' receipts: what a strength amounts to on these prompts."""
    norms = [text.receipt.mean_relative_norm for text in texts]
    return sum(norm for norm in norms if norm is not None) / len(norms)
