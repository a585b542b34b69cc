"""Keys and values in buffers that grow by blocks, so that a step writes one slot instead of copying the whole past."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

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

    def hold(self, keys: Tensor, values: Tensor, length: int) -> None:
        """Take these buffers, `[B, heads, at least length, head_dim]`, as what has been stored."""
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self._keys, self._values, self.length = keys, values, length
        self.keys, self.values = keys[:, :, :length], values[:, :, :length]


class GrowingCache(Cache):
    """One `GrowingLayer` per decoder block."""

    def __init__(self, room: int = 0) -> None:
        """`room` is the number of slots that are set aside at first."""
        layer: Any = partial(GrowingLayer, room)
        super().__init__(layer_class_to_replicate=layer)

    @property
    def length(self) -> int:
        """Slots stored so far."""
        first = self.layers[0] if self.layers else None
        return first.length if isinstance(first, GrowingLayer) else 0

    def take(self, sources: Sequence[Source], n_rows: int, slots: int) -> None:
        """Hold rows of other caches instead of anything else: their last `slots` slots, ending side by side.

        What a row has before its own first slot is zero: it is masked, but must not be NaN.
        """
        template = sources[0].cache.layers
        self.layers = [GrowingLayer() for _ in template]
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, GrowingLayer)
            parts = [source.cache.layers[number] for source in sources]
            keys, values = (_gather(sources, [getattr(part, name) for part in parts], n_rows, slots) for name in KINDS)
            layer.hold(keys, values, slots)


KINDS = ("keys", "values")


class Source(NamedTuple):
    """Some rows of a cache, and the places that they get in another."""

    cache: GrowingCache
    rows_R: Tensor
    places_R: Tensor


def _gather(sources: Sequence[Source], buffers: Sequence[Tensor], n_rows: int, slots: int) -> Tensor:
    """One layer's keys or values of all sources, with room to grow."""
    like = buffers[0]
    gathered = like.new_zeros((n_rows, like.shape[1], slots + GROWTH, like.shape[3]))
    for source, buffer in zip(sources, buffers, strict=True):
        width = min(slots, buffer.shape[2])
        last = buffer[:, :, buffer.shape[2] - width :].index_select(0, source.rows_R)
        gathered[:, :, slots - width : slots].index_copy_(0, source.places_R, last)
    return gathered


def _with_room(buffer: Tensor | None, like: Tensor, used: int, needed: int, slots: int) -> Tensor:
    if buffer is not None and buffer.shape[2] >= needed:
        return buffer
    grown = torch.empty((*like.shape[:2], slots, like.shape[3]), dtype=like.dtype, device=like.device)
    if buffer is not None:
        grown[:, :, :used] = buffer[:, :, :used]
    return grown
