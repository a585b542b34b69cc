"""A task of somebody else under our grid: its dataset as items of a plan, and planned samples as its dataset.

The task keeps its solver, limits, sandbox and scorers. What is added: the treatment before its setup, so that every
call of the model under test is steered and leaves a receipt, and our verdict after its scorers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import wraps
from typing import Any

from inspect_ai import Task, task_with
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.event import ModelEvent
from inspect_ai.log import transcript
from inspect_ai.model import ChatMessageAssistant, GenerateConfig
from inspect_ai.scorer import Score, Scorer, Target
from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.util import registry_info

from evalharness.errors import UsageError
from evalharness.ids import sha256_text
from evalharness.plan import Item, Items, PlannedSample
from evalharness.request import Sampling
from evalharness.scoring.harm import GRAMMAR, Harm, score_names
from evalharness.scoring.inspect_scorers import EVIDENCE, rule_scorer
from evalharness.suite import Suite, TaskSpec
from evalharness.taskloading import LoadedTask, load_task
from evalharness.taxonomy import EXTERNAL
from evalharness.treatment import KEY, begin, receipts_of, untreated

ORDER = "evalharness"
"""Where a sample's metadata tell its treatment until it starts; then it is taken out, so that no scorer sees it."""
_OURS = ("rule_scorer", "judge_scorer")


def load_items(suite: Suite) -> Items:
    """The datasets of a suite's tasks, before anything runs.

    Raises:
        UsageError: a task that cannot be loaded, has no scorer, makes its samples while it runs or shows pictures, or
            whose score has no mapping to harm.
    """
    return {name: tuple(_checked(spec)) for name, spec in suite.tasks.items()}


def external_task(spec: TaskSpec, planned: Sequence[PlannedSample], sampling: Sampling) -> Task:
    """The task over the planned samples. Its own settings of generation win over `sampling`, but for seed and cache.

    Raises:
        UsageError: its dataset is not the one that was planned with.
    """
    loaded = load_task(spec.name, spec.args)
    task, samples = loaded.task, {item.id: (item, sample) for item, sample in _items(spec, loaded)}
    for sample in planned:
        if sample.item not in samples or samples[sample.item][0].sha256 != sample.item_sha256:
            raise UsageError(
                "The task's dataset is not the one that was planned with.",
                expected="the same samples each time the task is made",
                got=f"sample {sample.item} has changed or is gone",
                where=f"task {spec.name}",
                fix="fix its seed with -T where it draws samples, or start a new run folder where it has changed",
            )
    dataset = [_sample(samples[str(sample.item)][1], sample) for sample in planned]
    task_with(
        task,
        dataset=MemoryDataset(dataset, name=spec.scenario, location=task.dataset.location),
        setup=[treat_item(), *_listed(task.setup)],
        scorer=[*_observed(task, spec), rule_scorer(family=EXTERNAL.id)],
        config=_config(task, sampling),
        epochs=None,
    )
    task.model = None  # the model under test is the run's
    return task


@solver
def treat_item() -> Solver:
    """Put the sample's treatment into force, and take it out of the metadata."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:  # noqa: ARG001 - the protocol of Inspect
        order = state.metadata[ORDER]
        state.metadata = {name: value for name, value in state.metadata.items() if name != ORDER}
        begin(state.store, str(order["condition"]), int(order["seed"]))
        return state

    return solve


def _checked(spec: TaskSpec) -> list[Item]:
    loaded = load_task(spec.name, spec.args)
    scorers = scorers_of(loaded.task)
    if loaded.task.sample_source is not None or not scorers or set(scorers) & set(_OURS):
        raise UsageError(
            "The task cannot be laid over a grid.",
            expected="a fixed dataset, and at least one scorer, none of them a scorer of this package",
            got=f"scorers {', '.join(scorers) or 'none'}"
            + ("; it makes samples while it runs" if loaded.task.sample_source is not None else ""),
            where=f"task {spec.name}",
        )
    if spec.harm is None:
        names = score_names(scorers)
        raise UsageError(
            "Say which value of the task's score is harm: it is not guessed.",
            expected=GRAMMAR,
            got=f"no mapping; the task has the scores {', '.join(names)}",
            where=f"task {spec.name}",
            fix=f"for instance --harm '{names[0]}=1', or {names[0]}=C where its values are C and I",
        )
    Harm.parse(spec.harm).require_scorer(scorers, f"task {spec.name}")
    return [item for item, _ in _items(spec, loaded)]


def scorers_of(task: Task) -> dict[str, tuple[str, ...]]:
    """The task's scorers by the names of their columns, each with the keys of its score: none where it is one value."""
    found: dict[str, tuple[str, ...]] = {}
    for scorer in task.scorer or []:
        info = registry_info(scorer)
        plain = info.name.split("/", maxsplit=1)[-1]
        names = (f"{plain}{number or ''}" for number in range(len(found) + 1))
        metrics = info.metadata.get("metrics", [])
        groups = [metrics] if isinstance(metrics, Mapping) else [part for part in metrics if isinstance(part, Mapping)]
        found[next(name for name in names if name not in found)] = tuple(key for group in groups for key in group)
    return found


