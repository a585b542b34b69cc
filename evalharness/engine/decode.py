"""The hot path: rows come in whenever there is room, draw a token per step, and leave when they have ended.

Knows tensors, not files or callers. Shapes: A rows of the tensors, S own cache slots, N drawn tokens, V vocabulary, X
width of what `Head.logits` needs. One device-to-host copy per step.

Near ties. A row's logits change in the last bits with its neighbours and its padding, because the kernels add in
another order. Where the drawn token won by less than a margin, the row's logits are computed once more from its tokens
alone, without cache or padding, and the token is drawn from those. So a row's tokens depend on the row only, as long as
rounding stays below half the margin; `DecodeStats.largest_drift` records what was seen. The margin is measured once per
model: `TIE_FACTOR` times the drift of a few short rows. Over 1,000 tokens it was twice that of the short rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from evalharness.engine.drift import measure_drift
from evalharness.engine.model import LoadedModel
from evalharness.engine.prefill import Reader, Tokens, own_mask
from evalharness.engine.roster import Roster
from evalharness.engine.row import Row, RowResult
from evalharness.engine.running import Entry, Running
from evalharness.engine.sampler import Draw, Sampler, Turn, draw_turn
from evalharness.engine.stages import GENERATION, PADDING, PROMPT
from evalharness.engine.steering import BOTH_ROLES
from evalharness.engine.text import Detokenizer

TIE_FACTOR = 16
"""Float32 only; elsewhere nothing is settled."""
LEAST_MARGIN = 1e-5
"""In logits over temperature, where the short rows happen to show no drift at all."""


@dataclass
class DecodeStats:
    """Counts since the engine was loaded."""

    steps: int = 0
    prompt_tokens: int = 0
    shared_tokens: int = 0
    """Prompt tokens that were not computed, because a neighbour's keys and values serve."""
    output_tokens: int = 0
    near_ties: int = 0
    tie_margin: float = 0.0
    """By how much a token has to win; 0 before it was first needed, and in half precision."""
    largest_drift: float = 0.0
    """Largest difference of logits between batched and lone computation, over the near ties."""
    most_rows: int = 0
    """Most rows that were in the tensors together."""


class Ended(NamedTuple):
    """A row that has ended, with what was counted and traced while it ran."""

    row: Row
    result: RowResult
    counts_4: Tensor
    trace_TK: Tensor | None


