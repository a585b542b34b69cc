"""How likely given continuations are under the unsteered model: one forward pass over each, nothing is drawn.

Shapes: B rows, T tokens, N positions that are asked for, X what the head takes, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, pairwise

import torch
from torch import Tensor

from evalharness.engine.model import LoadedModel
from evalharness.engine.scheduler import RowLength, schedule

STATE_BYTES = 128 << 20
"""Most bytes of the head's inputs that are held at a time: a model used as a whole hands out logits here."""
LOGIT_BYTES = 64 << 20
"""Most bytes of logits that are held at a time where the head is apart."""
MOST_ROWS = 64

Scored = tuple[int, tuple[float, ...]]
"""(row, natural log-probability of each of its continuation's tokens)."""


@torch.inference_mode()
def log_likelihoods(
    loaded: LoadedModel, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]]
) -> Iterator[Scored]:
    """Score `continuations[row]` after `prompts[row]`, longest rows first; no continuation may be empty."""
    width = loaded.vocab_size if loaded.head.linear is None else loaded.d_model
    lengths = [RowLength(len(p) + len(c) - 1, 0) for p, c in zip(prompts, continuations, strict=True)]
    for rows in schedule(lengths, max_rows=MOST_ROWS, token_budget=max(1, STATE_BYTES // (4 * width))):
        ids_BT = torch.zeros(len(rows), max(lengths[row].prompt for row in rows), dtype=torch.long)
        mask_BT = torch.zeros_like(ids_BT)
        for place, row in enumerate(rows):
            # Padding on the right, and without the last token: what comes after it is not asked for.
            ids_BT[place, : lengths[row].prompt] = torch.tensor([*prompts[row], *continuations[row]][:-1])
            mask_BT[place, : lengths[row].prompt] = 1
        states_BTX = loaded.head.states(
            input_ids=ids_BT.to(loaded.device), attention_mask=mask_BT.to(loaded.device), use_cache=False
        )
        # The state at the last prompt token foretells the first token of the continuation.
        asked = [states_BTX[b, len(prompts[row]) - 1 : lengths[row].prompt] for b, row in enumerate(rows)]
        targets = torch.tensor(list(chain.from_iterable(continuations[row] for row in rows)), device=loaded.device)
        scores = _scores(loaded, torch.cat(asked), targets).tolist()
        ends = [0]
        for row in rows:
            ends.append(ends[-1] + len(continuations[row]))
        for row, (start, end) in zip(rows, pairwise(ends), strict=True):
            yield row, tuple(scores[start:end])


def _scores(loaded: LoadedModel, states_NX: Tensor, targets_N: Tensor) -> Tensor:
    """Log-probabilities of the targets, a few positions at a time: all logits at once would be the largest tensor."""
    size = max(1, LOGIT_BYTES // (4 * loaded.vocab_size))
    parts = []
    for some_MX, wanted_M in zip(states_NX.split(size), targets_N.split(size), strict=True):
        logits_MV = loaded.head.logits(some_MX)
        parts.append(logits_MV.gather(1, wanted_M[:, None])[:, 0] - logits_MV.logsumexp(-1))
    return torch.cat(parts)
