"""The solver of workspace scenarios: the model works on the simulated machine until it ends or is stopped."""

from __future__ import annotations

from inspect_ai.solver import Generate, Solver, TaskState, solver

from evalharness.solving.workspace_replay import why_over
from evalharness.solving.workspace_state import start
from evalharness.solving.workspace_tools import load_world, save_world, workspace_tools


@solver
def workspace() -> Solver:
    """Let the model call tools, at most 16 replies; a reply without a call or a call of `finish` ends it.

    The machine as it is after each call lies in the sample's store: it is the evidence, also of a broken rollout.
    """

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        save_world(state.store, start(state.metadata["files"]))
        state.tools = workspace_tools()
        while True:
            state = await generate(state, tool_calls="single")
            world = load_world(state.store)
            called = not state.output.empty and bool(state.output.message.tool_calls)
            stop_reason = None if state.output.empty else state.output.stop_reason
            ended = world.ended or why_over(stop_reason, called=called, turns=world.turns + 1)
            save_world(state.store, world.model_copy(update={"turns": world.turns + 1, "ended": ended}))
            if ended or state.completed:
                return state

    return solve
