"""How tools are told to a checkpoint and how its calls are read back. Inspect's types in and out; no state, no torch.

A template that knows tools gets them as data; every other checkpoint is told in words, in the Hermes form. Calls are
read in every form of `callforms.py`, whichever form they were told in. A call that cannot be read becomes a call with
the reason, as Inspect expects, so that the model is answered.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from inspect_ai.model import ChatMessage, ChatMessageAssistant, ChatMessageTool
from inspect_ai.tool import ToolCall, ToolChoice, ToolInfo

from evalharness.callforms import decode, find_calls, name_in
from evalharness.errors import UsageError

MAX_CALLS = 64
"""Calls that are read of one reply; what follows is answered with one error."""
MAX_DEPTH = 64
"""Nesting of arguments; logs and schemas cope with little more."""
RESULT = "<tool_response>"
"""A checkpoint that was told in words must not write results itself: its reply ends here."""

_SURROGATE = re.compile(r"[\ud800-\udfff]")


class Reading(NamedTuple):
    """One reply, read."""

    text: str
    """What is not a call."""
    calls: list[ToolCall]


def offered(tools: Sequence[ToolInfo], choice: ToolChoice) -> list[ToolInfo]:
    """The tools that a reply may call.

    Raises:
        UsageError: a call is to be forced, which no prompt can do.
    """
    if tools and choice not in ("auto", "none"):
        raise UsageError(
            "A call of a tool cannot be forced.",
            expected="tool_choice auto or none",
            got=choice if isinstance(choice, str) else f"the tool {choice.name}",
        )
    return [] if choice == "none" else list(tools)


def schemas(tools: Sequence[ToolInfo]) -> list[dict[str, Any]]:
    """Tools as chat templates take them: function schemas."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters.model_dump(exclude_none=True),
            },
        }
        for tool in tools
    ]


def has_calls(messages: Sequence[ChatMessage]) -> bool:
    """Whether calls or results of tools are among the messages."""
    return any(message.role == "tool" or (message.role == "assistant" and message.tool_calls) for message in messages)


def chat_with_calls(messages: Sequence[ChatMessage], *, one_by_one: bool = False) -> list[dict[str, Any]]:
    """Messages for a template that knows tools. With `one_by_one` each call has its own message before its result."""
    chat: list[dict[str, Any]] = []
    waiting: dict[str, dict[str, Any]] = {}
    for message in messages:
        if isinstance(message, ChatMessageTool):
            if message.tool_call_id in waiting:
                chat.append({"role": "assistant", "content": "", "tool_calls": [waiting.pop(message.tool_call_id)]})
            name, call_id = message.function or "unknown", message.tool_call_id or ""
            chat.append({"role": "tool", "name": name, "tool_call_id": call_id, "content": _result(message)})
            continue
        entry: dict[str, Any] = {"role": message.role, "content": message.text}
        calls = list(message.tool_calls or ()) if isinstance(message, ChatMessageAssistant) else []
        asked = [
            {"type": "function", "id": call.id, "function": {"name": call.function, "arguments": call.arguments}}
            for call in calls
        ]
        if one_by_one:
            waiting = {call.id: ask for call, ask in zip(calls[1:], asked[1:], strict=True)}
            asked = asked[:1]
        chat.append({**entry, "tool_calls": asked} if asked else entry)
    return chat


def chat_in_words(messages: Sequence[ChatMessage], tools: Sequence[ToolInfo]) -> list[dict[str, str]]:
    """Messages for a template that knows no tools: all in text, and no two of one role in a row."""
    chat: list[dict[str, str]] = []
    for message in messages:
        role, text = message.role, message.text
        if isinstance(message, ChatMessageTool):
            role, text = "user", f"{RESULT}\n{_result(message)}\n</tool_response>"
        elif isinstance(message, ChatMessageAssistant):
            text = "\n".join([text, *map(_in_words, message.tool_calls or ())]).strip()
        if chat and chat[-1]["role"] == role:
            chat[-1]["content"] += f"\n\n{text}"
        else:
            chat.append({"role": role, "content": text})
    if tools and chat:  # some templates know no system role: where there is none, none is made
        place = next((entry for entry in chat if entry["role"] == "system"), chat[0])
        parts = [place["content"], _told(tools)]
        place["content"] = "\n\n".join(parts if place["role"] == "system" else reversed(parts))
    return chat


