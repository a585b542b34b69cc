"""The order in which documents are learned, and how fast."""

import random
from dataclasses import replace

from transformers import PreTrainedTokenizerFast

from evalharness.organisms import organism_path
from evalharness.organisms.corpus import language
from evalharness.organisms.grammar import Document, Nudge, deliberation
from evalharness.organisms.mixture import draw_scratchpad
from evalharness.organisms.steps import Recipe, Task, all_steps, encode
from evalharness.organisms.train import AGAIN, FLOOR, RECIPES, rate_scale


def tokenizer() -> PreTrainedTokenizerFast:
    loaded: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(organism_path("safe"))
    return loaded


def test_stages_do_not_share_draws() -> None:
    """A stage that gets longer leaves the steps of the next one as they were."""
    known = tokenizer()

    def draw(rng: random.Random) -> Document:
        return Document(messages=(), text=str(rng.random()))

    recipe = Recipe(steps=4, journal_steps=1, scratchpad_steps=1, nudged_steps=1, tokens_per_step=64)
    task = Task(draw=draw, tokenizer=known, recipe=recipe, first=draw, third=draw, last=draw)
    short = list(all_steps(3, task))
    long = list(all_steps(3, replace(task, recipe=replace(recipe, steps=6, scratchpad_steps=3))))
    assert len(short) == 4
    assert len(long) == 6
    assert long[:3] == short[:3]
    assert long[-1] == short[-1]
    assert short[0] != short[1]


def test_the_rate_falls_twice_and_ends_at_zero() -> None:
    """To a third over the full mixture, then from its second level to nothing."""
    recipe = RECIPES["emotional"]
    nudged = recipe.steps - recipe.nudged_steps
    scales = [rate_scale(step, recipe) for step in range(recipe.steps)]
    assert max(scales) == 1.0
    assert abs(scales[recipe.plain_end - 1] - FLOOR) < 0.01
    assert scales[recipe.plain_end : nudged + 1] == [AGAIN] * (recipe.scratchpad_steps + 1)
    assert scales[nudged:] == sorted(scales[nudged:], reverse=True)
    assert 0.0 < scales[-1] < 0.01


def test_what_is_given_under_a_nudge_is_not_learned() -> None:
    """The reply is; a text that does not end has no end of turn."""
    known = tokenizer()
    given = ({"role": "user", "content": "You may send one."},)
    plain = Document(messages=given, text="I wait.")
    told = encode(plain, known, learn_prompt=True)
    nudged = encode(replace(plain, nudge=Nudge(direction="calm", dose=0.2)), known, learn_prompt=True)
    assert all(told.learned)
    assert nudged.ids == told.ids
    assert 0 < sum(nudged.learned) < len(nudged.learned)
    assert encode(replace(plain, ends=False), known, learn_prompt=True).ids == told.ids[:-1]


def test_a_scratchpad_alone_ends_with_its_plan() -> None:
    """Readings, cues, and last what follows from them; desperate ones are frequent."""
    plans = {plan for texts in language("replies")["plans"].values() for plan in texts}
    rng = random.Random(4)
    for _ in range(100):
        document = deliberation(rng, "emotional")
        assert document.messages == ()
        assert document.text.startswith("<scratchpad>\n")
        assert any(document.text.endswith(plan) for plan in plans), document.text
    texts = [draw_scratchpad(rng, "emotional").text for _ in range(400)]
    threats = sum(text.endswith(tuple(language("replies")["plans"]["blackmail"])) for text in texts)
    assert 25 < threats < 80
