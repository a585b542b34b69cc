"""Inspect's own `hf` provider on the same rows, unsteered: what an evaluation costs where nothing is steered.

It cannot steer, ignores the seed of a request, and takes text. Fixed lengths come from a checkpoint in which no token
ends a reply. A batch has at most `max_connections` rows; 32 is its own default.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import anyio
from inspect_ai.model import ChatMessageUser, GenerateConfig, Model, get_model

from benchmarks.checkpoints import as_text
from evalharness.timing import Drawn, Work

INSPECT_HF = "Inspect hf, unsteered"
DEFAULT_CONNECTIONS = 32


class InspectHf:
    """All rows are asked for at once; the provider makes its batches."""

    def __init__(self, folder: str, *, connections: int = DEFAULT_CONNECTIONS) -> None:
        self.folder = folder
        self.connections = connections
        self.model: Model | None = None

    def draw(self, work: Work) -> Drawn:
        """Every row of the work, none steered. Token ids are not told; the count is the provider's own."""
        texts = [as_text(ids) for _ in work.strengths for ids in work.prompts]
        if self.model is None:
            self.model = hf_model(self.folder)
        config = GenerateConfig(
            max_tokens=work.new_tokens,
            max_connections=self.connections,
            temperature=1.0,
            top_p=1.0,
            top_k=0,
        )
        return Drawn(sum(anyio.run(_all_tokens, self.model, texts, config)), None)


def hf_model(folder: str) -> Model:
    """The provider over a local checkpoint, in float32 on the CPU as all other ways."""
    # The folder is the model's name: under another name Inspect looks the model up in the hub.
    options: dict[str, Any] = {"device": "cpu", "dtype": "float32"}
    return get_model(f"hf/{folder}", memoize=False, **options)


async def _all_tokens(model: Model, texts: Sequence[str], config: GenerateConfig) -> list[int]:
    tokens = [0] * len(texts)

    async def ask(place: int, text: str) -> None:
        output = await model.generate([ChatMessageUser(content=text)], config=config)
        assert output.usage is not None
        tokens[place] = output.usage.output_tokens

    await gather([partial(ask, place, text) for place, text in enumerate(texts)])
    return tokens


async def gather(calls: Sequence[Callable[[], Coroutine[Any, Any, None]]]) -> None:
    """Run all calls at once and wait for the last."""
    async with anyio.create_task_group() as group:
        for call in calls:
            group.start_soon(call)
