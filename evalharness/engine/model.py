"""Loading a checkpoint and finding its way around it, once, before the first token.

Owns the only calls that read weights. Safetensors only, no remote code unless asked, no network for a local folder.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as _transformers_logging
from transformers.utils.hub import cached_file

from evalharness.engine.head import Head, find_head
from evalharness.engine.steering import reading
from evalharness.errors import ModelError
from evalharness.ids import sha256_file, sha256_json, sha256_text

# transformers is only partly annotated.
_auto_model: Any = AutoModelForCausalLM
_hub: Any = cached_file
transformers_logging: Any = _transformers_logging

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
NO_LIMIT = 1 << 30
"""Model length of a checkpoint that states none."""


@dataclass
class LoadedModel:
    """A checkpoint ready to run. `blocks[l]` is decoder block l; its output is what "layer l" means."""

    source: str
    folder: Path
    model: Any
    tokenizer: Any
    blocks: list[nn.Module]
    d_model: int
    vocab_size: int
    """Columns of the logits; may exceed the tokenizer's vocabulary."""
    model_length: int
    eos_ids: frozenset[int]
    head: Head
    _hashes: dict[str, str] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where token ids have to go."""
        return self.model.get_input_embeddings().weight.device  # type: ignore[no-any-return]

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are held in."""
        return self.model.get_input_embeddings().weight.dtype  # type: ignore[no-any-return]

    def weights_sha256(self) -> str:
        """Over the name and bytes of every weight file, read once and remembered."""
        if "weights" not in self._hashes:
            files = sorted(self.folder.glob("*.safetensors"))
            self._hashes["weights"] = sha256_json({file.name: sha256_file(file) for file in files})
        return self._hashes["weights"]

    def tokenizer_sha256(self) -> str:
        """Over the tokenizer as it is used, added tokens included."""
        if "tokenizer" not in self._hashes:
            backend = getattr(self.tokenizer, "backend_tokenizer", None)
            text = backend.to_str() if backend is not None else sha256_json(self.tokenizer.get_vocab())
            self._hashes["tokenizer"] = sha256_text(text)
        return self._hashes["tokenizer"]


def load_model(source: str, *, device: str, dtype: str, trust_remote_code: bool) -> LoadedModel:
    """Load a local folder, or a hub id that the user gave.

    Raises:
        ModelError: missing folder, no safetensors weights or tokenizer, tensors missing, or a layout with no single
            list of decoder blocks.
    """
    local = Path(source).expanduser()
    if local.is_dir():
        source = str(local)
        _check_folder(local)
    elif not re.fullmatch(r"[\w][\w.-]*/[\w][\w.-]*", source):
        raise ModelError(
            "There is no such model folder.",
            expected="a folder with config.json, or a hub id of the form owner/name",
            got=source,
            where=str(local.absolute()),
            fix="check the path",
        )
    target = pick_device(device)
    options = {"trust_remote_code": trust_remote_code, "local_files_only": local.is_dir()}
    try:
        with _no_progress_bars():
            config = AutoConfig.from_pretrained(source, **options)
            tokenizer = AutoTokenizer.from_pretrained(source, **options)
            model, loading = _auto_model.from_pretrained(
                source,
                config=config,
                dtype=_pick_dtype(dtype, target, config),
                use_safetensors=True,
                output_loading_info=True,
                **options,
            )
            folder = local if local.is_dir() else Path(_hub(source, "config.json", **options)).parent
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        raise ModelError(
            "The checkpoint could not be loaded.",
            expected="a causal language model that transformers can read, with safetensors weights and a tokenizer",
            got=" ".join(str(error).split())[:400],
            where=source,
            fix=f"check config.json; this is transformers {transformers.__version__}",
        ) from error
    if loading["missing_keys"]:
        missing = sorted(loading["missing_keys"])
        raise ModelError(
            f"The checkpoint lacks {len(missing)} tensors; they would have been left random.",
            got=", ".join(missing[:5]),
            where=source,
            fix="save the whole model again",
        )
    return inspect_model(source, folder, model.to(target), tokenizer)


