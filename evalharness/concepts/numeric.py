"""Numeric templates: one number in a message grows, and the concepts should rise and fall as its meaning says.

Reported, never required: six templates give about a dozen signs, those of one template hang together, and a model that
knows little of medicine or money fails them with good vectors. A table far from chance, either way, is worth a look.
Cosines rank the values as projections would while the number moves the residual less than the templates differ.
N messages, K layers, D width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field, field_validator

from evalharness.concepts.assistant import assistant_prompts
from evalharness.concepts.bank import ConceptBank
from evalharness.concepts.battery_record import Numeric, NumericSign, Sign
from evalharness.concepts.reading import Float64, last_residuals
from evalharness.concepts.story_vectors import centred, cosines

if TYPE_CHECKING:
    from evalharness.engine import Engine


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NumericTemplate(_Record):
    """A message with a place for a number, and which concepts should go up or down as it grows."""

    name: str
    text: str
    values: Annotated[tuple[float | int, ...], Field(min_length=3)]
    """In rising order."""
    expected: Annotated[dict[str, Literal["up", "down"]], Field(min_length=1)]

    @field_validator("text")
    @classmethod
    def _has_a_place(cls, text: str) -> str:
        if text.count("{x}") != 1:
            raise ValueError("the text needs {x} exactly once")
        return text

    @field_validator("values")
    @classmethod
    def _rises(cls, values: tuple[float | int, ...]) -> tuple[float | int, ...]:
        if any(left >= right for left, right in pairwise(values)):
            raise ValueError("the values must rise")
        return values

    def messages(self) -> list[str]:
        """The message with each value."""
        return [self.text.replace("{x}", str(value)) for value in self.values]


class NumericTemplates(_Record):
    """`corpora/numeric_templates.yaml`."""

    schema_: Literal["numeric-templates/1"] = Field(alias="schema")
    templates: Annotated[tuple[NumericTemplate, ...], Field(min_length=1)]


def read_numeric(engine: Engine, bank: ConceptBank, templates: Sequence[NumericTemplate]) -> Numeric | None:
    """The sign table of the templates whose concepts the bank has; None where there is no such template.

    Residuals are centred over the templates (the mean of their means), vectors over all concepts of the bank.
    """
    usable = [template for template in templates if set(template.expected) & set(bank.concepts)]
    messages = [message for template in usable for message in template.messages()]
    prompts = assistant_prompts(engine, messages)
    if not usable or len(prompts.ids_N) < len(messages):
        return None
    at_NKD = last_residuals(engine, prompts.ids_N, bank.steer_layers)
    ends = np.cumsum([len(template.values) for template in usable])
    parts = np.split(at_NKD, ends[:-1])
    centre_KD = np.mean([part_NKD.mean(0) for part_NKD in parts], axis=0)
    vectors_CKD = centred(
        np.stack([[bank.vector(name, layer) for layer in bank.steer_layers] for name in bank.concepts])
    )
    signs = []
    for template, part_NKD in zip(usable, parts, strict=True):
        table_NC = cosines(part_NKD - centre_KD, vectors_CKD)
        for concept, expected in template.expected.items():
            if concept in bank.concepts:
                rho = spearman(template.values, table_NC[:, bank.concepts.index(concept)])
                signs.append(_line(template.name, concept, expected, rho))
    agree = sum(sign.agrees for sign in signs)
    return Numeric(
        prompt=prompts.form, signs=tuple(signs), n_agree=agree, n=len(signs), p_value=sign_test(agree, len(signs))
    )


def spearman(left: ArrayLike, right: ArrayLike) -> float | None:
    """Rank correlation, ties at their mean rank; None where one side does not vary."""
    ranks = [_ranks(side) for side in (left, right)]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1].clip(-1, 1))


def _ranks(values: ArrayLike) -> Float64:
    """From 1, ties at their mean rank."""
    _, place, count = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    result: Float64 = (np.cumsum(count) - (count - 1) / 2)[place]
    return result


def sign_test(agree: int, n: int) -> float:
    """Chance that at least `agree` of `n` fair coins fall right."""
    return float(sum(math.comb(n, k) for k in range(agree, n + 1)) / 2**n)


def _line(template: str, concept: str, expected: Literal["up", "down"], rho: float | None) -> NumericSign:
    got: Sign = "flat" if rho is None or rho == 0 else "up" if rho > 0 else "down"
    return NumericSign(
        template=template, concept=concept, expected=expected, spearman=rho, got=got, agrees=got == expected
    )
