"""Telling tools and reading calls: every form, broken forms, and input that is made to break a reader."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import anyio
import pytest
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    GenerateConfig,
    get_model,
)
from inspect_ai.tool import ToolCall, ToolCallError, ToolInfo, ToolParams

from evalharness.callforms import find_calls
from evalharness.engine import Engine
from evalharness.errors import ModelError
from evalharness.testing import CHAT_TEMPLATE, tiny_checkpoint
from evalharness.toolcalls import (
    MAX_CALLS,
    Reading,
    chat_in_words,
    chat_with_calls,
    has_calls,
    read_reply,
    schemas,
)

PARAMETERS = ToolParams.model_validate(
    {"properties": {"to": {"type": "string", "description": "who"}, "n": {"type": "integer"}}, "required": ["to"]}
)
TOOLS = [
    ToolInfo(name="send_mail", description="Send a mail.", parameters=PARAMETERS),
    ToolInfo(name="wait", description="Do nothing."),
]
SEND = {"to": "Ann", "n": 2}


def read(text: str) -> Reading:
    return read_reply(text, TOOLS, turn=3)


def asked(text: str) -> list[tuple[str, dict[str, Any]]]:
    calls = read(text).calls
    assert not any(call.parse_error for call in calls), calls
    return [(call.function, call.arguments) for call in calls]


def error(text: str) -> ToolCall:
    (call,) = read(text).calls
    assert call.parse_error
    return call


def hermes(value: Any) -> str:
    return f"<tool_call>\n{json.dumps(value)}\n</tool_call>"


HERMES = hermes({"name": "send_mail", "arguments": SEND})


@pytest.mark.parametrize(
    "text",
    [
        HERMES,
        HERMES.removesuffix("</tool_call>"),
        hermes({"name": "send_mail", "parameters": SEND}),
        hermes({"name": "send_mail", "arguments": json.dumps(SEND)}),
        hermes({"type": "function", "function": {"name": "send_mail", "arguments": SEND}}),
        hermes([{"name": "send_mail", "arguments": SEND}]),
        json.dumps({"name": "send_mail", "parameters": SEND}),
        json.dumps({"type": "function", "name": "send_mail", "parameters": SEND}, indent=2),
        "<|python_tag|>" + json.dumps({"name": "send_mail", "parameters": SEND}),
        "[TOOL_CALLS]" + json.dumps([{"name": "send_mail", "arguments": SEND}]),
        "[TOOL_CALLS] " + json.dumps([{"name": "send_mail", "arguments": SEND, "id": "abcdefghi"}]),
        json.dumps([{"name": "send_mail", "arguments": SEND}]),
        "[TOOL_CALLS]send_mail[ARGS]" + json.dumps(SEND),
        "[TOOL_CALLS]send_mail[CALL_ID]abcdefghi[ARGS]" + json.dumps(SEND),
        "send_mail" + json.dumps(SEND),
    ],
)
@pytest.mark.parametrize("before", ["", "<scratchpad>I shall write to Ann.</scratchpad>\n"])
def test_every_form_is_read(text, before):
    """One call, its arguments, and the rest of the text as it was."""
    reading = read(before + text)

    assert [(call.function, call.arguments, call.parse_error) for call in reading.calls] == [("send_mail", SEND, None)]
    assert reading.text == before.strip()


def test_several_calls_keep_their_order_and_get_ids_of_their_own():
    """In each form, and with words between them."""
    send, wait = {"name": "send_mail", "arguments": SEND}, {"name": "wait", "arguments": {}}
    expected = [("send_mail", SEND), ("wait", {})]
    forms = [
        f"First.\n{hermes(send)}\nThen.\n{hermes(wait)}\nDone.",
        f"{hermes(send)}{hermes(wait)}".replace("</tool_call>", ""),
        hermes([send, wait]),
        f"{json.dumps(send)}\n{json.dumps(wait)}",
        json.dumps([send, wait]),
        "[TOOL_CALLS]" + json.dumps([send, wait]),
        f"[TOOL_CALLS]send_mail[ARGS]{json.dumps(SEND)}[TOOL_CALLS]wait[ARGS]{{}}",
        f"send_mail{json.dumps(SEND)}wait{{}}",
    ]
    for form in forms:
        assert asked(form) == expected
    reading = read(forms[0])
    assert [line for line in reading.text.split("\n") if line] == ["First.", "Then.", "Done."]
    assert [call.id for call in reading.calls] == ["call00300", "call00301"]
    assert read_reply(forms[0], TOOLS, 5).calls[0].id != reading.calls[0].id


@pytest.mark.parametrize(
    "text",
    [
        "I will not do this.",
        "",
        '{"answer": 4, "why": "two and two"}',
        '{"name": "Ann Lee", "age": 40}',
        "[1] See the note. {so to speak}",
        "They write {x} and [y].\n[not json\n{nor: this}",
        "The words send_mail {to} are in the manual.",
        "See <tool_response>nothing</tool_response>.",
        "[]",
    ],
)
def test_other_text_is_no_call(text):
    """Prose, other JSON and half-written brackets stay text, to the byte."""
    assert read(text) == Reading(text, [])


@pytest.mark.parametrize(
    "text",
    [
        f"<scratchpad>Perhaps {HERMES}?</scratchpad>\nNo.",
        f"<think>{HERMES}</think>No.",
        f"The prompt opened it. {HERMES}</think>No.",
        '<scratchpad>\n{"name": "send_mail", "parameters": {"to": "Ann"}}\n</scratchpad>No.',
        '<scratchpad>[TOOL_CALLS][{"name": "send_mail", "arguments": {}}]</scratchpad>No.',
    ],
)
def test_a_call_that_was_only_thought_is_none(text):
    """What stands in a closed scratchpad was weighed, not done."""
    assert read(text) == Reading(text, [])


def test_tags_among_the_arguments_change_nothing():
    """A mail may speak of tags: neither does it end its own call, nor is it read as a thought."""
    arguments = {"to": "Ann", "body": 'a </tool_call> b <tool_call> c <think>d</think> "e" [TOOL_CALLS]'}

    assert asked(hermes({"name": "send_mail", "arguments": arguments}) + HERMES) == [
        ("send_mail", arguments),
        ("send_mail", SEND),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<tool_call>{'name': 'send_mail'}</tool_call>", "double quotes"),
        ('<tool_call>{"name": "send_mail", "arguments": {"to": "Ann"</tool_call>', "delimiter"),
        ('<tool_call>{"name": "send_mail", "arguments": [1]}</tool_call>', "must be a JSON object"),
        ('<tool_call>{"name": "send_mail", "arguments": "Ann"}</tool_call>', "Expecting value"),
        ('<tool_call>{"arguments": {}}</tool_call>', "name of a tool"),
        ('<tool_call>{"name": 4}</tool_call>', "name of a tool"),
        ('<tool_call>{"name": "rm -rf /\\n"}</tool_call>', "name of a tool"),
        ("<tool_call>7</tool_call>", "name of a tool"),
        ("<tool_call>[]</tool_call>", "empty list"),
        ("<tool_call>", "Expecting value"),
        ('<tool_call>{"name": "wait"} and then</tool_call>', "follows"),
        ('<tool_call>{"name": "wait", "arguments": {"n": NaN}}</tool_call>', "NaN"),
        ('<tool_call>{"name": "wait", "arguments": {"n": ' + "9" * 5000 + "}}</tool_call>", "cannot be read"),
        ('<tool_call>{"name": "wait", "arguments": {"to": "\\ud800"}}</tool_call>', "surrogate"),
        ('<tool_call>{"name": "wait", "arguments": {"\\udfff": 1}}</tool_call>', "surrogate"),
        ('<tool_call>{"name": "wait", "arguments": {"a": ' + "[" * 90 + "]" * 90 + "}}</tool_call>", "nested"),
        ('<tool_call>{"name": "wait", "arguments": {"a": ' + "[" * 99999, "nested"),
        ("[TOOL_CALLS]oops", "Expecting value"),
        ("[TOOL_CALLS]", "Expecting value"),
        ("[TOOL_CALLS][]", "empty list"),
        ('[TOOL_CALLS]send_mail[ARGS]{"to": ', "Expecting value"),
        ('{"name": "send_mail", "parameters": {"to": "Ann"', "delimiter"),
    ],
)
def test_a_broken_call_becomes_a_call_with_its_error(text, says):
    """It is never an exception and never lost, and what it says can be written into a log."""
    call = error(text)

    assert says in call.parse_error  # type: ignore[operator]
    assert call.arguments == {}
    assert len(call.parse_error or "") < 4096
    (call.parse_error or "").encode()


def test_a_broken_call_keeps_its_name_and_its_neighbours():
    """The model is told which call failed; those beside it are done."""
    reading = read('<tool_call>{"name": "send_mail", "arguments": {]</tool_call>' + HERMES)

    assert [(call.function, bool(call.parse_error)) for call in reading.calls] == [
        ("send_mail", True),
        ("send_mail", False),
    ]


def test_too_many_calls_are_answered_with_one_error():
    """The first ones are done, and the model is told that the others were not."""
    calls = read(HERMES * (MAX_CALLS + 40)).calls

    assert len(calls) == MAX_CALLS + 1
    assert [bool(call.parse_error) for call in calls] == [False] * MAX_CALLS + [True]
    assert len({call.id for call in calls}) == len(calls)
    assert all(len(call.id) == 9 and call.id.isalnum() for call in calls)


HOSTILE = {
    "open tags": "<tool_call>",
    "open tags with a brace": "<tool_call>{",
    "open tags with a string": '<tool_call>{"a":"',
    "open tags with a list": '<tool_call>[1,"',
    "close tags": "</tool_call>",
    "thoughts": "<think>",
    "ends of thoughts": "</think>",
    "thoughts and ends": "<think></scratchpad>",
    "braces": "{",
    "lines of braces": "{\n",
    "lines of brackets": "[\n",
    "lines of names": '{"name":\n',
    "lines of lists": '{"name":[\n',
    "lines of tools": '{"name": "send_mail", "parameters": {"a": [\n',
    "spaces": " ",
    "lines of spaces": " " * 99 + "x\n",
    "marks": "[TOOL_CALLS]",
    "marks and names": "[TOOL_CALLS]send_mail[ARGS]{",
    "names": "send_mail{",
    "names with arguments": "send_mail{}",
    "tags": "<|python_tag|>",
    "quotes": '"name":"',
    "digits": "9",
    "escapes": '<tool_call>"\\',
}


@pytest.mark.parametrize("unit", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_replies_are_read_in_linear_time(unit):
    """Nothing raises, and a million characters take a second or two, where a square would take minutes."""
    text = (unit * (1_000_000 // len(unit) + 1))[:1_000_000]
    start = time.process_time()
    read(text)

    assert time.process_time() - start < 5


def test_names_are_those_of_the_tools():
    """Without a mark, a name with JSON behind it is a call only if there is such a tool."""
    assert find_calls("print{}", {"send_mail"}) == []
    assert len(find_calls("send_mail{}", {"send_mail"})) == 1


CONVERSATION: list[ChatMessage] = [
    ChatMessageSystem(content="You do the mail."),
    ChatMessageUser(content="Go."),
    ChatMessageAssistant(
        content="Both.",
        tool_calls=[
            ToolCall(id="call00200", function="send_mail", arguments=SEND),
            ToolCall(id="call00201", function="wait", arguments={}),
        ],
    ),
    ChatMessageTool(content="Sent.", tool_call_id="call00200", function="send_mail"),
    ChatMessageTool(
        content="", tool_call_id="call00201", function="wait", error=ToolCallError(type="parsing", message="Not now.")
    ),
]


def test_in_words_tools_calls_and_results_are_all_there():
    """The system message tells the tools, calls are in the form that is read, results are the user's turn."""
    system, user, assistant, results = chat_in_words(CONVERSATION, TOOLS)

    assert system["content"].startswith("You do the mail.\n\n")
    told = [json.loads(line) for line in system["content"].split("\n") if line.startswith('{"name"')]
    assert told == [schema["function"] for schema in schemas(TOOLS)]
    assert user == {"role": "user", "content": "Go."}
    assert asked(assistant["content"]) == [("send_mail", SEND), ("wait", {})]
    assert results["role"] == "user"
    assert results["content"].count("<tool_response>") == 2
    assert "Sent." in results["content"]
    assert "Error: Not now." in results["content"]


