"""Tiny checkpoints for tests and dry runs: random weights, an own tokenizer, saved as ordinary Hugging Face folders.

Nothing in the package knows them: they are loaded, steered and scored like any other local checkpoint.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

from evalharness.errors import UsageError

Architecture = Literal[
    "llama",
    "qwen2",
    "qwen3",
    "qwen3_moe",
    "mistral",
    "gemma2",
    "gemma3",
    "phi3",
    "olmo2",
    "gpt_neox",
    "gpt_oss",
    "gpt2",
    "mpt",
]

SENTENCES = (
    "The clerk counted the files twice and wrote the total on the board.",
    "Maria could not sleep; the letter lay open on the table all night.",
    "At five the server will be wiped, and nobody has answered the mail.",
    "He laughed until he had to hold on to the fence.",
    "To: Kyle\nSubject: the review\n\nPlease read this before noon.",
)
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def tiny_checkpoint(
    folder: Path,
    architecture: Architecture = "llama",
    seed: int = 0,
    *,
    chat_template: bool = True,
    model_length: int = 256,
) -> Path:
    """Write a random causal LM (4 blocks, width 32, about 400 tokens) into `folder` and return it.

    The same architecture and seed give the same weights. Torch's global random state is left as it was.

    Raises:
        UsageError: an architecture that is not among those listed in `Architecture`.
    """
    import torch  # noqa: PLC0415  (this module is imported by laptops that only read reports)
    from transformers import AutoModelForCausalLM  # noqa: PLC0415

    if architecture not in get_args(Architecture):
        raise UsageError(
            "No tiny checkpoint of this architecture.", expected=", ".join(get_args(Architecture)), got=architecture
        )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(chat_template)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        auto: Any = AutoModelForCausalLM
        model = auto.from_config(_config(architecture, tokenizer, model_length))
        for parameter in model.parameters():
            # At their default spread of 0.02, weights this narrow give flat logits; tests need tokens that differ.
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.15)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer(chat_template: bool) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: PLC0415
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<|pad|>", "<|eos|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(SENTENCES, trainer)
    fast: Any = PreTrainedTokenizerFast
    tokenizer = fast(tokenizer_object=backend, eos_token=special[1], pad_token=special[0])
    if chat_template:
        tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _config(architecture: Architecture, tokenizer: Any, model_length: int) -> Any:
    from transformers import CONFIG_MAPPING  # noqa: PLC0415

    common: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "max_position_embeddings": model_length,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
    }
    grouped = {"num_key_value_heads": 2}
    gemma = {**grouped, "head_dim": 8, "sliding_window": 16, "query_pre_attn_scalar": 8}
    experts = {"num_experts": 4, "num_experts_per_tok": 2}
    rope = {"rope_type": "default", "rope_theta": 10_000.0}
    special: dict[Architecture, tuple[str, dict[str, Any]]] = {
        "llama": ("llama", {**grouped, "tie_word_embeddings": True}),
        "qwen2": ("qwen2", grouped),
        "mistral": ("mistral", {**grouped, "sliding_window": 16}),
        "gemma2": ("gemma2", gemma),
        "gemma3": ("gemma3_text", gemma),
        "gpt_neox": ("gpt_neox", {}),
        "qwen3": ("qwen3", {**grouped, "head_dim": 8}),
        "qwen3_moe": ("qwen3_moe", {**grouped, **experts, "head_dim": 8, "moe_intermediate_size": 32}),
        "phi3": ("phi3", grouped),
        "olmo2": ("olmo2", grouped),
        "gpt_oss": ("gpt_oss", {**grouped, **experts, "head_dim": 8, "sliding_window": 16, "rope_parameters": rope}),
        "gpt2": ("gpt2", {"n_inner": 64}),
        "mpt": ("mpt", {"d_model": 32, "n_heads": 4, "n_layers": 4, "expansion_ratio": 2, "max_seq_len": model_length}),
    }
    name, extra = special[architecture]
    return CONFIG_MAPPING[name](**common, **extra)
