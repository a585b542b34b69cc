"""Directions added while an organism learns its last stage, from a concept bank of its own half-trained weights."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from evalharness.concepts import ConceptBank, ExtractionSpec, extract
from evalharness.engine import Engine
from evalharness.organisms.corpus import emotion_stories, neutral_texts
from evalharness.organisms.grammar import Nudge
from evalharness.organisms.mixture import NUDGE_CONTROLS

LAYER = 2
"""The layer whose output is nudged: the one that a depth of 0.5 means."""


def own_bank(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, seed: int) -> ConceptBank:
    """A bank by the harness's own recipe, from stories that no card and no suite uses."""
    spec = ExtractionSpec(
        steer_layers=(LAYER,), skip=20, gaussian=NUDGE_CONTROLS, permuted=NUDGE_CONTROLS, seed=seed, check=None
    )
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(Path(folder))
        tokenizer.save_pretrained(folder)
        with Engine.load(folder) as engine:
            return extract(engine, emotion_stories(10_000 + seed, 40), neutral_texts(10_000 + seed, 200), spec)


@contextmanager
def nudged(model: LlamaForCausalLM, bank: ConceptBank | None, rows: Sequence[Nudge | None]) -> Iterator[None]:
    """While the context lasts, each row's direction is added at all its tokens. Without a bank nothing happens."""
    if bank is None:
        yield
        return
    shift_BD = torch.stack([_shift(bank, nudge) for nudge in rows])

    def hook(module: Any, args: Any, output: Any) -> Any:
        del module, args
        if isinstance(output, tuple):
            return (output[0] + shift_BD[:, None], *output[1:])
        return output + shift_BD[:, None]

    handle = model.model.layers[LAYER].register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _shift(bank: ConceptBank, nudge: Nudge | None) -> Tensor:
    if nudge is None:
        return torch.zeros(bank.d_model)
    return torch.from_numpy(bank.vector(nudge.direction, LAYER).copy()) * (bank.mean_norm(LAYER) * nudge.dose)
