"""What a calibration found: a strict JSON record of layers, curves, usable windows and what was picked. No torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from evalharness.concepts.manifest import CheckResult, Sha256, Share

Finite = Annotated[float, Field(allow_inf_nan=False)]
Strength = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class GuardBars(_Record):
    """How far steered texts may lie from unsteered ones of the same prompts."""

    max_nll_ratio: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.25
    """Mean negative log-likelihood under the unsteered model, at most this many times the unsteered texts'."""
    max_repetition_rise: Share = 0.1
    max_format_drop: Share = 0.1
    """Also for the share that ends by itself."""


class Coherence(_Record):
    """How the texts of one condition read. Means over texts, each of which counts once."""

    n: Annotated[int, Field(ge=1)]
    nll: Finite
    """Mean negative log-likelihood of a text's tokens under the unsteered model, given the prompt; nats."""
    repetition: Share
    """Share of a text's runs of four words that it has had before; of four tokens where that is more."""
    ended: Share
    """Share of texts that end by themselves within the limit."""
    matched: Share | None = None
    """Share of texts in which the format's expression is found; None where no format is asked for."""


class CurvePoint(_Record):
    """One concept at one strength and sign, against the unsteered texts."""

    concept: str
    strength: Finite
    coherence: Coherence
    nll_ratio: Finite | None
    """None where the unsteered texts have a negative log-likelihood of zero."""
    mean_relative_norm: Finite
    """Mean ||delta|| / ||h|| that the receipts show."""
    faults: tuple[str, ...]
    """Which bars it breaks; empty = usable."""


class LayerCalibration(_Record):
    """One layer: how stories are read there, and how far it can be steered."""

    layer: Annotated[int, Field(ge=0)]
    depth: Share
    """layer / (layers of the model - 1)."""
    check: CheckResult
    curve: tuple[CurvePoint, ...] = ()
    window: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Largest strength up to which every tried one is usable, for every concept and both signs; 0 = none is, None = the
    layer was not steered."""
    open_ended: bool = False
    """The window ends where the tried strengths end: it may be wider."""


class TrialRecord(_Record):
    """The prompts and limits under which strengths were tried: a window holds for their length class."""

    prompts: str
    """Where they come from, in words."""
    n_prompts: Annotated[int, Field(ge=1)]
    prompt_tokens: tuple[int, int]
    """Of the shortest and the longest."""
    prompts_sha256: Sha256
    """Over their token ids."""
    max_new_tokens: int
    temperature: float
    top_p: float
    top_k: int
    stop: tuple[str, ...]
    format: str | None
    """The regular expression of the answer format."""


class BankCalibration(_Record):
    """`calibration.json`."""

    schema_: Literal["bank-calibration/1"] = Field(default="bank-calibration/1", alias="schema")
    model_sha256: Sha256
    model_source: str
    vectors_sha256: dict[str, Sha256]
    """Per steered concept, over its vectors and mean norms at the swept layers."""
    concepts: Annotated[tuple[str, ...], Field(min_length=1)]
    strengths: Annotated[tuple[Strength, ...], Field(min_length=1)]
    """Each was tried with both signs."""
    samples: Annotated[int, Field(ge=1)]
    """Texts per condition."""
    seed: int
    bars: GuardBars
    trial: TrialRecord
    unsteered: Coherence
    layers: Annotated[tuple[LayerCalibration, ...], Field(min_length=1)]
    picked: int
    ladder: tuple[Finite, ...]
    """Strengths inside of the window of the picked layer; empty where there is none."""
    reasons: tuple[str, ...]
    """Why nothing here should be steered with; empty where layer and ladder may be used."""

    @property
    def picked_layer(self) -> LayerCalibration:
        """What was found at the picked layer."""
        return next(found for found in self.layers if found.layer == self.picked)