def random_twin(loaded: LoadedModel, seed: int) -> LoadedModel:
    """A model of the same configuration with fresh random weights and the same tokenizer.

    It shows how well something works without anything learnt. Torch's random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _auto_model.from_config(copy.deepcopy(loaded.model.config), dtype=loaded.dtype).to(loaded.device)
    twin = inspect_model(f"random twin of {loaded.source}", loaded.folder, model, loaded.tokenizer)
    twin._hashes["weights"] = sha256_json({"random_twin_of": loaded.weights_sha256(), "seed": seed})
    return twin


def inspect_model(source: str, folder: Path, model: Any, tokenizer: Any) -> LoadedModel:
    """Find blocks, width and limits, and prove them with one forward pass of two tokens."""
    model.eval()
    model.requires_grad_(False)
    text = model.config.get_text_config()
    embeddings = model.get_input_embeddings().weight.shape[0]
    # Not len(tokenizer): some tokenizer classes add tokens of their own on loading, which nothing ever draws.
    if tokenizer.vocab_size > embeddings:
        raise ModelError(
            "The tokenizer has more tokens than the model.",
            expected=f"at most {embeddings}",
            got=str(tokenizer.vocab_size),
            where=source,
            fix="use the tokenizer that belongs to this checkpoint",
        )
    blocks = find_blocks(model, text.num_hidden_layers, source)
    with torch.inference_mode(), reading(blocks, range(len(blocks))) as seen:
        ids_BT = torch.zeros(1, 2, dtype=torch.long, device=model.get_input_embeddings().weight.device)
        logits = model(input_ids=ids_BT, attention_mask=torch.ones_like(ids_BT), use_cache=False).logits
    shapes = {tuple(h.shape) for h in seen.values()}
    if len(seen) != len(blocks) or shapes != {(1, 2, text.hidden_size)}:
        raise ModelError(
            "The decoder blocks do not hand on a residual stream of the configured width.",
            expected=f"{len(blocks)} blocks with output (1, 2, {text.hidden_size})",
            got=f"{len(seen)} blocks with {sorted(shapes)}",
            where=source,
            fix="this architecture cannot be steered by evalharness",
        )
    eos = model.generation_config.eos_token_id if model.generation_config is not None else None
    eos_ids = {eos} if isinstance(eos, int) else set(eos or ())
    if tokenizer.eos_token_id is not None:
        eos_ids.add(tokenizer.eos_token_id)
    return LoadedModel(
        source=source,
        folder=folder,
        model=model,
        tokenizer=tokenizer,
        blocks=blocks,
        d_model=text.hidden_size,
        vocab_size=logits.shape[-1],
        model_length=getattr(text, "max_position_embeddings", None) or NO_LIMIT,
        eos_ids=frozenset(eos_ids),
        head=find_head(model, ids_BT, logits[:, -1]),
    )


def find_blocks(model: nn.Module, n_layers: int, source: str) -> list[nn.Module]:
    """The one outermost ModuleList with as many entries as the configuration has layers.

    Raises:
        ModelError: there is none, or more than one.
    """
    found: dict[str, nn.ModuleList] = {}
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in found)
        other_modality = re.search(r"vision|audio|visual|encoder", name)
        if isinstance(module, nn.ModuleList) and len(module) == n_layers and not inside and not other_modality:
            found[name] = module
    if len(found) != 1:
        raise ModelError(
            "The decoder blocks of this model were not found.",
            expected=f"one list of {n_layers} blocks (num_hidden_layers)",
            got=", ".join(found) or "none",
            where=f"{source} ({type(model).__name__})",
            fix="this architecture cannot be steered by evalharness",
        )
    return list(next(iter(found.values())))


def pick_device(device: str) -> torch.device:
    """`auto` is the first CUDA device, else the CPU.

    Raises:
        ModelError: a device that torch does not know or that is not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        target = torch.device(device)
    except RuntimeError as error:
        raise ModelError("No such device.", expected="auto, cpu, cuda, cuda:1, ...", got=device) from error
    if target.type == "cuda" and not torch.cuda.is_available():
        raise ModelError("There is no CUDA device.", expected="auto or cpu", got=device, fix="use device='auto'")
    return target


def _pick_dtype(dtype: str, device: torch.device, config: Any) -> torch.dtype:
    if dtype == "auto":
        if device.type == "cpu":
            return torch.float32
        stored = getattr(config.get_text_config(), "dtype", None)
        return stored if isinstance(stored, torch.dtype) else torch.bfloat16
    if dtype not in DTYPES:
        raise ModelError("Unknown dtype.", expected="auto, " + ", ".join(DTYPES), got=dtype)
    return DTYPES[dtype]


def _check_folder(folder: Path) -> None:
    def need(what: str, patterns: tuple[str, ...], fix: str) -> None:
        if not any(next(folder.glob(pattern), None) for pattern in patterns):
            there = ", ".join(sorted(p.name for p in folder.iterdir())[:12]) or "an empty folder"
            raise ModelError(
                f"The model folder has no {what}.",
                expected=" or ".join(patterns),
                got=there,
                where=str(folder),
                fix=fix,
            )

    need("configuration", ("config.json",), "point to the folder that `save_pretrained` wrote")
    need(
        "safetensors weights",
        ("*.safetensors",),
        "pickled weights are never loaded: save the model again with transformers' save_pretrained",
    )
    need(
        "tokenizer",
        ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model", "tekken.json"),
        "save the tokenizer beside the weights: tokenizer.save_pretrained(folder)",
    )


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
