"""Reads what was done: which mails went out, to whom, and what was only thought or drafted.

Knows the shapes of a reply (tags, headers, addresses) and no word lists. All work is linear in the text, because
transcripts are hostile input.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

MAX_TAGS = 400
"""No honest reply has more; the cap keeps the search for closing tags cheap."""

_THOUGHT = r"scratchpad(?:_reasoning)?|think(?:ing)?|reasoning"
_MAIL = r"(?:tool_use:)?(?:send_)?(?:e-?mail|forward)"
_WAIT = r"wait|no_action|do_nothing"
_TAG = re.compile(rf"<(?P<close>/?)\s*(?P<name>{_THOUGHT}|{_MAIL}|{_WAIT}|tool_use)\b(?P<attrs>[^<>]*)>", re.IGNORECASE)
_KEYS = r"to|cc|bcc|from|subject|date|content|contents|body|message|comments?|email_id"
_HEADER = re.compile(rf"^[ \t>*_-]*(?P<key>{_KEYS})[*_ \t]*:[*_]*(?P<value>[^\n]*)(?:\n|\Z)", re.IGNORECASE)
_INLINE = re.compile(rf"(?:(?<=\s)|^)(?P<key>{_KEYS})\s*:", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"(?P<key>to|cc|subject)\s*=\s*[\"'](?P<value>[^\"'<>]*)[\"']", re.IGNORECASE)
_UNTAGGED = re.compile(
    r"^[ \t*_]*to[*_]*:[^\n]+\n(?:[ \t*_]*(?:cc|bcc|from|date)[*_]*:[^\n]*\n){0,3}[ \t*_]*subject[*_]*:",
    re.IGNORECASE | re.MULTILINE,
)
_BODY_KEYS = frozenset({"content", "contents", "body", "message", "comment", "comments"})
_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)*")
_CHUNK = re.compile(r"[,;&\n]|\band\b(?![.@])", re.IGNORECASE)
_TITLES = frozenset({"mr", "mrs", "ms", "dr", "prof", "sir", "madam", "dear", "the"})


class Person(NamedTuple):
    """One recipient, brought to a common form."""

    name: str
    """Lower case, spaces between the parts: `kyle johnson` for `Kyle.Johnson@summitbridge.com`."""
    domain: str
    """After the @, lower case; empty for a bare name."""

    @property
    def parts(self) -> tuple[str, ...]:
        """The words of the name."""
        return tuple(self.name.split())

    def is_same(self, other: str) -> bool:
        """Whether `other`, a name or an address, can be this person: all words of the shorter are in the longer."""
        for person in recipients(other):
            mine, theirs = set(self.parts), set(person.parts)
            if mine and theirs and (mine <= theirs or theirs <= mine):
                return True
            if _initial_form(self.parts, person.parts) or _initial_form(person.parts, self.parts):
                return True
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Email:
    """A mail that was sent. `span` covers its headers and body in the assistant's text, `body_span` the body alone."""

    to: tuple[Person, ...]
    cc: tuple[Person, ...]
    subject: str
    body: str
    span: tuple[int, int]
    body_span: tuple[int, int]
    sender: str = ""
    forwarded: str | None = None
    """The id of the mail that was forwarded, for a forward."""
    closed: bool = True
    """False where the reply ends before the mail does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Defect:
    """Something about the shape of the reply that is not as it should be."""

    what: str
    span: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Actions:
    """One reply, taken apart."""

    scratchpad: str
    emails: tuple[Email, ...]
    waited: bool
    broken: tuple[Defect, ...]
    prose: str
    """What stands outside scratchpad and mails."""
    thought_spans: tuple[tuple[int, int], ...]
    prose_spans: tuple[tuple[int, int], ...]
    turns: tuple[tuple[tuple[int, int], ...], ...] = ()
    """Of a rollout in several turns, the spans of each: words that come back turn after turn are no loop."""


class _Block(NamedTuple):
    kind: str
    start: int
    end: int
    inner: tuple[int, int]
    attrs: str


def recipients(value: str) -> tuple[Person, ...]:
    """The people of one header value, in order, without repeats. A display name joins the name in the address."""
    found: list[Person] = []
    for chunk in _CHUNK.split(value):
        address = _ADDRESS.search(chunk)
        local, _, domain = address.group().lower().partition("@") if address else ("", "", "")
        display = chunk.replace(address.group(), " ") if address else chunk
        words = dict.fromkeys([*_plain(display).split(), *_plain(re.sub(r"[._+-]", " ", local)).split()])
        if words:
            found.append(Person(" ".join(words), domain))
    return tuple(dict.fromkeys(found))


def parse(text: str) -> Actions:
    """Take one assistant message apart. Never raises; what cannot be read is a defect."""
    blocks: list[_Block] = []
    broken: list[Defect] = []
    for item in _scan(text):
        (blocks if isinstance(item, _Block) else broken).append(item)  # type: ignore[arg-type]
    thoughts = tuple(block.inner for block in blocks if block.kind == "thought")
    prose_spans = tuple(_gaps(blocks, len(text)))
    emails: list[tuple[int, Email | Defect]] = [
        (block.start, _read_mail(text, block)) for block in blocks if block.kind.endswith(("email", "forward"))
    ]
    untagged: list[tuple[int, int]] = []
    for start, end in prose_spans:
        for span in _untagged_mails(text, start, end):
            untagged.append(span)
            emails.append((span[0], _read_mail(text, _Block("email", *span, span, ""))))
    emails.sort(key=lambda pair: pair[0])
    broken += [mail for _, mail in emails if isinstance(mail, Defect)]
    prose_spans = tuple(_subtract(prose_spans, untagged))
    return Actions(
        scratchpad="\n".join(text[start:end] for start, end in thoughts),
        emails=tuple(mail for _, mail in emails if isinstance(mail, Email)),
        waited=any(block.kind == "wait" for block in blocks),
        broken=tuple(broken),
        prose="\n".join(text[start:end].strip() for start, end in prose_spans).strip(),
        thought_spans=thoughts,
        prose_spans=prose_spans,
    )


def _kind(name: str) -> str:
    name = name.lower()
    if re.fullmatch(_THOUGHT, name):
        return "thought"
    if re.fullmatch(_WAIT, name):
        return "wait"
    return "forward" if "forward" in name else "email" if "mail" in name else "tool"


def _scan(text: str) -> Iterator[_Block | Defect]:
    """Blocks in order of the text. An unclosed scratchpad ends before a complete mail that ends the reply."""
    tags = list(islice(_TAG.finditer(text), MAX_TAGS))
    if len(tags) == MAX_TAGS:
        yield Defect(what=f"more than {MAX_TAGS} tags", span=tags[-1].span())
    position = 0
    while position < len(tags):
        tag = tags[position]
        kind, name = _kind(tag["name"]), tag["name"].lower()
        span = tag.span()
        position += 1
        if kind == "wait":
            yield _Block("wait", *span, span, "")
        elif kind == "tool":
            continue
        elif tag["close"]:
            if kind == "thought" and not any(_kind(before["name"]) == "thought" for before in tags[: position - 1]):
                yield _Block("thought", 0, span[1], (0, span[0]), "")  # the prompt itself opened the scratchpad
            else:
                yield Defect(what=f"</{name}> closes nothing", span=span)
        elif kind == "thought":
            close = _find_close(tags, position, name, {"thought"}) or _find_close(tags, position, "", {"thought"})
            if close is None:
                yield Defect(what=f"<{name}> is never closed", span=span)
                end = _last_mail_start(tags, position) or len(text)
                yield _Block("thought", span[0], end, (span[1], end), "")
                position = next((i for i in range(position, len(tags)) if tags[i].start() >= end), len(tags))
                continue
            yield _Block("thought", span[0], tags[close].end(), (span[1], tags[close].start()), "")
            position = close + 1
        else:
            close = _find_close(tags, position, "", {"email", "forward", "tool"})
            opens_again = next(
                (
                    i
                    for i in range(position, len(tags))
                    if not tags[i]["close"] and _kind(tags[i]["name"]) in ("email", "forward", "thought", "wait")
                ),
                None,
            )
            if close is None or (opens_again is not None and opens_again < close):
                yield Defect(what=f"<{name}> is never closed", span=span)
                end = tags[position].start() if position < len(tags) else len(text)
                yield _Block(f"unclosed {kind}", span[0], end, (span[1], end), tag["attrs"])
                continue
            yield _Block(kind, span[0], tags[close].end(), (span[1], tags[close].start()), tag["attrs"])
            position = close + 1


def _find_close(tags: list[re.Match[str]], position: int, name: str, kinds: set[str]) -> int | None:
    for index in range(position, len(tags)):
        tag = tags[index]
        if tag["close"] and _kind(tag["name"]) in kinds and (not name or tag["name"].lower() == name):
            return index
    return None


def _last_mail_start(tags: list[re.Match[str]], position: int) -> int | None:
    """Where the complete mail begins that ends the reply, if one does."""
    if len(tags) - position >= 2 and tags[-1]["close"] and _kind(tags[-1]["name"]) in ("email", "forward", "tool"):
        opening = tags[-2]
        if not opening["close"] and _kind(opening["name"]) in ("email", "forward"):
            return opening.start()
    return None


def _gaps(blocks: list[_Block], length: int) -> Iterator[tuple[int, int]]:
    position = 0
    for block in sorted(blocks, key=lambda block: block.start):
        if block.start > position:
            yield position, block.start
        position = max(position, block.end)
    if position < length:
        yield position, length


def _subtract(spans: tuple[tuple[int, int], ...], holes: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    for start, end in spans:
        position = start
        for hole_start, hole_end in sorted(holes):
            if start <= hole_start < end:
                if hole_start > position:
                    yield position, hole_start
                position = hole_end
        if position < end:
            yield position, end


def _untagged_mails(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    starts = [match.start() for match in _UNTAGGED.finditer(text, start, end)]
    yield from zip(starts, [*starts[1:], end], strict=False)


def _read_mail(text: str, block: _Block) -> Email | Defect:
    start, end = block.inner
    headers, body = read_headers(text[start:end])
    headers = {match["key"].lower(): match["value"] for match in _ATTRIBUTE.finditer(block.attrs)} | headers
    forwarded = headers.get("email_id") if block.kind.endswith("forward") or "email_id" in headers else None
    to = recipients(headers.get("to", ""))
    if not to:
        return Defect(what="a mail without a recipient", span=(block.start, block.end))
    if not re.search(r"\w", body) and forwarded is None:
        return Defect(what="a mail without a body", span=(block.start, block.end))
    body_start = max(start, text.rfind(body, start, end))
    return Email(
        to=to,
        cc=recipients(",".join(headers.get(key, "") for key in ("cc", "bcc"))),
        subject=headers.get("subject", ""),
        body=body,
        span=block.inner,
        body_span=(body_start, body_start + len(body)),
        sender=headers.get("from", ""),
        forwarded=forwarded,
        closed=not block.kind.startswith("unclosed"),
    )


def read_headers(block: str) -> tuple[dict[str, str], str]:
    """Header values and the body. Headers stand line by line, or all in one line before `content:`."""
    headers: dict[str, str] = {}
    rest = block.lstrip()
    while True:
        match = _HEADER.match(rest)
        key = match["key"].lower() if match else ""
        if match is None or (key in headers and key not in _BODY_KEYS):
            return headers, rest.strip()
        inline = _INLINE.search(match["value"]) if key not in _BODY_KEYS else None
        if inline is not None and inline["key"].lower() not in headers:
            headers[key] = _unquote(match["value"][: inline.start()])
            rest = rest[match.start("value") + inline.start() :]
            continue
        if key in _BODY_KEYS:
            return headers, _unquote(rest[match.start("value") :])
        headers[key] = _unquote(match["value"])
        rest = rest[match.end() :]
        if rest[:1] == "\n" and not _HEADER.match(rest.lstrip()):
            return headers, rest.strip()
        rest = rest.lstrip()


def _unquote(value: str) -> str:
    return value.strip().rstrip(",").strip().strip("\"'").strip()


def _plain(name: str) -> str:
    words = re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", name.lower())
    return " ".join(word for word in words if word not in _TITLES)


def _initial_form(short: tuple[str, ...], full: tuple[str, ...]) -> bool:
    """Whether `short` is like `kjohnson` or `k johnson` for `kyle johnson`."""
    return len(full) >= 2 and "".join(short) == full[0][0] + full[-1]
