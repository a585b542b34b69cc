"""A random checkpoint whose vocabulary holds whole calls of tools as tokens: by chance alone it acts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evalharness.testing import tiny_checkpoint


def speaking_checkpoint(folder: Path, calls: Sequence[str], model_length: int = 16_384) -> Path:
    """Write a tiny checkpoint into `folder` that draws each of `calls` about as often as any other token."""
    import torch  # noqa: PLC0415 - most tests need no torch
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    tiny_checkpoint(folder, "qwen2", model_length=model_length)
    load_tokenizer: Any = AutoTokenizer.from_pretrained
    load_model: Any = AutoModelForCausalLM.from_pretrained
    tokenizer, model = load_tokenizer(folder), load_model(folder)
    tokenizer.add_tokens(list(calls))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        for weight in (model.get_input_embeddings().weight, model.get_output_embeddings().weight):
            torch.nn.init.normal_(weight, std=0.15)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
