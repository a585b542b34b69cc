"""The hot path: one prefill, then steps until every row has ended. Knows tensors, not texts or files.

Shapes: B rows of the batch, A rows still in the tensors, T prompt tokens, S cache slots, N drawn tokens, V vocabulary.
One device-to-host copy per step.

Near ties. A row's logits change in the last bits with the size and padding of its batch, because the kernels add in
another order. Where the drawn token won by less than `TIE_MARGIN`, the row's logits are computed once more from its
tokens alone, without cache or padding, and the token is drawn from those. So a row's tokens depend on the row only, as
long as rounding stays below half the margin; `DecodeStats.largest_drift` records what was seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from evalharness.engine.batch import Batch
from evalharness.engine.cache import GrowingCache
from evalharness.engine.model import LoadedModel, last_logits
from evalharness.engine.prefill import prefill, shared_states
from evalharness.engine.sampler import Draw, Sampler, Turn, draw
from evalharness.engine.shared_cache import SharedCache
from evalharness.engine.sharing import Sharing
from evalharness.engine.stages import GENERATION, PADDING, PROMPT
from evalharness.engine.steering import RowSteering
from evalharness.engine.text import Detokenizer
from evalharness.request import StopReason

TIE_MARGIN = 1e-4
"""In logits over temperature; float32 only. Rounding seen on small models is below 2e-5."""
COMPACT_SHARE = 0.125
"""Finished rows are dropped from the tensors once they are this share of them."""


@dataclass
class DecodeStats:
    """Counts since the engine was loaded."""

    steps: int = 0
    prompt_tokens: int = 0
    shared_tokens: int = 0
    """Prompt tokens that were not computed, because a neighbour's keys and values serve."""
    output_tokens: int = 0
    near_ties: int = 0
    largest_drift: float = 0.0
    """Largest difference of logits between batched and lone computation, over the near ties."""


@dataclass
class RowResult:
    """What one row drew."""

    token_ids: list[int] = field(default_factory=list)
    stop_reason: StopReason | None = None
    text: str | None = None
    """Set where a stop string cut the text."""


