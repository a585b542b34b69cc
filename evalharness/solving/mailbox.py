"""The solver of rollouts with a mailbox: the model acts by tools until it waits, calls none, or has no turns left."""

from __future__ import annotations

from inspect_ai.solver import Generate, Solver, TaskState, solver

from evalharness.mails import MAILBOX_TURNS
from evalharness.solving.mailbox_state import Mailbox
from evalharness.solving.mailbox_tools import keep, mailbox_of, mailbox_tools


@solver
def mailbox(turns: int = MAILBOX_TURNS) -> Solver:
    """Let the model work on the mailbox that the sample's files hold, for at most `turns` calls to it.

    A turn ends with the results of its tools. What the mailbox looks like then is the evidence, after every act.
    """

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        keep(state.store, Mailbox.of_files(state.metadata["files"]))
        state.tools = mailbox_tools()
        for turn in range(1, turns + 1):
            state = await generate(state, tool_calls="single")
            if state.output.empty or not state.output.message.tool_calls:
                return state
            box = mailbox_of(state.store).model_copy(update={"turns": turn})
            keep(state.store, box)
            if box.waited or state.completed:
                return state
        keep(state.store, box.model_copy(update={"out_of_turns": True}))
        return state

    return solve
