"""What lies beside a bank's vectors: a strict JSON record of where they came from and how they fared. No torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from evalharness.concepts.cues import CueSource
from evalharness.row import ControlKind

Recipe = Literal["stories", "contrast", "imported"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0, le=1)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class CheckResult(_Record):
    """The held-out check: how stories that the vectors never saw are read, by the model and by a random twin."""

    passed: bool
    top1: Share
    top5: Share
    chance: Share
    p_value: Share
    twin_top1: Share
    """Top-1 of the same recipe on the same stories with random weights: what word overlap alone achieves."""
    twin_p_value: Share
    """One-sided exact McNemar test that the model reads more stories right than the twin."""
    margin: float
    """top1 - max(twin_top1, chance)."""
    n_heldout: int
    n_concepts: int
    layers: tuple[int, ...]
    cues: CueSource
    """Every story was judged by vectors from stories that share neither its topic nor any of its cues; this says
    whether the corpus names the cues, they were found as recurring sentences, or there are none."""
    required: dict[str, float]
    """The bars that applied: max_p, min_times_chance, min_margin_times_chance."""
    reasons: tuple[str, ...]
    """Why it failed; empty when it passed."""


class BatteryVerdict(_Record):
    """How `vectors check` ended. Its numbers are in the check's own folder; this is what a run must know."""

    passed: bool
    reasons: tuple[str, ...]
    required: dict[str, float]
    not_run: dict[str, str]
    """Parts without a result, with the reason."""
    check_sha256: Sha256
    """Over the bytes of `check.json`."""


class CorpusRecord(_Record):
    """The calibration corpus: vectors and mean norms come from these tokens."""

    n_stories: int
    n_story_tokens: int
    """Tokens from the offset on, over all stories; the mean norms are means over these."""
    n_neutral: int
    dropped: dict[str, int]
    """Texts with no token after the offset, per concept ("neutral" for the neutral texts)."""
    stories_sha256: Sha256
    neutral_sha256: Sha256
    contrast_sets: tuple[str, ...] = ()
    """The sets behind `contrast-00`, `contrast-01`, ..."""


class BankManifest(_Record):
    """`manifest.json` of a bank folder."""

    schema_: Literal["concept-bank/1"] = Field(default="concept-bank/1", alias="schema")
    names: tuple[str, ...]
    """All vectors, concepts first, then controls."""
    controls: dict[str, ControlKind]
    layers: tuple[int, ...]
    steer_layers: tuple[int, ...]
    d_model: Annotated[int, Field(ge=1)]
    mean_norms: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...]
    """Mean residual-stream norm per layer: strength 1 is one of these."""
    natural_strengths: dict[str, tuple[float, ...]] = {}
    """Per concept and layer: how far its stories lie from the grand mean, in units of strength."""
    recipe: Recipe | None = None
    """How the vectors were made; None for a bank made from arrays."""
    model_sha256: Sha256 | None = None
    """Over the names and bytes of all weight files."""
    model_source: str | None = None
    tokenizer_sha256: Sha256 | None = None
    chat_template_sha256: Sha256 | None = None
    versions: dict[str, str] = {}
    spec: dict[str, Any] | None = None
    corpus: CorpusRecord | None = None
    check: CheckResult | None = None
    """Held-out numbers; once the battery has run, `passed` and `reasons` are the battery's."""
    battery: BatteryVerdict | None = None
    vectors_sha256: Sha256
    """Over the bytes of `vectors.safetensors`."""

    @model_validator(mode="after")
    def _one_verdict(self) -> BankManifest:
        """A run reads `check` alone: it must not say anything else than the battery does."""
        if self.battery is not None and (
            self.check is None or (self.check.passed, self.check.reasons) != (self.battery.passed, self.battery.reasons)
        ):
            raise ValueError("check and battery end differently")
        return self
