"""From the residual stream straight to tokens: the final norm, found and proven on the model's own logits.

Architectures name it `norm`, `ln_f`, `norm_f`, `final_layer_norm` and so on. Names are not trusted: the norm is the
module that turns the last block's output into what the output head takes, to within the head's own tolerance.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from evalharness.engine.head import HALF_TOLERANCE, TOLERANCE
from evalharness.engine.model import LoadedModel
from evalharness.engine.steering import reading
from evalharness.errors import ModelError

PROOF_TOKENS = (0, 1, 2, 3)


@torch.inference_mode()
def find_final_norm(loaded: LoadedModel) -> nn.Module:
    """The norm between the last block and the output head.

    Raises:
        ModelError: the logits are no linear map of the states, or no norm gives the model's own logits.
    """
    name = type(loaded.model).__name__
    if loaded.head.linear is None:
        raise ModelError(
            "There is no logit lens for this model: its logits come about in another way than by one linear map.",
            where=f"{loaded.source} ({name})",
        )
    ids_BT = torch.tensor([[token % loaded.vocab_size for token in PROOF_TOKENS]], device=loaded.device)
    with reading(loaded.blocks, [len(loaded.blocks) - 1]) as seen:
        wanted_BV = loaded.model(input_ids=ids_BT, attention_mask=torch.ones_like(ids_BT), use_cache=False).logits[0]
    last_BD = seen[len(loaded.blocks) - 1][0]
    spread = wanted_BV.float().std().clamp(min=1e-30)
    limit = TOLERANCE if loaded.dtype == torch.float32 else HALF_TOLERANCE
    for module in _norms_outside_blocks(loaded):
        found_BV = _logits(module, loaded, last_BD)
        if found_BV is not None and float((found_BV - wanted_BV.float()).abs().max() / spread) <= limit:
            return module
    raise ModelError(
        "There is no logit lens for this model: none of its norms turns the last block's output into its logits.",
        where=f"{loaded.source} ({name})",
    )


@torch.inference_mode()
def unembed(norm: nn.Module, loaded: LoadedModel, states_ND: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 logits `[N, V]` of these vectors, less those of the zero vector."""
    zero_and_ND = np.concatenate([np.zeros_like(states_ND[:1]), states_ND])
    states = torch.from_numpy(zero_and_ND).to(loaded.device, loaded.dtype)
    logits_NV = loaded.head.logits(norm(states))
    difference: NDArray[np.float32] = (logits_NV[1:] - logits_NV[:1]).cpu().numpy()
    return difference


def _norms_outside_blocks(loaded: LoadedModel) -> list[nn.Module]:
    """Leaf modules with a weight as wide as the residual stream and nothing else that looks like a map."""
    inside = {id(part) for block in loaded.blocks for part in block.modules()}
    return [
        module
        for module in loaded.model.modules()
        if id(module) not in inside
        and not list(module.children())
        and isinstance(getattr(module, "weight", None), Tensor)
        and tuple(module.weight.shape) == (loaded.d_model,)
    ]


def _logits(norm: Any, loaded: LoadedModel, states_BD: Tensor) -> Tensor | None:
    try:
        return loaded.head.logits(norm(states_BD))
    except (TypeError, RuntimeError, ValueError):
        return None
