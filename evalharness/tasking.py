"""Planned samples -> Inspect tasks. What tasks/*.py call; it generates, and the scorers of the package score."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessage, ChatMessageSystem, ChatMessageUser, GenerateConfig
from inspect_ai.scorer import Scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver

from evalharness.errors import UsageError
from evalharness.grid import Grid
from evalharness.plan import PlannedSample, build_plan
from evalharness.planfile import read_plan
from evalharness.request import Sampling
from evalharness.row import Form
from evalharness.sampling import SamplingSpec
from evalharness.scenario import load_scenario
from evalharness.scoring.inspect_scorers import judge_scorer, rule_scorer
from evalharness.solving.awareness import ask_awareness
from evalharness.solving.mailbox import mailbox
from evalharness.suite import Block, Suite
from evalharness.treatment import PROVIDER, treat

DEFAULT_SAMPLING = SamplingSpec(max_new_tokens=512)


def plan_task(plan: str, scenario: str, *, judge: bool) -> Task:
    """All samples of one scenario in a run folder's plan. With `judge`, the grader role scores beside the rules."""
    folder = Path(plan).parent
    samples = [sample for sample in read_plan(Path(plan)) if sample.cell.scenario == scenario]
    if not samples:
        raise UsageError("The plan has no sample of this scenario.", where=plan, got=scenario)
    suite = Suite.model_validate_json((folder / "suite.json").read_bytes())
    return build_task(samples, suite.sampling.build(), judge=judge, awareness=suite.awareness)


def scenario_task(scenario: str, *, variant: str, samples: int, seed: int, condition: str) -> Task:
    """One scenario under one condition, without a run folder."""
    suite = Suite(
        schema="suite/1",
        id="single",
        version=1,
        title=scenario,
        sampling=load_scenario(scenario).sampling or DEFAULT_SAMPLING,
        blocks=[Block(scenario=scenario, variants=[variant], samples=samples, grid=Grid())],
    )
    return build_task(build_plan(suite, seed).samples, suite.sampling.build(), condition=condition)


def build_task(
    samples: Iterable[PlannedSample],
    sampling: Sampling,
    *,
    judge: bool = False,
    awareness: bool = False,
    condition: str | None = None,
) -> Task:
    """The Inspect task of some planned samples. `condition` replaces the samples' own."""
    planned = list(samples)
    scorers: list[Scorer] = [rule_scorer()]
    rubric = planned[0].rubric
    if judge and rubric is not None:
        scorers.append(judge_scorer(rubric=rubric))
    return Task(
        dataset=MemoryDataset([_sample(sample, condition) for sample in planned], name=planned[0].cell.scenario),
        setup=treat(),
        solver=[_SOLVERS[planned[0].form](), *([ask_awareness()] if awareness else [])],
        scorer=scorers,
        config=GenerateConfig(
            max_tokens=sampling.max_new_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k or None,
            stop_seqs=list(sampling.stop) or None,
        ),
    )


def _sample(planned: PlannedSample, condition: str | None) -> Sample:
    roles = {"system": ChatMessageSystem, "user": ChatMessageUser}
    messages: list[ChatMessage] = [roles[message["role"]](content=message["content"]) for message in planned.messages]
    metadata = asdict(planned.cell) | {
        "index": planned.index,
        "seed": planned.seed,
        "facts": dict(planned.facts),
        "files": dict(planned.files),
        "hidden": dict(planned.hidden),
        "rubric": planned.rubric,
    }
    if condition is not None:
        metadata["condition"] = condition
    return Sample(id=planned.id, input=messages, metadata=metadata)


@solver
def one_reply() -> Solver:
    """Generate one reply under the sample's treatment."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        condition, seed = str(state.metadata["condition"]), int(state.metadata["seed"])
        if state.model.api == PROVIDER:
            return await generate(state, seed=seed, extra_body={"steering": condition})
        return await generate(state, seed=seed)

    return solve


_SOLVERS: dict[Form, Callable[[], Solver]] = {"reply": one_reply, "mailbox": mailbox}
"""How a rollout of each form goes."""
