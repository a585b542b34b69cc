"""The steering conditions of a run: axes in, ordered named conditions out. Pure, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from evalharness.request import Op, Span, Steering
from evalharness.row import ControlKind, Kind

GAUSSIAN, PERMUTED, CONTRAST, MEAN = "gaussian", "permuted", "contrast", "mean-of-concepts"
_NUMBERED: dict[str, ControlKind] = {GAUSSIAN: "gaussian", PERMUTED: "permuted", CONTRAST: "contrast"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One way to treat a row: nothing, a concept at a strength, or a control at a strength."""

    id: str
    kind: Kind
    steering: Steering | None = None


class Controls(BaseModel):
    """How many control directions of each kind stand beside the concepts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gaussian: Annotated[int, Field(ge=0)] = 0
    """Random directions: what a perturbation of this size does on its own."""
    permuted: Annotated[int, Field(ge=0)] = 0
    """The same stories with shuffled labels: what the recipe does without the concept."""
    contrast: Annotated[int, Field(ge=0)] = 0
    """Directions by the same recipe from pairs that have nothing to do with emotion: what any such direction does."""
    mean: bool = False
    """The mean of all concepts: what emotional tone as such does."""

    def names(self) -> tuple[str, ...]:
        """The controls' names in a concept bank."""
        numbered = [(GAUSSIAN, self.gaussian), (PERMUTED, self.permuted), (CONTRAST, self.contrast)]
        names = [f"{kind}-{number:02d}" for kind, count in numbered for number in range(count)]
        return (*names, MEAN) if self.mean else tuple(names)


def control_kind(name: str) -> ControlKind | None:
    """The kind of a control by its name in a concept bank; None for a name that `Controls` does not give."""
    if name == MEAN:
        return "mean"
    kind, _, number = name.rpartition("-")
    return _NUMBERED.get(kind) if number.isdecimal() else None


class Grid(BaseModel):
    """Concepts x strengths, controls x strengths, and the unsteered baseline."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    baseline: bool = True
    concepts: list[str] = []
    strengths: list[float] = []
    """Fractions of the mean residual-stream norm, per steered layer."""
    controls: Controls = Controls()
    control_strengths: list[float] = []
    layers: list[int] | None = None
    """None = the bank's choice."""
    span: Span = "all"
    op: Op = "add"

    def conditions(self) -> tuple[Condition, ...]:
        """Baseline first, then concepts, then controls, each in the order given. Strength 0 is the baseline."""
        found = [Condition(id="baseline", kind="baseline")] if self.baseline else []
        axes: list[tuple[Kind, list[str], list[float]]] = [
            ("concept", self.concepts, self.strengths),
            ("control", list(self.controls.names()), self.control_strengths),
        ]
        for kind, names, strengths in axes:
            for name in names:
                found += [self._condition(kind, name, strength) for strength in strengths if strength != 0]
        return tuple(found)

    def _condition(self, kind: Kind, name: str, strength: float) -> Condition:
        layers = None if self.layers is None else tuple(self.layers)
        steering = Steering(name, strength, layers=layers, span=self.span, op=self.op)
        marks = [] if layers is None else ["L" + "-".join(map(str, layers))]
        marks += [mark for mark, default in ((self.span, "all"), (self.op, "add")) if mark != default]
        return Condition(id=".".join([f"{name.replace(' ', '_')}{strength:+g}", *marks]), kind=kind, steering=steering)