class Decoder:
    """Runs batches through one model."""

    def __init__(self, loaded: LoadedModel, detokenizer: Detokenizer, tie_margin: float = TIE_MARGIN) -> None:
        self._loaded = loaded
        self._detokenizer = detokenizer
        self._eos_E = torch.tensor(sorted(loaded.eos_ids), dtype=torch.long, device=loaded.device)
        self._tie_margin = tie_margin if loaded.dtype == torch.float32 else 0.0
        self._sampler = Sampler(loaded.head, loaded.vocab_size, loaded.device)
        self.stats = DecodeStats()

    @torch.inference_mode()
    def run(self, batch: Batch, steering: RowSteering) -> list[RowResult]:
        """Draw every row of the batch to its end. `steering` must be attached."""
        state = _State(batch, steering)
        states_AX = self._prefill(state)
        while True:
            tokens_A = self._draw(state, states_AX)
            self._record(state, tokens_A)
            if not state.alive:
                break
            states_AX = self._step(state, tokens_A)
        self.stats.prompt_tokens += sum(len(row.prompt_ids) for row in batch.rows)
        self.stats.output_tokens += sum(len(result.token_ids) for result in state.results)
        return state.results

    def _prefill(self, state: _State) -> Tensor:
        batch = state.batch
        if batch.sharing is not None:
            return self._prefill_shared(state, batch.sharing)
        state.steering.set_roles(batch.role_BT, (PROMPT,))
        position_BT = (batch.mask_BT.cumsum(1) - 1).clamp(min=0)
        return self._forward(state, batch.ids_BT, position_BT)

    def _prefill_shared(self, state: _State, sharing: Sharing) -> Tensor:
        rows = state.batch.rows
        start = prefill(self._loaded, state.steering, rows, sharing)
        state.cache, state.mask_AS, state.shared_A = start.cache, start.own_mask_AS, start.shared_A
        computed = sum(len(part.token_ids) * len(part.branches.heads) for part in sharing.beginnings)
        computed += sum(len(rows[head].prompt_ids) - rows[head].shared for head in sharing.leaves.heads)
        self.stats.shared_tokens += sum(len(row.prompt_ids) for row in rows) - computed
        return start.states_AX

    def _step(self, state: _State, tokens_A: Tensor) -> Tensor:
        """Feed the drawn tokens; rows that ended but are still in the tensors run along unsteered and uncounted."""
        if state.should_compact():
            tokens_A = state.compact(tokens_A)
        role_A1 = torch.where(state.alive_A, GENERATION, PADDING).to(torch.int8)[:, None]
        state.steering.set_roles(role_A1, (GENERATION,))
        state.mask_AS = torch.cat([state.mask_AS, state.mask_AS.new_ones(len(tokens_A), 1)], dim=1)
        state.step += 1
        self.stats.steps += 1
        position_A1 = state.mask_AS.sum(1, keepdim=True) - 1
        if state.shared_A is not None:
            position_A1 += state.shared_A[:, None]
        return self._forward(state, tokens_A[:, None], position_A1)

    def _forward(self, state: _State, ids_AT: Tensor, position_AT: Tensor) -> Tensor:
        if isinstance(state.cache, SharedCache):
            state.cache.prepare(position_AT, state.mask_AS if state.padded else None)
            return shared_states(self._loaded, state.cache, ids_AT, position_AT)
        return self._loaded.head.last_states(
            input_ids=ids_AT,
            attention_mask=state.mask_AS,
            position_ids=position_AT,
            past_key_values=state.cache,
            use_cache=True,
        )

    def _draw(self, state: _State, states_AX: Tensor) -> Tensor:
        batch, rows_A = state.batch, state.rows_A
        drawn = self._sampler.draw(states_AX, batch.settings, batch.noise, Turn(rows_A, state.step, self._tie_margin))
        if not self._tie_margin:
            return drawn.tokens_A
        near_A = (drawn.margin_A < self._tie_margin) & state.alive_A
        for place in near_A.nonzero()[:, 0].tolist():
            drawn.tokens_A[place] = self._settle(state, place, states_AX[place]).tokens_A[0]
        return drawn.tokens_A

    def _settle(self, state: _State, place: int, states_X: Tensor) -> Draw:
        """Draw one row's token from a lone forward pass over all its tokens."""
        row = int(state.rows_A[place])
        prompt, drawn = state.batch.rows[row].prompt_ids, state.results[row].token_ids
        ids_1T = torch.tensor([[*prompt, *drawn]], device=self._loaded.device)
        role_1T = torch.full_like(ids_1T, PROMPT, dtype=torch.int8)
        role_1T[:, len(prompt) :] = GENERATION
        with state.steering.alone(place, role_1T):
            logits_1V = last_logits(
                self._loaded, input_ids=ids_1T, attention_mask=torch.ones_like(ids_1T), use_cache=False
            )
        self.stats.near_ties += 1
        batched_1V = self._loaded.head.logits(states_X[None])
        self.stats.largest_drift = max(self.stats.largest_drift, float((logits_1V - batched_1V).abs().max()))
        return draw(logits_1V, state.batch.settings, state.batch.noise, state.rows_A[place, None], state.step)

    def _record(self, state: _State, tokens_A: Tensor) -> None:
        """Append the tokens to their rows and end the rows that are done."""
        batch, rows_A = state.batch, state.rows_A
        eos_A = torch.isin(tokens_A, self._eos_E) & ~batch.ignore_eos_B[rows_A]
        full_A = state.step + 1 >= batch.limit_B[rows_A]
        flags = [tokens_A, eos_A.long(), full_A.long(), rows_A, state.alive_A.long()]
        if batch.any_stop:
            flags.append(batch.enders_UV[batch.stop_set_B[rows_A], tokens_A].long())
        ended = []
        for place, (token, eos, full, row, alive, *could_stop) in enumerate(torch.stack(flags, 1).tolist()):
            if not alive:
                continue
            result, request = state.results[row], batch.rows[row].request
            result.token_ids.append(token)
            hit = (
                self._detokenizer.find_stop(result.token_ids, request.sampling.stop)
                if could_stop and could_stop[0] and not eos
                else None
            )
            if eos or hit:
                result.stop_reason, result.text = "stop", hit.text if hit else None
            elif full:
                full_by_request = len(result.token_ids) == request.sampling.max_new_tokens
                result.stop_reason = "max_tokens" if full_by_request else "model_length"
            else:
                continue
            ended.append(place)
        state.end(ended)


class _State:
    """One batch under way. `rows_A` maps the rows of the tensors to the rows of the batch."""

    def __init__(self, batch: Batch, steering: RowSteering) -> None:
        self.batch = batch
        self.steering = steering
        self.results = [RowResult() for _ in batch.rows]
        self.cache: GrowingCache = GrowingCache()
        self.mask_AS = batch.mask_BT
        """Which slots of the cache are real; of a shared batch, the rows' own slots."""
        self.shared_A: Tensor | None = None
        """Tokens of each row that stand before its own slots."""
        self.padded = len({len(row.prompt_ids) - row.shared for row in batch.rows}) > 1
        self.rows_A = torch.arange(len(batch.rows), device=batch.ids_BT.device)
        self.alive_A = torch.ones_like(self.rows_A, dtype=torch.bool)
        self.alive = len(batch.rows)
        self.step = 0

    def end(self, places: list[int]) -> None:
        """Mark rows of the tensors as finished."""
        if places:
            self.alive_A[places] = False
            self.alive -= len(places)

    def should_compact(self) -> bool:
        """Whether dropping the finished rows saves more than copying the cache costs."""
        return len(self.rows_A) - self.alive > COMPACT_SHARE * len(self.rows_A)

    def compact(self, tokens_A: Tensor) -> Tensor:
        """Drop the finished rows everywhere; returns the tokens of those that stay."""
        keep_A = self.alive_A.nonzero()[:, 0]
        self.cache.keep(keep_A)
        self.steering.keep(keep_A)
        self.mask_AS, self.rows_A = self.mask_AS[keep_A], self.rows_A[keep_A]
        self.shared_A = None if self.shared_A is None else self.shared_A[keep_A]
        self.alive_A = torch.ones_like(self.rows_A, dtype=torch.bool)
        return tokens_A[keep_A]
