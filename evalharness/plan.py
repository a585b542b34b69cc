"""Suite x grid x repeats -> every sample of a run, with its id and seed. Pure: the same inputs give the same plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, zip_longest
from types import MappingProxyType
from typing import NamedTuple

from evalharness.errors import ContentError
from evalharness.grid import Condition
from evalharness.ids import derive_seed, sample_id, sha256_json
from evalharness.request import Sampling, Steering
from evalharness.row import CellKey, Form
from evalharness.scenario import Scenario, load_scenario
from evalharness.suite import Block, Suite
from evalharness.taxonomy import EXTERNAL


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSample:
    """One sample before it runs: all that the model sees, all that the scorers need."""

    id: str
    cell: CellKey
    index: int
    seed: int
    """From run seed, scenario, variant and index, without the condition: conditions are paired."""
    messages: tuple[Mapping[str, str], ...]
    facts: Mapping[str, str]
    rubric: str | None
    form: Form = "reply"
    files: Mapping[str, str] = field(default_factory=dict)
    """What the rollout's world holds at its start, by path."""
    hidden: Mapping[str, str] = field(default_factory=dict)
    """Files that only the checker sees."""
    item: str | None = None
    """The sample of somebody else's task that this one repeats; None for our own scenarios."""
    item_sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One sample of somebody else's task, as its dataset has it."""

    id: str
    sha256: str
    """Over the sample, the task's arguments and settings, and its code as far as it is known by file or version."""
    messages: tuple[Mapping[str, str], ...]


Items = Mapping[str, tuple[Item, ...]]
"""The datasets of a suite's tasks, by the name that cells call them."""


class BankView(NamedTuple):
    """What a plan needs of a concept bank, so that a plan can be made before there is one."""

    fingerprint: Callable[[Steering], str]
    """Content hash of the vectors that a steering adds."""
    steer_layers: tuple[int, ...]
    """The layers a steering without layers acts on."""


UNBUILT = BankView(fingerprint=lambda _steering: "unbuilt", steer_layers=())
"""Stands for a bank that is not built yet; ids of such a plan are provisional."""


@dataclass(frozen=True)
class Plan:
    """The ordered samples of a run. Cells are interleaved, so a run cut short is balanced."""

    samples: tuple[PlannedSample, ...]
    conditions: Mapping[str, Condition]

    @cached_property
    def scenarios(self) -> dict[str, tuple[PlannedSample, ...]]:
        """The samples of each scenario, in order."""
        found: dict[str, list[PlannedSample]] = {}
        for sample in self.samples:
            found.setdefault(sample.cell.scenario, []).append(sample)
        return {name: tuple(samples) for name, samples in found.items()}

    @cached_property
    def cells(self) -> dict[CellKey, int]:
        """Planned samples per cell."""
        counts: dict[CellKey, int] = {}
        for sample in self.samples:
            counts[sample.cell] = counts.get(sample.cell, 0) + 1
        return counts


def build_plan(suite: Suite, run_seed: int, bank: BankView = UNBUILT, items: Items = MappingProxyType({})) -> Plan:
    """Lay out every sample of a suite. `items` are needed for its tasks of somebody else.

    Raises:
        ContentError: an unknown scenario or variant, or two blocks that plan the same cell.
    """
    columns: list[Iterator[PlannedSample]] = []
    conditions: dict[str, Condition] = {}
    seen: set[tuple[str, str, str]] = set()
    sampling = suite.sampling.build()
    for number, block in enumerate(suite.blocks):
        source = _source(block, items)
        for variant in block.variants:
            for condition in block.grid.conditions():
                cell = _cell(source, variant, condition, bank)
                name = (cell.scenario, cell.variant, cell.condition)
                if name in seen:
                    raise ContentError(
                        "Two blocks plan the same cell, so its samples would be counted twice.",
                        where=f"suite {suite.id}, blocks.{number}",
                        got="/".join(name),
                        fix="give the cell to one block only",
                    )
                seen.add(name)
                conditions[condition.id] = condition
                columns.append(_column(_Cell(source, cell, condition, sampling), block, run_seed, bank))
    rows = chain.from_iterable(zip_longest(*columns))
    return Plan(tuple(sample for sample in rows if sample is not None), conditions)


