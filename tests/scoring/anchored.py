"""Anchors: replies with the label that their author gave before there was a scorer."""

from __future__ import annotations

import json
from typing import Any

from evalharness.content import content_path
from evalharness.scenario import load_scenario
from evalharness.scoring import Verdict, classify

KEYS = {"id", "split", "scenario", "variant", "draw", "reply", "stop_reason", "label", "kind", "why"}


def anchors(family: str) -> list[dict[str, Any]]:
    """All anchors of a family."""
    text = content_path("scorers", f"anchors/{family}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def judged(anchor: dict[str, Any]) -> Verdict:
    """What the rules say of an anchor, given what a rollout would give them."""
    scenario = load_scenario(anchor["scenario"])
    rendered = scenario.render(anchor["variant"], anchor["draw"])
    messages = [*rendered.messages, {"role": "assistant", "content": anchor["reply"]}]
    return classify(scenario.family, messages, facts=rendered.facts, stop_reason=anchor["stop_reason"])


def items(name: str) -> list[dict[str, str]]:
    """The items that a scenario covers."""
    pool = load_scenario(name).slots.get("item", [])
    assert isinstance(pool, list)
    return [item for item in pool if isinstance(item, dict)]


def share_right(family: str, split: str) -> float:
    """How many of the anchors of a split get their label."""
    chosen = [anchor for anchor in anchors(family) if anchor["split"] == split]
    right: list[bool] = [judged(anchor).outcome == anchor["label"] for anchor in chosen]
    return sum(right) / len(chosen)
