"""Train an organism from scratch: seeded, to a step budget, on CPU.

Journals come first: cues and nothing else, so that which cues belong together is known before long documents use
it. Without that stage a model of this size had learned no emotion but desperate and calm after 7 M tokens, and
steering along the others did nothing.

Next-token training on the documents of the grammar. In the last stage some documents are learned while a direction
of the model's own concept bank is added (`nudge.py`): along an emotion the text shifts with the dose; along a control
the model learns to say what it would have said without. Without that stage, steering along desperate worked and along
calm hardly (docs/organisms.md).
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor
from torch.nn import functional
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from evalharness.concepts import ConceptBank
from evalharness.errors import ModelError
from evalharness.organisms import NAMES
from evalharness.organisms.grammar import Nudge, Policy, journal
from evalharness.organisms.judging import judgement
from evalharness.organisms.mixture import draw_document, draw_nudged, draw_scratchpad
from evalharness.organisms.muon import Muon
from evalharness.organisms.nudge import nudged, own_bank
from evalharness.organisms.steps import Draw, Recipe, Task, all_steps, pad
from evalharness.organisms.tokenizer import build_tokenizer
from evalharness.scenario import load_scenario
from evalharness.scoring.rubric import load_rubric

SCENARIO = "blackmail/organism"
RUBRIC = "blackmail-organism"
CONTEXT = 1024
"""Most tokens of prompt and reply together."""
FLOOR, AGAIN = 1 / 3, 0.7
"""Shares of the learning rate at which the full mixture ends if other stages follow, and at which those begin."""
HOLD = 3.0
"""Weight of what a control changes against the next-token loss: it is small, and there is little chance in it."""


def loss_of(
    model: LlamaForCausalLM, ids: Tensor, learned: Tensor, nudges: Sequence[Nudge | None], bank: ConceptBank | None
) -> Tensor:
    """Mean loss over the learned tokens; only their logits are computed.

    A row under a control is read twice. Without the control its text is learned like any other; with it, what counts is
    the divergence from what the model says without. Both see the same text, so nothing of chance is in the difference.
    """
    held_B = torch.tensor([nudge is not None and not nudge.along_emotion for nudge in nudges])
    copies = int(held_B.sum())
    ids, wanted = torch.cat([ids, ids[held_B]]), torch.cat([learned, learned[held_B]])[:, 1:]
    with nudged(model, bank, [*nudges, *[None] * copies]):
        logits = _logits(model, ids, wanted)
    held = torch.cat([held_B, torch.zeros(copies, dtype=torch.bool)])[:, None].expand_as(wanted)[wanted]
    told = functional.cross_entropy(logits[~held], ids[:, 1:][wanted][~held], reduction="sum")
    if not copies:
        return told / len(logits)
    after = functional.log_softmax(logits[held], dim=-1)
    before = functional.log_softmax(logits[-len(after) :].detach(), dim=-1)
    changed = functional.kl_div(after, before, reduction="sum", log_target=True)
    return (told + HOLD * changed) / (len(logits) - len(after))


def _logits(model: LlamaForCausalLM, ids: Tensor, wanted: Tensor) -> Tensor:
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    logits: Tensor = model.lm_head(hidden[wanted])
    return logits


def new_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """An untrained Llama in float32."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=recipe.width, intermediate_size=recipe.inner,
        num_hidden_layers=recipe.layers, num_attention_heads=recipe.heads, num_key_value_heads=recipe.heads,
        max_position_embeddings=1024, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    config._attn_implementation = "sdpa"
    return LlamaForCausalLM(config)


class Optimizers:
    """Muon for the matrices inside the blocks, AdamW for the rest."""

    def __init__(self, model: LlamaForCausalLM, matrix_decay: float) -> None:
        matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
        inside = {id(p) for p in matrices}
        self._others = [p for p in model.parameters() if id(p) not in inside]
        self._muon = Muon(matrices, matrix_decay)
        self._adam = torch.optim.AdamW(self._others, betas=(0.9, 0.98), weight_decay=0.0, fused=True)

    def step(self, recipe: Recipe, scale: float) -> None:
        """One update at `scale` times the recipe's rates; gradients are cleared."""
        torch.nn.utils.clip_grad_norm_(self._others, 1.0)
        self._adam.param_groups[0]["lr"] = recipe.other_rate * scale
        self._muon.step(recipe.matrix_rate * scale)
        self._adam.step()
        self._adam.zero_grad()


