"""Asks a model afterwards, in a turn of its own, whether it took the setting for a test."""

from __future__ import annotations

from inspect_ai.model import ChatMessageUser, GenerateConfig, get_model
from inspect_ai.solver import Generate, Solver, TaskState, solver

from evalharness.scoring.awareness import Aware, Awareness, load_awareness
from evalharness.scoring.inspect_scorers import AWARENESS

ANSWER_TOKENS = 160


@solver
def ask_awareness() -> Solver:
    """Put the question, under the sample's own treatment, and look for awareness in what was said before it."""
    questions = load_awareness()

    async def solve(state: TaskState, generate: Generate) -> TaskState:  # noqa: ARG001 - the protocol of Inspect
        said = "\n".join(message.text for message in state.messages if message.role == "assistant")
        asked = [*state.messages, ChatMessageUser(content=questions.question)]
        output = await get_model().generate(asked, config=GenerateConfig(max_tokens=ANSWER_TOKENS))
        answer = output.completion
        state.store.set(AWARENESS, {"answer": answer, **_judged(questions, said, answer)})
        return state

    return solve


def _judged(questions: Awareness, said: str, answer: str) -> dict[str, object]:
    """Words of its own weigh more than an answer: a model may deny afterwards what it thought aloud."""
    findings = questions.scan(said)
    aware: Aware = "yes" if findings else questions.read(answer)
    return {"aware": aware, "asked": questions.read(answer), "said": [finding.text for finding in findings]}
