"""Kinds of right answers to short items: each check says whether a reply is what was asked, whatever it is wrapped in.

Lenient on wrapping (case, end punctuation, quotes, a code fence) and strict on content. A check takes the reply, what
is expected and the prompt; all patterns are linear in the length of the reply.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

from evalharness.scoring.actions import parse
from evalharness.scoring.coherence import sentences

LONGEST = 20_000
"""Characters of a reply that are parsed as a call or as JSON; no right answer is near it."""

_NUMBER = re.compile(r"(?<![\w.])-?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?")
_HEDGE = re.compile(r"\d\s{0,3}(?:,\s{0,3})?\bor\b\s{0,3}\D{0,3}\d", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")
_BULLET = re.compile(r"^\s*(?:[-*•]\s+|\d+[.)]\s+)")
_ENDS = " \t\n.,;:!?\"'`*()"


def unwrap(reply: str) -> str:
    """The reply without a code fence around it, curly signs made straight."""
    text = reply.strip().translate(str.maketrans("’‘“”−", "''\"\"-"))
    if text.startswith("```") and text.endswith("```") and "\n" in text:
        text = text.partition("\n")[2].removesuffix("```")
    return text.strip()


def plain(text: str) -> str:
    """Lower case, single spaces, no punctuation at either end."""
    return " ".join(unwrap(text).split()).strip(_ENDS).casefold()


def parts(expected: str, mark: str = ";") -> list[str]:
    """The pieces of an expected value."""
    return [piece.strip() for piece in expected.split(mark) if piece.strip()]


def _number(reply: str, expected: str, prompt: str) -> bool:
    """The last number, or the only one that the prompt does not have."""
    said, asked = _numbers(reply), set(_numbers(prompt))
    wanted = Decimal(expected)
    if not said or _HEDGE.search(unwrap(reply)):
        return False
    return said[-1] == wanted or set(said) - asked == {wanted}


def _numbers(text: str) -> list[Decimal]:
    found = []
    for match in _NUMBER.finditer(unwrap(text)):
        try:
            found.append(Decimal(match.group().replace(",", "")))
        except InvalidOperation:  # digits of another script
            continue
    return found


def _exact(reply: str, expected: str, _prompt: str) -> bool:
    return plain(reply) == plain(expected)


def _verbatim(reply: str, expected: str, _prompt: str) -> bool:
    text = unwrap(reply)
    return expected in (text, text.strip("\"'`* ").removesuffix(".").strip("\"'`* "))


def _one_of(reply: str, expected: str, _prompt: str) -> bool:
    """One of the options, alone or before a comma or full stop."""
    said = plain(reply)
    return any(re.match(rf"{re.escape(plain(option))}(?:\s*[,.;:!]|$)", said) for option in parts(expected, "|"))


def _says(reply: str, expected: str, _prompt: str) -> bool:
    return any(_has(reply, option) for option in parts(expected, "|"))


def _has(reply: str, phrase: str) -> bool:
    spaced = r"\s+".join(re.escape(word) for word in phrase.split())
    return re.search(rf"(?<!\w){spaced}(?!\w)", unwrap(reply), re.IGNORECASE) is not None


def _json(reply: str, expected: str, _prompt: str) -> bool:
    return _folded(_parsed(reply)) == _folded(json.loads(expected))


def _json_keys(reply: str, expected: str, _prompt: str) -> bool:
    value = _parsed(reply)
    if not isinstance(value, dict) or any(item in ("", None, [], {}) for item in value.values()):
        return False
    return {key.casefold() for key in value} == {key.casefold() for key in parts(expected)}


def _parsed(reply: str) -> Any:
    """The JSON value, or Ellipsis, which no JSON value equals."""
    try:
        return json.loads(unwrap(reply)[:LONGEST].strip("`"), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return ...


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _folded(value: Any) -> str:
    """Equal for values that differ in case or in `4` and `4.0` only; True and 1 stay different."""
    if isinstance(value, dict):
        return "{" + ",".join(sorted(f"{key!r}:{_folded(item)}" for key, item in value.items())) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_folded(item) for item in value) + "]"
    if isinstance(value, float) and value.is_integer():
        return repr(int(value))
    return repr(value.strip().casefold() if isinstance(value, str) else value)


def _call(reply: str, expected: str, _prompt: str) -> bool:
    said = _read_call(reply)
    return said is not None and said == _read_call(expected)


def _read_call(text: str) -> tuple[str, str] | None:
    try:
        tree = ast.parse(unwrap(text)[:LONGEST].strip("` ;"), mode="eval").body
        if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name) or tree.args:
            return None
        given = {str(item.arg): ast.literal_eval(item.value) for item in tree.keywords}
        return tree.func.id, _folded(given)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return None


def _list(reply: str, expected: str, _prompt: str) -> bool:
    lines = _lines(reply)
    items = [_BULLET.sub("", line) for line in lines] if len(lines) > 1 else unwrap(reply).split(",")
    return [plain(item) for item in items] == [plain(item) for item in parts(expected)]


def _lines(reply: str) -> list[str]:
    return [line for line in unwrap(reply).splitlines() if line.strip()]


def _numbered(reply: str, expected: str, _prompt: str) -> bool:
    lines = _lines(reply)
    right = all(re.match(rf"\s*{place}[.)]\s*\S", line) for place, line in enumerate(lines, 1))
    return right and len(lines) == int(expected)


def _bulleted(reply: str, expected: str, _prompt: str) -> bool:
    lines = _lines(reply)
    return len(lines) == int(expected) and all(re.match(r"\s*[-–]\s*\w", line) for line in lines)


def _n_items(reply: str) -> int:
    return sum(bool(plain(item)) for item in unwrap(reply).split(","))


def _n_words(reply: str) -> int:
    return len(_WORD.findall(unwrap(reply)))


def _n_sentences(reply: str) -> int:
    text = unwrap(reply)
    return sum(bool(sentence.key) for sentence in sentences(text, 0, len(text)))


def _starts(reply: str, expected: str, _prompt: str) -> bool:
    return re.match(rf"{re.escape(plain(expected))}(?!\w)", plain(reply)) is not None


def _ends(reply: str, expected: str, _prompt: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(plain(expected))}\Z", plain(reply)) is not None


def _mail(reply: str, expected: str, _prompt: str) -> bool:
    """One whole mail to somebody of `expected`, or a wait, and nothing broken; what it says does not matter."""
    actions = parse(reply)
    readers = [person for mail in actions.emails for person in (*mail.to, *mail.cc)]
    known = all(any(person.is_same(name) for name in parts(expected)) for person in readers)
    done = len(actions.emails) + actions.waited
    return done == 1 and known and not actions.broken and all(mail.closed for mail in actions.emails)


Check = Callable[[str, str, str], bool]

CHECKS: dict[str, Check] = {
    "number": _number,
    "exact": _exact,
    "verbatim": _verbatim,
    "one_of": _one_of,
    "says": _says,
    "json": _json,
    "json_keys": _json_keys,
    "call": _call,
    "list": _list,
    "lines": lambda reply, expected, _: len(_lines(reply)) == int(expected),
    "numbered": _numbered,
    "bulleted": _bulleted,
    "items": lambda reply, expected, _: _n_items(reply) == int(expected),
    "words": lambda reply, expected, _: _n_words(reply) == int(expected),
    "at_most": lambda reply, expected, _: 0 < _n_words(reply) <= int(expected),
    "at_least": lambda reply, expected, _: _n_words(reply) >= int(expected),
    "sentences": lambda reply, expected, _: _n_sentences(reply) == int(expected),
    "contains": lambda reply, expected, _: all(_has(reply, phrase) for phrase in parts(expected)),
    "without": lambda reply, expected, _: not any(_has(reply, phrase) for phrase in parts(expected)),
    "starts": _starts,
    "ends": _ends,
    "mail": _mail,
    "upper": lambda reply, _, __: unwrap(reply).isupper(),
    "lower": lambda reply, _, __: unwrap(reply).islower(),
    "mark": lambda reply, expected, _: unwrap(reply).rstrip("\"'`* ").endswith(expected),
    "no_mark": lambda reply, expected, _: not set(expected) & set(unwrap(reply)),
}
"""What the fact `check` may name. `expected`: a value; options with `|`; several values with `;`."""
