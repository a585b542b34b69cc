"""The treatment of an Inspect sample: which condition its calls run under, with which seeds, and their receipts.

It lies in the sample's store, so that any solver, also an agent of somebody else's task that knows nothing of
steering, is steered in all its calls, and so that the log proves each of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.util import Store, store

from evalharness.conditions import BASELINE
from evalharness.errors import UsageError
from evalharness.ids import derive_seed

KEY = "treatment"
PROVIDER = "steered"
"""The one model provider that can treat a sample."""
_untreated: ContextVar[bool] = ContextVar("untreated", default=False)


class Order(NamedTuple):
    """What one call to the model is to be done under."""

    condition: str
    seed: int


@solver
def treat() -> Solver:
    """Put the sample's `condition` and `seed` (metadata) into force for every call that follows.

    A plain model can serve the baseline only.
    """

    async def solve(state: TaskState, generate: Generate) -> TaskState:  # noqa: ARG001 - the protocol of Inspect
        condition = str(state.metadata["condition"])
        if condition != BASELINE and state.model.api != PROVIDER:
            raise UsageError(
                "Only the steered provider can steer.",
                expected=f"--model {PROVIDER}/<checkpoint>",
                got=str(state.model),
                where=f"condition {condition}",
            )
        begin(state.store, condition, int(state.metadata["seed"]))
        return state

    return solve


def begin(into: Store, condition: str, seed: int) -> None:
    """Start a sample's treatment."""
    into.set(KEY, {"condition": condition, "seed": seed, "calls": 0, "receipts": []})


@contextmanager
def untreated() -> Iterator[None]:
    """No call in here is treated: a model under test that is asked to grade must not be steered while it does."""
    token = _untreated.set(True)
    try:
        yield
    finally:
        _untreated.reset(token)


def next_order() -> Order | None:
    """The order of the running sample's next call; None outside of a treated sample, and while it is graded.

    The first call has the sample's own seed, each later one a seed that follows from it and the number of the call.
    """
    told = store().get(KEY)
    if told is None or _untreated.get():
        return None
    number = told["calls"]
    store().set(KEY, {**told, "calls": number + 1})
    seed = told["seed"] if number == 0 else derive_seed(told["seed"], "call", number)
    return Order(told["condition"], seed)


def record(receipt: dict[str, Any]) -> None:
    """Keep a call's receipt with the running sample, if it is a treated one."""
    told = store().get(KEY)
    if told is not None and not _untreated.get():
        store().set(KEY, {**told, "receipts": [*told["receipts"], receipt]})


def receipts_of(stored: dict[str, Any]) -> list[dict[str, Any]]:
    """The receipts in a logged sample's store, one per call, in the order in which calls ended."""
    return list(stored.get(KEY, {}).get("receipts", []))
