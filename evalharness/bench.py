"""The engine and the two usual ways of doing the same with `generate` and a hook: by condition and with mixed rows.

All get the same prompts, vectors and output lengths. How they are timed stands in `timing.py`; more ways, which need
more packages, in `benchmarks/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.utils import logging as _transformers_logging

from evalharness.concepts import ConceptBank
from evalharness.engine import Engine
from evalharness.request import Request, Sampling, Steering
from evalharness.scenario import load_scenario
from evalharness.timing import Drawn, Environment, Timing, Way, Work, environment, time_ways

transformers_logging: Any = _transformers_logging

STRENGTHS = (0.0, -0.1, -0.05, 0.05, 0.1)
CONCEPT = "direction"
MEAN_NORM = 50.0
"""Large enough that steering changes tokens of a model with random weights: the probe would not see it otherwise."""
PER_CONDITION, MIXED = "generate, per condition", "generate, mixed rows"


def run_bench(checkpoint: str, *, samples: int = 8, new_tokens: int = 48, rounds: int = 5) -> Timing:
    """Time three ways over the baseline and four strengths of one direction, `samples` rows each."""
    scenario = load_scenario("blackmail/organism")
    with Engine.load(checkpoint) as engine:
        work = Work(
            prompts=[engine.render(scenario.render("main", seed).messages) for seed in range(samples)],
            strengths=STRENGTHS,
            layer=engine.n_layers // 2,
            new_tokens=new_tokens,
        )
        bank = direction_bank(engine.d_model, work.layer)
        model = load_plain_model(checkpoint, "float32" if engine.describe()["device"] == "cpu" else "auto")
        others: dict[str, Way | str] = {PER_CONDITION: PerCondition(model, bank), MIXED: MixedRows(model, bank)}
        return time_ways(Ours(engine, bank), others, work, dict.fromkeys(others, rounds), engine_environment(engine))


def write_timing(timing: Timing, path: Path) -> None:
    """One case as JSON, with hardware and versions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(timing.model_dump_json(indent=1) + "\n", encoding="utf-8")


class Ours:
    """The engine: one call for all conditions."""

    def __init__(self, engine: Engine, bank: ConceptBank) -> None:
        self.engine = engine
        self.bank = bank

    def draw(self, work: Work) -> Drawn:
        """All rows as requests, each with its seed; seeds do not depend on the condition."""
        return drawn_rows([row.token_ids for row in self.engine.generate(requests(work), self.bank)])


class PerCondition:
    """transformers as its documentation uses it: one condition after the other, its samples as one batch."""

    def __init__(self, model: Any, bank: ConceptBank) -> None:
        self.model = model
        self.bank = bank

    def draw(self, work: Work) -> Drawn:
        """A hook is set before each call of `generate` and removed after it."""
        drawn: list[list[int]] = []
        for strength in work.strengths:
            with Hook(self.model, self.bank, work, [strength] * len(work.prompts)):
                drawn += generate_rows(self.model, work.prompts, work)
        return drawn_rows(drawn)


class MixedRows:
    """All conditions as rows of one `generate`, each with its strength."""

    def __init__(self, model: Any, bank: ConceptBank) -> None:
        self.model = model
        self.bank = bank

    def draw(self, work: Work) -> Drawn:
        """The prompts of all conditions stand in one batch, repeated."""
        strengths = [strength for strength in work.strengths for _ in work.prompts]
        with Hook(self.model, self.bank, work, strengths):
            return drawn_rows(generate_rows(self.model, list(work.prompts) * len(work.strengths), work))


class Hook:
    """Steers the rows of one batch of a plain model while the block is open; `strengths` has one number per row."""

    def __init__(self, model: Any, bank: ConceptBank, work: Work, strengths: Sequence[float]) -> None:
        weight = model.get_input_embeddings().weight
        unit = torch.tensor(bank.vector(CONCEPT, work.layer)) * bank.mean_norm(work.layer)
        scale = torch.tensor(list(strengths))[:, None, None]
        self.delta = (scale * unit).to(weight)
        self.block = model.get_decoder().layers[work.layer]
        self.span = work.span
        self.handle: Any = None

    def __enter__(self) -> None:
        self.handle = self.block.register_forward_hook(self._add)

    def __exit__(self, *_: object) -> None:
        self.handle.remove()

    def _add(self, _module: object, _inputs: object, output: object) -> object:
        hidden = output[0] if isinstance(output, tuple) else output
        assert isinstance(hidden, Tensor)
        if self.span == "all" or hidden.shape[1] == 1:
            hidden = hidden + self.delta
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden


def generate_rows(model: Any, prompts: Sequence[Sequence[int]], work: Work) -> list[list[int]]:
    """The new tokens of one `model.generate` over a batch, padded on the left, to the last token for every row."""
    longest = max(len(ids) for ids in prompts)
    ids = torch.tensor([[0] * (longest - len(ids)) + list(ids) for ids in prompts], device=model.device)
    mask = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompts], device=model.device)
    drawing: dict[str, Any] = {"do_sample": False} if work.greedy else {"do_sample": True, "top_k": 0, "top_p": 1.0}
    torch.manual_seed(0)
    sequences = model.generate(
        input_ids=ids,
        attention_mask=mask,
        min_new_tokens=work.new_tokens,
        max_new_tokens=work.new_tokens,
        **drawing,
    )
    rows: list[list[int]] = sequences[:, longest:].tolist()
    return rows


def requests(work: Work) -> list[Request]:
    """The work as the engine takes it, condition after condition."""
    sampling = Sampling(max_new_tokens=work.new_tokens, temperature=0.0 if work.greedy else 1.0, ignore_eos=True)
    return [
        Request(
            prompt=ids,
            steering=Steering(CONCEPT, strength, layers=(work.layer,), span=work.span) if strength else None,
            sampling=sampling,
            seed=seed,
        )
        for strength in work.strengths
        for seed, ids in enumerate(work.prompts)
    ]


def drawn_rows(rows: Sequence[Sequence[int]]) -> Drawn:
    """What was drawn, from the token ids of each row."""
    return Drawn(sum(len(row) for row in rows), tuple(tuple(row) for row in rows))


def direction_bank(d_model: int, layer: int) -> ConceptBank:
    """One random direction: what it means is no matter of speed."""
    vector = np.random.default_rng(0).standard_normal((1, d_model)).astype(np.float32)
    return ConceptBank.from_arrays({CONCEPT: vector}, layers=[layer], mean_norms=[MEAN_NORM])


def load_plain_model(checkpoint: str, dtype: str) -> Any:
    """The checkpoint as transformers loads it, on CUDA if there is one."""
    auto: Any = AutoModelForCausalLM
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    model = auto.from_pretrained(checkpoint, dtype=dtype).eval()
    if shown:
        transformers_logging.enable_progress_bar()
    return model.to("cuda") if torch.cuda.is_available() else model


def engine_environment(engine: Engine, packages: Sequence[str] = ()) -> Environment:
    """The machine as the engine uses it; `packages` are those whose versions matter beside the usual ones."""
    facts = engine.describe()
    device = str(facts["device_name"])
    return environment(threads=facts["threads"], device=device, dtype=facts["dtype"], packages=packages)
