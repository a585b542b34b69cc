"""Checkpoints with random weights: how fast a model is does not depend on what it learnt.

Their tokenizer has one numbered word per token (`w12`), so that a prompt of 1,024 tokens is the same prompt for ways
that take ids and for ways that take text. No token ends a reply: every way runs to the limit without being told to.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PretrainedConfig, PreTrainedTokenizerFast, Qwen2Config

FIRST_WORD = 10
"""Tokens below it are kept out of prompts: some are special."""
PLAIN_CHAT = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
"""A chat is its words and nothing else, so that it has as many tokens as words."""


def llama_40m() -> LlamaConfig:
    """A Llama of 40 million parameters in 12 blocks."""
    return LlamaConfig(
        vocab_size=22_000,
        hidden_size=512,
        intermediate_size=1024,
        num_hidden_layers=12,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    )


def qwen2_5_7b() -> Qwen2Config:
    """The shape of Qwen2.5-7B, as its published config.json states it."""
    return Qwen2Config(
        vocab_size=152_064,
        hidden_size=3584,
        intermediate_size=18_944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
        max_position_embeddings=32_768,
        tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
    )


def small_llama() -> LlamaConfig:
    """Small enough that what stands around generation is what takes the time."""
    return LlamaConfig(
        vocab_size=400,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
    )


def write_checkpoint(config: PretrainedConfig, folder: Path, *, dtype: str = "float32") -> int:
    """Write a model with seeded random weights and its tokenizer; returns its number of parameters."""
    config.bos_token_id, config.eos_token_id, config.pad_token_id = None, None, 0
    torch.manual_seed(0)
    auto: Any = AutoModelForCausalLM
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(device):
        model = auto.from_config(config, dtype=getattr(torch, dtype))
    model.save_pretrained(folder)
    words = {f"w{number}": number for number in range(config.vocab_size)}
    backend = Tokenizer(models.WordLevel(words, unk_token="w0"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast: Any = PreTrainedTokenizerFast
    # Its id lies one past the model's vocabulary, so it cannot be drawn.
    tokenizer = fast(tokenizer_object=backend, eos_token="<end>", pad_token="w0")
    tokenizer.chat_template = PLAIN_CHAT
    tokenizer.save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())


def random_prompt(vocabulary: int, tokens: int) -> list[int]:
    """The same ids every time."""
    generator = torch.Generator().manual_seed(0)
    ids: list[int] = torch.randint(FIRST_WORD, vocabulary, (tokens,), generator=generator).tolist()
    return ids


def as_text(ids: Sequence[int]) -> str:
    """The words that the tokenizer reads as these ids."""
    return " ".join(f"w{number}" for number in ids)
