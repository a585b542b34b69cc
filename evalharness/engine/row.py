"""One request, rendered: what passes between scheduling, sharing and decoding. No torch."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from evalharness.engine.claims import SPAN_ROLES
from evalharness.engine.vectors import VectorBank, layers_of
from evalharness.request import Request, StopReason

PromptSteering = tuple[tuple[tuple[int, ...], str, float, str, tuple[int, ...]], ...]
"""Per steering of the prompt: layers, concept, strength, operation, and of a projection its turn at each layer."""


@dataclass(frozen=True, slots=True)
class Row:
    """One request with its token ids."""

    index: int
    """What the caller knows it by."""
    request: Request
    prompt_ids: tuple[int, ...]
    limit: int
    """The most tokens it may draw: its own maximum, or what the model's length leaves."""
    prompt_steering: PromptSteering = ()
    condition: int = 0
    """Its steerings' number in the tables of the hooks."""
    shared: int = 0
    """Leading tokens of the prompt that are computed once for all rows that begin alike; 0 shares nothing."""
    beginning: int = -1
    """Number of those tokens: rows with the same number begin alike; -1 shares nothing."""
    leaf: int = -1
    """Number of its prompt and of what is done to it: rows with the same number differ in what is drawn alone."""

    @property
    def tail(self) -> tuple[int, ...]:
        """The prompt after what is shared."""
        return self.prompt_ids[self.shared :]

    @property
    def tail_tokens(self) -> int:
        """Length of the tail."""
        return len(self.prompt_ids) - self.shared

    def placed(self, shared: int, beginning: int, leaf: int) -> Row:
        """The same row, which knows what it shares."""
        return replace(self, shared=shared, beginning=beginning, leaf=leaf)


@dataclass(slots=True)
class RowResult:
    """What one row drew."""

    token_ids: list[int]
    stop_reason: StopReason
    text: str | None = None
    """Set where a stop string cut the text."""
    logprobs: list[float] | None = None


def prompt_steering(request: Request, bank: VectorBank | None) -> PromptSteering:
    """What is done to a row's prompt; rows with equal prompts for which it is equal have equal keys and values.

    Additions of a layer are summed before anything else; projections take turns in the order of the request, and those
    of the other span take theirs too.
    """
    if bank is None:
        return ()
    turns: Counter[int] = Counter()
    parts = []
    for steering in request.steerings:
        layers = layers_of(steering, bank)
        if steering.op != "add":
            turns.update(layers)
        if "prompt" in SPAN_ROLES[steering.span]:
            turn = () if steering.op == "add" else tuple(turns[layer] for layer in layers)
            parts.append((layers, steering.concept, steering.strength, str(steering.op), turn))
    return tuple(parts)
