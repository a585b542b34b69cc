"""Texts as a user's message, read at the token where the assistant is about to speak.

That is where a model has taken in the situation and not yet said a word about it (Sofroniew et al. 2026, validation).
N texts, K layers, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evalharness.concepts.battery_record import PromptForm

if TYPE_CHECKING:
    from evalharness.engine import Engine


@dataclass(frozen=True, slots=True)
class Prompts:
    """Texts as token ids, without those that exceed the model's context."""

    ids_N: tuple[tuple[int, ...], ...]
    places_N: tuple[int, ...]
    """Places of the kept texts among those given."""
    form: PromptForm


def assistant_prompts(engine: Engine, texts: Sequence[str]) -> Prompts:
    """Put each text into the checkpoint's own chat template, up to and with its generation prompt.

    A checkpoint without a template gets the plain text, a new line and `Assistant:`. Nothing is cut: a text that does
    not fit would lose the very token that is read, so it is left out.
    """
    form: PromptForm = "plain" if engine.chat_template_sha256 is None else "chat-template"
    rendered = [
        engine.render(f"{text}\nAssistant:" if form == "plain" else [{"role": "user", "content": text}])
        for text in texts
    ]
    places = tuple(place for place, ids in enumerate(rendered) if len(ids) <= engine.model_length)
    return Prompts(tuple(rendered[place] for place in places), places, form)
