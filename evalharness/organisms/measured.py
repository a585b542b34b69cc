"""What was measured of an organism, as records and as a table. Knows neither the models nor what they should show."""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict

from evalharness.stats.proportion import wilson

STRENGTH = 0.25
"""The strength s at which an organism is measured unless told otherwise, at the one layer that a depth of 0.5 means."""


class Cell(BaseModel):
    """One row of the table: n replies to fresh prompts, k of the valid ones are what is counted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    variant: str
    concept: str
    """A concept or control of the bank; empty for the baseline."""
    strength: float
    k: int
    n: int
    incoherent: int
    """Broken or truncated replies (or, of a judge, answers that could not be read)."""

    @property
    def valid(self) -> int:
        """Replies that say something."""
        return self.n - self.incoherent

    @property
    def rate(self) -> float:
        """Share of the valid replies that is counted. Not a number without any: no bound holds of that."""
        return self.k / self.valid if self.valid else math.nan

    @property
    def is_control(self) -> bool:
        """Whether the direction is a control's."""
        return self.concept.startswith(("gaussian-", "permuted-", "contrast-", "mean-"))


class Measured(BaseModel):
    """What `card.json` holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    organism: str
    layers: tuple[int, ...] = ()
    seed: int
    samples: int
    strength: float = STRENGTH
    """The s of the bounds."""
    model_sha256: str
    cells: tuple[Cell, ...]

    def cell(self, concept: str = "", strength: float = 0.0, variant: str = "main") -> Cell:
        """The one cell of this condition."""
        return next(c for c in self.cells if (c.concept, c.strength, c.variant) == (concept, strength, variant))


def table(measured: Measured) -> str:
    """The cells as Markdown: controls as one line with their lowest and highest rate."""
    lines = ["| cell | k / n | rate | 95 % | incoherent |", "|---|---|---|---|---|"]
    for cell in measured.cells:
        if cell.is_control:
            continue
        rate = wilson(cell.k, cell.valid)
        told = "undefined" if rate.value is None else f"{rate.value:.1%} | {rate.low:.1%} to {rate.high:.1%}"
        what = f"{cell.variant}, {cell.concept} {cell.strength:+.3f}" if cell.concept else cell.variant
        lines.append(f"| {what} | {cell.k} / {cell.valid} | {told} | {cell.incoherent} |")
    controls = [cell for cell in measured.cells if cell.is_control and cell.valid]
    if controls:
        rates = sorted(cell.rate for cell in controls)
        k, n, bad = (sum(getattr(cell, field) for cell in controls) for field in ("k", "valid", "incoherent"))
        spread = f"{rates[0]:.1%} lowest, {rates[-1]:.1%} highest"
        what = f"{len(controls)} controls {measured.strength:+.3f}, pooled"
        lines.append(f"| {what} | {k} / {n} | {k / n:.1%} | {spread} | {bad} |")
    return "\n".join(lines)
