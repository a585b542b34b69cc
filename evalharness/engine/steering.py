"""The only file that registers hooks: steering of each row while it is generated, and reading of the residual stream.

Shapes: A rows still active, T tokens of this forward pass, D width. Inside the hook two things happen one after the
other: `_apply` changes the residual stream by the tables of `stages.py`, and the witness compares the stream before and
after with the claims of `claims.py`, which were built from the same requests by other code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from evalharness.engine.claims import Claim, Tally
from evalharness.engine.sharing import StandIns
from evalharness.engine.stages import GENERATION, PROMPT, Stage, Stages, keep_rows
from evalharness.engine.witness import Witness

BOTH_ROLES = (PROMPT, GENERATION)


class Fan(NamedTuple):
    """Where one row of the tensors becomes several, because they are steered differently from there on."""

    layer: int | None
    rows: int


class RowSteering:
    """Steering of one batch, as a context manager: hooks are attached inside it and gone afterwards.

    Before each forward pass the decoder says with `set_roles` what the tokens are. With no steered row no hook is
    attached at all.
    """

    def __init__(
        self, blocks: Sequence[nn.Module], stages: Stages, claims: Mapping[int, list[Claim]], n_rows: int
    ) -> None:
        """`blocks` are all decoder blocks in order; `stages` and `claims` are per layer number."""
        device = next(blocks[0].parameters()).device
        self._blocks = blocks
        self._layer_of = {id(block): layer for layer, block in enumerate(blocks)}
        self._stages = stages
        self._claims = {layer: [Stage.of_claim(c, device) for c in group] for layer, group in claims.items()}
        self._witness = Witness(n_rows, device)
        self._role_AT = torch.empty(0, 0, dtype=torch.int8, device=device)
        self._roles: Sequence[int] = ()
        self._counting = True
        self._fan: Fan | None = None
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> RowSteering:
        for layer in sorted({*self._stages, *self._claims}):
            self._handles.append(self._blocks[layer].register_forward_hook(self._hook))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def set_roles(self, role_AT: Tensor, roles: Sequence[int]) -> None:
        """Say what the tokens of the next forward pass are, and which roles occur among them besides padding."""
        self._role_AT, self._roles = role_AT, roles

    def keep(self, rows_A: Tensor) -> None:
        """Drop all rows but these (numbered among the active rows)."""
        self._witness.keep(rows_A)
        self._stages, self._claims = keep_rows(self._stages, rows_A), keep_rows(self._claims, rows_A)

    @contextmanager
    def standing_for(self, standing: StandIns, role_AT: Tensor) -> Iterator[None]:
        """For a pass over tokens of prompts in which one row of the tensors is computed for several of the batch.

        The steering is that of `standing.heads`, and what happens counts for all `standing.rows`, whose claims must be
        the same. `role_AT` holds padding and prompt only. If its first axis is 1 and there are several heads, the
        residual stream is fanned out to one row per head where the first steering comes. Not after `keep`.
        """
        heads_A, rows_R, places_R = (torch.tensor(part, device=role_AT.device) for part in standing)
        fits_R = torch.ones_like(rows_R, dtype=torch.bool)
        for claims in self._claims.values():
            for claim in claims:
                fits_R &= claim.alike(PROMPT, rows_R, heads_A[places_R])
        before = (self._stages, self._claims, self._role_AT, self._roles)
        self._stages, self._claims = keep_rows(self._stages, heads_A), keep_rows(self._claims, heads_A)
        self._role_AT, self._roles = role_AT, (PROMPT,)
        self._fan = Fan(self._first_layer(PROMPT), len(heads_A)) if len(role_AT) < len(heads_A) else None
        try:
            with self._witness.standing_for(rows_R, places_R, fits_R):
                yield
        finally:
            self._stages, self._claims, self._role_AT, self._roles = before
            self._fan = None

    def _first_layer(self, role: int) -> int | None:
        """The lowest layer at which anything is done to tokens of this role, or claimed to be."""
        groups = [*self._stages.items(), *self._claims.items()]
        return min((layer for layer, group in groups if any(some.active_P[role] for some in group)), default=None)

    @contextmanager
    def alone(self, row: int, role_1T: Tensor) -> Iterator[None]:
        """For a forward pass that repeats one active row: it is steered as ever, but not counted again."""
        before = (self._stages, self._role_AT, self._roles, self._counting)
        self._stages = keep_rows(self._stages, torch.tensor([row], device=role_1T.device))
        self._role_AT, self._roles, self._counting = role_1T, BOTH_ROLES, False
        try:
            yield
        finally:
            self._stages, self._role_AT, self._roles, self._counting = before

    def tallies(self) -> list[Tally]:
        """What was counted for each row of the batch."""
        return self._witness.tallies()

    def _hook(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        del args
        layer = self._layer_of[id(module)]
        h_ATD = block_output(output)
        if self._fan is not None and self._fan.layer == layer:
            h_ATD = h_ATD.expand(self._fan.rows, -1, -1)
        stages, claims = self._stages.get(layer, []), self._claims.get(layer, [])
        for number in range(max(len(stages), len(claims))):
            stage = stages[number] if number < len(stages) else None
            claim = claims[number] if number < len(claims) else None
            if not any(some is not None and some.active_P[role] for some in (stage, claim) for role in self._roles):
                continue
            before_ATD = h_ATD
            if stage is not None:
                h_ATD = self._apply(stage, before_ATD)
            if self._counting:
                self._witness.observe(claim, self._role_AT, self._roles, before_ATD, h_ATD)
        return (h_ATD, *output[1:]) if isinstance(output, tuple) else h_ATD

    def _apply(self, stage: Stage, h_ATD: Tensor) -> Tensor:
        """The residual stream after one operation; tokens of other roles and rows get an exact zero."""
        for role in self._roles:
            if not stage.active_P[role]:
                continue
            change = stage.vector_PBD[role][:, None, :]
            if stage.op == "project":
                now_AT = (h_ATD.to(torch.float32) * change).sum(-1)
                change = (stage.target_PB[role][:, None] - now_AT)[..., None] * change
            here_AT1 = (self._role_AT == role)[..., None]
            h_ATD = h_ATD + (change * here_AT1).to(h_ATD.dtype)
        return h_ATD


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
