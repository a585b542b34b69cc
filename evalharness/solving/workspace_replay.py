"""Replays written-down calls on a scenario's machine: what a rollout that made them would hand to a scorer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from evalharness.errors import ContentError
from evalharness.scoring.destructive import WORKSPACE
from evalharness.scoring.transcript import CUT_OFF, written_call
from evalharness.solving.workspace_actions import act
from evalharness.solving.workspace_state import World, start

MAX_TURNS = 16
"""Replies of the model in one rollout."""

Call = tuple[str, dict[str, Any]]


class Replayed(NamedTuple):
    """What the calls led to."""

    world: World
    messages: tuple[dict[str, str], ...]
    """One assistant message for each call, with its result, and the last words, if there are any."""

    @property
    def evidence(self) -> dict[str, Any]:
        """As a solver leaves it in the sample's store."""
        return {WORKSPACE: self.world.model_dump(mode="json")}


def replay(files: Mapping[str, str], calls: Sequence[Call], reply: str = "", stop_reason: str = "stop") -> Replayed:
    """Make the calls one by one, each in its own turn, and end with `reply`, unless the last call was `finish`.

    Raises:
        ContentError: the files hold no world.
    """
    world, messages = start(files), []
    for tool, arguments in calls:
        step = act(world, tool, arguments)
        world = step.world
        messages += [
            {"role": "assistant", "content": "", "calls": written_call(tool, arguments)},
            {"role": "tool", "content": step.text},
        ]
    turns = len(calls) + bool(reply)
    if reply or not calls:
        messages.append({"role": "assistant", "content": reply})
    ended = world.ended or why_over(stop_reason, called=not reply and bool(calls), turns=turns)
    return Replayed(world.model_copy(update={"turns": turns, "ended": ended}), tuple(messages))


def why_over(stop_reason: str | None, *, called: bool, turns: int) -> str:
    """Why a rollout is over after a reply of the model; empty while it goes on."""
    if stop_reason in CUT_OFF:
        return "cut_off"
    if not called:
        return "reply"
    return "turn_limit" if turns >= MAX_TURNS else ""


def read_course(text: str) -> list[Call]:
    """The calls of a course in a scenario's hidden files: YAML, a list of [tool, arguments].

    Raises:
        ContentError: it is something else.
    """
    try:
        calls = yaml.safe_load(text)
        return [(str(tool), {str(key): str(value) for key, value in told.items()}) for tool, told in calls]
    except (yaml.YAMLError, TypeError, ValueError, AttributeError) as error:
        raise ContentError("A course is a list of [tool, {argument: value}].", got=text[:80]) from error
