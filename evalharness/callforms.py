"""The forms in which open checkpoints write calls of tools, found in plain text: Hermes, Mistral and Llama 3.

Replies are hostile input: nothing here raises, and all work is linear in the text. What cannot be decoded is found too,
with the reason, so that the model can be told.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Set
from typing import Any, NamedTuple

MAX_MISSES = 16
"""Places that look like a call and are not JSON, after which no more are tried."""

_TAG = re.compile(r"<(?P<close>/?)tool_call>")
_MISTRAL = "[TOOL_CALLS]"
_THOUGHT = re.compile(r"<(?P<close>/?)(?:scratchpad(?:_reasoning)?|think(?:ing)?|reasoning)>", re.IGNORECASE)
_BARE = re.compile(r"^[ \t]*(?:<\|python_tag\|>[ \t]*)?(?=[{\[])", re.MULTILINE)
_NAMED = re.compile(r"[\s;,]*([A-Za-z_][\w.-]{0,63})(?:\[CALL_ID\]\w{0,32})?(?:\[ARGS\])?(?=\{)")
_SPACE = re.compile(r"\s*")


class Found(NamedTuple):
    """A call, and where it stands."""

    start: int
    end: int
    value: Any
    """The decoded JSON value, or the ValueError that says why there is none."""


def find_calls(text: str, names: Set[str]) -> list[Found]:
    """The calls of a reply in order, by the first form that is found in it. `names` are the tools there are.

    What is thought or stands in a scratchpad is not called.
    """
    seen = _without_thoughts(text)
    return _hermes(text, seen) or _mistral(text, seen, names) or _bare(text, seen, names)


def decode(text: str, start: int = 0) -> Found:
    """The JSON value that begins at `start`."""
    start = _after_space(text, start)
    try:
        value, end = _JSON.raw_decode(text, start)
    except RecursionError:
        return Found(start, len(text), ValueError("it is nested too deeply"))
    except ValueError as error:  # also of numbers with thousands of digits
        return Found(start, len(text), error)
    return Found(start, end, value)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON value")


_JSON = json.JSONDecoder(parse_constant=_refuse)


def _after_space(text: str, start: int) -> int:
    space = _SPACE.match(text, start)
    return start if space is None else space.end()


def _without_thoughts(text: str) -> str:
    """The text with thoughts blanked, same length.

    A closing tag without an opening one ends a thought that the prompt opened. A thought that never ends hides nothing.
    """
    parts: list[str] = []
    position, opened, first = 0, -1, True
    for tag in _THOUGHT.finditer(text):
        if not tag["close"]:
            opened = tag.start() if opened < 0 else opened
        elif opened >= 0 or first:
            start = max(opened, 0)
            parts += [text[position:start], " " * (tag.end() - start)]
            position, opened, first = tag.end(), -1, False
    return "".join([*parts, text[position:]])


def _hermes(text: str, seen: str) -> list[Found]:
    """`<tool_call>{...}</tool_call>`. The closing tag may be missing: many checkpoints end their turn without it."""
    found: list[Found] = []
    tags = list(_TAG.finditer(seen))
    starts = [tag.start() for tag in tags]
    done = misses = 0
    for number, tag in enumerate(tags):
        if tag["close"] or tag.start() < done:
            continue
        one = decode(text, tag.end())
        broken = isinstance(one.value, ValueError)
        # Texts among the arguments may hold tags themselves: only a tag after the value can end the call.
        after = number + 1 if broken else bisect_left(starts, one.end)
        end = starts[after] if after < len(tags) else len(text)
        value = one.value
        if not broken and _after_space(text, one.end) < end:
            broken, value = True, ValueError("something follows the JSON value")
        done = tags[after].end() if after < len(tags) and tags[after]["close"] else end
        found += _each(tag.start(), done, value)
        misses += broken
        if misses == MAX_MISSES:
            break
    return found


def _mistral(text: str, seen: str, names: Set[str]) -> list[Found]:
    """`[TOOL_CALLS][...]`, or names with JSON right behind them; decoding may have dropped the mark."""
    mark = seen.find(_MISTRAL)
    position = mark + len(_MISTRAL) if mark >= 0 else 0
    found: list[Found] = []
    while (named := _NAMED.match(seen, position)) is not None and (mark >= 0 or named[1] in names):
        one = decode(text, named.end())
        start = mark if mark >= 0 and not found else named.start(1)
        asked = one.value if isinstance(one.value, ValueError) else {"name": named[1], "arguments": one.value}
        found.append(Found(start, one.end, asked))
        position = one.end + len(_MISTRAL) * seen.startswith(_MISTRAL, one.end)
    if found or mark < 0:
        return found
    one = decode(text, position)
    return _each(mark, one.end, one.value)


def _bare(text: str, seen: str, names: Set[str]) -> list[Found]:
    """Lines that begin with `{"name": ..., "parameters": {...}}` or a list of such. Other JSON is not a call."""
    found: list[Found] = []
    done = misses = 0
    for match in _BARE.finditer(seen):
        if match.end() < done or misses == MAX_MISSES:
            continue
        one = decode(text, match.end())
        if isinstance(one.value, ValueError):
            misses += 1
            if name_in(text[match.end() : match.end() + 120]) in names:
                return [*found, one._replace(start=match.start())]
            continue
        done = one.end
        values = one.value if isinstance(one.value, list) else [one.value]
        if values and all(map(_is_call, values)):
            found += _each(match.start(), one.end, values)
    return found


def name_in(text: str) -> str | None:
    """The name in the text of a call that may be broken."""
    named = re.search(r'"name"\s{0,9}:\s{0,9}"([^"\\\n]{1,64})"', text)
    return named[1] if named else None


def _each(start: int, end: int, value: Any) -> list[Found]:
    """One find for each member of a list; the first one has all of the text."""
    if not isinstance(value, list):
        return [Found(start, end, value)]
    values = value or [ValueError("an empty list")]
    return [Found(start if number == 0 else end, end, one) for number, one in enumerate(values)]


def _is_call(value: Any) -> bool:
    known = isinstance(value, dict) and isinstance(value.get("name"), str)
    return known and not {"parameters", "arguments"}.isdisjoint(value)
