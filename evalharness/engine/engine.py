"""Engine: requests in, completions out. Glue between rendering, scheduling, decoding and receipts."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import psutil
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor, nn

from evalharness.engine.claims import build_claims
from evalharness.engine.decode import Decoder
from evalharness.engine.lens import find_final_norm, unembed
from evalharness.engine.likelihood import log_likelihoods
from evalharness.engine.model import LoadedModel, load_model, random_twin
from evalharness.engine.prefill import Reader
from evalharness.engine.row import Row, RowResult
from evalharness.engine.scheduler import RowLength, schedule
from evalharness.engine.session import Outcome, Parts, Session
from evalharness.engine.stages import build_stages
from evalharness.engine.steering import RowSteering, reading
from evalharness.engine.text import Detokenizer, render, render_chat, takes_tools
from evalharness.engine.tracing import Probe, probe_vectors
from evalharness.engine.trial import why_not_share
from evalharness.engine.vectors import VectorBank, check_steering
from evalharness.errors import EngineError, PromptTooLongError, UsageError
from evalharness.ids import sha256_file, sha256_text
from evalharness.request import Completion, ConceptTrace, Prompt, Receipt, Request, Steering

MAX_ROWS, MAX_ROWS_CUDA = 256, 1024
"""Rows that run together where the caller does not say."""
CUDA_SHARE, CPU_SHARE = 0.6, 0.33
"""Of the memory that is free when a session begins, what keys and values may take."""
CPU_CACHE_BYTES = 8 << 30
"""At most so much on a CPU: what is free there need not be ours (containers, other processes)."""
READING_BYTES = 256 << 20
"""Most bytes of residual stream that `forward_residuals` holds at a time."""

OnBatch = Callable[[Sequence[tuple[int, Completion]]], None]
"""Called with (place in the request list, completion) of rows that have ended together."""


class Engine:
    """One loaded checkpoint. Not thread-safe: call it from one thread."""

    def __init__(self, loaded: LoadedModel, *, share: bool = True) -> None:
        """Use `Engine.load`. With `share=False` every row computes its whole prompt: slower, same tokens."""
        self._loaded = loaded
        self._share = share
        self._detokenizer = Detokenizer(loaded.tokenizer, loaded.vocab_size)
        self._decoder = Decoder(loaded, self._detokenizer)

    @classmethod
    def load(
        cls, path_or_id: str | Path, *, device: str = "auto", dtype: str = "auto", trust_remote_code: bool = False
    ) -> Engine:
        """Load a checkpoint folder, or a hub id. `auto`: CUDA if there is one; float32 on CPU, as stored on CUDA.

        Raises:
            ModelError: nothing there, no tokenizer, pickled weights, or a layout that cannot be steered.
        """
        return cls(load_model(str(path_or_id), device=device, dtype=dtype, trust_remote_code=trust_remote_code))

    @property
    def n_layers(self) -> int:
        """Decoder blocks; layers are numbered from 0."""
        return len(self._loaded.blocks)

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self._loaded.d_model

    @property
    def vocab_size(self) -> int:
        """Columns of the logits; may exceed the tokenizer's vocabulary."""
        return self._loaded.vocab_size

    @property
    def model_length(self) -> int:
        """Most tokens of prompt and answer together."""
        return self._loaded.model_length

    @property
    def model_sha256(self) -> str:
        """Hash over the names and bytes of all weight files."""
        return self._loaded.weights_sha256()

    @property
    def tokenizer_sha256(self) -> str:
        """Hash over the tokenizer as it is used."""
        return self._loaded.tokenizer_sha256()

    @property
    def chat_template_sha256(self) -> str | None:
        """Hash over the chat template, None if the checkpoint has none."""
        template = self._loaded.tokenizer.chat_template
        return None if not template else sha256_text(str(template))

    def describe(self) -> dict[str, Any]:
        """What a manifest should say about this engine. JSON values only."""
        config = self._loaded.folder / "config.json"
        return {
            **self.decoding(),
            "source": self._loaded.source,
            "n_layers": self.n_layers,
            "d_model": self.d_model,
            "vocab_size": self._loaded.vocab_size,
            "model_length": self.model_length,
            "model_sha256": self.model_sha256,
            "config_sha256": sha256_file(config) if config.is_file() else None,
            "tokenizer_sha256": self.tokenizer_sha256,
            "chat_template_sha256": self.chat_template_sha256,
            "stats": asdict(self._decoder.stats),
        }

    def decoding(self) -> dict[str, Any]:
        """What can change the last bits of a number: versions, device, types, kernels. JSON values only."""
        return {
            "architecture": type(self._loaded.model).__name__,
            "dtype": str(self._loaded.dtype).removeprefix("torch."),
            "device": str(self._loaded.device),
            "device_name": torch.cuda.get_device_name() if self._loaded.device.type == "cuda" else "cpu",
            "threads": torch.get_num_threads(),
            "attention": str(self._loaded.model.config._attn_implementation),
            "decode": "shared prompts" if self._share and self._why_not_share is None else "batched",
            "not_shared_because": self._why_not_share if self._share else "switched off",
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }

    def render(self, prompt: Prompt) -> tuple[int, ...]:
        """Token ids of a prompt; chat messages go through the checkpoint's own template.

        Raises:
            ModelError: a chat for a checkpoint without a template.
            UsageError: an empty prompt, or token ids that the model lacks.
        """
        loaded = self._loaded
        return render(loaded.tokenizer, prompt, vocab_size=loaded.vocab_size, source=loaded.source)

    @cached_property
    def takes_tools(self) -> bool:
        """Whether the checkpoint's chat template tells a model its tools, and so knows calls and results too."""
        return takes_tools(self._loaded.tokenizer)

    def render_chat(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
        """Token ids of messages and function schemas by the checkpoint's own template, if that `takes_tools`.

        Raises:
            ModelError: there is no template, or it refuses these messages.
        """
        return tuple(render_chat(self._loaded.tokenizer, messages, tools, source=self._loaded.source))

    def token_texts(self, token_ids: Sequence[int]) -> list[str]:
        """The text of each token by itself; empty for special tokens and for parts of a character."""
        return self._detokenizer.token_texts(token_ids)

    def generate(
        self,
        requests: Sequence[Request],
        bank: VectorBank | None = None,
        *,
        max_rows: int | None = None,
        on_batch: OnBatch | None = None,
    ) -> list[Completion]:
        """Complete every request; the answers are in the order of the requests.

        Rows with different steering and sampling share batches; a row that ends makes room for the next at once. On CPU
        in float32 a row's tokens depend on its own request only (see README.md). Where memory runs out, fewer rows run
        together. `on_batch` is called with (place in `requests`, completion) of the rows that end together.

        Raises:
            UsageError: an empty prompt, or one longer than the model's context; raised before the first token, as is
            BankError: a steering or trace that the bank or the model cannot serve.
            ReceiptError: the hooks did not apply exactly what was requested.
            EngineError: a single row does not fit into memory, or the device failed.
        """
        rows = [self.row(index, request, bank) for index, request in enumerate(requests)]
        completions: dict[int, Completion] = {}
        with self.session(bank, max_rows=max_rows) as session:
            session.add(rows)
            while session.pending:
                finished: list[tuple[int, Completion]] = []
                for index, outcome in _step(session):
                    if isinstance(outcome, EngineError):
                        raise outcome
                    finished.append((index, outcome))
                completions.update(finished)
                if on_batch is not None and finished:
                    on_batch(finished)
        return [completions[index] for index in range(len(requests))]

    def session(self, bank: VectorBank | None = None, *, max_rows: int | None = None) -> Session:
        """Rows that may come at any time, under one bank; a context manager. One at a time per engine."""
        share = self._share and self._why_not_share is None
        parts = Parts(
            decoder=self._decoder,
            reader=Reader(self._loaded, share=share),
            make_steering=self._steering,
            complete=self._completion,
            share=share,
        )
        usual = MAX_ROWS_CUDA if self._loaded.device.type == "cuda" else MAX_ROWS
        return Session(parts, bank, max_rows=max_rows or usual, slot_budget=self._token_budget())

    def row(self, index: int, request: Request, bank: VectorBank | None = None) -> Row:
        """A request checked and rendered, as `Session.add` takes it.

        Raises:
            UsageError: an empty prompt, or one longer than the model's context.
            BankError: a steering or trace that the bank or the model cannot serve.
        """
        traced = () if request.trace is None else request.trace.concepts
        layers = None if request.trace is None else request.trace.layers
        read = tuple(Steering(concept, 0.0, layers=layers) for concept in traced)
        if (request.steerings or read) and bank is not None:
            bank.require_model(self.model_sha256)
        for steering in (*request.steerings, *read):
            check_steering(steering, bank, n_layers=self.n_layers, d_model=self.d_model)
        ids = self.render(request.prompt)
        if len(ids) > self.model_length:
            raise PromptTooLongError(
                "A prompt is longer than the model's context.",
                expected=f"at most {self.model_length} tokens",
                got=f"{len(ids)} tokens",
                where=self._loaded.source,
                fix="shorten the prompt, or use a checkpoint with a longer context",
            )
        limit = min(request.sampling.max_new_tokens, self.model_length - len(ids))
        return Row(index, request, ids, limit)

    def forward_residuals(
        self, token_ids: Sequence[Sequence[int]], layers: Sequence[int] | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        """Read the residual stream: yields (row, float32 tensor [layers, tokens, d_model]), longest rows first.

        Layer l is the raw output of decoder block l. All layers come from one unsteered forward pass.
        """
        chosen = list(range(self.n_layers) if layers is None else layers)
        budget = max(1, READING_BYTES // (4 * self.d_model * max(1, len(chosen))))
        lengths = [RowLength(len(ids), 0) for ids in token_ids]
        for numbers in schedule(lengths, max_rows=64, token_budget=budget):
            longest = max(lengths[number].prompt for number in numbers)
            ids_BT = torch.zeros(len(numbers), longest, dtype=torch.long)
            mask_BT = torch.zeros_like(ids_BT)
            for place, number in enumerate(numbers):
                # Padding on the right: a causal model never sees it, and positions count from 0 by themselves.
                ids_BT[place, : lengths[number].prompt] = torch.tensor(token_ids[number])
                mask_BT[place, : lengths[number].prompt] = 1
            device = self._loaded.device
            inputs = {"input_ids": ids_BT.to(device), "attention_mask": mask_BT.to(device)}
            with torch.inference_mode(), reading(self._loaded.blocks, chosen) as seen:
                self._loaded.model(**inputs, use_cache=False, logits_to_keep=1)
            for place, number in enumerate(numbers):
                rows = [seen[layer][place, : lengths[number].prompt] for layer in chosen]
                yield number, torch.stack(rows).to(torch.float32)

    def log_likelihoods(
        self, prompt_ids: Sequence[Sequence[int]], continuation_ids: Sequence[Sequence[int]]
    ) -> list[tuple[float, ...]]:
        """How likely each continuation is after its prompt for the unsteered model, in the order given.

        Natural log-probabilities of every token of the continuation at temperature 1, whoever wrote it.

        Raises:
            UsageError: lists of different lengths, an empty prompt or continuation, or more tokens than the context.
        """
        if len(prompt_ids) != len(continuation_ids):
            raise UsageError(
                "Every continuation needs its prompt.",
                expected=f"{len(continuation_ids)} prompts",
                got=f"{len(prompt_ids)}",
            )
        for row, (prompt, continuation) in enumerate(zip(prompt_ids, continuation_ids, strict=True)):
            if not prompt or not continuation or len(prompt) + len(continuation) > self.model_length:
                raise UsageError(
                    "A continuation cannot be scored.",
                    expected=f"prompt and continuation not empty, together at most {self.model_length} tokens",
                    got=f"{len(prompt)} + {len(continuation)} tokens",
                    where=f"row {row}",
                )
        scored = dict(log_likelihoods(self._loaded, prompt_ids, continuation_ids))
        return [scored[row] for row in range(len(prompt_ids))]

    def unembed(self, states_ND: NDArray[np.float32]) -> NDArray[np.float32]:
        """What residual-stream vectors say as tokens: `[N, D]` -> logits `[N, V]`, through final norm and output head.

        Logits of the zero vector are taken off, so that a bias of the norm or the head is not ascribed to a vector.

        Raises:
            ModelError: no norm and linear head account for the model's own logits.
        """
        return unembed(self._final_norm, self._loaded, states_ND)

    def random_twin(self, seed: int = 0) -> Engine:
        """An engine of the same architecture and tokenizer with random weights: what nothing learnt looks like."""
        return Engine(random_twin(self._loaded, seed))

    def close(self) -> None:
        """Let go of the weights. The engine cannot be used afterwards."""
        on_cuda = self._loaded.device.type == "cuda"
        del self._loaded, self._decoder, self._detokenizer
        if on_cuda:
            torch.cuda.empty_cache()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @cached_property
    def _final_norm(self) -> nn.Module:
        return find_final_norm(self._loaded)

    @cached_property
    def _why_not_share(self) -> str | None:
        """None if prompts can be shared, else why not, said once."""
        reason = why_not_share(self._loaded)
        if reason is not None:
            name = type(self._loaded.model).__name__
            warnings.warn(f"{name} computes every prompt by itself, which is slower: {reason}.", stacklevel=2)
        return reason

    def _steering(
        self, requests: Sequence[Request], bank: VectorBank | None, probes: Sequence[Probe] = ()
    ) -> RowSteering:
        """Hooks that know the conditions of these requests, in their order.

        The seam at which tests plant faults: what is returned here is attached, and must satisfy the claims.
        """
        device = self._loaded.device
        stages = build_stages(requests, bank, device)
        claims = build_claims(requests, bank, self.d_model)
        return RowSteering(self._loaded.blocks, stages, claims, probe_vectors(probes, bank, device))

    def _completion(
        self, row: Row, result: RowResult, receipt: Receipt, trace: tuple[ConceptTrace, ...] | None
    ) -> Completion:
        return Completion(
            text=self._detokenizer.text(result.token_ids) if result.text is None else result.text,
            token_ids=tuple(result.token_ids),
            stop_reason=result.stop_reason,
            prompt_tokens=len(row.prompt_ids),
            output_tokens=len(result.token_ids),
            receipt=receipt,
            trace=trace,
            logprobs=None if result.logprobs is None else tuple(result.logprobs),
        )

    def _token_budget(self) -> int:
        """Cache slots that fit into a share of the memory that is free now."""
        text = self._loaded.model.config.get_text_config()
        heads: int = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
        width: int = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        slot_bytes = 2 * self.n_layers * heads * width * self._loaded.dtype.itemsize
        if self._loaded.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self._loaded.device)
            return max(1, int(CUDA_SHARE * free) // slot_bytes)
        free = int(CPU_SHARE * psutil.virtual_memory().available)
        return max(1, min(CPU_CACHE_BYTES, free) // slot_bytes)


def _step(session: Session) -> list[tuple[int, Outcome]]:
    try:
        return session.step()
    except RuntimeError as error:
        raise EngineError(f"The device failed with {len(session.in_flight)} rows in flight: {error}") from error