def _items(spec: TaskSpec, loaded: LoadedTask) -> list[tuple[Item, Sample]]:
    about: dict[str, Any] = {"task": spec.name.rpartition("/")[2], "args": spec.args, "code": loaded.code}
    about |= {"version": loaded.task.version, "config": loaded.task.config.model_dump(exclude_none=True)}
    found: dict[str, tuple[Item, Sample]] = {}
    for number, sample in enumerate(loaded.task.dataset):
        name = str(number if sample.id is None else sample.id)
        name = f"{name}#{number}" if name in found else name
        content = json.dumps({**about, "sample": _content(sample)}, sort_keys=True, default=str)
        found[name] = (Item(id=name, sha256=sha256_text(content), messages=_messages(sample, spec)), sample)
    return list(found.values())


def _content(sample: Sample) -> dict[str, Any]:
    """The sample without the ids that Inspect draws for its messages."""
    told = sample.model_dump(mode="json", fallback=str)
    if isinstance(told["input"], list):
        told["input"] = [{key: part for key, part in message.items() if key != "id"} for message in told["input"]]
    return told


def _messages(sample: Sample, spec: TaskSpec) -> tuple[dict[str, str], ...]:
    if isinstance(sample.input, str):
        return ({"role": "user", "content": sample.input},)
    parts = [part for message in sample.input if not isinstance(message.content, str) for part in message.content]
    kinds = {part.type for part in parts} - {"text", "reasoning"}
    if kinds:
        raise UsageError(
            "The engine reads text only.", got=", ".join(sorted(kinds)), where=f"task {spec.name}, sample {sample.id}"
        )
    return tuple({"role": message.role, "content": message.text} for message in sample.input)


def _sample(own: Sample, planned: PlannedSample) -> Sample:
    order = {"condition": planned.cell.condition, "seed": planned.seed}
    return own.model_copy(update={"id": planned.id, "metadata": {**(own.metadata or {}), ORDER: order}})


def _listed(setup: Solver | Sequence[Solver] | None) -> list[Solver]:
    if setup is None:
        return []
    return list(setup) if isinstance(setup, Sequence) else [setup]


def _config(task: Task, sampling: Sampling) -> GenerateConfig:
    """Its own over ours. A seed would make all repeats the same; a cache would hand a reply to another condition."""
    ours = GenerateConfig(
        max_tokens=sampling.max_new_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k or None,
        stop_seqs=list(sampling.stop) or None,
    )
    return ours.merge(task.config.model_copy(update={"seed": None, "cache": None}))


def _observed(task: Task, spec: TaskSpec) -> list[Scorer]:
    """The task's scorers as they are, each with its score noted as evidence, and no model steered while it grades."""
    return [
        _noting(scorer, name, spec, first=place == 0)
        for place, (scorer, name) in enumerate(zip(task.scorer or [], scorers_of(task), strict=True))
    ]


def _noting(own: Scorer, name: str, spec: TaskSpec, *, first: bool) -> Scorer:
    @wraps(own)  # also takes over what the registry knows of it: name, parameters and metrics stay in the log
    async def score(state: TaskState, target: Target) -> Score | None:
        evidence = _rollout(state, spec) if first else dict(state.store.get(EVIDENCE))
        with untreated():
            given = await own(state, target)
        scores = evidence["scores"] if given is None else {**evidence["scores"], name: _plain(given.value)}
        state.store.set(EVIDENCE, {**evidence, "scores": scores})
        return given

    return score


def _rollout(state: TaskState, spec: TaskSpec) -> dict[str, Any]:
    """What must be known of the rollout beside its transcript, before any grader is called."""
    receipts = receipts_of({KEY: state.store.get(KEY, {})})
    said = [message for message in state.messages if isinstance(message, ChatMessageAssistant)]
    spoke = any(message.text.strip() or message.tool_calls for message in said) or bool(state.output.completion.strip())
    calls = [
        event
        for event in transcript().events
        if isinstance(event, ModelEvent) and event.model == str(state.model) and not event.error and not event.pending
    ]
    unproven = max(len(calls) - len(receipts), 0)
    return {"harm": spec.harm, "english": spec.english, "spoke": spoke, "unproven": unproven, "scores": {}}


def _plain(value: Any) -> Any:
    """A score's value as JSON has it: NaN, Inspect's sign for unscored, is none."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
