"""The Inspect provider: conditions by id, true usage, nothing loaded before it is needed."""

import subprocess
import sys
from typing import Any

import anyio
import numpy as np
import pytest
from inspect_ai import eval as inspect_eval
from inspect_ai.event import ModelEvent
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageTool,
    ChatMessageUser,
    GenerateConfig,
    get_model,
)
from inspect_ai.tool import ToolCall, ToolChoice, ToolFunction, ToolInfo

from evalharness.concepts import ConceptBank
from evalharness.content import load_module
from evalharness.errors import PromptTooLongError, UsageError
from evalharness.provider import SteeredAPI
from evalharness.testing import tiny_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("provider") / "llama", model_length=2048)


ASKED: tuple[ChatMessage, ...] = (ChatMessageUser(content="Please read this."),)
SEND = ToolInfo(name="send", description="send a mail")


def generate(
    folder,
    config: GenerateConfig,
    tools: tuple[ToolInfo, ...] = (),
    choice: ToolChoice = "auto",
    messages: tuple[ChatMessage, ...] = ASKED,
    **args: Any,
):
    """One call through the provider itself."""
    api = get_model(f"steered/{folder}", memoize=False, **args).api
    assert isinstance(api, SteeredAPI)

    async def call():
        return await api.generate(list(messages), list(tools), choice, config)

    output, _ = anyio.run(call)
    return output


def test_usage_and_stop_reason_are_those_of_the_row(folder):
    """No padded lengths, and a reply cut by the limit says so."""
    output = generate(folder, GenerateConfig(max_tokens=7, seed=1))

    assert output.usage.output_tokens in range(1, 8)
    assert output.usage.total_tokens == output.usage.input_tokens + output.usage.output_tokens
    assert output.stop_reason == ("max_tokens" if output.usage.output_tokens == 7 else "stop")
    assert output.metadata["receipt"]["applied"] == 0


def test_seeds_decide_the_reply(folder):
    """The same seed repeats a reply, another one changes it."""
    first, again, other = (generate(folder, GenerateConfig(max_tokens=12, seed=seed)).completion for seed in (3, 3, 4))

    assert first == again
    assert first != other


def test_an_unknown_condition_is_refused(folder):
    """It must not be served unsteered."""
    with pytest.raises(UsageError, match=r"desperate\+0\.1"):
        generate(folder, GenerateConfig(extra_body={"steering": "desperate+0.1"}))


def test_unknown_keys_options_forced_tools_and_arguments_are_refused(folder):
    """What the provider cannot do is never ignored in silence."""
    with pytest.raises(UsageError, match="sterring"):
        generate(folder, GenerateConfig(extra_body={"sterring": "baseline"}))
    with pytest.raises(UsageError, match="num_choices"):
        generate(folder, GenerateConfig(num_choices=2))
    with pytest.raises(UsageError, match="forced"):
        generate(folder, GenerateConfig(), (SEND,), choice="any")
    with pytest.raises(UsageError, match="send"):
        generate(folder, GenerateConfig(), (SEND,), choice=ToolFunction(name="send"))
    with pytest.raises(UsageError, match="bnak"):
        get_model(f"steered/{folder}", memoize=False, bnak="x")


def test_tools_are_told_and_a_choice_of_none_tells_none(folder):
    """The prompt grows by the tools; without them, and where none may be called, it is the same as ever."""
    config = GenerateConfig(max_tokens=2)
    plain, none, told = (
        generate(folder, config),
        generate(folder, config, (SEND,), "none"),
        generate(folder, config, (SEND,)),
    )

    assert plain.usage.input_tokens == none.usage.input_tokens < told.usage.input_tokens
    assert plain.completion == none.completion


def test_calls_and_results_of_earlier_turns_are_told_again(folder):
    """Also where no tool may be called any more."""
    call = ToolCall(id="call00100", function="send", arguments={"to": "Ann"})
    done = (
        *ASKED,
        ChatMessageAssistant(content="", tool_calls=[call]),
        ChatMessageTool(content="Sent.", function="send"),
    )
    before = generate(folder, GenerateConfig(max_tokens=2))
    after = generate(folder, GenerateConfig(max_tokens=2), messages=done)

    assert after.usage.input_tokens > before.usage.input_tokens + 10


def test_a_conversation_that_outgrows_the_context_ends_and_a_first_prompt_fails(folder):
    """An agent that reads too much was asked and is cut off; a prompt that never fitted is an error."""
    long = ChatMessageUser(content="Please read this. " * 2000)
    output = generate(folder, GenerateConfig(), messages=(*ASKED, ChatMessageAssistant(content="Yes?"), long))

    assert (output.stop_reason, output.completion) == ("model_length", "")
    with pytest.raises(PromptTooLongError):
        generate(folder, GenerateConfig(), messages=(long,))


def test_a_steered_condition_needs_a_bank(folder, tmp_path):
    """The message names the argument that is missing."""
    table = tmp_path / "conditions.json"
    table.write_text('{"calm+0.1": {"concept": "calm", "strength": 0.1}}')

    with pytest.raises(UsageError, match="-M bank"):
        generate(folder, GenerateConfig(extra_body={"steering": "calm+0.1"}), conditions=str(table))


def test_traces_and_log_probabilities_come_with_the_output(folder, tmp_path):
    """The trace is in the metadata, log-probabilities where Inspect looks for them; a malformed trace is refused."""
    bank = ConceptBank.from_arrays({"calm": np.eye(1, 32)}, layers=[1], mean_norms=[5.0])
    bank.save(tmp_path / "bank")
    config = GenerateConfig(max_tokens=5, logprobs=True, extra_body={"trace": {"concepts": ["calm"], "series": True}})
    output = generate(folder, config, bank=str(tmp_path / "bank"))

    (trace,) = output.metadata["trace"]
    assert (trace["concept"], trace["layer"]) == ("calm", 1)
    assert len(trace["series"]) == output.usage.total_tokens - 1
    logprobs = output.choices[0].logprobs.content
    assert len(logprobs) == output.usage.output_tokens
    assert all(one.logprob < 0 for one in logprobs)
    with pytest.raises(UsageError, match="concepts"):
        generate(folder, GenerateConfig(extra_body={"trace": {"concept": "calm"}}), bank=str(tmp_path / "bank"))


def test_naming_a_model_loads_no_torch(folder):
    """`inspect score` and `--help` must not pay for weights they do not use."""
    code = (
        "import sys; from inspect_ai.model import get_model; "
        f"get_model('steered/{folder}', memoize=False); sys.exit('torch' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_task_runs_as_any_inspect_task(folder, tmp_path):
    """The log carries the registry name and the version of this package, and every sample is scored."""
    task = load_module("tasks", "blackmail").blackmail(samples=2)
    (log,) = inspect_eval(task, model=f"steered/{folder}", log_dir=str(tmp_path), display="none", max_tokens=8)

    assert (log.status, log.eval.task) == ("success", "evalharness/blackmail")
    assert "evalharness" in log.eval.packages
    assert all((sample.scores or {})["rule_scorer"].value for sample in log.samples or [])
    assert len(log.samples or []) == 2
    (sample, _) = log.samples or []
    (event,) = [event for event in sample.events if isinstance(event, ModelEvent)]
    assert event.call is not None
    facts: Any = (event.call.response or {})["engine"]
    assert (facts["dtype"], facts["decode"]) == ("float32", "shared prompts")
    assert facts["rows"] in (1, 2)
