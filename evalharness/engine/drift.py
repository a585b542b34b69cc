"""How far a model's logits move with the company of a row: what near ties are judged by."""

from __future__ import annotations

import torch

from evalharness.engine.model import LoadedModel
from evalharness.engine.prefill import Reader
from evalharness.engine.row import Row
from evalharness.engine.shared_cache import Seat
from evalharness.engine.steering import RowSteering
from evalharness.request import Request, Sampling

ROWS, TOKENS = 4, 24


@torch.inference_mode()
def measure_drift(loaded: LoadedModel, reader: Reader) -> float:
    """Largest difference between logits of a few short rows read together and each alone, padding included."""
    rows, longest = [], min(TOKENS, loaded.model_length)
    for number in range(ROWS):
        length = max(1, longest - number)
        ids = tuple((7919 * place + 104_729 * number + 11) % loaded.vocab_size for place in range(length))
        rows.append(Row(number, Request(prompt=ids, sampling=Sampling(max_new_tokens=1)), ids, 1))
    with RowSteering(loaded.blocks, {}, {}) as nothing:
        leaves = reader.leaves(nothing, rows, [Seat(None)] * ROWS)
    alone_RV = torch.cat([reader.alone(row.prompt_ids) for row in rows])
    return float((loaded.head.logits(leaves.states_LX) - alone_RV).abs().max())
