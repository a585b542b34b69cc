"""What the engine asks of a concept bank, and the checks that come before the first token. No torch."""

from __future__ import annotations

import hashlib
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from evalharness.errors import BankError
from evalharness.request import Steering

UNIT_TOLERANCE = 1e-3


class VectorBank(Protocol):
    """Unit vectors and the norms that turn a strength into a length. `ConceptBank` is one."""

    @property
    def steer_layers(self) -> tuple[int, ...]:
        """The layers that a steering with `layers=None` acts on."""

    def vector(self, name: str, layer: int) -> NDArray[np.float32]:
        """The unit vector of a concept at the output of a decoder block, `[d_model]`."""

    def mean_norm(self, layer: int) -> float:
        """The mean residual norm at that layer on the bank's calibration corpus."""

    def require_model(self, model_sha256: str) -> None:
        """Raise BankError if the bank was built from other weights and was not transferred to these."""


def layers_of(steering: Steering, bank: VectorBank) -> tuple[int, ...]:
    """The layers a steering acts on: its own, or the bank's choice; each once, ascending."""
    return tuple(sorted(set(bank.steer_layers if steering.layers is None else steering.layers)))


def vector_sha256(vector: NDArray[np.float32]) -> str:
    """Hash over the float32 bytes (little endian) of a unit vector."""
    return hashlib.sha256(np.ascontiguousarray(vector, dtype="<f4").tobytes()).hexdigest()


def check_steering(steering: Steering, bank: VectorBank | None, *, n_layers: int, d_model: int) -> None:
    """See that the bank holds what a steering needs and that it fits the model.

    Raises:
        BankError: no bank, a layer that the model lacks, a vector of another width or not of unit length.
    """
    if bank is None:
        raise BankError(
            "A request is steered but no concept bank was given.", got=repr(steering), fix="pass bank=ConceptBank(...)"
        )
    for layer in layers_of(steering, bank):
        where = f"concept {steering.concept!r}, layer {layer}"
        if not 0 <= layer < n_layers:
            raise BankError(
                "A steering names a layer that the model lacks.",
                expected=f"0 to {n_layers - 1}",
                got=str(layer),
                where=where,
            )
        vector = bank.vector(steering.concept, layer)
        if vector.shape != (d_model,):
            raise BankError(
                "A concept vector does not fit the model.",
                expected=f"shape ({d_model},)",
                got=str(vector.shape),
                where=where,
                fix="build the bank from this checkpoint",
            )
        norm = float(np.linalg.norm(vector.astype(np.float64)))
        if not abs(norm - 1) <= UNIT_TOLERANCE or not np.isfinite(bank.mean_norm(layer)):
            raise BankError(
                "A concept vector is not a unit vector.", expected="norm 1, finite", got=f"norm {norm}", where=where
            )
