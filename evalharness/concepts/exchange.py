"""Steering vectors as other tools take them: what coefficient 1 adds at each layer, and the record of its scale.

Other tools add coefficient x vector to the output of a block; we add strength x mean norm x unit vector. So a vector
that leaves is multiplied by strength x mean norm, and coefficient 1.0 there is that strength here. Layer l is the
output of decoder block l, from 0, in repeng, in llama.cpp and in vllm-lens as it is here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from evalharness.concepts.bank import ConceptBank
from evalharness.concepts.manifest import Sha256
from evalharness.errors import BankError

ExchangeFormat = Literal["gguf", "vllm-lens"]
SCALING = "vector = strength x mean_norm[layer] x unit vector: coefficient 1.0 is this strength"
UNKNOWN_MODEL = "unknown"


class ExportRecord(BaseModel):
    """What was done to the vectors of a file, written into it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: Literal["steering-vector/1"] = Field(default="steering-vector/1", alias="schema")
    concept: str
    strength: Annotated[float, Field(allow_inf_nan=False)]
    """In the unit of the bank: a fraction of the mean residual norm of each layer."""
    layers: tuple[int, ...]
    mean_norms: tuple[float, ...]
    """One for each of `layers`, on the bank's calibration corpus."""
    scaling: str = SCALING
    model_sha256: Sha256 | None
    """Weights that the bank was extracted from; None for a bank made from arrays."""
    fingerprint: Sha256
    """Over the unit vectors and mean norms of these layers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SteeringVectors:
    """One concept as another tool adds it."""

    deltas: Mapping[int, NDArray[np.float32]]
    """By layer: what coefficient 1 adds to every token, `[d_model]`."""
    record: ExportRecord | None
    """None for a file that this package did not write."""
    model_hint: str = UNKNOWN_MODEL
    """The model type that the file names (`llama`, `qwen3`): read by people, used by no arithmetic."""

    def __post_init__(self) -> None:
        shapes = {array.shape for array in self.deltas.values()}
        if len(shapes) != 1 or len(next(iter(shapes))) != 1:
            raise BankError(
                "The steering vectors of a file must be one vector for each layer, all of one width.",
                expected="at least one layer, shape (d_model,)",
                got=", ".join(map(str, sorted(shapes))) or "no vector",
            )

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that are steered, ascending."""
        return tuple(sorted(self.deltas))

    @property
    def d_model(self) -> int:
        """Width of the vectors."""
        return int(self.deltas[self.layers[0]].shape[0])


def scaled_vectors(
    bank: ConceptBank, concept: str, strength: float, layers: Sequence[int], *, model_hint: str = UNKNOWN_MODEL
) -> SteeringVectors:
    """A concept of a bank, scaled so that coefficient 1.0 in another tool is `strength` here.

    Raises:
        BankError: unknown concept or layer, no layer, or a strength that is no number.
    """
    if not np.isfinite(strength) or strength == 0 or not layers:
        raise BankError(
            "Vectors of no length, or of no layer, steer nothing.",
            expected="a strength other than 0, and at least one layer",
            got=f"strength {strength}, layers {list(layers)}",
        )
    chosen = tuple(sorted(set(layers)))
    scaled = {
        layer: (strength * bank.mean_norm(layer) * bank.vector(concept, layer).astype(np.float64)).astype(np.float32)
        for layer in chosen
    }
    record = ExportRecord(
        concept=concept,
        strength=strength,
        layers=chosen,
        mean_norms=tuple(bank.mean_norm(layer) for layer in chosen),
        model_sha256=bank.model_sha256,
        fingerprint=bank.fingerprint(concept, chosen),
    )
    return SteeringVectors(deltas=scaled, record=record, model_hint=model_hint)


def writable_layers(layers: Sequence[int], to: ExchangeFormat) -> tuple[int, ...]:
    """The layers that a file of this format can hold: llama.cpp has no tensor for the output of block 0."""
    return tuple(layer for layer in layers if layer > 0 or to != "gguf")