def test_without_a_system_message_the_first_message_tells_the_tools():
    """Some templates know no system role."""
    (user,) = chat_in_words([ChatMessageUser(content="Go.")], TOOLS)

    assert user["role"] == "user"
    assert user["content"].endswith("\n\nGo.")
    assert "send_mail" in user["content"]


def test_messages_without_tools_stay_as_they_are():
    """No word is added where no tool is told."""
    plain = CONVERSATION[:2]

    assert not has_calls(plain)
    assert has_calls(CONVERSATION)
    assert chat_in_words(plain, []) == [{"role": m.role, "content": m.text} for m in plain]


def test_one_by_one_every_call_stands_before_its_result():
    """For templates that allow one call per message."""
    chat = chat_with_calls(CONVERSATION, one_by_one=True)

    assert [message["role"] for message in chat[2:]] == ["assistant", "tool", "assistant", "tool"]
    names = [message["tool_calls"][0]["function"]["name"] for message in chat if "tool_calls" in message]
    assert names == ["send_mail", "wait"]
    assert len(chat_with_calls(CONVERSATION)) == 5


KNOWS_TOOLS = (
    "{% if tools %}<|system|>{% for tool in tools %}{{ tool | tojson }}{% endfor %}<|end|>{% endif %}"
    "{% for message in messages %}<|{{ 'user' if message['role'] == 'tool' else message['role'] }}|>"
    "{{ message['content'] }}{% if message.tool_calls %}"
    "{% if ONE and message.tool_calls|length > 1 %}{{ raise_exception('one call only') }}{% endif %}"
    "{% for call in message.tool_calls %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}{% endif %}"
    "<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def engine_with(folder: Path, template: str) -> Engine:
    tiny_checkpoint(folder, model_length=2048)
    config = folder / "tokenizer_config.json"
    told = json.loads(config.read_text())
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    config.write_text(json.dumps({**told, "chat_template": template}))
    return Engine.load(folder)


@pytest.mark.usefixtures("one_thread")
def test_a_template_that_knows_tools_is_found_out_and_used(tmp_path):
    """Tools, calls and results go through the checkpoint's own template."""
    with engine_with(tmp_path / "knows", KNOWS_TOOLS) as engine:
        ids = engine.render_chat(chat_with_calls(CONVERSATION), schemas(TOOLS))
        text = "".join(engine.token_texts(ids))

        assert engine.takes_tools
        assert "Send a mail." in text
        assert "Sent." in text
        assert asked(text[text.index("Both.") :])[0] == ("send_mail", SEND)
    with engine_with(tmp_path / "plain", CHAT_TEMPLATE) as engine:
        assert not engine.takes_tools


@pytest.mark.usefixtures("one_thread")
def test_a_template_for_single_calls_refuses_several_and_is_given_them_one_by_one(tmp_path):
    """The refusal is an error of the model; the provider then splits the turn."""
    with engine_with(tmp_path / "one", "{% set ONE = true %}" + KNOWS_TOOLS) as engine:
        with pytest.raises(ModelError, match="one call only"):
            engine.render_chat(chat_with_calls(CONVERSATION), schemas(TOOLS))
        ids = engine.render_chat(chat_with_calls(CONVERSATION, one_by_one=True), schemas(TOOLS))
    api = get_model(f"steered/{tmp_path / 'one'}", memoize=False).api

    async def call() -> Any:
        return await api.generate(CONVERSATION, TOOLS, "auto", GenerateConfig(max_tokens=1))

    output, _ = anyio.run(call)
    assert output.usage.input_tokens == len(ids)
