"""Sums of story means in float64: all that extraction keeps while it reads, and what a stopped one continues from.

S stories, C concepts, P label-permuted controls, L layers, D width, K kept layers, X stories of the held-out check.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from evalharness.concepts.reading import Float64, TextMean
from evalharness.errors import StorageError

PARTIAL = "partial.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class SumPlan:
    """Which story goes into which sum."""

    label_S: NDArray[np.int32]
    weights_PS: Float64
    """Per permuted control the weight of each story."""
    chosen_X: Sequence[int]
    """Stories whose own means are kept, for the held-out check."""
    kept_layers: Sequence[int]
    """Places among the layers at which they are kept."""
    key: str
    """Hash of everything that the sums depend on: sums of another key are not continued."""


class StorySums:
    """Running sums. Every story is added once; the order decides the last bits, so it is always the same."""

    def __init__(self, plan: SumPlan, n_layers: int, d_model: int) -> None:
        self._plan = plan
        self._slot = {story: slot for slot, story in enumerate(plan.chosen_X)}
        n_concepts = int(plan.label_S.max()) + 1
        self._arrays: dict[str, NDArray[np.float64] | NDArray[np.float32]] = {
            "sum_CLD": np.zeros((n_concepts, n_layers, d_model)),
            "permuted_PLD": np.zeros((len(plan.weights_PS), n_layers, d_model)),
            "norm_L": np.zeros(n_layers),
            "kept_XKD": np.zeros((len(plan.chosen_X), len(plan.kept_layers), d_model), np.float32),
        }
        self.n_tokens = 0
        self.windows_done = 0

    def add(self, story: TextMean) -> None:
        """Put one story into its sums."""
        self._arrays["sum_CLD"][self._plan.label_S[story.text]] += story.mean_LD
        self._arrays["permuted_PLD"] += self._plan.weights_PS[:, story.text, None, None] * story.mean_LD
        self._arrays["norm_L"] += story.norm_L
        self.n_tokens += story.n_tokens
        if story.text in self._slot:
            self._arrays["kept_XKD"][self._slot[story.text]] = story.mean_LD[list(self._plan.kept_layers)]

    @property
    def differences(self) -> Float64:
        """Each concept's mean minus the mean of all concepts' means, then the permuted controls."""
        size_C = np.bincount(self._plan.label_S)
        mean_CLD = self._arrays["sum_CLD"] / size_C[:, None, None]
        raw: Float64 = np.concatenate([mean_CLD - mean_CLD.mean(0), self._arrays["permuted_PLD"]])
        return raw

    @property
    def mean_norms(self) -> Float64:
        """Mean token norm per layer."""
        means: Float64 = self._arrays["norm_L"] / self.n_tokens
        return means

    @property
    def kept(self) -> NDArray[np.float32]:
        """Means of the chosen stories at the kept layers."""
        kept: NDArray[np.float32] = self._arrays["kept_XKD"].astype(np.float32, copy=False)
        return kept

    def save(self, folder: Path) -> None:
        """Write the sums so far; they appear whole or not at all.

        Raises:
            StorageError: the folder cannot be written.
        """
        told = {"key": self._plan.key, "windows_done": str(self.windows_done), "n_tokens": str(self.n_tokens)}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            part = folder / f"{PARTIAL}.part"
            save_file(dict(self._arrays), part, metadata=told)
            part.replace(folder / PARTIAL)
        except (OSError, SafetensorError) as error:
            raise StorageError(f"The sums so far could not be written to {folder}: {error}") from error

    def restore(self, folder: Path) -> bool:
        """Continue from sums of the same key. Anything else there is left alone and read anew."""
        path = folder / PARTIAL
        if not path.is_file():
            return False
        try:
            with safe_open(path, framework="numpy") as stored:
                told = stored.metadata() or {}
                if told.get("key") != self._plan.key:
                    return False
                found = {name: stored.get_tensor(name) for name in self._arrays}
        except (OSError, SafetensorError):
            return False
        if any(found[name].shape != array.shape for name, array in self._arrays.items()):
            return False
        self._arrays = found
        self.windows_done, self.n_tokens = int(told["windows_done"]), int(told["n_tokens"])
        return True
