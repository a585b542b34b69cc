"""The last step of a model, apart from the rest of it: from what its blocks hand on to logits.

transformers returns logits of all rows at once: rows x vocabulary, the largest tensor of a decoding step. Where a model
is a stack of blocks and one linear map, the map is applied here instead, to a few rows at a time, into one buffer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

TOLERANCE = 1e-3
"""Largest difference from the model's own logits, in units of their spread; half precision gets `HALF_TOLERANCE`."""
HALF_TOLERANCE = 0.05


@dataclass(frozen=True, slots=True)
class Head:
    """How logits come about. `body` is what is called; without a `linear` map it returns logits already."""

    body: Any
    linear: Any = None
    """An `nn.Linear`, or None."""
    softcap: float | None = None

    def last_states(self, **inputs: Any) -> Tensor:
        """At the last position of each row, what `logits` needs: `[A, D]`, or `[A, V]` of a model used as a whole."""
        if self.linear is None:
            whole: Tensor = self.body(**inputs, logits_to_keep=1).logits
            return whole[:, -1]
        hidden: Tensor = self.body(**inputs).last_hidden_state
        return hidden[:, -1]

    def states(self, **inputs: Any) -> Tensor:
        """The same at every position: `[A, T, D]`, or `[A, T, V]`."""
        result: Tensor = self.body(**inputs).logits if self.linear is None else self.body(**inputs).last_hidden_state
        return result

    def logits(self, states_AX: Tensor, out_AV: Tensor | None = None) -> Tensor:
        """float32 logits `[A, V]` of these states, in `out_AV` where one is given and fits.

        Never the states themselves, so that the caller may overwrite the logits.
        """
        if self.linear is None:
            return states_AX.to(torch.float32, copy=True)
        logits_AV: Tensor
        if out_AV is None or self.linear.bias is not None or out_AV.dtype != states_AX.dtype:
            logits_AV = self.linear(states_AX)
        else:
            logits_AV = torch.mm(states_AX, self.linear.weight.T, out=out_AV[: len(states_AX)])
        if self.softcap is not None:
            logits_AV = torch.tanh(logits_AV / self.softcap) * self.softcap
        return logits_AV.to(torch.float32)


@torch.inference_mode()
def find_head(model: Any, ids_BT: Tensor, wanted_BV: Tensor) -> Head:
    """The head of a model, proven on its own logits `wanted_BV` at the last position of `ids_BT`.

    A model whose logits come about in another way (scaled, or by several maps) is used as a whole.
    """
    whole = Head(model)
    body, linear = model.base_model, model.get_output_embeddings()
    if body is model or not isinstance(linear, nn.Linear):
        return whole
    head = Head(body, linear, getattr(model.config.get_text_config(), "final_logit_softcapping", None))
    try:
        found_BV = head.logits(
            head.last_states(input_ids=ids_BT, attention_mask=torch.ones_like(ids_BT), use_cache=False)
        )
    except (AttributeError, TypeError, RuntimeError):
        return whole
    if found_BV.shape != wanted_BV.shape:
        return whole
    spread = wanted_BV.to(torch.float32).std().clamp(min=1e-30)
    limit = TOLERANCE if wanted_BV.dtype == torch.float32 else HALF_TOLERANCE
    return head if float((found_BV - wanted_BV).abs().max() / spread) <= limit else whole
