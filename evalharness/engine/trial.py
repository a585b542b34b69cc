"""Whether a model can share prompts: tried on a few tokens once, before the first shared batch."""

from __future__ import annotations

import torch
from torch import Tensor

from evalharness.engine.attention import SHARED_TRIAL, CannotShareError
from evalharness.engine.model import LoadedModel, last_logits
from evalharness.engine.prefill import prefill, shared_states
from evalharness.engine.row import PromptSteering, Row
from evalharness.engine.sharing import arrange, find_sharing
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
        steering: PromptSteering = () if number == 0 else (((0,), "nothing", 0.0, "add", ()),)
        rows.append(Row(number, request, ids, 1, prompt_steering=steering, shared=BEGINNING))
    rows = arrange(rows)
    sharing = find_sharing(rows)
    assert sharing is not None
    with RowSteering(loaded.blocks, {len(loaded.blocks) // 2: [_nothing(loaded, len(rows))]}, {}, len(rows)) as hooks:
        start = prefill(loaded, hooks, rows, sharing, SHARED_TRIAL)
    own_mask_AS = torch.cat([start.own_mask_AS, start.own_mask_AS.new_ones(len(rows), 1)], dim=1)
    position_A1 = (start.shared_A + own_mask_AS.sum(1) - 1)[:, None]
    start.cache.prepare(position_A1, own_mask_AS)
    ids_A1 = torch.tensor([[tokens[-1]] for _ in rows], device=loaded.device)
    then_AX = shared_states(loaded, start.cache, ids_A1, position_A1, SHARED_TRIAL)
    plain = [_plain(loaded, row.prompt_ids) for row in rows]
    plain += [_plain(loaded, (*row.prompt_ids, tokens[-1])) for row in rows]
    shared_BV, plain_BV = loaded.head.logits(torch.cat([start.states_AX, then_AX])), torch.cat(plain)
    return float(((shared_BV - plain_BV).abs().mean(-1) / plain_BV.std(-1)).nan_to_num(nan=torch.inf).max())


def _rope_types(loaded: LoadedModel) -> set[str]:
    """The kinds of rotary scaling in the configuration, which some models state per kind of layer."""
    stated = getattr(loaded.model.config.get_text_config(), "rope_parameters", None) or {}
    kinds = [stated, *(part for part in stated.values() if isinstance(part, dict))]
    return {str(kind["rope_type"]) for kind in kinds if "rope_type" in kind}


def _plain(loaded: LoadedModel, ids: tuple[int, ...]) -> Tensor:
    ids_1T = torch.tensor([ids], device=loaded.device)
    return last_logits(loaded, input_ids=ids_1T, attention_mask=torch.ones_like(ids_1T), use_cache=False)


def _nothing(loaded: LoadedModel, n_rows: int) -> Stage:
    """An addition of zero to all prompts: it makes the residual stream fan out as a steering would."""
    vector_PBD = torch.zeros(2, n_rows, loaded.d_model, device=loaded.device)
    sites_PB = torch.ones(2, n_rows, dtype=torch.int64, device=loaded.device)
    return Stage.make("add", vector_PBD, torch.zeros(2, n_rows, device=loaded.device), sites_PB)
