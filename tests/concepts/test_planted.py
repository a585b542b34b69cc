"""Known answer: directions planted in a real Llama are found where they were put, and faults in reading are seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from evalharness.concepts import ConceptBank, ExtractionSpec, extract
from evalharness.concepts.sums import StorySums
from evalharness.engine import Engine
from evalharness.engine.steering import reading
from tests.concepts.planted import CONCEPTS, LAYER, N_LAYERS, SKIP, expected, stories, write_planted

RIGHT = Engine.forward_residuals
SPEC = ExtractionSpec(skip=SKIP, denoise=0, gaussian=0, permuted=0, mean=False, check=None)

Reader = Callable[..., Iterator[tuple[int, Tensor]]]


@pytest.fixture(scope="module")
def planted_engine(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Iterator[Engine]:  # noqa: ARG001
    """An engine over the planted checkpoint."""
    with Engine.load(write_planted(tmp_path_factory.mktemp("planted"))) as engine:
        yield engine


def found(bank: ConceptBank, layer: int) -> list[float]:
    """Cosine of each concept with what was planted for it."""
    return [float(bank.vector(name, layer) @ expected()[name]) for name in CONCEPTS]


def require_planted(bank: ConceptBank) -> None:
    """The assertions that every fault must break: at least .99 from the planted layer on, and nothing before it."""
    for layer in range(N_LAYERS):
        if layer < LAYER:
            assert max(map(abs, found(bank, layer))) < 0.5, layer
        else:
            assert min(found(bank, layer)) >= 0.99, layer


def left_padded(*, shift: bool) -> Reader:
    """A reader that pads on the left. With `shift` it reads a row where it is, else from place 0."""

    def read(
        engine: Engine, token_ids: Sequence[Sequence[int]], layers: Sequence[int] | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        chosen = list(range(engine.n_layers) if layers is None else layers)
        longest = max(map(len, token_ids))
        ids = torch.tensor([[0] * (longest - len(row)) + list(row) for row in token_ids])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in token_ids])
        loaded = engine._loaded
        with torch.inference_mode(), reading(loaded.blocks, chosen) as seen:
            loaded.model(input_ids=ids, attention_mask=mask, use_cache=False)
        for number, row in enumerate(token_ids):
            start = longest - len(row) if shift else 0
            yield number, torch.stack([seen[layer][number, start : start + len(row)] for layer in chosen])

    return read


def off_by(step: int) -> Reader:
    """A reader that mistakes a layer for its neighbour."""

    def read(
        engine: Engine, token_ids: Sequence[Sequence[int]], layers: Sequence[int] | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        wanted = range(engine.n_layers) if layers is None else layers
        return RIGHT(engine, token_ids, [min(max(layer + step, 0), engine.n_layers - 1) for layer in wanted])

    return read


def test_planted_directions_are_found(planted_engine: Engine) -> None:
    """Each concept comes back from the planted layer on, and not before it."""
    require_planted(extract(planted_engine, stories(), (), SPEC))


def test_padding_on_the_left_changes_nothing(planted_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read from where its tokens are, a row padded on the left gives the same vectors."""
    there = extract(planted_engine, stories(), (), SPEC)
    monkeypatch.setattr(Engine, "forward_residuals", left_padded(shift=True))
    back = extract(planted_engine, stories(), (), SPEC)
    require_planted(back)
    for name in CONCEPTS:
        np.testing.assert_allclose(there.vector(name, LAYER), back.vector(name, LAYER), atol=1e-4)


@pytest.mark.parametrize(
    "fault",
    [left_padded(shift=False), off_by(-1), off_by(1)],
    ids=["left padding read from 0", "the layer before", "the layer after"],
)
def test_a_fault_in_reading_is_caught(planted_engine: Engine, monkeypatch: pytest.MonkeyPatch, fault: Reader) -> None:
    """The assertions that hold above go red."""
    monkeypatch.setattr(Engine, "forward_residuals", fault)
    bank = extract(planted_engine, stories(), (), SPEC)
    with pytest.raises(AssertionError):
        require_planted(bank)


def test_missing_centring_is_caught(planted_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it every vector is mostly what all tokens share."""

    def uncentred(sums: Any) -> np.ndarray:
        size_C = np.bincount(sums._plan.label_S)  # noqa: N806 - as in the class it stands in for
        result: np.ndarray = sums._arrays["sum_CLD"] / size_C[:, None, None]
        return result

    monkeypatch.setattr(StorySums, "differences", property(uncentred))
    bank = extract(planted_engine, stories(), (), SPEC)
    assert max(found(bank, LAYER)) < 0.5
    with pytest.raises(AssertionError):
        require_planted(bank)


def test_a_missing_offset_is_caught(planted_engine: Engine) -> None:
    """Read from the first token on, the cues of another concept come in."""
    bank = extract(planted_engine, stories(), (), replace(SPEC, skip=0))
    with pytest.raises(AssertionError):
        require_planted(bank)
