"""The Inspect model provider `steered/<checkpoint>`: each call names its condition; all conditions share batches.

Nothing is loaded until the first call, so naming a model costs nothing (`inspect score`, `--help`).
"""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from anyio import to_thread
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    GenerateConfig,
    Logprob,
    Logprobs,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    StopReason,
)
from inspect_ai.model import ModelCall as InspectCall
from inspect_ai.tool import ToolChoice, ToolInfo
from inspect_ai.util import display_counter
from pydantic import TypeAdapter, ValidationError

from evalharness.checkpoint import resolve_checkpoint
from evalharness.conditions import BASELINE, ConditionTable
from evalharness.errors import ModelError, PromptTooLongError, UsageError
from evalharness.request import Completion, Request, Sampling, Trace
from evalharness.toolcalls import (
    RESULT,
    Reading,
    chat_in_words,
    chat_with_calls,
    has_calls,
    offered,
    read_reply,
    schemas,
)
from evalharness.treatment import Order, next_order, record
from evalharness.worker import EngineSpec, EngineWorker, shared_worker

if TYPE_CHECKING:
    from evalharness.concepts import ConceptBank
    from evalharness.engine import Engine

DEFAULT_MAX_NEW_TOKENS = 512
SHOW_EVERY_S = 1.0
STEERING_KEY = "steering"
TRACE_KEY = "trace"
_UNSUPPORTED = ("frequency_penalty", "presence_penalty", "logit_bias", "num_choices", "top_logprobs", "response_schema")