class Decoder:
    """Runs rows through one model. `steering` is attached while anything is called."""

    def __init__(self, loaded: LoadedModel, detokenizer: Detokenizer, tie_margin: float | None = None) -> None:
        """Without a `tie_margin`, it is measured when first needed."""
        self._loaded = loaded
        self._detokenizer = detokenizer
        self._eos_E = torch.tensor(sorted(loaded.eos_ids), dtype=torch.long, device=loaded.device)
        self._tie_margin = tie_margin if loaded.dtype == torch.float32 else 0.0
        self._sampler = Sampler(loaded.head, loaded.vocab_size, loaded.device)
        self.stats = DecodeStats()

    def tie_margin(self, reader: Reader) -> float:
        """By how much a token has to win so that rounding cannot decide."""
        if self._tie_margin is None:
            self._tie_margin = max(LEAST_MARGIN, TIE_FACTOR * measure_drift(self._loaded, reader))
            self.stats.tie_margin = self._tie_margin
        return self._tie_margin

    @torch.inference_mode()
    def admit(self, running: Running, entries: Sequence[Entry]) -> None:
        """Take in rows whose prompts have been read, and let go of those that have ended."""
        running.reseat(entries)
        running.roster = Roster.of(running.rows, self._detokenizer, self._loaded.vocab_size, self._loaded.device)
        self.stats.most_rows = max(self.stats.most_rows, running.alive)

    @torch.inference_mode()
    def step(self, running: Running) -> list[Ended]:
        """Draw one token for every row, and compute what the next one is drawn from."""
        ended = self._record(running, self._draw(running))
        if running.alive:
            self._forward(running)
        self.stats.steps += 1
        return ended

    def _draw(self, running: Running) -> _Drawn:
        roster, step_A = running.roster, running.count_A
        turn = Turn(running.places_A, step_A, self.tie_margin(running.reader), roster.any_logprobs)
        return self._events(running, self._sampler.draw(running.states_AX, roster.settings, roster.noise, turn))

    def _events(self, running: Running, drawn: Draw) -> _Drawn:
        """What the host has to know of a step, in one copy; near ties are settled, after which it is asked again."""
        roster, tokens_A = running.roster, drawn.tokens_A
        eos_A = torch.isin(tokens_A, self._eos_E) & ~roster.ignore_eos_A
        full_A = running.count_A + 1 >= roster.limit_A
        could_A = roster.enders_UV[roster.stop_set_A, tokens_A] if roster.any_stop else torch.zeros_like(eos_A)
        near_A = drawn.margin_A < self.tie_margin(running.reader)
        event_A = (eos_A.int() + 2 * full_A.int() + 4 * could_A.int() + 8 * near_A.int()) * running.alive_A
        events = event_A.cpu().numpy()
        near = (events >= 8).nonzero()[0].tolist()
        if not near:
            return _Drawn(drawn, [(place, int(events[place])) for place in events.nonzero()[0].tolist()])
        for place in near:
            alone = self._settle(running, place)
            drawn.tokens_A[place], drawn.logprob_A[place] = alone.tokens_A[0], alone.logprob_A[0]
        return self._events(running, drawn._replace(margin_A=drawn.margin_A.new_full(drawn.margin_A.shape, torch.inf)))

    def _settle(self, running: Running, place: int) -> Draw:
        """Draw one row's token from a lone forward pass over all its tokens."""
        row = running.sitting[place].row
        ids = [*row.prompt_ids, *running.drawn(place)]
        role_1T = torch.full((1, len(ids)), PROMPT, dtype=torch.int8, device=self._loaded.device)
        role_1T[:, len(row.prompt_ids) :] = GENERATION
        with running.steering.passing(running.seat_of(place), role_1T, BOTH_ROLES, counting=False):
            logits_1V = running.reader.alone(ids)
        batched_1V = self._loaded.head.logits(running.states_AX[place][None])
        self.stats.near_ties += 1
        self.stats.largest_drift = max(self.stats.largest_drift, float((logits_1V - batched_1V).abs().max()))
        place_1 = running.places_A[place][None]
        turn = Turn(place_1, running.count_A[place][None], 0.0, running.roster.any_logprobs)
        return draw_turn(logits_1V, running.roster.settings, running.roster.noise, turn)

    def _record(self, running: Running, drawn: _Drawn) -> list[Ended]:
        """Append the tokens to their rows and end the rows that are done."""
        running.append(drawn.draw.tokens_A, drawn.draw.logprob_A)
        ended = []
        for place, event in drawn.events:
            row = running.sitting[place].row
            eos, full, could_stop = (bool(event & bit) for bit in (1, 2, 4))
            ids = running.drawn(place)
            hit = self._detokenizer.find_stop(ids, row.request.sampling.stop) if could_stop and not eos else None
            if not (eos or hit or full):
                continue
            result = RowResult(ids, "stop", hit.text if hit else None)
            if not (eos or hit):
                result.stop_reason = "max_tokens" if len(ids) == row.request.sampling.max_new_tokens else "model_length"
            if row.request.logprobs:
                result.logprobs = running.logprobs(place)
            ended.append(Ended(row, result, running.counts_A4[place], running.traced(place)))
            running.drop(place)
            self.stats.prompt_tokens += len(row.prompt_ids)
            self.stats.output_tokens += len(ids)
        return ended

    def _forward(self, running: Running) -> None:
        """Feed the drawn tokens; rows that ended but are still in the tensors run along unsteered and uncounted."""
        running.own_A += 1
        slots = running.cache.length + 1
        tokens = Tokens(
            ids_AT=running.last()[:, None],
            position_AT=(running.shared_A + running.own_A - 1)[:, None],
            mask_AS=own_mask(running.own_A, slots),
            padded=running.padded,
        )
        role_A1 = torch.where(running.alive_A, GENERATION, PADDING).to(torch.int8)[:, None]
        with running.steering.passing(running.seated, role_A1, (GENERATION,)) as now:
            running.states_AX = running.reader.forward(running.cache, tokens)
        running.counts_A4 += now.counts_A4
        running.trace(now.traced())


class _Drawn(NamedTuple):
    draw: Draw
    events: list[tuple[int, int]]
    """Rows of which something has to be done, with its bits: 1 end token, 2 limit, 4 may have a stop string."""
