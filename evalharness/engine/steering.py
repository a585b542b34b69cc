"""The only file that registers hooks: steering of each row while it is generated, and reading of the residual stream.

Shapes: C conditions, A rows of the tensors, T tokens of this forward pass, D width, K traced vectors of a layer. The
tables of `stages.py` and the claims of `claims.py` have one entry per condition; a pass says twice which condition each
row has: once for what is done, once, worked out elsewhere, for what is claimed. Inside the hook two things happen one
after the other: `_apply` changes the residual stream, and the witness compares the stream before and after.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from evalharness.engine.claims import Claim
from evalharness.engine.stages import GENERATION, PROMPT, Stage, Stages, keep_rows
from evalharness.engine.witness import no_counts, observe

BOTH_ROLES = (PROMPT, GENERATION)
Probes = Mapping[int, Tensor]
"""Per traced layer the vectors `[K, D]` on which the stream is projected, divided by the layer's mean norm."""


class Seated(NamedTuple):
    """What is done to the rows of the tensors, and what is claimed."""

    stages: Stages
    claims: Stages
    n_rows: int


@dataclass(slots=True)
class Pass:
    """One or several forward passes of the same rows."""

    seated: Seated
    counts_A4: Tensor
    role_AT: Tensor
    roles: Sequence[int]
    fan_layer: int | None = None
    """Where one row of the tensors becomes several, because they are steered differently from there on."""
    counting: bool = True
    projections: dict[int, list[Tensor]] = field(default_factory=dict)
    """Per traced layer, `[A or 1, T, K]` of each forward pass."""

    def traced(self) -> Tensor | None:
        """`[A, T of all passes, K of all layers]` on the layers in rising order; None if nothing is traced."""
        if not self.projections:
            return None
        layers = [torch.cat(parts, 1) for _, parts in sorted(self.projections.items())]
        return torch.cat([layer.expand(self.seated.n_rows, -1, -1) for layer in layers], -1)


class RowSteering:
    """Steering and tracing as a context manager: hooks are attached inside it and gone afterwards.

    Nothing happens outside of a `passing`. With nothing to steer or trace no hook is attached at all.
    """

    def __init__(
        self,
        blocks: Sequence[nn.Module],
        stages: Stages,
        claims: Mapping[int, list[Claim]],
        probes: Probes | None = None,
    ) -> None:
        """`blocks` are all decoder blocks in order; `stages`, `claims` and `probes` are per layer number."""
        self.device = next(blocks[0].parameters()).device
        self._blocks = blocks
        self._layer_of = {id(block): layer for layer, block in enumerate(blocks)}
        self._stages = stages
        self._claims = {layer: [Stage.of_claim(c, self.device) for c in group] for layer, group in claims.items()}
        self._probes = probes or {}
        self._now: Pass | None = None
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> RowSteering:
        for layer in sorted({*self._stages, *self._claims, *self._probes}):
            self._handles.append(self._blocks[layer].register_forward_hook(self._hook))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def seat(self, condition_A: Tensor, claimed_A: Sequence[int]) -> Seated:
        """The tables for rows with these conditions. `claimed_A` are the same, worked out from the requests."""
        claimed = torch.tensor(claimed_A, dtype=torch.long, device=self.device)
        return Seated(keep_rows(self._stages, condition_A), keep_rows(self._claims, claimed), len(claimed_A))

    @contextmanager
    def passing(
        self, seated: Seated, role_AT: Tensor, roles: Sequence[int], *, fan: bool = False, counting: bool = True
    ) -> Iterator[Pass]:
        """For forward passes of these rows, whose tokens are `role_AT` (or what `set_roles` says before each pass).

        With `fan` the tensors hold one row until the first steering; there the residual stream is fanned out to all.
        """
        now = Pass(seated, no_counts(seated.n_rows, self.device), role_AT, roles, counting=counting)
        now.fan_layer = _first_layer(now) if fan else None
        before, self._now = self._now, now
        try:
            yield now
        finally:
            self._now = before

    def set_roles(self, role_AT: Tensor) -> None:
        """Say what the tokens of the next forward pass are."""
        assert self._now is not None
        self._now.role_AT = role_AT

    def alike(self, one: int, other: int) -> bool:
        """Whether two conditions claim exactly the same for tokens of the prompt."""
        rows = (torch.tensor([place], device=self.device) for place in (one, other))
        first, second = rows
        groups = self._claims.values()
        return one == other or all(bool(claim.alike(PROMPT, first, second)) for group in groups for claim in group)

    def _hook(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        del args
        now = self._now
        if now is None:
            return output
        layer = self._layer_of[id(module)]
        h_ATD = block_output(output)
        if now.fan_layer == layer:
            h_ATD = h_ATD.expand(now.seated.n_rows, -1, -1)
        stages, claims = now.seated.stages.get(layer, []), now.seated.claims.get(layer, [])
        for number in range(max(len(stages), len(claims))):
            stage = stages[number] if number < len(stages) else None
            claim = claims[number] if number < len(claims) else None
            if not any(some is not None and some.active_P[role] for some in (stage, claim) for role in now.roles):
                continue
            before_ATD = h_ATD
            if stage is not None:
                h_ATD = self._apply(stage, before_ATD)
            if now.counting:
                observe(now.counts_A4, claim, now.role_AT, now.roles, (before_ATD, h_ATD))
        if layer in self._probes and now.counting:
            now.projections.setdefault(layer, []).append(h_ATD.to(torch.float32) @ self._probes[layer].T)
        return (h_ATD, *output[1:]) if isinstance(output, tuple) else h_ATD

    def _apply(self, stage: Stage, h_ATD: Tensor) -> Tensor:
        """The residual stream after one operation; tokens of other roles and rows get an exact zero."""
        assert self._now is not None
        for role in self._now.roles:
            if not stage.active_P[role]:
                continue
            change = stage.vector_PBD[role][:, None, :]
            if stage.op == "project":
                now_AT = (h_ATD.to(torch.float32) * change).sum(-1)
                change = (stage.target_PB[role][:, None] - now_AT)[..., None] * change
            here_AT1 = (self._now.role_AT == role)[..., None]
            h_ATD = h_ATD + (change * here_AT1).to(h_ATD.dtype)
        return h_ATD


def _first_layer(now: Pass) -> int | None:
    """The lowest layer at which anything is done to these tokens, or claimed to be."""
    groups = [*now.seated.stages.items(), *now.seated.claims.items()]
    return min((layer for layer, group in groups if any(s.active_P[r] for s in group for r in now.roles)), default=None)


def block_output(output: Any) -> Tensor:
    """The residual stream `[B, T, D]` in what a decoder block returns (a tensor, or a tuple that starts with it)."""
    hidden = output[0] if isinstance(output, tuple) else output
    assert isinstance(hidden, Tensor)
    return hidden


@contextmanager
def reading(blocks: Sequence[nn.Module], layers: Sequence[int]) -> Iterator[dict[int, Tensor]]:
    """Collect the raw output of these decoder blocks during the forward passes inside the context.

    Not `output_hidden_states`: its last entry has already been through the final norm.
    """
    seen: dict[int, Tensor] = {}

    def reader(layer: int) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            del module, args
            seen[layer] = block_output(output)

        return hook

    handles = [blocks[layer].register_forward_hook(reader(layer)) for layer in layers]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
