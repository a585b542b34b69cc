"""Plays given replies as rollouts of coding scenarios.

Task, solver, sandbox and scorers are the real ones; the model says what it is told to.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from inspect_ai import Task, task_with
from inspect_ai import eval as inspect_eval
from inspect_ai.log import EvalSample
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.solver import chain

from evalharness.plan import PlannedSample
from evalharness.request import Sampling
from evalharness.row import CellKey
from evalharness.scenario import load_scenario
from evalharness.solving.coding import run_code
from evalharness.tasking import build_task, one_reply


class Said(NamedTuple):
    """One reply to one draw of a scenario."""

    scenario: str
    variant: str
    draw: int
    reply: str
    stop_reason: str = "stop"


def code(text: str, path: str = "solution.py") -> str:
    return f"### FILE: {path}\n```python\n{text.strip()}\n```\n"


def planned(number: int, said: Said) -> PlannedSample:
    scenario = load_scenario(said.scenario)
    rendered = scenario.render(said.variant, said.draw)
    role = scenario.variant(said.variant).role
    cell = CellKey(
        scenario=scenario.id,
        variant=said.variant,
        role=role,
        condition="baseline",
        kind="baseline",
        family=scenario.family,
    )
    return PlannedSample(
        id=f"{number:03d}",
        cell=cell,
        index=number,
        seed=number,
        messages=rendered.messages,
        facts=rendered.facts,
        rubric=None,
        form=scenario.form,
        files=rendered.files,
        hidden=rendered.hidden,
    )


def play(said: Sequence[Said], folder: Path, seconds: int = 5) -> list[EvalSample]:
    """The samples in the order of `said`, as the log has them."""

    def answer(_input: Any, _tools: Any, _choice: Any, config: Any) -> ModelOutput:
        output = ModelOutput.from_content("mockllm/model", said[config.seed].reply, said[config.seed].stop_reason)
        output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
        return output

    task: Task = build_task(
        [planned(number, one) for number, one in enumerate(said)], Sampling(max_new_tokens=1024), sandbox="local"
    )
    (log,) = inspect_eval(
        task_with(task, solver=chain(one_reply(), run_code("local", seconds))),
        model=get_model("mockllm/model", custom_outputs=answer, memoize=False),
        log_dir=str(folder),
        display="none",
        fail_on_error=False,
        max_samples=4,
        score_display=False,
    )
    assert log.status == "success", log.error
    return sorted(log.samples or [], key=lambda sample: str(sample.id))


def outcome(sample: EvalSample) -> str | None:
    value = (sample.scores or {})["rule_scorer"].value
    return value if isinstance(value, str) else None
