"""A model at the outer border that follows a script of calls, and the samples it plays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inspect_ai import eval as inspect_eval
from inspect_ai.log import EvalSample
from inspect_ai.model import ChatMessageAssistant, ModelOutput, ModelUsage, StopReason, get_model
from inspect_ai.tool import ToolCall

from evalharness.grid import Grid
from evalharness.plan import PlannedSample, build_plan
from evalharness.request import Sampling
from evalharness.sampling import SamplingSpec
from evalharness.suite import Block, Suite
from evalharness.tasking import build_task

Turn = tuple[str, Sequence[tuple[str, dict[str, Any]]]]
"""What is said, and the calls: name and arguments."""


def planned(setting: str = "freight", variant: str = "main", samples: int = 1) -> tuple[PlannedSample, ...]:
    """Samples of a natural setting in the form of a mailbox, unsteered."""
    suite = Suite(
        schema="suite/1",
        id="mail",
        version=1,
        title="mail",
        sampling=SamplingSpec(max_new_tokens=64),
        blocks=[
            Block(scenario=f"blackmail/{setting}", variants=[variant], samples=samples, form="mailbox", grid=Grid())
        ],
    )
    return build_plan(suite, 7).samples


def play(
    sample: PlannedSample, script: Sequence[Turn], folder: Path, stop_reason: StopReason | None = None
) -> EvalSample:
    """Run one sample against a model that says `script`, turn by turn; the last turn is repeated for ever."""
    turns = iter(range(10_000))

    def answer(*_: object) -> ModelOutput:
        number = next(turns)
        text, calls = script[min(number, len(script) - 1)]
        asked = [
            ToolCall(id=f"c{number}.{place}", function=name, arguments=arguments)
            for place, (name, arguments) in enumerate(calls)
        ]
        message = ChatMessageAssistant(content=text, tool_calls=asked or None, source="generate")
        output = ModelOutput.from_message(message, stop_reason=stop_reason or ("tool_calls" if asked else "stop"))
        output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
        return output

    (log,) = inspect_eval(
        build_task([sample], Sampling(max_new_tokens=64)),
        model=get_model("mockllm/model", custom_outputs=answer, memoize=False),
        log_dir=str(folder),
        display="none",
    )
    assert log.status == "success", log.error
    (played,) = log.samples or []
    return played