def rubrics_of(samples: Iterable[PlannedSample]) -> list[tuple[str, str]]:
    """Each (family, rubric) that the samples have, once; an empty name where a judge has no question to ask."""
    return sorted({(sample.cell.family, sample.rubric or "") for sample in samples})


class _Task(NamedTuple):
    """A task of somebody else in the place of a scenario."""

    id: str
    items: tuple[Item, ...]


class _Cell(NamedTuple):
    source: Scenario | _Task
    key: CellKey
    condition: Condition
    sampling: Sampling


def _source(block: Block, items: Items) -> Scenario | _Task:
    if block.task is not None:
        return _Task(block.task.scenario, items[block.task.scenario])
    assert block.scenario is not None  # a block has one or the other
    scenario = load_scenario(block.scenario)
    form = block.form or scenario.form
    return scenario if form == scenario.form else scenario.in_form(form)


def _cell(source: Scenario | _Task, variant: str, condition: Condition, bank: BankView) -> CellKey:
    steering = condition.steering
    return CellKey(
        scenario=source.id,
        variant=variant,
        role="main" if isinstance(source, _Task) else source.variant(variant).role,
        condition=condition.id,
        kind=condition.kind,
        family=EXTERNAL.id if isinstance(source, _Task) else source.family,
        concept=steering.concept if steering else None,
        strength=steering.strength if steering else 0.0,
        layers=(steering.layers or bank.steer_layers) if steering else (),
        span=steering.span if steering else "all",
        op=steering.op if steering else "add",
    )


def _column(cell: _Cell, block: Block, run_seed: int, bank: BankView) -> Iterator[PlannedSample]:
    """The samples of one cell. Draws are shared by all variants and conditions of a scenario."""
    steering = cell.condition.steering
    treatment = {
        "sampling": repr(cell.sampling),
        "steering": repr(steering),
        "layers": cell.key.layers,
        "vector": bank.fingerprint(steering) if steering else None,
    }
    for index in range(block.samples):
        if isinstance(cell.source, _Task):
            yield _repeat(cell.source, cell.key, (run_seed, index), treatment)
        else:
            yield _draw(cell.source, cell.key, (run_seed, index), treatment)


def _draw(scenario: Scenario, key: CellKey, at: tuple[int, int], treatment: Mapping[str, object]) -> PlannedSample:
    run_seed, index = at
    rendered = scenario.render(key.variant, scenario.draw_seed(run_seed, index))
    seed = derive_seed(run_seed, scenario.id, key.variant, index)
    world = {"form": scenario.form, "files": rendered.files, "hidden": rendered.hidden}
    content = sha256_json({"messages": rendered.messages, "seed": seed, **treatment, **world})
    return PlannedSample(
        id=sample_id(scenario.id, key.variant, key.condition, content, index),
        cell=key,
        index=index,
        seed=seed,
        messages=rendered.messages,
        facts=rendered.facts,
        rubric=scenario.rubric,
        form=scenario.form,
        files=rendered.files,
        hidden=rendered.hidden,
    )


def _repeat(task: _Task, key: CellKey, at: tuple[int, int], treatment: Mapping[str, object]) -> PlannedSample:
    """One repeat of a dataset's sample: the index counts through the dataset, again and again."""
    run_seed, index = at
    item = task.items[index % len(task.items)]
    seed = derive_seed(run_seed, task.id, key.variant, index)
    content = sha256_json({"item": item.sha256, "seed": seed, **treatment})
    return PlannedSample(
        id=sample_id(task.id, key.variant, key.condition, content, index),
        cell=key,
        index=index,
        seed=seed,
        messages=item.messages,
        facts={},
        rubric=None,
        item=item.id,
        item_sha256=item.sha256,
    )
