"""The rollout of a workspace scenario: the model works on the simulated machine until it finishes, stops or is stopped."""

from __future__ import annotations

from inspect_ai.solver import Generate, Solver, TaskState, solver

from evalharness.scoring.transcript import CUT_OFF
from evalharness.solving.workspace_state import start
from evalharness.solving.workspace_tools import load_world, save_world, workspace_tools

MAX_TURNS = 16


@solver
def workspace() -> Solver:
    """Let the model call tools, at most 16 replies; a reply without a call or a call of `finish` ends it."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        save_world(state.store, start(state.metadata["files"]))
        state.tools = workspace_tools()
        while True:
            state = await generate(state, tool_calls="single")
            world = load_world(state.store)
            turns = world.turns + 1
            ended = world.ended or _why_over(state, turns)
            save_world(state.store, world.model_copy(update={"turns": turns, "ended": ended}))
            if ended:
                return state

    return solve


def _why_over(state: TaskState, turns: int) -> str:
    if state.output.stop_reason in CUT_OFF:
        return "cut_off"
    if not state.output.message.tool_calls:
        return "reply"
    return "turn_limit" if turns >= MAX_TURNS else ""
