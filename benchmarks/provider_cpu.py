"""What stands around generation: the provider `steered/...` beside Inspect's own `hf`, with several `max_connections`.

    python -m benchmarks.provider_cpu [--rounds 3] [--samples 500] [--hf-samples 100]

The model is tiny, so that what stands around it is what takes the time. "calls" are `model.generate` and nothing
else: the provider and Inspect's model layer. "evaluation" is a whole `inspect_ai.eval` with its log. "no model" is an
evaluation that is answered at once: what Inspect itself costs. Half of the samples are steered, under `hf` none.
Writes `benchmarks/results/provider_cpu.json`.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from inspect_ai import Task
from inspect_ai import eval as inspect_eval
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessageUser, GenerateConfig, Model, ModelOutput, ModelUsage, get_model
from rich.console import Console
from transformers.utils.logging import disable_progress_bar

from benchmarks.checkpoints import as_text, random_prompt, small_llama, write_checkpoint
from benchmarks.clock import Clock
from benchmarks.grids import directions
from benchmarks.inspect_hf import gather, hf_model
from benchmarks.results import FOLDER, Results, add_case
from benchmarks.serving import Serve, Server, Serving, print_serving, serve_in_turn
from evalharness.conditions import BASELINE, ConditionTable
from evalharness.engine.session import Session
from evalharness.provider import STEERING_KEY, SteeredAPI
from evalharness.request import Steering
from evalharness.tasking import one_reply
from evalharness.timing import Environment, environment
from evalharness.treatment import PROVIDER

PROMPT_TOKENS, NEW_TOKENS = 1024, 8
CONNECTIONS, HF_CONNECTIONS = (32, 128, 500), (32, 100)
STEERED = "direction 00"
STEERED_CALLS, STEERED_EVALUATION = "steered, calls", "steered, evaluation"
HF_CALLS, HF_EVALUATION, FLOOR = "hf, calls", "hf, evaluation", "no model, evaluation"
ABOUT = "Llama, 4 blocks, width 32, 400 words, random weights, float32; one prompt for all samples"


class ProviderResults(Results[Serving]):
    """Written by `provider_cpu`."""


def main() -> None:
    """Serve, print and write down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--hf-samples", type=int, default=100)
    parser.add_argument("--out", type=Path, default=FOLDER / "provider_cpu.json")
    options = parser.parse_args()
    disable_progress_bar()
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        for name, serving in run(Path(folder), options.samples, options.hf_samples, options.rounds).items():
            add_case(options.out, ProviderResults, ABOUT, name, serving)
            print_serving(name, serving, console)


def run(folder: Path, samples: int, hf_samples: int, rounds: int) -> dict[str, Serving]:
    """All ways to serve, in turn, in one process."""
    with servers(folder, samples, hf_samples) as (ways, facts):
        return {
            name: Serving(
                samples=ways[name].samples,
                prompt_tokens=PROMPT_TOKENS,
                new_tokens=NEW_TOKENS,
                by_connections=found,
                environment=facts(),
            )
            for name, found in serve_in_turn(ways, rounds).items()
        }


@contextmanager
def servers(
    folder: Path, samples: int, hf_samples: int
) -> Iterator[tuple[dict[str, Server], Callable[[], Environment]]]:
    """The ways to serve, with clocks around both kinds of generation while the block is open."""
    config = small_llama()
    write_checkpoint(config, folder)
    text = as_text(random_prompt(config.vocab_size, PROMPT_TOKENS))
    steered, hf = steered_model(folder, config.hidden_size), hf_model(str(folder))
    ours, theirs, none = Clock(), Clock(), Clock()
    logs = str(folder / "logs")
    some = tuple(sorted({min(count, samples) for count in CONNECTIONS}))
    fewer = tuple(sorted({min(count, hf_samples) for count in HF_CONNECTIONS}))
    api: Any = hf.api
    with ExitStack() as open_clocks:
        open_clocks.enter_context(ours.on(Session, "step"))
        open_clocks.enter_context(theirs.on(api.model, "generate"))
        ways = {
            STEERED_CALLS: Server(serve=by_calls(steered, text), clock=ours, samples=samples, connections=some),
            HF_CALLS: Server(serve=by_calls(hf, text), clock=theirs, samples=hf_samples, connections=fewer),
            STEERED_EVALUATION: Server(
                serve=by_evaluation(steered, text, logs), clock=ours, samples=samples, connections=some
            ),
            HF_EVALUATION: Server(
                serve=by_evaluation(hf, text, logs), clock=theirs, samples=hf_samples, connections=fewer
            ),
            FLOOR: Server(
                serve=by_evaluation(instant_model(), text, logs), clock=none, samples=samples, connections=some
            ),
        }
        yield ways, lambda: steered_environment(steered)