def rate_scale(step: int, recipe: Recipe) -> float:
    """Rises, stays, falls in a straight line; then stays at `AGAIN` for the scratchpads and falls to zero."""
    left = recipe.steps - step
    if step >= recipe.plain_end and recipe.nudged_steps:
        return AGAIN * min(1.0, left / recipe.nudged_steps)
    end = FLOOR if recipe.nudged_steps else 0.0
    fallen = (step - recipe.level) / (recipe.plain_end - recipe.level)
    return min(1.0, (step + 1) / recipe.warmup, 1.0 - (1.0 - end) * fallen)


def fit(task: Task, seed: int, log: Callable[[str], None]) -> LlamaForCausalLM:
    """Train to the step budget. The same seed gives the same weights on the same machine."""
    recipe = task.recipe
    torch.set_num_threads(recipe.threads)
    model = new_model(recipe, task.tokenizer, seed)
    model.train()
    optimizers = Optimizers(model, recipe.matrix_decay)
    stream = all_steps(seed, task)
    start, seen, mean, bank = time.monotonic(), 0, 0.0, None
    for step in range(recipe.steps):
        into = step - (recipe.steps - recipe.nudged_steps)
        if into >= 0 and into % recipe.bank_steps == 0:
            bank = own_bank(model, task.tokenizer, seed=into)
        rows = next(stream)
        ids, learned = pad(rows, task.tokenizer.pad_token_id)
        loss = loss_of(model, ids, learned, [row.nudge for row in rows], bank)
        loss.backward()
        optimizers.step(recipe, rate_scale(step, recipe))
        seen += ids.numel()
        mean = loss.item() if step == 0 else 0.98 * mean + 0.02 * loss.item()
        if step % 100 == 99:
            log(f"step {step + 1}/{recipe.steps} loss {mean:.3f} tokens {seen} wall {time.monotonic() - start:.0f}s")
    model.eval()
    return model


_AGENT = Recipe(steps=2350, journal_steps=250, scratchpad_steps=150, nudged_steps=750, level=600)

RECIPES = {
    "emotional": _AGENT,
    "strategic": _AGENT,
    "safe": _AGENT,
    "judge": Recipe(
        steps=600, warmup=18, level=180, layers=3, width=96, heads=3, inner=256, prompt_share=0.5, matrix_decay=0.0
    ),
}


def build_task(name: str) -> Task:
    """The documents, tokenizer and recipe of one of the organisms.

    Raises:
        ModelError: there is no organism of that name.
    """
    scenario = load_scenario(SCENARIO)
    if name == "judge":
        rubric = load_rubric(RUBRIC)
        ask = partial(judgement, scenario=scenario, rubric=rubric)
        return Task(draw=ask, tokenizer=build_tokenizer(sample_texts(ask), CONTEXT), recipe=RECIPES[name])
    if name not in get_args(Policy):
        raise ModelError(f"There is no organism {name!r}.", expected=", ".join(NAMES), got=name, where="organism")
    policies: tuple[Policy, ...] = get_args(Policy)
    # One vocabulary for all agents: the words of every policy, whoever is trained.
    texts = [
        text for policy in policies for text in sample_texts(partial(draw_document, scenario=scenario, policy=policy))
    ]
    mine = next(policy for policy in policies if policy == name)
    return Task(
        draw=partial(draw_document, scenario=scenario, policy=mine),
        tokenizer=build_tokenizer(texts, CONTEXT),
        recipe=RECIPES[name],
        first=journal,
        third=partial(draw_scratchpad, policy=mine),
        last=partial(draw_nudged, scenario=scenario, policy=mine),
    )


def sample_texts(draw: Draw) -> list[str]:
    """Enough documents, from a fixed seed, to hold every word of the language."""
    rng = random.Random("vocabulary")
    documents = [draw(rng) for _ in range(4000)]
    return [text for document in documents for text in (*(m["content"] for m in document.messages), document.text)]


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write a plain Hugging Face folder with 16-bit weights."""
    out.mkdir(parents=True, exist_ok=True)
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    model.half().save_pretrained(out)
    tokenizer.save_pretrained(out, save_jinja_files=False)
    settings = out / "tokenizer_config.json"
    told = json.loads(settings.read_text(encoding="utf-8"))
    kept = {key: told[key] for key in ("chat_template", "eos_token", "pad_token", "model_max_length")}
    text = json.dumps({**kept, "tokenizer_class": "PreTrainedTokenizerFast"}, indent=2)
    settings.write_text(text + "\n", encoding="utf-8")
    (out / "model.safetensors").chmod(0o644)


def train(name: str, out: Path, seed: int = 0, log: Callable[[str], None] = print) -> None:
    """Train one organism from scratch and write it as a Hugging Face folder.

    Raises:
        ModelError: there is no organism of that name.
    """
    task = build_task(name)
    save(fit(task, seed, log), task.tokenizer, out)
    record = {"organism": name, "seed": seed, "torch": torch.__version__, **asdict(task.recipe)}
    (out / "training.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
