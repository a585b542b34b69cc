"""A real Llama whose weights are set by hand: at one block it writes a known direction for the words of each concept.

Attention writes nothing anywhere, and the MLPs write nothing but at `LAYER`. There, unit c of the MLP answers to the
mark that the words of concept c carry in a coordinate of their own, and writes `planted()[c]`. All tokens share a large
offset, which no centring would leave in; the padding token writes a direction of its own, which no reader may see.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CONCEPTS = ("calm", "angry", "sad", "proud")
LAYER, N_LAYERS, WIDTH = 2, 5, 64
SKIP = 8
FREE = range(1, 48)
"""Coordinates of words and planted directions; 0 is the offset, those behind are the marks."""
OFFSET, MARK = 12.0, 1.0
PLAIN = tuple(f"word{one}{other}" for one in "abcde" for other in "stuvwxyz")
TOPICS = 4
CUES = {concept: tuple(f"{concept}{letter}" for letter in "abcdef"[: TOPICS + 2]) for concept in CONCEPTS}
"""One word for each topic's stories and two that stand in scenarios only: what they share is the mark, not the word."""
DOSES = (1, 2, 3, 4)
"""Numbers that are words too, and carry a trace of the first concept's mark in this proportion."""
PAD, END, UNKNOWN = "<pad>", "<eos>", "<unk>"
_WORDS = (PAD, END, UNKNOWN, *PLAIN, *(cue for cues in CUES.values() for cue in cues), *map(str, DOSES))
LAST_WORD = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
"""A chat template under which the last token is the message's last word: attention here carries nothing onwards."""


def planted() -> np.ndarray:
    """`[4, 64]`: what is written for each concept. They share a large part, as feelings do."""
    rng = np.random.default_rng(1)
    rows = np.zeros((len(CONCEPTS), WIDTH))
    rows[:, FREE] = rng.standard_normal((len(CONCEPTS), len(FREE))) + 2.0 * rng.standard_normal(len(FREE))
    return rows


def expected() -> dict[str, np.ndarray]:
    """The concepts as extraction should find them: without what they share, at unit length."""
    rows = planted() - planted().mean(0)
    return dict(zip(CONCEPTS, rows / np.linalg.norm(rows, axis=1, keepdims=True), strict=True))


def write_planted(folder: Path, chat_template: str | None = None) -> Path:
    """Save the checkpoint."""
    table = {word: place for place, word in enumerate(_WORDS)}
    backend = Tokenizer(models.WordLevel(table, unk_token=UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast: Any = PreTrainedTokenizerFast
    tokenizer = fast(tokenizer_object=backend, pad_token=PAD, eos_token=END, unk_token=UNKNOWN)
    tokenizer.chat_template = chat_template
    config = LlamaConfig(
        vocab_size=len(_WORDS), hidden_size=WIDTH, intermediate_size=8, num_hidden_layers=N_LAYERS,
        num_attention_heads=4, max_position_embeddings=128, pad_token_id=0, eos_token_id=1, bos_token_id=None,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = LlamaForCausalLM(config)
        _set_weights(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _set_weights(model: Any) -> None:
    rng = np.random.default_rng(0)
    embedding = np.zeros((len(_WORDS), WIDTH))
    embedding[:, FREE] = rng.standard_normal((len(_WORDS), len(FREE)))
    embedding[:, 0] = OFFSET
    for unit, concept in enumerate(CONCEPTS):
        for cue in CUES[concept]:
            embedding[_WORDS.index(cue), 48 + unit] = MARK
    for dose in DOSES:
        embedding[_WORDS.index(str(dose))] = embedding[_WORDS.index(PLAIN[0])]
        embedding[_WORDS.index(str(dose)), 48] = MARK * dose / 1000
    embedding[0, 48 + len(CONCEPTS)] = MARK
    directions = np.concatenate([planted(), rng.standard_normal((1, WIDTH)) * np.isin(range(WIDTH), FREE)])
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(torch.from_numpy(embedding))
        for number, block in enumerate(model.model.layers):
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
            if number == LAYER:
                block.mlp.gate_proj.weight.zero_()
                block.mlp.up_proj.weight.zero_()
                for unit, direction in enumerate(directions):
                    block.mlp.gate_proj.weight[unit, 48 + unit] = 20.0
                    block.mlp.up_proj.weight[unit, 0] = 1.0
                    block.mlp.down_proj.weight[:, unit] = torch.from_numpy(direction)


def stories() -> list[dict[str, str]]:
    """Sixteen stories for each concept on four topics, each with a cue of its own. Those of later concepts are longer.

    Cues come last. Before the offset stand cues of the next concept, which a reader without an offset would take in.
    """
    rng = random.Random(0)
    rows = []
    for place, concept in enumerate(CONCEPTS):
        for number in range(16):
            topic = number % TOPICS
            decoy, cue = CUES[CONCEPTS[(place + 1) % len(CONCEPTS)]][topic], CUES[concept][topic]
            plain = rng.choices(PLAIN, k=20 + 12 * place + rng.randrange(4))
            words = [*[decoy] * SKIP, *plain, *[cue] * (8 + 4 * place)]
            rows.append({"concept": concept, "topic": f"topic{topic}", "text": " ".join(words)})
    return rows


def scenarios() -> list[dict[str, str]]:
    """Six for each concept: plain words, then a cue that no story has."""
    rng = random.Random(1)
    return [
        {"concept": concept, "text": " ".join([*rng.choices(PLAIN, k=6), CUES[concept][TOPICS + number % 2]])}
        for concept in CONCEPTS
        for number in range(6)
    ]
