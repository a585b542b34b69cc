"""How a concept bank is extracted: every number that changes a vector or the check. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evalharness.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSpec:
    """What the held-out check demands. See README.md for why each bar is there."""

    max_p: float = 0.01
    min_times_chance: float = 2.0
    """Top-1 accuracy must be at least this many times chance (at most 0.9)."""
    min_margin_times_chance: float = 1.0
    """Top-1 accuracy must exceed that of a random-weights twin (or chance, if higher) by this many times chance."""
    permutations: int = 999
    max_stories: int = 2400
    """More stories than this are thinned, evenly over the corpus: each one runs through the twin as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatteryBars:
    """What the battery demands beyond the held-out check. See README.md for why each bar is there."""

    max_implicit_p: float = 0.05
    """The scenarios are some dozens: a stricter bar would refuse a bank that reads twice chance."""
    min_implicit_targets: int = 4
    """With fewer targets the scenarios are told and decide nothing."""
    permutations: int = 999


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractionSpec:
    """The recipe (Sofroniew et al. 2026, extraction) and its controls."""

    layers: tuple[int, ...] | None = None
    """Layers in the bank; None = all."""
    steer_layers: tuple[int, ...] | None = None
    """Layers that a steering acts on when it names none; None = by `depth`."""
    depth: float = 0.5
    """Steer layer as a fraction of depth: round(depth x (n_layers - 1))."""
    skip: int = 50
    """Story tokens before this offset are left out, as in the paper: the feeling has not shown yet."""
    denoise: float = 0.5
    """Principal components of the neutral texts up to this share of their variance are removed; 0 = off."""
    gaussian: int = 20
    permuted: int = 20
    contrast: int | None = None
    """Controls from unrelated contrast sets; None = as many as there are sets."""
    mean: bool = True
    seed: int = 0
    check: CheckSpec | None = CheckSpec()
    """None = no held-out check; such a bank cannot carry a verdict."""

    @classmethod
    def as_built(cls, told: Mapping[str, object] | None, skip: int | None, seed: int = 0) -> ExtractionSpec:
        """How to read stories as a bank's recipe (`Origin.spec`) read them; `skip` is what a user says instead."""
        usual = cls()
        built = {"skip": usual.skip, "denoise": usual.denoise, **(told or {})}
        offset, denoise = built["skip"] if skip is None else skip, built["denoise"]
        assert isinstance(offset, int)
        assert isinstance(denoise, int | float)
        return cls(skip=offset, denoise=float(denoise), seed=seed)

    def __post_init__(self) -> None:
        bounds = {
            "depth": (0 <= self.depth <= 1, "0 to 1", self.depth),
            "skip": (self.skip >= 0, "0 or more", self.skip),
            "denoise": (0 <= self.denoise < 1, "0 (off) to below 1", self.denoise),
            "gaussian": (self.gaussian >= 0, "0 or more", self.gaussian),
            "permuted": (self.permuted >= 0, "0 or more", self.permuted),
            "contrast": (self.contrast is None or self.contrast >= 0, "0 or more", self.contrast),
        }
        for name, (ok, expected, got) in bounds.items():
            if not ok:
                raise UsageError(f"{name} is out of range.", expected=expected, got=repr(got), where=f"spec.{name}")

    def resolve_layers(self, n_layers: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """(bank layers, steer layers) for a model with this many blocks.

        Raises:
            UsageError: a layer that the model lacks, or a steer layer outside the bank.
        """
        layers = tuple(range(n_layers)) if self.layers is None else tuple(sorted(set(self.layers)))
        steer = self.steer_layers or (round(self.depth * (n_layers - 1)),)
        outside = [layer for layer in layers if not 0 <= layer < n_layers]
        if outside or not layers:
            raise UsageError(
                "The model lacks a layer.", expected=f"0 to {n_layers - 1}", got=str(outside), where="spec.layers"
            )
        if not set(steer) <= set(layers):
            raise UsageError(
                "A steer layer is not among the bank's layers.",
                expected=", ".join(map(str, layers)),
                got=", ".join(map(str, steer)),
                where="spec.steer_layers" if self.steer_layers else "spec.depth",
            )
        return layers, tuple(sorted(set(steer)))
