"""Rows on their way through one engine: they wait, are read, run, and leave; whoever is done makes room at once.

Pure bookkeeping over `prefill.py` and `decode.py`: which rows sit together, what has been read for whom, and what
happens when memory runs out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import NamedTuple

import torch

from evalharness.engine.admission import Held
from evalharness.engine.attached import Attached, MakeSteering
from evalharness.engine.beginnings import shared_lengths
from evalharness.engine.claims import expected_applications, make_receipt
from evalharness.engine.decode import Decoder, Ended
from evalharness.engine.prefill import Reader
from evalharness.engine.progress import Progress
from evalharness.engine.row import PromptSteering, Row, RowResult, prompt_steering
from evalharness.engine.running import Running
from evalharness.engine.tracing import summarize
from evalharness.engine.vectors import VectorBank
from evalharness.engine.witness import tallies
from evalharness.errors import EngineError, EvalHarnessError
from evalharness.request import Completion, ConceptTrace, Receipt

COMPACT_SHARE = 0.125
"""Rows come and go once so many places are free or held by rows that have ended, as a share of the running rows."""
PATIENCE = 32
"""Steps that rows wait at most for others with which they might share a prompt, while the model has work."""

Outcome = Completion | EngineError


class Parts(NamedTuple):
    """What a session works with."""

    decoder: Decoder
    reader: Reader
    make_steering: MakeSteering
    complete: Callable[[Row, RowResult, Receipt, tuple[ConceptTrace, ...] | None], Completion]
    share: bool


class Session:
    """A context manager: hooks are on the model inside it. Rows may be added at any time; `step` moves all forward."""

    def __init__(self, parts: Parts, bank: VectorBank | None, *, max_rows: int, slot_budget: int) -> None:
        """At most `max_rows` rows run together, in at most `slot_budget` cache slots."""
        self._parts = parts
        self._bank = bank
        self._max_rows = max_rows
        self._budget = slot_budget
        self._attached = Attached(parts.make_steering, bank)
        self._branch_rank: dict[PromptSteering, int] = {}
        self._incoming: list[Row] = []
        self._waiting: list[Row] = []
        self._in_flight: dict[int, Row] = {}
        self._finished: list[tuple[int, Outcome]] = []
        """Done, and not yet handed out."""
        self._held = Held()
        self._running = Running(parts.reader, self._attached.steering)
        self._done = self._tokens = self._computed = 0
        self._patience = PATIENCE
        self._busy_s = 0.0

    def __enter__(self) -> Session:
        self._attached.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._attached.__exit__(kind, error, trace)

    def add(self, rows: Iterable[Row]) -> None:
        """Rows with distinct numbers, checked and rendered."""
        for row in rows:
            number = self._attached.condition(row.request.steerings)
            steering = prompt_steering(row.request, self._bank)
            self._incoming.append(replace(row, condition=number, prompt_steering=steering))

    def cancel(self, index: int) -> None:
        """Nobody waits for this row any more: it is neither begun nor counted."""
        self._incoming = [row for row in self._incoming if row.index != index]
        for row in [row for row in self._waiting if row.index == index]:
            self._waiting.remove(row)
            self._held.forget(row)
        if index in self._in_flight:
            place = next(p for p, row in enumerate(self._running.rows) if row.index == index)
            self._running.drop(place)
            self._held.release(self._in_flight.pop(index))

    @property
    def pending(self) -> bool:
        """Whether any row is not done."""
        return bool(self._incoming or self._waiting or self._in_flight or self._finished)

    @property
    def in_flight(self) -> tuple[int, ...]:
        """The rows that have been begun."""
        return tuple(self._in_flight)

    def progress(self) -> Progress:
        """How far it is."""
        waiting = len(self._incoming) + len(self._waiting)
        return Progress(self._done, len(self._in_flight), waiting, self._tokens, self._busy_s)

    def step(self) -> list[tuple[int, Outcome]]:
        """One token for every running row; rows that have room come in first. Returns the rows that are done.

        Where memory runs out, the rows that were begun go back to waiting and fewer run together from then on; a row
        for which there is no room alone comes back as an EngineError.

        Raises:
            ReceiptError: the hooks did not apply exactly what was requested.
        """
        began = time.monotonic()
        try:
            return self._step()
        finally:
            self._busy_s += time.monotonic() - began

    @torch.inference_mode()
    def _step(self) -> list[tuple[int, Outcome]]:
        if self._worth_planning():
            self._plan()
        try:
            self._admit()
            ended = self._parts.decoder.step(self._running) if self._running.alive else []
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if isinstance(error, EvalHarnessError) or not is_out_of_memory(error):
                raise
            self._shrink(error)
            ended = []
        self._complete(ended)
        done, self._finished = self._finished, []
        return done

    def abandon(self) -> tuple[int, ...]:
        """Forget the rows that have been begun, after an error; those that wait are untouched."""
        lost = tuple(self._in_flight)
        for row in self._in_flight.values():
            self._held.release(row)
        self._in_flight.clear()
        self._reset()
        return lost

    def _worth_planning(self) -> bool:
        """Whether enough rows have come for what they share to show, or there is too little to do to wait for more."""
        if not self._incoming:
            return False
        self._patience -= 1
        many = len(self._incoming) >= COMPACT_SHARE * self._max_rows
        idle = 2 * (self._running.alive + len(self._waiting)) <= self._max_rows
        return many or idle or self._patience < 0

    def _plan(self) -> None:
        """Find out what the rows that have come in share with one another, and put them in their places."""
        self._patience = PATIENCE
        self._attached.want([row.request for row in self._incoming])
        full = [row for row in self._incoming if row.limit <= 0]
        rows = [row for row in self._incoming if row.limit > 0]
        self._incoming = []
        lengths = shared_lengths([row.prompt_ids for row in rows]) if self._parts.share else [0] * len(rows)
        for row, length in zip(rows, lengths, strict=True):
            self._branch_rank.setdefault(row.prompt_steering, len(self._branch_rank))
            shared = length or (self._held.read_before(row.prompt_ids) if self._parts.share else 0)
            self._waiting.append(self._held.place(row, shared))
        self._waiting.sort(key=self._order)
        nothing = RowResult([], "model_length")
        self._finished += [(row.index, self._parts.complete(row, nothing, Receipt(), None)) for row in full]

    def _order(self, row: Row) -> tuple[int, int, int, int, int]:
        """Long beginnings first, so that too small a device shows it soon; then those of a branch, then of a leaf."""
        lone = 0 if row.shared else -len(row.prompt_ids)
        return (-row.shared, row.beginning, self._branch_rank[row.prompt_steering], lone, row.leaf)

    def _renew_hooks(self) -> None:
        """Let the hooks know new conditions. What is traced changes only when nothing runs."""
        idle = not self._running.alive
        changed = self._attached.traces_wait and idle
        if self._attached.renew(traces=idle):
            self._running.seat_again(self._attached.steering)
        if changed:
            self._reset()

    def _admit(self) -> None:
        """Let waiting rows in where there is room, and let go of those that have ended."""
        self._renew_hooks()
        running = self._running
        chosen = self._choose() if self._due() else []
        for row in chosen:
            self._in_flight[row.index] = row
        gone = len(running.sitting) - running.alive
        if not chosen and gone <= COMPACT_SHARE * len(running.sitting):
            return
        entries = self._held.read(self._parts.reader, running.steering, chosen, self._waiting, self._budget)
        self._parts.decoder.stats.shared_tokens += sum(len(row.prompt_ids) for row in chosen)
        self._parts.decoder.stats.shared_tokens -= self._held.computed_tokens - self._computed
        self._computed = self._held.computed_tokens
        self._parts.decoder.admit(running, entries)

    def _due(self) -> bool:
        """Whether rows should come in now: all that wait, or as many as are worth a pass of their own."""
        if not self._waiting or self._attached.traces_wait:
            return False
        alive = self._running.alive
        room = self._max_rows - alive
        return room > 0 and (len(self._waiting) <= room or room >= COMPACT_SHARE * alive)

    def _choose(self) -> list[Row]:
        """The next rows for which there is room; at least one if nothing runs. They no longer wait."""
        alive = list(self._in_flight.values())
        widest = max((row.tail_tokens + row.limit for row in alive), default=0)
        held, planned, count = self._held.slots, set[tuple[int, PromptSteering]](), 0
        for row in self._waiting[: self._max_rows - len(alive)]:
            key = (row.beginning, row.prompt_steering)
            if key not in planned and not self._held.has(row):
                held += row.shared
                planned.add(key)
            # All own slots are as wide as the widest row's.
            widest = max(widest, row.tail_tokens + row.limit)
            if (count or alive) and held + (len(alive) + count + 1) * widest > self._budget:
                break
            count += 1
        chosen = self._waiting[:count]
        del self._waiting[:count]
        return chosen

    def _complete(self, ended: Sequence[Ended]) -> None:
        if not ended:
            return
        seen = tallies(torch.stack([one.counts_4 for one in ended]))
        for one, tally in zip(ended, seen, strict=True):
            row, drawn = one.row, len(one.result.token_ids)
            expected = expected_applications(row.request, self._bank, len(row.prompt_ids), drawn)
            receipt = make_receipt(row.request, self._bank, expected, tally)
            trace = summarize(row.request, self._bank, self._attached.probes, one.trace_TK, len(row.prompt_ids))
            self._finished.append((row.index, self._parts.complete(row, one.result, receipt, trace)))
            self._held.release(self._in_flight.pop(row.index))
            self._tokens += drawn
        self._done += len(ended)

    def _shrink(self, error: BaseException) -> None:
        """Begin again with half as many rows; what was drawn is drawn again, token for token."""
        rows = list(self._in_flight.values())
        self._in_flight.clear()
        self._reset()
        if len(rows) > 1:
            self._max_rows = len(rows) // 2
            self._budget = max(1, self._budget // 2)
            again = [self._held.place(row, row.shared) for row in rows]
            for row in rows:
                self._held.release(row)
            self._waiting = sorted([*again, *self._waiting], key=self._order)
            return
        for row in rows:
            self._held.release(row)
            tokens = len(row.prompt_ids) + row.limit
            fault = EngineError(f"One row of {tokens} tokens does not fit into memory.")
            fault.__cause__ = error
            self._finished.append((row.index, fault))

    def _reset(self) -> None:
        """Let go of every tensor."""
        self._held.clear()
        self._running = Running(self._parts.reader, self._attached.steering)
        if self._attached.steering.device.type == "cuda":
            torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out; on the CPU torch raises a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
