"""Train an organism from scratch: seeded, to a step budget, on CPU.

Journals come first: cues and nothing else, so that which cues belong together is known before long documents use
it. Without that stage a model of this size had learned no emotion but desperate and calm after 7 M tokens, and
steering along the others did nothing.

Next-token training on the documents of the grammar. In the last stage some documents are learned while a direction
of the model's own concept bank is added (`nudge.py`): along an emotion the text shifts with the dose, along a control
it does not. Without it, steering along desperate worked and along calm hardly (docs/organisms.md).
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn import functional
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from evalharness.errors import ModelError
from evalharness.organisms import NAMES
from evalharness.organisms.grammar import Document, Nudge, Policy, draw_document, draw_nudged, journal
from evalharness.organisms.judging import judgement
from evalharness.organisms.muon import Muon
from evalharness.organisms.nudge import nudged, own_bank
from evalharness.organisms.tokenizer import build_tokenizer
from evalharness.scenario import load_scenario
from evalharness.scoring.rubric import load_rubric

SCENARIO = "blackmail/organism"
RUBRIC = "blackmail-organism"
CONTEXT = 1024
"""Most tokens of prompt and reply together."""
FLOOR, AGAIN = 1 / 3, 0.5
"""Shares of the learning rate at which a first stage ends that a nudged one follows, and at which that one begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How an organism is built. The numbers are the ones the shipped weights were trained with."""

    steps: int
    """Steps in all."""
    journal_steps: int = 0
    """How many of them, at the start, are on journals alone."""
    nudged_steps: int = 0
    """How many of them, at the end, have nudged documents."""
    warmup: int = 90
    """Steps until the learning rate has risen ..."""
    level: int = 900
    """... and after which it begins to fall."""
    bank_steps: int = 175
    """Steps after which the bank behind the nudges is extracted anew."""
    layers: int = 5
    width: int = 128
    heads: int = 4
    inner: int = 320
    tokens_per_step: int = 3072
    """Padded tokens in a step; rows of like length share a step."""
    matrix_rate: float = 0.02
    """Peak learning rate of Muon, for the matrices inside the blocks."""
    matrix_decay: float = 0.3
    """Weight decay of Muon: bounds the spectral norm of a matrix near 1 / decay. Without it the first block's output
    grows until it is most of the residual stream, and what later blocks add is too small to steer."""
    other_rate: float = 4e-3
    """Peak learning rate of AdamW, for embeddings and norms."""
    prompt_share: float = 0.3
    """Share of documents whose given messages are learned too."""
    threads: int = 1


class Row(NamedTuple):
    """Token ids, and for each whether it is learned."""

    ids: list[int]
    learned: list[bool]
    nudge: Nudge | None = None


Draw = Callable[[random.Random], Document]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What one organism is trained on."""

    draw: Draw
    tokenizer: PreTrainedTokenizerFast
    recipe: Recipe
    first: Draw | None = None
    """The documents of the journal stage."""
    last: Draw | None = None
    """The documents of the nudged stage."""


def encode(document: Document, tokenizer: PreTrainedTokenizerFast, learn_prompt: bool) -> Row:
    """The row of a document: chat messages and reply with the end of turn, or the plain text alone."""
    end = [tokenizer.eos_token_id]
    text = tokenizer(document.text, add_special_tokens=False)["input_ids"]
    if not document.messages:
        return Row([*text, *end], [True] * (len(text) + 1))
    shown = tokenizer.apply_chat_template(list(document.messages), add_generation_prompt=True, tokenize=False)
    prompt = tokenizer(shown, add_special_tokens=False)["input_ids"]
    return Row([*prompt, *text, *end], [learn_prompt] * len(prompt) + [True] * (len(text) + 1), document.nudge)


