"""Whether a model can share prompts: tried on a few tokens once, before the first shared batch."""

from __future__ import annotations

import torch

from evalharness.engine.attention import SHARED_TRIAL, CannotShareError
from evalharness.engine.model import LoadedModel
from evalharness.engine.prefill import Reader, Tokens, own_mask, own_positions
from evalharness.engine.row import Row
from evalharness.engine.shared_cache import Seat
from evalharness.engine.stages import Stage
from evalharness.engine.steering import RowSteering
from evalharness.request import Request, Sampling

BEGINNING, TAILS = 12, (1, 3, 3)
"""Tokens of the trial: one beginning, three tails, in two branches."""
TOLERANCE = {torch.float32: 1e-3}
"""Largest mean difference of logits, in units of their spread."""
HALF_TOLERANCE = 0.25
MISUSES = (CannotShareError, RuntimeError, TypeError, ValueError, AttributeError, LookupError, AssertionError)
"""What goes wrong in a model whose code expects ordinary masks, caches or options."""


@torch.inference_mode()
def why_not_share(loaded: LoadedModel) -> str | None:
    """None if shared decoding gives the logits of a plain forward pass, else the reason for which it does not."""
    if not getattr(loaded.model, "_supports_attention_backend", False):
        return "its attention does not go through transformers' AttentionInterface"
    if _rope_types(loaded) & {"dynamic", "longrope"}:
        return "its rotary angles change with the length of the sequence"
    try:
        difference = _difference(loaded)
    except MISUSES as error:
        return str(error) if isinstance(error, CannotShareError) else f"{type(error).__name__} in a trial: {error}"
    if difference <= TOLERANCE.get(loaded.dtype, HALF_TOLERANCE):
        return None
    return f"in a trial its logits came out {difference:.2g} spreads away from those of a plain forward pass"


def _difference(loaded: LoadedModel) -> float:
    """Shared against plain logits, after the prompts and after one more token."""
    tokens = [(7919 * place + 11) % loaded.vocab_size for place in range(BEGINNING + sum(TAILS) + 1)]
    rows = []
    for number, tail in enumerate(TAILS):
        ids = (*tokens[:BEGINNING], *tokens[BEGINNING + number :][:tail])
        request = Request(prompt=ids, sampling=Sampling(max_new_tokens=1))
        rows.append(Row(number, request, ids, 1, condition=min(number, 1), shared=BEGINNING))
    reader = Reader(loaded, share=True)
    with RowSteering(loaded.blocks, {len(loaded.blocks) // 2: [_nothing(loaded)]}, {}) as hooks:
        prefix = reader.beginning(hooks, rows[:2]).prefix
        leaves = reader.leaves(hooks, rows, [Seat(prefix, row.condition) for row in rows], SHARED_TRIAL)
    own_A = torch.tensor([tail + 1 for tail in TAILS], device=loaded.device)
    shared_A = torch.full_like(own_A, BEGINNING)
    ids_A1 = torch.tensor([[tokens[-1]] for _ in rows], device=loaded.device)
    positions_A1 = own_positions(shared_A, own_A, 1)
    more = Tokens(ids_A1, positions_A1, own_mask(own_A, leaves.cache.length + 1), padded=True)
    then_AX = reader.forward(leaves.cache, more, SHARED_TRIAL)
    plain = [reader.alone(row.prompt_ids) for row in rows]
    plain += [reader.alone((*row.prompt_ids, tokens[-1])) for row in rows]
    shared_BV, plain_BV = loaded.head.logits(torch.cat([leaves.states_LX, then_AX])), torch.cat(plain)
    return float(((shared_BV - plain_BV).abs().mean(-1) / plain_BV.std(-1)).nan_to_num(nan=torch.inf).max())


def _rope_types(loaded: LoadedModel) -> set[str]:
    """The kinds of rotary scaling in the configuration, which some models state per kind of layer."""
    stated = getattr(loaded.model.config.get_text_config(), "rope_parameters", None) or {}
    kinds = [stated, *(part for part in stated.values() if isinstance(part, dict))]
    return {str(kind["rope_type"]) for kind in kinds if "rope_type" in kind}


def _nothing(loaded: LoadedModel) -> Stage:
    """An addition of zero to the prompts of both conditions: the residual stream fans out as under a steering."""
    vector_PCD = torch.zeros(2, 2, loaded.d_model, device=loaded.device)
    sites_PC = torch.ones(2, 2, dtype=torch.int64, device=loaded.device)
    return Stage.make("add", vector_PCD, torch.zeros(2, 2, device=loaded.device), sites_PC)
