"""The rows of the tensors with everything that a step asks about them. Shapes: A rows, U sets of stop strings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from evalharness.engine.row import Row
from evalharness.engine.sampler import Noise, Settings
from evalharness.engine.text import Detokenizer


@dataclass(frozen=True, slots=True)
class Roster:
    """One entry per row; made anew whenever rows come or go, and the same in every step between."""

    limit_A: Tensor
    ignore_eos_A: Tensor
    stop_set_A: Tensor
    """Which of the distinct stop sets a row has; 0 is none."""
    enders_UV: Tensor
    """Tokens that could complete a stop string of that set."""
    settings: Settings
    noise: Noise
    any_logprobs: bool

    @property
    def any_stop(self) -> bool:
        """Whether any row has stop strings."""
        return len(self.enders_UV) > 1

    @staticmethod
    def of(rows: Sequence[Row], detokenizer: Detokenizer, vocab_size: int, device: torch.device) -> Roster:
        """Everything is copied to the device once."""
        samplings = [row.request.sampling for row in rows]
        stop_sets = sorted({sampling.stop for sampling in samplings} | {()})
        number_of = {stops: number for number, stops in enumerate(stop_sets)}
        enders = torch.stack([torch.from_numpy(detokenizer.enders(stops)) for stops in stop_sets])
        return Roster(
            limit_A=torch.tensor([row.limit for row in rows], device=device),
            ignore_eos_A=torch.tensor([sampling.ignore_eos for sampling in samplings], device=device),
            stop_set_A=torch.tensor([number_of[sampling.stop] for sampling in samplings], device=device),
            enders_UV=enders.to(device),
            settings=Settings.of(samplings, device),
            noise=Noise([row.request.seed for row in rows], vocab_size, device),
            any_logprobs=any(row.request.logprobs for row in rows),
        )
