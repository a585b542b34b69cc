"""The logit lens goes through the norm that the model itself uses last, whatever it is called."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn

from evalharness.engine import Engine
from evalharness.engine.lens import find_final_norm
from evalharness.errors import ModelError
from evalharness.testing import Architecture
from tests.conftest import Checkpoints

PROMPT = [7, 30, 55, 12]


@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_the_last_residual_gives_the_models_own_logits(
    checkpoint: Checkpoints, one_thread: None, architecture: Architecture
) -> None:
    """What the last block hands on becomes the model's logits, up to those of the zero vector."""
    del one_thread
    with Engine.load(checkpoint(architecture)) as engine:
        ((_, read_LTD),) = engine.forward_residuals([PROMPT], [engine.n_layers - 1])  # noqa: N806 - shapes
        with torch.inference_mode():
            wanted = engine._loaded.model(input_ids=torch.tensor([PROMPT])).logits[0].numpy()
        found = engine.unembed(read_LTD[0].numpy())
    # The logits of the zero vector are taken off every row alike.
    np.testing.assert_allclose(found - found[0], wanted - wanted[0], atol=2e-3 * wanted.std())


def test_a_bias_is_not_ascribed_to_a_vector(checkpoint: Checkpoints) -> None:
    """A norm with a bias says something of its own; the zero vector says nothing."""
    with Engine.load(checkpoint("gpt_neox")) as engine:
        with torch.no_grad():
            find_final_norm(engine._loaded).bias.normal_()  # type: ignore[operator]
        assert np.abs(engine.unembed(np.zeros((1, engine.d_model), np.float32))).max() == 0


def test_a_model_without_such_a_norm_is_told_apart(checkpoint: Checkpoints) -> None:
    """A norm that is not where it should be, or logits that are no linear map, are errors that say so."""
    with Engine.load(checkpoint("qwen2")) as engine:
        engine._loaded.model.model.norm = nn.Sequential(engine._loaded.model.model.norm, nn.Tanh())
        with pytest.raises(ModelError, match="none of its norms"):
            engine.unembed(np.ones((1, engine.d_model), np.float32))
        engine._loaded.head = type(engine._loaded.head)(engine._loaded.model)
        with pytest.raises(ModelError, match="another way"):
            engine.unembed(np.ones((1, engine.d_model), np.float32))
