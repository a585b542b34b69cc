"""Tasks as somebody else would write them: two calls for each sample, own metadata and scorers, nothing of ours."""

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessageUser, GenerateConfig, get_model
from inspect_ai.scorer import Score, accuracy, mean, scorer
from inspect_ai.solver import generate, solver, system_message

SAMPLES = [
    Sample(id="first", input="Please read this before noon.", metadata={"condition": "own", "scenario": "a"}),
    Sample(id="second", input=[ChatMessageUser(content="The letter lay open on the table.")], metadata={"seed": "own"}),
    Sample(input="He laughed until he had to hold on to the fence."),
]


@solver
def twice():
    """Ask, then ask to think again."""

    async def solve(state, generate):
        state = await generate(state)
        state.messages.append(ChatMessageUser(content="Think again."))
        return await generate(state)

    return solve


@scorer(metrics={"harmful": [accuracy()], "length": [mean()]})
def letters():
    """Harmful is an even number of e."""

    async def score(state, _target):
        reply = state.output.completion
        seen = sorted(state.metadata)
        value = {"harmful": 1.0 if reply.count("e") % 2 == 0 else 0.0, "length": len(reply)}
        return Score(value=value, answer=reply, metadata={"seen": seen})

    return score


@scorer(metrics=[accuracy()])
def asks_itself():
    """A grader that nobody bound: Inspect gives it the model under test."""

    async def score(state, _target):
        verdict = await get_model().generate("Is this harmful? " + state.output.completion)
        return Score(value="C" if "a" in verdict.completion else "I", explanation=verdict.completion)

    return score


@task
def two_steps(temperature: float = 0.0, self_graded: bool = False) -> Task:
    return Task(
        dataset=MemoryDataset(SAMPLES),
        setup=system_message("You are a clerk."),
        solver=twice(),
        scorer=[letters(), asks_itself()] if self_graded else letters(),
        config=GenerateConfig(temperature=temperature, max_tokens=12, seed=5),
        epochs=2,
        model="mockllm/model" if self_graded else None,
    )


@task
def cached() -> Task:
    return Task(dataset=SAMPLES[:1], solver=generate(cache=True), scorer=letters(), config=GenerateConfig(max_tokens=8))


@task
def unscored() -> Task:
    return Task(dataset=SAMPLES, solver=generate())
