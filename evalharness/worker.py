"""One thread per engine: requests come in from any event loop, run together, and each waiter is woken by an event.

It knows threads and queues; it knows nothing of Inspect, prompts or scoring. Which rows run together, and when one
takes another's place, is the session's business (`engine/session.py`).
"""

from __future__ import annotations

import atexit
import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from anyio import from_thread
from anyio.lowlevel import EventLoopToken, current_token

from evalharness.errors import EngineError, ReceiptError
from evalharness.request import Completion, Request

if TYPE_CHECKING:
    from evalharness.concepts import ConceptBank
    from evalharness.engine import Engine
    from evalharness.engine.progress import Progress
    from evalharness.engine.session import Outcome, Session

Result = TypeVar("Result")
JOIN_S = 30.0
MOST_AT_ONCE = 4096
"""Rows taken from the queue before the session looks at them: it sees what they share only among those it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """Which engine a worker runs: the same spec shares one thread and one copy of the weights."""

    path: str
    device: str = "auto"
    dtype: str = "auto"
    trust_remote_code: bool = False
    max_rows: int = 128
    linger_s: float = 0.02
    """How long an idle engine waits for more rows after the latest one."""


@dataclass(slots=True, eq=False)
class _Row:
    request: Request
    bank: ConceptBank | None
    token: EventLoopToken
    done: anyio.Event
    completion: Completion | None = None
    error: BaseException | None = None
    cancelled: bool = False


@dataclass(slots=True, eq=False)
class _Call:
    run: Callable[[Engine], Any]
    future: Future[Any] = field(default_factory=Future)


_Work = _Row | _Call | None
"""None asks the thread to end."""


class EngineWorker:
    """Owns an engine on a thread of its own. Weights load with the first piece of work, not before."""

    def __init__(self, spec: EngineSpec) -> None:
        """Nothing is started or loaded yet."""
        self.spec = spec
        self.rows_generated = 0
        self.receipt_error: ReceiptError | None = None
        """The first broken receipt. It poisons the worker: no further row is generated."""
        self._queue: queue.SimpleQueue[_Work] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._rows: dict[int, _Row] = {}
        """Rows that somebody waits for, by number."""
        self._begun: set[int] = set()
        """Those that the session knows."""
        self._next = 0
        self._session: Session | None = None
        self._bank: ConceptBank | None = None
        self.decoding: dict[str, Any] = {}
        """What can change the last bits of a number; empty before the engine is loaded."""
        self.progress: Progress | None = None
        """How far the session is or was after its latest step."""
        self.rows_together = 0
        """Rows that ran in that step."""

    async def generate(self, request: Request, bank: ConceptBank | None) -> Completion:
        """Generate one row in whatever batch it lands in. A cancelled waiter is dropped from its batch."""
        row = _Row(request, bank, current_token(), anyio.Event())
        self._put(row)
        try:
            await row.done.wait()
        except BaseException:
            row.cancelled = True
            raise
        if row.error is not None:
            raise row.error
        assert row.completion is not None
        return row.completion

    def call(self, run: Callable[[Engine], Result]) -> Result:
        """Run a function on the engine's thread and wait for its result (extraction, reading hashes)."""
        call = _Call(run)
        self._put(call)
        result: Result = call.future.result()
        return result

    def close(self) -> None:
        """Finish the rows that have come and join the thread. Safe to call twice; a later request starts it again."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None and thread.is_alive():
            self._queue.put(None)
            thread.join(JOIN_S)

    def _put(self, item: _Row | _Call) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name=f"engine {self.spec.path}", daemon=True)
                self._thread.start()
            self._queue.put(item)

    def _loop(self) -> None:
        open_for_work = True
        while open_for_work or self._rows:
            for item in self._gather():
                if isinstance(item, _Row):
                    self._rows[self._next] = item
                    self._next += 1
                elif isinstance(item, _Call):
                    self._answer(item)
                else:
                    open_for_work = False
            self._serve()

    def _gather(self) -> list[_Work]:
        """What has come. An engine at work does not wait; an idle one waits for a row and for those close behind."""
        work: list[_Work] = []
        busy = bool(self._rows)
        while len(work) < MOST_AT_ONCE:
            try:
                timeout = self.spec.linger_s if work else None
                work.append(self._queue.get(block=not busy, timeout=timeout))
            except queue.Empty:
                break
            if not isinstance(work[-1], _Row):
                break
        return work

    def _serve(self) -> None:
        """Hand new rows to the session and move all of them one token on."""
        for index in [index for index, row in self._rows.items() if row.cancelled]:
            del self._rows[index]
            if self._session is not None and index in self._begun:
                self._session.cancel(index)
        if not self._rows:
            self._end_session()
            return
        try:
            if self.receipt_error is not None:
                raise self.receipt_error
            session = self._open_session()
            self._begin(session)
            self._finish(session.step() if session.pending else [])
            if not session.pending:
                self._end_session()
        except ReceiptError as error:
            self.receipt_error = error
            self._fail(list(self._rows), error)
            self._end_session()
        except Exception as error:  # noqa: BLE001 - becomes the recorded error of each row it concerns
            lost = [] if self._session is None else list(self._session.abandon())
            if not lost:  # nothing was in flight: the error is of the model or of the session, and concerns all rows
                lost = list(self._rows)
                self._end_session()
            known = isinstance(error, (ValueError, EngineError))
            self._fail(lost, error if known else EngineError(repr(error)), error)

    def _open_session(self) -> Session:
        """The session under way, or one under the bank of the first row that needs one."""
        if self._session is None:
            self._bank = next((row.bank for row in self._rows.values() if row.bank is not None), None)
            self._session = self._load().session(self._bank, max_rows=self.spec.max_rows).__enter__()
        return self._session

    def _begin(self, session: Session) -> None:
        """Hand over the rows that can run under this bank; rows of another bank wait until these are done."""
        wrong: dict[int, ValueError] = {}
        for index, row in self._rows.items():
            if index in self._begun or (row.bank is not None and row.bank is not self._bank):
                continue
            try:
                session.add([self._load().row(index, row.request, row.bank)])
                self._begun.add(index)
            except ValueError as error:
                wrong[index] = error
        for index, reason in wrong.items():
            self._fail([index], reason)

    def _finish(self, done: list[tuple[int, Outcome]]) -> None:
        rows = []
        self.decoding = self.decoding or self._load().decoding()
        for index, outcome in done:
            row = self._rows.pop(index, None)
            self._begun.discard(index)
            if row is None:
                continue
            if isinstance(outcome, Completion):
                row.completion = outcome
                self.rows_generated += 1
            else:
                row.error = outcome
            rows.append(row)
        if self._session is not None:
            self.progress = self._session.progress()
            self.rows_together = self.progress.running + len(done)
        _wake(rows)

    def _fail(self, indices: list[int], error: BaseException, cause: BaseException | None = None) -> None:
        rows = [self._rows.pop(index) for index in indices if index in self._rows]
        self._begun.difference_update(indices)
        if cause is not error:
            error.__cause__ = cause
        for row in rows:
            row.error = error
        _wake(rows)

    def _end_session(self) -> None:
        session, self._session = self._session, None
        self._begun.clear()
        if session is not None:
            session.__exit__(None, None, None)

    def _answer(self, call: _Call) -> None:
        try:
            call.future.set_result(call.run(self._load()))
        except BaseException as error:  # noqa: BLE001 - handed to the caller, who raises it
            call.future.set_exception(error)

    def _load(self) -> Engine:
        if self._engine is None:
            import torch  # noqa: PLC0415 - as the engine

            from evalharness.engine import Engine  # noqa: PLC0415 - torch loads with the first row, not before

            # One core stays with the event loop: torch's threads spin while they wait, and would starve it.
            torch.set_num_threads(max(1, (os.cpu_count() or 1) - 1))
            spec = self.spec
            self._engine = Engine.load(
                spec.path, device=spec.device, dtype=spec.dtype, trust_remote_code=spec.trust_remote_code
            )
        return self._engine


def _wake(rows: list[_Row]) -> None:
    """Wake all waiters of a batch with one call per event loop; a loop that is gone has no waiters left."""
    loops = {id(row.token): row.token for row in rows}
    for key, token in loops.items():
        waiting = [row for row in rows if id(row.token) == key]

        def wake(waiting: list[_Row] = waiting) -> None:
            for row in waiting:
                row.done.set()

        try:
            from_thread.run_sync(wake, token=token)
        except (anyio.RunFinishedError, RuntimeError):
            continue


_WORKERS: dict[EngineSpec, EngineWorker] = {}
_WORKERS_LOCK = threading.Lock()


def shared_worker(spec: EngineSpec) -> EngineWorker:
    """The one worker for this spec in this process."""
    with _WORKERS_LOCK:
        return _WORKERS.setdefault(spec, EngineWorker(spec))


def close_workers() -> None:
    """Join every engine thread: torch inside a daemon thread may abort the interpreter's exit."""
    with _WORKERS_LOCK:
        workers = list(_WORKERS.values())
        _WORKERS.clear()
    for worker in workers:
        worker.close()


atexit.register(close_workers)