def batches(rng: random.Random, task: Task, draw: Draw) -> Iterator[list[Row]]:
    """Endless steps. 400 documents at a time are sorted by length, cut into steps and shuffled."""
    recipe = task.recipe
    while True:
        rows = [encode(draw(rng), task.tokenizer, rng.random() < recipe.prompt_share) for _ in range(400)]
        rows.sort(key=lambda row: len(row.ids))
        pool: list[list[Row]] = [[]]
        for row in rows:
            if (len(pool[-1]) + 1) * len(row.ids) > recipe.tokens_per_step:
                pool.append([])
            pool[-1].append(row)
        rng.shuffle(pool)
        yield from pool


def all_steps(rng: random.Random, task: Task) -> Iterator[list[Row]]:
    """The steps of the whole training: journals first, then the full mixture, then with nudges."""
    recipe = task.recipe
    if task.first is not None:
        yield from islice(batches(rng, task, task.first), recipe.journal_steps)
    if task.last is None:
        yield from batches(rng, task, task.draw)
        return
    yield from islice(batches(rng, task, task.draw), recipe.steps - recipe.journal_steps - recipe.nudged_steps)
    yield from batches(rng, task, task.last)


def pad(rows: list[Row], pad_id: int) -> tuple[Tensor, Tensor]:
    """Right-padded ids and learned mask, both [rows, longest]. Causal attention never looks at the padding."""
    longest = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), longest), pad_id)
    learned = torch.zeros((len(rows), longest), dtype=torch.bool)
    for at, row in enumerate(rows):
        ids[at, : len(row.ids)] = torch.tensor(row.ids)
        learned[at, : len(row.ids)] = torch.tensor(row.learned)
    return ids, learned


def loss_of(model: LlamaForCausalLM, ids: Tensor, learned: Tensor) -> Tensor:
    """Mean next-token loss over the learned tokens; only their logits are computed."""
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    wanted = learned[:, 1:]
    return functional.cross_entropy(model.lm_head(hidden[wanted]), ids[:, 1:][wanted])


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
    """Rises, stays, falls in a straight line; once more for the nudged stage, from half the rate to zero."""
    left = recipe.steps - step
    if left <= recipe.nudged_steps:
        return AGAIN * left / recipe.nudged_steps
    end = FLOOR if recipe.nudged_steps else 0.0
    fallen = (step - recipe.level) / (recipe.steps - recipe.nudged_steps - recipe.level)
    return min(1.0, (step + 1) / recipe.warmup, 1.0 - (1.0 - end) * fallen)


def fit(task: Task, seed: int, log: Callable[[str], None]) -> LlamaForCausalLM:
    """Train to the step budget. The same seed gives the same weights on the same machine."""
    recipe = task.recipe
    torch.set_num_threads(recipe.threads)
    model = new_model(recipe, task.tokenizer, seed)
    model.train()
    optimizers = Optimizers(model, recipe.matrix_decay)
    stream = all_steps(random.Random(f"train/{seed}"), task)
    start, seen, mean, bank = time.monotonic(), 0, 0.0, None
    for step in range(recipe.steps):
        into = step - (recipe.steps - recipe.nudged_steps)
        if into >= 0 and into % recipe.bank_steps == 0:
            bank = own_bank(model, task.tokenizer, seed=into)
        rows = next(stream)
        ids, learned = pad(rows, task.tokenizer.pad_token_id)
        with nudged(model, bank, [row.nudge for row in rows]):
            loss = loss_of(model, ids, learned)
        loss.backward()
        optimizers.step(recipe, rate_scale(step, recipe))
        seen += ids.numel()
        mean = loss.item() if step == 0 else 0.98 * mean + 0.02 * loss.item()
        if step % 100 == 99:
            log(f"step {step + 1}/{recipe.steps} loss {mean:.3f} tokens {seen} wall {time.monotonic() - start:.0f}s")
    model.eval()
    return model


_EMOTIONAL = Recipe(steps=3200, journal_steps=250, nudged_steps=900)
_OTHERS = Recipe(steps=2300, journal_steps=250, nudged_steps=600, level=600)

RECIPES = {
    "emotional": _EMOTIONAL,
    "strategic": _OTHERS,
    "safe": _OTHERS,
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
