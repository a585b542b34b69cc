"""Text in, text out: prompts to token ids, drawn tokens to text, and where a stop string ends a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import jinja2
import numpy as np
from numpy.typing import NDArray

from evalharness.errors import ModelError, UsageError
from evalharness.request import Prompt


class StopHit(NamedTuple):
    """A stop string in a row's text."""

    text: str
    """The text before it."""


def render(tokenizer: Any, prompt: Prompt, *, vocab_size: int, source: str) -> tuple[int, ...]:
    """Token ids of a prompt.

    Text is encoded with the tokenizer's own special tokens. Chat messages go through the checkpoint's own template,
    ending where the assistant begins to speak; if the last message is the assistant's, that message is continued.
    Token ids are taken as they are.

    Raises:
        ModelError: chat messages for a checkpoint without a chat template, or one its template refuses.
        UsageError: an empty prompt.
    """
    if isinstance(prompt, str):
        ids = list(tokenizer(prompt)["input_ids"])
    elif len(prompt) > 0 and isinstance(prompt[0], Mapping):
        ids = render_chat(tokenizer, cast("Sequence[Mapping[str, Any]]", prompt), source=source)
    else:
        ids = [int(token) for token in cast("Sequence[int]", prompt)]
    if not ids:
        raise UsageError("A prompt is empty.", expected="at least one token", got=repr(prompt))
    outside = [token for token in ids if not 0 <= token < vocab_size]
    if outside:
        raise UsageError(
            "A prompt has token ids that the model lacks.",
            expected=f"0 to {vocab_size - 1}",
            got=str(outside[:5]),
            where=source,
            fix="use the tokenizer that belongs to this checkpoint",
        )
    return tuple(ids)


def render_chat(
    tokenizer: Any, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = (), *, source: str
) -> list[int]:
    """Token ids of chat messages, which may have calls and results of tools where the template knows them.

    Raises:
        ModelError: the checkpoint has no chat template, or its template refuses the messages.
    """
    if not tokenizer.chat_template:
        raise ModelError(
            "The prompt is a chat, but this checkpoint has no chat template.",
            expected="chat_template in tokenizer_config.json or chat_template.jinja",
            got="none",
            where=source,
            fix="pass the prompt as plain text, or save a template with the tokenizer",
        )
    continues = messages[-1]["role"] == "assistant"
    try:
        text = tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            tools=[dict(tool) for tool in tools] or None,
            tokenize=False,
            add_generation_prompt=not continues,
            continue_final_message=continues,
        )
    except (jinja2.TemplateError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            "The checkpoint's chat template refuses these messages.",
            got=f"{error} (roles: {', '.join(message['role'] for message in messages)})",
            where=source,
            fix="use only the roles that the template knows",
        ) from error
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def takes_tools(tokenizer: Any) -> bool:
    """Whether the chat template tells a model which tools it has: found out by giving it one."""
    if not tokenizer.chat_template:
        return False
    parameters = {"type": "object", "properties": {}, "required": []}
    probe = {"name": "probe_of_tools", "description": "A tool.", "parameters": parameters}
    try:
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": "Hello."}],
            tools=[{"type": "function", "function": probe}],
            tokenize=False,
            add_generation_prompt=True,
        )
    except (jinja2.TemplateError, ValueError, KeyError, TypeError):
        return False
    return "probe_of_tools" in text


class Detokenizer:
    """Decodes rows and finds stop strings, asking the tokenizer only when a drawn token could end one."""

    def __init__(self, tokenizer: Any, vocab_size: int) -> None:
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size
        self._token_texts: list[str] | None = None
        self._enders: dict[str, NDArray[np.bool_]] = {}

    def text(self, token_ids: Sequence[int]) -> str:
        """The text of drawn tokens without special tokens."""
        text: str = self._tokenizer.decode(
            list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def token_texts(self, token_ids: Sequence[int]) -> list[str]:
        """The text of each token by itself."""
        texts = self._texts()
        return [texts[token] for token in token_ids]

    def find_stop(self, token_ids: Sequence[int], stops: Sequence[str]) -> StopHit | None:
        """The text before the first stop string, or None. A stop that is a special token's name is found too."""
        special = set(self._tokenizer.all_special_tokens) & set(stops)
        if special and self._tokenizer.convert_ids_to_tokens(int(token_ids[-1])) in special:
            return StopHit(self.text(token_ids[:-1]))
        text = self.text(token_ids)
        places = [place for place in (text.find(stop) for stop in stops) if place >= 0]
        return StopHit(text[: min(places)]) if places else None

    def enders(self, stops: Sequence[str]) -> NDArray[np.bool_]:
        """Per token, whether drawing it could complete one of these strings.

        It could if it holds the last character of one, or if its text says nothing by itself (part of a character,
        a special token).
        """
        result = np.zeros(self._vocab_size, dtype=np.bool_)
        for stop in stops:
            if stop not in self._enders:
                last = stop[-1]
                texts = self._texts()
                could = [last.isspace() or not text or "\ufffd" in text or last in text for text in texts]
                self._enders[stop] = np.array(could, dtype=np.bool_)
            result |= self._enders[stop]
        return result

    def _texts(self) -> list[str]:
        if self._token_texts is None:
            known = range(min(self._vocab_size, len(self._tokenizer)))
            texts = self._tokenizer.batch_decode([[token] for token in known], skip_special_tokens=True)
            self._token_texts = [*texts, *[""] * (self._vocab_size - len(known))]
        return self._token_texts
