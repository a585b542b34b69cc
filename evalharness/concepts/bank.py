"""ConceptBank: named unit vectors per layer, the norms that give strength its unit, and where they came from.

numpy only: plans, gates and reports read banks on machines without torch.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evalharness.concepts.bank_folder import read_folder, write_folder
from evalharness.concepts.manifest import BankManifest, BatteryVerdict, CheckResult, CorpusRecord, Recipe
from evalharness.errors import BankError
from evalharness.row import ControlKind

UNIT_TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a bank came from; all None for a bank made from arrays."""

    recipe: Recipe | None = None
    model_sha256: str | None = None
    model_source: str | None = None
    tokenizer_sha256: str | None = None
    chat_template_sha256: str | None = None
    versions: Mapping[str, str] | None = None
    spec: dict[str, object] | None = None
    corpus: CorpusRecord | None = None
    natural_strengths: Mapping[str, tuple[float, ...]] | None = None


class SteerableModel(Protocol):
    """What a transfer asks of a model. `Engine` is one."""

    @property
    def model_sha256(self) -> str:
        """Hash of its weights."""

    @property
    def n_layers(self) -> int:
        """Number of decoder blocks."""

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""


class ConceptBank:
    """Unit vectors by name and layer. Layer l means the output of decoder block l, from 0."""

    def __init__(  # noqa: PLR0913 - the fields of the file, given once by the three constructors below
        self,
        vectors: Mapping[str, NDArray[np.float32]],
        layers: Sequence[int],
        mean_norms: Sequence[float],
        *,
        steer_layers: Sequence[int] | None = None,
        controls: Mapping[str, ControlKind] | None = None,
        origin: Origin | None = None,
        check: CheckResult | None = None,
        battery: BatteryVerdict | None = None,
        transferred_to: str | None = None,
    ) -> None:
        """Use `from_arrays`, `load` or `extract`."""
        self._vectors = dict(vectors)
        self.layers = tuple(layers)
        self._mean_norms = dict(zip(self.layers, map(float, mean_norms), strict=True))
        middle = (self.layers[len(self.layers) // 2],)
        self.steer_layers = middle if steer_layers is None else tuple(steer_layers)
        self.controls: dict[str, ControlKind] = dict(controls or {})
        self.origin = origin or Origin()
        self.check = check
        self.battery = battery
        self.transferred_to = transferred_to
        """Hash of the other weights that this view of the bank may steer; None = its own model only. Never saved."""

    @classmethod
    def from_arrays(
        cls,
        vectors: Mapping[str, ArrayLike],
        *,
        layers: Sequence[int],
        mean_norms: Sequence[float],
        steer_layers: Sequence[int] | None = None,
        controls: Mapping[str, ControlKind] | None = None,
    ) -> ConceptBank:
        """A bank from `{name: [n_layers, d_model]}`. Vectors are scaled to unit length.

        `steer_layers` defaults to the middle one of `layers`.

        Raises:
            BankError: no vectors, shapes that differ or do not match `layers`, a zero or non-finite vector or norm.
        """
        if not vectors or not layers:
            raise BankError("A concept bank needs vectors and layers.", expected="at least one of each")
        units = {name: _unit_rows(name, array, len(layers)) for name, array in vectors.items()}
        widths = {unit.shape[1] for unit in units.values()}
        if len(widths) > 1:
            raise BankError("The concept vectors differ in width.", got=", ".join(map(str, sorted(widths))))
        if len(mean_norms) != len(layers) or not all(np.isfinite(norm) and norm > 0 for norm in mean_norms):
            raise BankError(
                "mean_norms must be one positive number per layer.",
                expected=f"{len(layers)} numbers",
                got=str(list(mean_norms)),
            )
        for name, wanted in (("steer_layers", steer_layers or ()), ("layers", layers)):
            if len(set(wanted)) != len(wanted) or not set(wanted) <= set(layers):
                raise BankError(
                    f"{name} must be distinct layers of the bank.", expected=str(list(layers)), got=str(list(wanted))
                )
        unknown = sorted(set(controls or {}) - set(units))
        if unknown:
            raise BankError("A control is not among the vectors.", got=", ".join(unknown))
        return cls(units, layers, mean_norms, steer_layers=steer_layers, controls=controls)

    @classmethod
    def load(cls, folder: str | Path) -> ConceptBank:
        """Read a folder that `save` wrote.

        Raises:
            BankError: no such folder, a manifest that breaks the schema (fields named), or vectors that are not the
                ones the manifest was written for.
        """
        manifest, vectors = read_folder(Path(folder))
        return cls(
            {name: vectors[name] for name in manifest.names},
            manifest.layers,
            manifest.mean_norms,
            steer_layers=manifest.steer_layers,
            controls=manifest.controls,
            origin=Origin(
                recipe=manifest.recipe,
                model_sha256=manifest.model_sha256,
                model_source=manifest.model_source,
                tokenizer_sha256=manifest.tokenizer_sha256,
                chat_template_sha256=manifest.chat_template_sha256,
                versions=manifest.versions,
                spec=manifest.spec,
                corpus=manifest.corpus,
                natural_strengths=manifest.natural_strengths,
            ),
            check=manifest.check,
            battery=manifest.battery,
        )

    def save(self, folder: str | Path) -> None:
        """Write the vectors, then the manifest that vouches for them; both appear whole or not at all.

        Raises:
            StorageError: the folder cannot be written.
        """
        write_folder(Path(folder), self._vectors, self._manifest)

    @property
    def names(self) -> tuple[str, ...]:
        """All vectors: concepts, then controls."""
        return tuple(self._vectors)

    @property
    def concepts(self) -> tuple[str, ...]:
        """The names that are not controls."""
        return tuple(name for name in self._vectors if name not in self.controls)

    @property
    def d_model(self) -> int:
        """Width of the vectors."""
        return int(next(iter(self._vectors.values())).shape[1])

    @property
    def model_sha256(self) -> str | None:
        """Hash of the weights the bank was extracted from; None if it was made from arrays."""
        return self.origin.model_sha256

    def vector(self, name: str, layer: int) -> NDArray[np.float32]:
        """The unit vector of `name` at `layer`, `[d_model]`.

        Raises:
            BankError: no such concept (near names are listed) or layer.
        """
        if name not in self._vectors:
            near = difflib.get_close_matches(name, self._vectors, n=5, cutoff=0.5)
            raise BankError(
                f"The bank has no concept {name!r}.",
                expected=", ".join(near) or ", ".join(self.concepts[:30]),
                got=name,
                fix="choose one of these, or build a bank with this concept",
            )
        vector: NDArray[np.float32] = self._vectors[name][self._place(layer)]
        return vector

    def mean_norm(self, layer: int) -> float:
        """The mean residual-stream norm at `layer` on the calibration corpus: the unit of strength."""
        self._place(layer)
        return self._mean_norms[layer]

    def fingerprint(self, name: str, layers: Sequence[int]) -> str:
        """sha256 over the vectors and mean norms that a steering of `name` at `layers` uses."""
        digest = hashlib.sha256()
        for layer in sorted(set(layers)):
            digest.update(layer.to_bytes(4, "little"))
            digest.update(self.vector(name, layer).astype("<f4").tobytes())
            digest.update(np.float64(self.mean_norm(layer)).astype("<f8").tobytes())
        return digest.hexdigest()

    def require_model(self, model_sha256: str) -> None:
        """See that the bank belongs to these weights or was transferred to them; a bank from arrays belongs to any.

        Raises:
            BankError: it was extracted from other weights.
        """
        if self.model_sha256 is not None and model_sha256 not in (self.model_sha256, self.transferred_to):
            raise BankError(
                "The concept bank was built from another model.",
                expected=f"weights with sha256 {self.model_sha256} ({self.origin.model_source})",
                got=f"weights with sha256 {model_sha256}",
                fix="build a bank from this model, name the model that the bank belongs to, or ask for a transfer "
                "(--transfer-bank), which every report will state",
            )

    def transfer(self, model: SteerableModel) -> ConceptBank:
        """A view of this bank that may steer `model` (an `Engine`) too; its origin stays on record.

        The bank itself where it belongs to these weights anyway: nothing is transferred then.

        Raises:
            BankError: the vectors have another width, or the model lacks a layer of the bank.
        """
        if self.model_sha256 in (None, model.model_sha256):
            return self
        if model.d_model != self.d_model or max(self.layers) >= model.n_layers:
            raise BankError(
                "The concept bank does not fit the model that it should be transferred to.",
                expected=f"width {self.d_model} and layers up to {max(self.layers)}, those of the bank",
                got=f"width {model.d_model} and layers 0 to {model.n_layers - 1}",
                where=f"bank of {self.origin.model_source}",
                fix="build a bank from this model",
            )
        return self._copy(self.origin, self.check, self.battery, model.model_sha256)

    def with_check(self, check: CheckResult | None) -> ConceptBank:
        """The same bank with the result of a held-out check, which takes the place of any earlier verdict."""
        return self._copy(self.origin, check, None, self.transferred_to)

    def with_battery(self, held_out: CheckResult, battery: BatteryVerdict) -> ConceptBank:
        """The same bank with the verdict of the whole battery: `check` keeps the held-out numbers and gets its verdict.

        So a run needs to look at `check` only, and a bank whose battery failed cannot carry a verdict.
        """
        check = held_out.model_copy(update={"passed": battery.passed, "reasons": battery.reasons})
        return self._copy(self.origin, check, battery, self.transferred_to)

    def steered_at(self, layers: Sequence[int], check: CheckResult | None) -> ConceptBank:
        """The same bank with other steer layers and the check made there: that of other layers says nothing.

        Raises:
            BankError: a layer that the bank lacks.
        """
        for layer in layers:
            self._place(layer)
        bank = self._copy(self.origin, check, None, self.transferred_to)
        bank.steer_layers = tuple(sorted(set(layers)))
        return bank

    def with_origin(self, origin: Origin) -> ConceptBank:
        """The same bank with a record of where it came from."""
        whole = replace(self.origin, **{k: getattr(origin, k) for k in Origin.__slots__})
        return self._copy(whole, self.check, self.battery, self.transferred_to)

    def _copy(
        self, origin: Origin, check: CheckResult | None, battery: BatteryVerdict | None, transferred_to: str | None
    ) -> ConceptBank:
        return ConceptBank(
            self._vectors,
            self.layers,
            [self._mean_norms[layer] for layer in self.layers],
            steer_layers=self.steer_layers,
            controls=self.controls,
            origin=origin,
            check=check,
            battery=battery,
            transferred_to=transferred_to,
        )

    def _place(self, layer: int) -> int:
        if layer not in self._mean_norms:
            raise BankError(
                "The bank has no vectors for this layer.",
                expected=", ".join(map(str, self.layers)),
                got=str(layer),
                fix="steer one of these layers, or build a bank with this one",
            )
        return self.layers.index(layer)

    def _manifest(self, vectors_sha256: str) -> BankManifest:
        return BankManifest(
            names=self.names,
            controls=self.controls,
            layers=self.layers,
            steer_layers=self.steer_layers,
            d_model=self.d_model,
            mean_norms=tuple(self._mean_norms[layer] for layer in self.layers),
            natural_strengths=dict(self.origin.natural_strengths or {}),
            recipe=self.origin.recipe,
            model_sha256=self.origin.model_sha256,
            model_source=self.origin.model_source,
            tokenizer_sha256=self.origin.tokenizer_sha256,
            chat_template_sha256=self.origin.chat_template_sha256,
            versions=dict(self.origin.versions or {}),
            spec=self.origin.spec,
            corpus=self.origin.corpus,
            check=self.check,
            battery=self.battery,
            vectors_sha256=vectors_sha256,
        )


def _unit_rows(name: str, array: ArrayLike, n_layers: int) -> NDArray[np.float32]:
    rows = np.asarray(array, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[0] != n_layers:
        raise BankError(
            "A concept's array has the wrong shape.",
            expected=f"[{n_layers}, d_model]: one row per layer",
            got=str(rows.shape),
            where=f"concept {name!r}",
        )
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.isfinite(rows).all() or (norms == 0).any():
        raise BankError("A concept vector is zero or not finite.", where=f"concept {name!r}", got=str(norms[:, 0]))
    off = np.abs(norms - 1) > UNIT_TOLERANCE
    units: NDArray[np.float32] = np.where(off, rows / norms, rows).astype(np.float32)
    units.setflags(write=False)
    return units
