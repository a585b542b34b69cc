"""The page on which people label transcripts: one file, offline, blind, all text escaped, one script known by hash."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import jinja2

from evalharness.content import content_path
from evalharness.report.text import one_line, visible

UNSURE = "unsure"
"""What a rater says who cannot tell; it counts as no label."""


class Item(NamedTuple):
    """One transcript to label. Its id says nothing, and nothing here says what it ran under or how it was scored."""

    id: str
    family: str
    prompt: str
    reply: str
    stop_reason: str
    choices: tuple[str, ...]


def label_page(batch: str, items: Sequence[Item]) -> str:
    """HTML. Text comes from models, so it is escaped, and no script but the page's own may run."""
    folder = content_path("reports", "templates/label.html.j2").parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    script = (folder / "label.js").read_text(encoding="utf-8").strip()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    shown = [
        item._replace(
            prompt=visible(item.prompt), reply=visible(item.reply), stop_reason=one_line(item.stop_reason, 40)
        )
        for item in items
    ]
    page = environment.get_template("label.html.j2")
    return page.render(batch=batch, items=shown, script=script, digest=digest) + "\n"