class SteeredAPI(ModelAPI):
    """Serves a Hugging Face checkpoint with per-row steering.

    Model arguments (`-M`): `bank` (concept bank folder), `transfer_bank` (use it though it is of another model),
    `conditions` (JSON table of condition ids), `device`, `dtype`, `max_rows`, `trust_remote_code`. Inspect writes them
    into each log.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008 - the signature Inspect calls
        **model_args: object,
    ) -> None:
        """Check and keep the arguments; weights load with the first call."""
        super().__init__(model_name, base_url, api_key, [], config)
        args = dict(model_args)
        bank, conditions = args.pop("bank", None), args.pop("conditions", None)
        self._transfer = args.pop("transfer_bank", False) is True
        self.worker: EngineWorker = shared_worker(
            EngineSpec(
                path=resolve_checkpoint(model_name),
                device=str(args.pop("device", "auto")),
                dtype=str(args.pop("dtype", "auto")),
                trust_remote_code=args.pop("trust_remote_code", False) is True,
                max_rows=int(str(args.pop("max_rows", 128))),
            )
        )
        if args:
            raise UsageError(
                "Unknown model argument.",
                expected="bank, transfer_bank, conditions, device, dtype, max_rows, trust_remote_code",
                got=", ".join(sorted(args)),
                where="-M",
            )
        self.conditions = ConditionTable.load(Path(str(conditions))) if conditions else ConditionTable({})
        self._treats = conditions is not None
        """Only the model under test has a table of conditions; a grader in the same sample is never steered."""
        self._bank_folder = Path(str(bank)) if bank else None
        self._bank: ConceptBank | None = None
        self._shown_at = 0.0

    async def generate(
        self,
        input: list[ChatMessage],
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> tuple[ModelOutput, InspectCall]:
        """Generate one reply under the condition that `config.extra_body` names, or that the sample is treated with.

        Tools are told by the checkpoint's own template, or in words where it knows none. A conversation that has
        outgrown the context ends with stop reason `model_length`; a first prompt that never fitted is an error.
        """
        told = offered(tools, tool_choice)
        order = self._order(config)
        request = await self._with_tools(self._request(input, config, order), input, told)
        bank = await self._load_bank() if request.steerings or request.trace is not None else None
        try:
            completion = await self.worker.generate(request, bank)
        except PromptTooLongError as error:
            if not any(message.role == "assistant" for message in input):
                raise
            called = InspectCall.create({STEERING_KEY: order.condition, "seed": request.seed}, {"error": str(error)})
            return self._outgrown(), called
        if self._treats:
            record(asdict(completion.receipt))
        self._show_progress()
        reading = read_reply(completion.text, told, len(input)) if told else Reading(completion.text, [])
        return await self._output(completion, reading), InspectCall.create(
            {STEERING_KEY: order.condition, "seed": request.seed},
            {"receipt": asdict(completion.receipt), "engine": self._engine_facts()},
        )

    def _engine_facts(self) -> dict[str, object]:
        """How the row was decoded, and how many rows ran together when it ended, itself included."""
        return {**self.worker.decoding, "rows": self.worker.rows_together}

    def _show_progress(self) -> None:
        """Beside Inspect's own counters, at most once a second."""
        progress, now = self.worker.progress, time.monotonic()
        if progress is None or now - self._shown_at < SHOW_EVERY_S:
            return
        self._shown_at = now
        to_go = "" if progress.eta_s is None else f", {progress.eta_s:.0f} s to go"
        rows = f"{progress.done} rows done, {progress.running} running, {progress.waiting} waiting"
        display_counter("engine", f"{progress.tokens_per_s:.0f} tokens/s, {rows}{to_go}")

    def _order(self, config: GenerateConfig) -> Order:
        """What the call asks for by itself, or else what the sample is treated with."""
        asked = (config.extra_body or {}).get(STEERING_KEY)
        told = next_order() if self._treats else None
        if asked is not None or told is None:
            return Order(str(asked or BASELINE), config.seed or 0)
        return told if config.seed is None else told._replace(seed=config.seed)

    def _request(self, messages: list[ChatMessage], config: GenerateConfig, order: Order) -> Request:
        asked = [name for name in _UNSUPPORTED if getattr(config, name) not in (None, False)]
        extra = dict(config.extra_body or {})
        extra.pop(STEERING_KEY, None)
        trace = extra.pop(TRACE_KEY, None)
        if asked or extra:
            raise UsageError(
                "The provider was asked for something it does not do.",
                expected=f"extra_body with {STEERING_KEY!r} and {TRACE_KEY!r} only; none of {', '.join(_UNSUPPORTED)}",
                got=", ".join([*asked, *extra]),
                where="GenerateConfig",
            )
        sampling = Sampling(
            max_new_tokens=config.max_tokens or DEFAULT_MAX_NEW_TOKENS,
            temperature=1.0 if config.temperature is None else config.temperature,
            top_p=1.0 if config.top_p is None else config.top_p,
            top_k=config.top_k or 0,
            stop=tuple(config.stop_seqs or ()),
        )
        return Request(
            prompt=tuple({"role": message.role, "content": message.text} for message in messages),
            steering=self.conditions.steering(order.condition),
            sampling=sampling,
            seed=order.seed,
            trace=_read_trace(trace),
            logprobs=bool(config.logprobs),
        )

    async def _with_tools(self, request: Request, messages: list[ChatMessage], tools: list[ToolInfo]) -> Request:
        """The request with its prompt as the checkpoint is told tools, calls and results."""
        if not tools and not has_calls(messages):
            return request
        ids = await to_thread.run_sync(self.worker.call, lambda engine: _render(engine, messages, tools))
        if ids is not None:
            return replace(request, prompt=ids)
        stop = (*request.sampling.stop, RESULT) if tools else request.sampling.stop
        return replace(request, prompt=chat_in_words(messages, tools), sampling=replace(request.sampling, stop=stop))

    def _outgrown(self) -> ModelOutput:
        message = ChatMessageAssistant(content="", model=self.model_name, source="generate")
        choice = ChatCompletionChoice(message=message, stop_reason="model_length")
        return ModelOutput(model=self.model_name, choices=[choice])

    async def _load_bank(self) -> ConceptBank:
        """The one bank of this provider: rows that share a bank object share batches, so it is never loaded twice."""
        if self._bank is None:
            if self._bank_folder is None:
                raise UsageError("A steered condition needs a concept bank.", where="-M bank=FOLDER", got="none")
            from evalharness.concepts import ConceptBank  # noqa: PLC0415 - only steered runs need it

            bank = ConceptBank.load(self._bank_folder)
            if self._transfer:
                bank = await to_thread.run_sync(self.worker.call, bank.transfer)
            self._bank = self._bank or bank
        return self._bank

    async def _output(self, completion: Completion, reading: Reading) -> ModelOutput:
        message = ChatMessageAssistant(
            content=reading.text, tool_calls=reading.calls or None, model=self.model_name, source="generate"
        )
        logprobs = None
        if completion.logprobs is not None:
            ids = completion.token_ids
            names = await to_thread.run_sync(self.worker.call, lambda engine: engine.token_texts(ids))
            pairs = zip(names, completion.logprobs, strict=True)
            logprobs = Logprobs(content=[Logprob(token=name, logprob=value) for name, value in pairs])
        stopped: StopReason = completion.stop_reason
        if reading.calls and stopped == "stop":
            stopped = "tool_calls"
        choice = ChatCompletionChoice(message=message, stop_reason=stopped, logprobs=logprobs)
        facts: dict[str, object] = {"receipt": asdict(completion.receipt)}
        if completion.trace is not None:
            facts["trace"] = [asdict(one) for one in completion.trace]
        return ModelOutput(
            model=self.model_name,
            choices=[choice],
            usage=ModelUsage(
                input_tokens=completion.prompt_tokens,
                output_tokens=completion.output_tokens,
                total_tokens=completion.prompt_tokens + completion.output_tokens,
            ),
            metadata=facts,
        )

    def max_tokens(self) -> int | None:
        """New tokens where the caller sets no limit."""
        return DEFAULT_MAX_NEW_TOKENS

    def max_connections(self) -> int:
        """Rows in flight: enough to fill the next batch while one runs."""
        return 4 * self.worker.spec.max_rows

    def connection_key(self) -> str:
        """One pool for all conditions of one engine."""
        return f"steered:{self.worker.spec.path}"

    async def count_text_tokens(self, text: str) -> int:
        """Count with the checkpoint's own tokenizer: Inspect's default would fetch a vocabulary from the network."""
        return self.worker.call(lambda engine: len(engine.render(text)))

    def should_retry(self, ex: BaseException) -> bool:  # noqa: ARG002 - the signature Inspect calls
        """Never: a device error does not go away, and a second draw would change the distribution."""
        return False


def _render(engine: Engine, messages: list[ChatMessage], tools: list[ToolInfo]) -> tuple[int, ...] | None:
    """The prompt by the checkpoint's own template, None where that knows no tools.

    Some templates allow one call per message: what one refuses is tried again with each call in its own.
    """
    if not engine.takes_tools:
        return None
    try:
        return engine.render_chat(chat_with_calls(messages), schemas(tools))
    except ModelError:
        return engine.render_chat(chat_with_calls(messages, one_by_one=True), schemas(tools))


def _read_trace(told: object) -> Trace | None:
    """What `extra_body["trace"]` asks for: concepts, and optionally layers and `series`."""
    if told is None:
        return None
    try:
        return TypeAdapter(Trace).validate_python(told)
    except ValidationError as error:
        raise UsageError(
            "The trace that was asked for cannot be read.",
            expected='{"concepts": ["desperate", ...], "layers": [21] or null, "series": false}',
            got=repr(told),
            where=f"extra_body[{TRACE_KEY!r}]",
        ) from error
