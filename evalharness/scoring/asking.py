"""Puts a rubric's question to Inspect models: those bound to the role `grader`, all at once, each answer a vote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    Model,
    get_model,
    model_roles,
)
from inspect_ai.util import LimitExceededError, collect

from evalharness.errors import ContentError
from evalharness.scoring.judge import Ask, Judgement, judge
from evalharness.scoring.panel import Panel, Vote
from evalharness.scoring.rubric import Rubric

GRADER = "grader"
"""The role of a judge, bound to a model or to a list; further judges may be bound to grader2, grader3, ..."""
_ROLES = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}


def bound_graders() -> tuple[Model, ...]:
    """The judges of the running evaluation. The model under test is never one of them by default.

    Raises:
        PrerequisiteError: no model has the role.
    """
    bound = model_roles()
    if GRADER not in bound:
        get_model(role=GRADER, required=True)  # Inspect's own message
    names = [GRADER, *sorted((n for n in bound if _is_further(n)), key=lambda n: int(n.removeprefix(GRADER)))]
    found: list[Model] = []
    for name in names:
        models = bound[name]
        found += models if isinstance(models, list) else [models]
    return tuple(found)


def _is_further(role: str) -> bool:
    return role.startswith(GRADER) and role.removeprefix(GRADER).isdigit()


async def ask_panel(
    rubric: Rubric, messages: Sequence[Mapping[str, Any]], facts: Mapping[str, str], graders: Sequence[Model]
) -> Panel:
    """Ask every grader about one transcript. What a grader does wrong costs its own vote only.

    Raises:
        ContentError: the rubric needs a fact that is not there.
    """
    said = await collect(*(_ask_safely(rubric, messages, facts, grader) for grader in graders))
    return Panel(votes=tuple(Vote(grader=str(g), judgement=one) for g, one in zip(graders, said, strict=True)))


async def _ask_safely(
    rubric: Rubric, messages: Sequence[Mapping[str, Any]], facts: Mapping[str, str], grader: Model
) -> Judgement:
    """A grader that fails gives no label, with the error: the transcript is paid for and stays."""
    try:
        return await judge(rubric, messages, facts, _ask(rubric, grader))
    except (LimitExceededError, ContentError):
        raise
    except Exception as error:  # noqa: BLE001 - any failure of the grader's provider becomes a recorded abstention
        return Judgement(
            label=None, outcome=None, replies=(), prompt_sha256="", error=f"{type(error).__name__}: {error}"
        )


def _ask(rubric: Rubric, grader: Model) -> Ask:
    config = GenerateConfig(max_tokens=rubric.max_tokens, temperature=rubric.temperature)

    async def ask(chat: Sequence[Mapping[str, str]]) -> str:
        messages: list[ChatMessage] = [_ROLES[message["role"]](content=message["content"]) for message in chat]
        return (await grader.generate(messages, config=config)).completion

    return ask
