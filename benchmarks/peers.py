"""repeng and steering-vectors, used as their documentation uses them: one condition, one `generate`.

Both hold the steering as state of the model, so conditions cannot share a batch. The samples of a condition are one
batch here, which is kinder than their examples, where a call completes one prompt.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from importlib import import_module
from typing import Any

import torch

from evalharness.bench import CONCEPT, drawn_rows, generate_rows
from evalharness.concepts import ConceptBank
from evalharness.errors import UsageError
from evalharness.timing import Drawn, Way, Work

REPENG, STEERING_VECTORS = "repeng", "steering-vectors"
PACKAGES = (REPENG, STEERING_VECTORS)
INSTALL = "pip install '.[bench-peers]'"
"""Their ranges ask for numpy 1 and transformers 4, so they belong into an environment of their own."""


class Repeng:
    """`model.set_control(vector, strength)`, then `model.generate`. It wraps the model's blocks: it needs its own."""

    def __init__(self, model: Any, bank: ConceptBank, layer: int) -> None:
        package: Any = import_module("repeng")
        self.model = package.ControlModel(model, [layer])
        direction = bank.vector(CONCEPT, layer) * bank.mean_norm(layer)
        self.vector = package.ControlVector(model.config.model_type, {layer: direction})

    def draw(self, work: Work) -> Drawn:
        """One condition after the other; the baseline is a reset model."""
        _require_span(work)
        drawn: list[list[int]] = []
        for strength in work.strengths:
            self.model.reset()
            if strength:
                self.model.set_control(self.vector, strength)
            drawn += generate_rows(self.model, work.prompts, work)
        self.model.reset()
        return drawn_rows(drawn)


class SteeringVectors:
    """`with vector.apply(model, multiplier=strength): model.generate(...)`."""

    def __init__(self, model: Any, bank: ConceptBank, layer: int) -> None:
        package: Any = import_module("steering_vectors")
        weight = model.get_input_embeddings().weight
        direction = torch.tensor(bank.vector(CONCEPT, layer) * bank.mean_norm(layer)).to(weight)
        self.model = model
        self.vector = package.SteeringVector({layer: direction}, "decoder_block")

    def draw(self, work: Work) -> Drawn:
        """One condition after the other; the baseline is outside of the context."""
        _require_span(work)
        drawn: list[list[int]] = []
        for strength in work.strengths:
            steered = self.vector.apply(self.model, multiplier=strength) if strength else nullcontext()
            with steered:
                drawn += generate_rows(self.model, work.prompts, work)
        return drawn_rows(drawn)


def peers(load: Callable[[], Any], bank: ConceptBank, layer: int) -> dict[str, Way | str]:
    """Both peers, each with a model of its own from `load`, or the reason why one is not there."""
    makers: dict[str, Callable[[Any, ConceptBank, int], Way]] = {REPENG: Repeng, STEERING_VECTORS: SteeringVectors}
    return {name: _why_missing(name) or make(load(), bank, layer) for name, make in makers.items()}


def _why_missing(name: str) -> str | None:
    module = name.replace("-", "_")
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        return f"not installed: {INSTALL}" if error.name == module else f"ModuleNotFoundError: {error}"
    except Exception as error:  # noqa: BLE001 - becomes the recorded reason for a missing number
        return f"import fails, {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return None


def _require_span(work: Work) -> None:
    if work.span != "all":
        raise UsageError("It steers every token of prompt and reply.", expected="span all", got=work.span)