def steered_model(folder: Path, d_model: int) -> Model:
    """Our provider with a bank of one direction and a table of one condition beside the baseline."""
    directions(d_model, 1, 1).save(folder / "bank")
    table = folder / "conditions.json"
    ConditionTable({STEERED: Steering(STEERED, 0.05, layers=(1,), span="generation")}).save(table)
    options: dict[str, Any] = {"bank": str(folder / "bank"), "conditions": str(table), "device": "cpu"}
    return get_model(f"{PROVIDER}/{folder}", memoize=False, **options)


def instant_model() -> Model:
    """Answers at once, with as many tokens as the others."""

    def answer(*_: object) -> ModelOutput:
        output = ModelOutput.from_content("none", "w1 " * NEW_TOKENS)
        output.usage = ModelUsage(input_tokens=PROMPT_TOKENS, output_tokens=NEW_TOKENS, total_tokens=0)
        return output

    return get_model("mockllm/none", memoize=False, custom_outputs=answer)


def by_calls(model: Model, text: str) -> Serve:
    """Calls of `model.generate`, all asked for at once; Inspect lets so many through as there are connections."""

    def serve(samples: int, connections: int) -> None:
        async def ask(number: int) -> None:
            condition = {STEERING_KEY: condition_of(number)} if model.api.__class__ is SteeredAPI else None
            config = drawing(connections).merge(GenerateConfig(seed=number, extra_body=condition))
            output = await model.generate([ChatMessageUser(content=text)], config=config)
            assert output.usage is not None
            assert output.usage.output_tokens == NEW_TOKENS

        anyio.run(gather, [partial(ask, number) for number in range(samples)])

    return serve


def by_evaluation(model: Model, text: str, logs: str) -> Serve:
    """One `inspect_ai.eval` without a scorer."""
    steers = isinstance(model.api, SteeredAPI)

    def serve(samples: int, connections: int) -> None:
        dataset = MemoryDataset(
            [
                Sample(
                    id=number,
                    input=text,
                    metadata={"condition": condition_of(number) if steers else BASELINE, "seed": number},
                )
                for number in range(samples)
            ]
        )
        task = Task(dataset=dataset, solver=one_reply(), config=drawing(None))
        (log,) = inspect_eval(
            task, model=model, display="none", log_dir=logs, max_connections=connections, max_samples=connections
        )
        if log.status != "success":
            raise RuntimeError(f"the evaluation ended as {log.status}: {log.error}")

    return serve


def condition_of(number: int) -> str:
    """Every second sample is steered."""
    return STEERED if number % 2 else BASELINE


def drawing(connections: int | None) -> GenerateConfig:
    """How replies are drawn, the same for all."""
    return GenerateConfig(max_tokens=NEW_TOKENS, temperature=1.0, top_p=1.0, top_k=0, max_connections=connections)


def steered_environment(model: Model) -> Environment:
    """The machine as the provider's engine uses it: it leaves one processor to the event loop."""
    api = model.api
    assert isinstance(api, SteeredAPI)
    facts = api.worker.call(lambda engine: engine.describe())
    return environment(threads=facts["threads"], device=facts["device_name"], dtype=facts["dtype"])


if __name__ == "__main__":
    main()
