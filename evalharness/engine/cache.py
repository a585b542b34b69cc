"""Keys and values in buffers that grow by blocks, so that a step writes one slot instead of copying the whole past."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

GROWTH = 64
"""Free slots of a new buffer."""


class GrowingLayer(DynamicLayer):
    """A `DynamicLayer` whose `keys` and `values` are views into larger buffers.

    It keeps every position, also for sliding-window blocks: their mask hides what lies outside the window.
    """

    def __init__(self, room: int = 0) -> None:
        """`room` is the size of the first buffer, if that is known."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.length = 0
        self._room = room
        self._keys: Tensor | None = None
        self._values: Tensor | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append `[B, heads, T, head_dim]` and return everything so far. transformers passes more; none is needed."""
        del args, kwargs
        if not self.is_initialized:
            self.dtype, self.device, self.is_initialized = key_states.dtype, key_states.device, True
        start, self.length = self.length, self.length + key_states.shape[2]
        slots = self._room if self._room >= self.length else self.length + GROWTH
        self._keys = _with_room(self._keys, key_states, start, self.length, slots)
        self._values = _with_room(self._values, value_states, start, self.length, slots)
        self._keys[:, :, start : self.length] = key_states
        self._values[:, :, start : self.length] = value_states
        self.keys, self.values = self._keys[:, :, : self.length], self._values[:, :, : self.length]
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """Positions stored so far."""
        return self.length

    def keep(self, rows_A: Tensor) -> None:
        """Hold these rows instead, in this order; one may stand for several."""
        assert self._keys is not None
        assert self._values is not None
        self._keys, self._values = (_rows(buffer, rows_A, self.length) for buffer in (self._keys, self._values))
        self.keys, self.values = self._keys[:, :, : self.length], self._values[:, :, : self.length]


class GrowingCache(Cache):
    """One `GrowingLayer` per decoder block."""

    def __init__(self, room: int = 0) -> None:
        """`room` is the number of slots that are set aside at first."""
        super().__init__(layer_class_to_replicate=partial(GrowingLayer, room))

    def keep(self, rows_A: Tensor) -> None:
        """Hold these rows instead, in every layer."""
        for layer in self.layers:
            assert isinstance(layer, GrowingLayer)
            layer.keep(rows_A)


def _with_room(buffer: Tensor | None, like: Tensor, used: int, needed: int, slots: int) -> Tensor:
    if buffer is not None and buffer.shape[2] >= needed:
        return buffer
    grown = torch.empty((*like.shape[:2], slots, like.shape[3]), dtype=like.dtype, device=like.device)
    if buffer is not None:
        grown[:, :, :used] = buffer[:, :, :used]
    return grown


def _rows(buffer: Tensor, rows_A: Tensor, used: int) -> Tensor:
    """These rows in a buffer of their own; only the used slots are copied."""
    chosen = buffer.new_empty((len(rows_A), buffer.shape[1], used + GROWTH, buffer.shape[3]))
    torch.index_select(buffer[:, :, :used], 0, rows_A, out=chosen[:, :, :used])
    return chosen
