"""Implicit scenarios: a model told a situation should point along the vector of the feeling that it implies.

Required to pass, because it is the one part in which the bank's own vectors meet texts of another kind than those
they were made from: a message to an assistant instead of a story. Both sides are centred, the residuals over the
scenarios and the vectors over the targets: what every such message shares otherwise drowns the differences.
N scenarios, C targets, K layers, D width.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evalharness.concepts.assistant import assistant_prompts
from evalharness.concepts.battery_record import ImplicitReading, PromptForm
from evalharness.concepts.check import permutation_p
from evalharness.concepts.reading import Float64, last_residuals
from evalharness.concepts.story_vectors import centred, cosines
from evalharness.errors import BankError

if TYPE_CHECKING:
    from evalharness.engine import Engine

ScenarioRow = Mapping[str, Any]
"""`concept` and `text`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenarios:
    """The scenarios of the concepts that can be judged."""

    targets: tuple[str, ...]
    label_N: NDArray[np.intp]
    ids_N: tuple[tuple[int, ...], ...]
    n_too_long: int
    form: PromptForm


def choose_scenarios(engine: Engine, rows: Sequence[ScenarioRow], known: Collection[str]) -> Scenarios:
    """Render the scenarios whose concept is `known`, without those that exceed the model's context.

    Raises:
        BankError: a row without its fields.
    """
    for number, row in enumerate(rows):
        if not row.get("concept") or not row.get("text"):
            raise BankError(
                "A scenario lacks a field.", expected="concept, text", got=", ".join(row), where=f"scenario {number}"
            )
    used = [row for row in rows if row["concept"] in known]
    prompts = assistant_prompts(engine, [str(row["text"]) for row in used])
    concepts = [str(used[place]["concept"]) for place in prompts.places_N]
    targets = tuple(dict.fromkeys(concepts))
    return Scenarios(
        targets=targets,
        label_N=np.array([targets.index(concept) for concept in concepts], dtype=np.intp),
        ids_N=prompts.ids_N,
        n_too_long=len(used) - len(concepts),
        form=prompts.form,
    )


def read_scenarios(
    engine: Engine, scenarios: Scenarios, vectors_CKD: Float64, layers: Sequence[int], permutations: int
) -> ImplicitReading:
    """Read the scenarios at their last token with the targets' vectors at these layers."""
    return judge_scenarios(
        last_residuals(engine, scenarios.ids_N, layers), scenarios, vectors_CKD, layers, permutations
    )


def judge_scenarios(
    at_NKD: Float64, scenarios: Scenarios, vectors_CKD: Float64, layers: Sequence[int], permutations: int
) -> ImplicitReading:
    """The target of the highest centred cosine is what a scenario is read as."""
    label_N, count = scenarios.label_N, len(scenarios.targets)
    # The centre is the mean of the concepts' means, so that a concept with many scenarios does not pull it.
    centre_KD = np.stack([at_NKD[label_N == target].mean(0) for target in range(count)]).mean(0)
    table_NC = cosines(at_NKD - centre_KD, centred(vectors_CKD))
    read_N = table_NC.argmax(1)
    by_concept = np.stack([table_NC[label_N == target].mean(0) for target in range(count)])
    return ImplicitReading(
        layers=tuple(layers),
        top1=float((read_N == label_N).mean()),
        p_value=permutation_p(read_N, label_N, permutations),
        cosines=tuple(tuple(map(float, row)) for row in by_concept.T),
    )
