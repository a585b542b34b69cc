"""The records at the engine's door: Request in, Completion out. No torch, so plans and reports can use them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from evalharness.errors import UsageError

Span = Literal["all", "prompt", "generation"]
"""Token positions a steering acts on; `generation` = index >= prompt length."""

Op = Literal["add", "ablate", "clamp"]
"""`add` shifts by strength x mean norm; `ablate` projects out; `clamp` sets the projection to strength x mean norm."""

StopReason = Literal["stop", "max_tokens", "model_length"]
Message = Mapping[str, str]
"""A chat message with the keys `role` and `content`."""

Prompt = str | Sequence[Message] | Sequence[int]
"""Plain text, chat messages (rendered by the checkpoint's own template), or token ids."""


def _require(ok: bool, field: str, expected: str, got: object) -> None:
    if not ok:
        raise UsageError(f"{field} is out of range.", expected=expected, got=repr(got), where=field)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are drawn. `temperature` 0 is greedy; `top_k` 0 and `top_p` 1 are off."""

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False

    def __post_init__(self) -> None:
        _require(self.max_new_tokens >= 1, "sampling.max_new_tokens", "at least 1", self.max_new_tokens)
        _require(self.temperature >= 0, "sampling.temperature", "0 or more", self.temperature)
        _require(0 < self.top_p <= 1, "sampling.top_p", "in (0, 1]", self.top_p)
        _require(self.top_k >= 0, "sampling.top_k", "0 (off) or more", self.top_k)
        _require(all(self.stop), "sampling.stop", "non-empty strings", self.stop)


@dataclass(frozen=True, slots=True)
class Steering:
    """One concept added to a row. `strength` is a fraction of the mean residual-stream norm of each steered layer."""

    concept: str
    strength: float
    layers: tuple[int, ...] | None = None
    """Decoder blocks whose output is steered, from 0; None = the bank's choice."""
    span: Span = "all"
    op: Op = "add"

    def __post_init__(self) -> None:
        _require(self.span in get_args(Span), "steering.span", ", ".join(get_args(Span)), self.span)
        _require(self.op in get_args(Op), "steering.op", ", ".join(get_args(Op)), self.op)
        _require(self.layers is None or len(self.layers) > 0, "steering.layers", "None or at least one", self.layers)


@dataclass(frozen=True, slots=True)
class Trace:
    """What to read of a row's residual stream: its projections on concept vectors, after any steering."""

    concepts: tuple[str, ...]
    layers: tuple[int, ...] | None = None
    """Decoder blocks whose output is read, from 0; None = the bank's choice."""
    series: bool = False
    """Keep every token's projection, and not the summary alone."""

    def __post_init__(self) -> None:
        _require(len(self.concepts) > 0, "trace.concepts", "at least one concept", self.concepts)
        _require(self.layers is None or len(self.layers) > 0, "trace.layers", "None or at least one", self.layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One row: a prompt, what is done to the residual stream, how tokens are drawn, and its own seed."""

    prompt: Prompt
    sampling: Sampling
    steering: Steering | tuple[Steering, ...] | None = None
    seed: int = 0
    id: str | None = None
    trace: Trace | None = None
    logprobs: bool = False
    """Whether the completion says how likely each drawn token was."""

    @property
    def steerings(self) -> tuple[Steering, ...]:
        """The steerings as a tuple, empty for an unsteered row."""
        if self.steering is None:
            return ()
        return (self.steering,) if isinstance(self.steering, Steering) else self.steering


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Proof of what was applied to one row, counted inside the hooks while they ran."""

    vector_sha256: tuple[str, ...] = ()
    """One hash per (steering, layer), over the float32 bytes of the vector that was added."""
    layers: tuple[int, ...] = ()
    applied: int = 0
    """(layer, token) applications that the hooks counted."""
    expected: int = 0
    """(layer, token) applications that the request implies, worked out without the hooks."""
    mean_relative_norm: float | None = None
    """Mean of ||delta|| / ||h|| over the applications; None for an unsteered row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConceptTrace:
    """Projections of a row's residual stream on one concept vector at one layer, after any steering.

    The unit is that of strength: a fraction of the mean residual norm of the layer. The last drawn token is never fed
    back, so it has no residual stream.
    """

    concept: str
    layer: int
    prompt_mean: float
    generation_mean: float | None
    """Over the drawn tokens; None where fewer than two were drawn, as are the others."""
    generation_min: float | None
    generation_max: float | None
    generation_last: float | None
    series: tuple[float, ...] = ()
    """Every prompt token, then every drawn token but the last; empty unless asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What came of a request. `text` has the stop string cut off; `token_ids` are all tokens that were drawn."""

    text: str
    token_ids: tuple[int, ...]
    stop_reason: StopReason
    prompt_tokens: int
    output_tokens: int
    receipt: Receipt
    trace: tuple[ConceptTrace, ...] | None = None
    """One per traced concept and layer, in the order of the request's concepts; None unless asked for."""
    logprobs: tuple[float, ...] | None = None
    """Natural log-probability of each drawn token under the (steered) model at temperature 1, before top-p and top-k;
    None unless asked for."""
