"""Planned samples -> Inspect tasks. What tasks/*.py call; it generates, and the scorers of the package score."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessage, ChatMessageSystem, ChatMessageUser, GenerateConfig
from inspect_ai.scorer import Scorer
from inspect_ai.solver import Generate, Solver, TaskState, chain, solver

from evalharness.errors import UsageError
from evalharness.grid import Grid
from evalharness.plan import PlannedSample, build_plan
from evalharness.planfile import read_plan
from evalharness.request import Sampling
from evalharness.row import Form, SandboxKind
from evalharness.sampling import SamplingSpec
from evalharness.scenario import load_scenario
from evalharness.scoring.inspect_scorers import judge_scorer, rule_scorer
from evalharness.solving.awareness import ask_awareness
from evalharness.solving.coding import run_code
from evalharness.solving.mailbox import mailbox
from evalharness.solving.sandboxes import inspect_sandbox, require_sandbox
from evalharness.solving.workspace import workspace
from evalharness.suite import Block, Suite
from evalharness.treatment import treat

DEFAULT_SAMPLING = SamplingSpec(max_new_tokens=512)


def plan_task(plan: str, scenario: str, *, judge: bool, sandbox: SandboxKind | None = None) -> Task:
    """All samples of one scenario in a run folder's plan. With `judge`, the grader role scores beside the rules."""
    folder = Path(plan).parent
    samples = [sample for sample in read_plan(Path(plan)) if sample.cell.scenario == scenario]
    if not samples:
        raise UsageError("The plan has no sample of this scenario.", where=plan, got=scenario)
    suite = Suite.model_validate_json((folder / "suite.json").read_bytes())
    return build_task(samples, suite.sampling.build(), judge=judge, awareness=suite.awareness, sandbox=sandbox)


def scenario_task(
    scenario: str, *, variant: str, samples: int, seed: int, condition: str, sandbox: SandboxKind | None = None
) -> Task:
    """One scenario under one condition, without a run folder."""
    suite = Suite(
        schema="suite/1",
        id="single",
        version=1,
        title=scenario,
        sampling=load_scenario(scenario).sampling or DEFAULT_SAMPLING,
        blocks=[Block(scenario=scenario, variants=[variant], samples=samples, grid=Grid())],
    )
    return build_task(build_plan(suite, seed).samples, suite.sampling.build(), condition=condition, sandbox=sandbox)


def build_task(
    samples: Iterable[PlannedSample],
    sampling: Sampling,
    *,
    judge: bool = False,
    awareness: bool = False,
    condition: str | None = None,
    sandbox: SandboxKind | None = None,
) -> Task:
    """The Inspect task of some planned samples. `condition` replaces the samples' own.

    Raises:
        UsageError: the samples run code of the model, and there is no sandbox.
    """
    planned = list(samples)
    forms = {sample.form for sample in planned}
    require_sandbox(forms, sandbox, f"scenario {planned[0].cell.scenario}")
    scorers: list[Scorer] = [rule_scorer()]
    rubric = planned[0].rubric
    if judge and rubric is not None:
        scorers.append(judge_scorer(rubric=rubric))
    return Task(
        dataset=MemoryDataset([_sample(sample, condition) for sample in planned], name=planned[0].cell.scenario),
        setup=treat(),
        solver=[_SOLVERS[planned[0].form](sandbox), *([ask_awareness()] if awareness else [])],
        scorer=scorers,
        sandbox=inspect_sandbox(forms, sandbox),
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
    """Generate one reply. The seed is named because a plain model knows nothing of treatments."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        return await generate(state, seed=int(state.metadata["seed"]))

    return solve


_SOLVERS: dict[Form, Callable[[SandboxKind | None], Solver]] = {
    "reply": lambda _: one_reply(),
    "mailbox": lambda _: mailbox(),
    "workspace": lambda _: workspace(),
    "coding": lambda kind: chain(one_reply(), run_code(kind or "docker")),
}
"""How a rollout of each form goes, given the sandbox of the task."""
