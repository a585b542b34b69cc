"""What `vectors check` found about a bank: every part's numbers, the bars that applied, and the verdict. No torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from evalharness.concepts.manifest import CheckResult, Sha256, Share

PromptForm = Literal["chat-template", "plain"]
"""`plain`: the checkpoint has no chat template; the text is followed by a new line and `Assistant:`."""
Sign = Literal["up", "down", "flat"]
Part = Literal["bag_of_words", "implicit", "numeric", "lens", "geometry", "norms", "stability"]
Cosine = Annotated[float, Field(ge=-1.001, le=1.001)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)


class BagOfWords(_Record):
    """The held-out check by words alone. Beside the check, never required."""

    top1: Share
    top5: Share
    n: int
    n_words: int
    """Size of the vocabulary, which is capped."""


class ImplicitReading(_Record):
    """How the scenarios are read by one model with its own vectors."""

    layers: tuple[int, ...]
    top1: Share
    p_value: Share
    """Share of shuffled scenario labels that agree with the readings at least as often."""
    cosines: tuple[tuple[Cosine, ...], ...]
    """`[vector of target][concept of scenario]`: mean centred cosine, both in the order of the targets."""


class Implicit(_Record):
    """Scenarios that imply a feeling without telling it, read where the assistant is about to speak."""

    targets: tuple[str, ...]
    """Concepts that the scenarios, the bank and the stories have."""
    n: int
    n_too_long: int
    prompt: PromptForm
    chance: Share
    model: ImplicitReading
    twin: ImplicitReading
    """Random weights and vectors of their own, from the same stories; the better of two places."""
    required: bool
    """False with too few targets: then the numbers are told and decide nothing."""


class NumericSign(_Record):
    """One line of the sign table."""

    template: str
    concept: str
    expected: Sign
    spearman: Cosine | None
    """Rank correlation of the number in the text with the centred cosine; None where every cosine is the same."""
    got: Sign
    agrees: bool


class Numeric(_Record):
    """Messages in which one number changes what the situation means."""

    prompt: PromptForm
    signs: tuple[NumericSign, ...]
    n_agree: int
    n: int
    p_value: Share
    """One-sided exact sign test. Lines of one template are not independent, so it is somewhat optimistic."""


class LensWords(_Record):
    """Tokens that a concept's direction makes more, and less, likely by itself; strongest first."""

    top: tuple[str, ...]
    bottom: tuple[str, ...]


class Lens(_Record):
    """The concepts through the model's final norm and output head."""

    layer: int
    words: dict[str, LensWords]


class NormCorrelations(_Record):
    """Pearson correlations of the principal components with ratings that the user gave."""

    n: int
    """Words that the ratings and the bank share."""
    valence: tuple[Cosine, ...]
    """With PC1, PC2, PC3 as far as there are."""
    arousal: tuple[Cosine, ...]


class Geometry(_Record):
    """How the unit concept vectors lie to one another."""

    layer: int
    variance_shares: tuple[Share, ...]
    """Of the first components, at most ten."""
    pc1: dict[str, float]
    pc2: dict[str, float]
    clusters: tuple[tuple[str, ...], ...]
    """Average linkage on cosine distance, largest cluster first."""
    norms: NormCorrelations | None


class Stability(_Record):
    """Vectors from two halves of the stories, compared."""

    cosines: dict[str, Cosine]
    """Per concept, averaged over the splits."""
    median: Cosine
    low: Cosine
    high: Cosine
    permuted_95: Cosine
    """95th percentile of the same median under labels shuffled inside the topics."""
    bar: Cosine
    """`permuted_95`, but at least 0: labels handed out anew set the halves a little against each other."""
    n_splits: int
    n_permutations: int
    bank_median: Cosine | None
    """Median cosine of the bank's own vectors with those of all these stories; None where they share no concept."""


class Battery(_Record):
    """`check.json`: everything that `vectors check` found."""

    schema_: Literal["bank-check/1"] = Field(default="bank-check/1", alias="schema")
    passed: bool
    reasons: tuple[str, ...]
    """Why it failed; empty when it passed."""
    required: dict[str, float]
    """The bars that applied."""
    not_run: dict[Part, str]
    """Parts without a result, with the reason."""
    model_sha256: Sha256
    stories_sha256: Sha256
    layers: tuple[int, ...]
    concepts: tuple[str, ...]
    held_out: CheckResult
    bag_of_words: BagOfWords
    implicit: Implicit | None
    numeric: Numeric | None
    lens: Lens | None
    geometry: Geometry | None
    stability: Stability | None