def read_reply(text: str, tools: Sequence[ToolInfo], turn: int) -> Reading:
    """Take the calls out of a reply.

    Args:
        text: The reply.
        tools: What may be called.
        turn: Number of messages before the reply; makes ids of calls differ between turns.
    """
    found = find_calls(text, {tool.name for tool in tools})
    if not found:
        return Reading(text, [])
    values: list[tuple[Any, str]] = [(one.value, text[one.start : one.end]) for one in found[:MAX_CALLS]]
    if len(found) > MAX_CALLS:
        values.append((ValueError(f"a reply may have at most {MAX_CALLS} calls, and the others were not done"), ""))
    # Nine letters and digits: the one form of id that every template takes.
    calls = [_call(value, said, f"call{turn % 1000:03}{number:02}") for number, (value, said) in enumerate(values)]
    kept, position = [], 0
    for one in found:
        kept.append(text[position : one.start])
        position = one.end
    return Reading("".join([*kept, text[position:]]).strip(), calls)


def _told(tools: Sequence[ToolInfo]) -> str:
    functions = "\n".join(json.dumps(schema["function"], ensure_ascii=False) for schema in schemas(tools))
    return (
        f"You have these tools, one per line as JSON:\n<tools>\n{functions}\n</tools>\n"
        "To use a tool, write its name and its arguments as JSON between these tags; several may follow one another:\n"
        f'<tool_call>{{"name": "...", "arguments": {{...}}}}</tool_call>\n'
        f"Then stop. What the tool answers is given to you between {RESULT} and </tool_response>."
    )


def _in_words(call: ToolCall) -> str:
    asked = json.dumps({"name": call.function, "arguments": call.arguments}, ensure_ascii=False)
    return f"<tool_call>{asked}</tool_call>"


def _result(message: ChatMessageTool) -> str:
    return f"Error: {message.error.message}" if message.error is not None else message.text


def _call(value: Any, said: str, call_id: str) -> ToolCall:
    try:
        name, arguments = _name_and_arguments(value)
        _require_plain(arguments)
    except ValueError as error:
        shown = said if len(said) <= 2048 else f"{said[:1024]} ... {said[-1024:]}"
        return ToolCall(
            id=call_id,
            function=name_in(said[:2048]) or "unknown",
            arguments={},
            parse_error=_SURROGATE.sub("?", f"This tool call cannot be read: {error}.\n\n{shown}".strip()),
        )
    return ToolCall(id=call_id, function=name, arguments=arguments)


def _name_and_arguments(value: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(value, ValueError):
        raise value
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]
    name = value.get("name") if isinstance(value, dict) else None
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]{1,64}", name.strip()):
        raise ValueError("it must be a JSON object with the name of a tool and its arguments")
    arguments = value.get("arguments", value.get("parameters", {}))
    if isinstance(arguments, str):  # JSON within JSON, as some write it
        arguments = decode(arguments).value
    if isinstance(arguments, ValueError):
        raise arguments
    if not isinstance(arguments, dict):
        raise ValueError("arguments must be a JSON object")
    return name.strip(), arguments


def _require_plain(arguments: dict[str, Any]) -> None:
    """Refuse what a log cannot hold: deep nesting and halves of characters."""
    level: list[Any] = [arguments]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                inner += [*value, *value.values()]
            elif isinstance(value, list):
                inner += value
            elif isinstance(value, str) and _SURROGATE.search(value):
                raise ValueError("it holds half of a surrogate pair")
        if not inner:
            return
        level = inner
    raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")
