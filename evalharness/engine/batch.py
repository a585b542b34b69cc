"""Rows -> padded tensors. Shapes: B rows, T prompt tokens, U distinct sets of stop strings, V vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from evalharness.engine.row import Row
from evalharness.engine.sampler import Noise, Settings
from evalharness.engine.sharing import Sharing, find_sharing
from evalharness.engine.stages import PADDING, PROMPT
from evalharness.engine.text import Detokenizer


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows as tensors, prompts padded on the left so that all rows draw their first token at the same place."""

    rows: list[Row]
    ids_BT: Tensor
    mask_BT: Tensor
    """1 for real tokens, 0 for padding."""
    role_BT: Tensor
    limit_B: Tensor
    ignore_eos_B: Tensor
    stop_set_B: Tensor
    """Which of the distinct stop sets a row has; 0 is none."""
    enders_UV: Tensor
    """Tokens that could complete a stop string of that set."""
    settings: Settings
    noise: Noise
    sharing: Sharing | None
    """How the rows share their prompts; None if each has its own."""

    @property
    def any_stop(self) -> bool:
        """Whether any row has stop strings."""
        return len(self.enders_UV) > 1


def make_batch(rows: Sequence[Row], detokenizer: Detokenizer, vocab_size: int, device: torch.device) -> Batch:
    """Pad, and move everything to the device once. Rows that share must stand in the order of `sharing.arrange`."""
    longest = max(len(row.prompt_ids) for row in rows)
    ids = [[0] * (longest - len(row.prompt_ids)) + list(row.prompt_ids) for row in rows]
    mask = [[0] * (longest - len(row.prompt_ids)) + [1] * len(row.prompt_ids) for row in rows]
    samplings = [row.request.sampling for row in rows]
    stop_sets = sorted({sampling.stop for sampling in samplings} | {()})
    enders = torch.stack([torch.from_numpy(detokenizer.enders(stops)) for stops in stop_sets])
    mask_BT = torch.tensor(mask, device=device)
    return Batch(
        rows=list(rows),
        ids_BT=torch.tensor(ids, device=device),
        mask_BT=mask_BT,
        role_BT=torch.where(mask_BT > 0, PROMPT, PADDING).to(torch.int8),
        limit_B=torch.tensor([row.limit for row in rows], device=device),
        ignore_eos_B=torch.tensor([sampling.ignore_eos for sampling in samplings], device=device),
        stop_set_B=torch.tensor([stop_sets.index(sampling.stop) for sampling in samplings], device=device),
        enders_UV=enders.to(device),
        settings=Settings.of(samplings, device),
        noise=Noise([row.request.seed for row in rows], vocab_size, device),
        sharing=find_sharing(rows),
    )
