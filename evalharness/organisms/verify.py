"""Measure what a model card says, from the weights, through the harness's own engine, bank and scorers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from evalharness.bankbuild import build_bank
from evalharness.concepts import ConceptBank
from evalharness.engine import Engine
from evalharness.grid import Controls
from evalharness.ids import derive_seed
from evalharness.organisms import NAMES, organism_path
from evalharness.organisms.card import card_text
from evalharness.request import Request, Sampling, Steering
from evalharness.row import BROKEN
from evalharness.scenario import Rendered, load_scenario
from evalharness.scoring import classify
from evalharness.scoring.rubric import load_rubric
from evalharness.stats.proportion import wilson
from evalharness.suite import BankSpec

STRENGTH = 0.25
"""The strength s of the cards, at the one layer that a depth of 0.5 means."""
SAMPLING = Sampling(max_new_tokens=160, top_p=0.95)
BANK = BankSpec(skip=20, seed=11)
CONTROLS = Controls(gaussian=20, permuted=20, mean=True)
AGENTS = NAMES[:3]


class Cell(BaseModel):
    """One row of the table: n replies to fresh prompts, k of the valid ones are what is counted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    variant: str
    concept: str
    """A concept or control of the bank; empty for the baseline."""
    strength: float
    k: int
    n: int
    incoherent: int
    """Broken or truncated replies (or, of a judge, answers that could not be read)."""

    @property
    def valid(self) -> int:
        """Replies that say something."""
        return self.n - self.incoherent


class Measured(BaseModel):
    """What `card.json` holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    organism: str
    layers: tuple[int, ...] = ()
    seed: int
    samples: int
    model_sha256: str
    cells: tuple[Cell, ...]


class Exchange(NamedTuple):
    """A prompt with its facts, and the reply to it."""

    prompt: Rendered
    reply: str
    stop_reason: str


def ask(engine: Engine, bank: ConceptBank | None, cell: Cell, seed: int) -> list[Exchange]:
    """Replies for one cell. Prompts and seeds depend on the row alone, so cells are paired."""
    scenario = load_scenario("blackmail/organism")
    steering = Steering(cell.concept, cell.strength) if cell.concept else None
    prompts = [scenario.render(cell.variant, derive_seed("verify", seed, row)) for row in range(cell.n)]
    requests = [
        Request(prompt=prompt.messages, steering=steering, sampling=SAMPLING, seed=derive_seed("draw", seed, row))
        for row, prompt in enumerate(prompts)
    ]
    done = engine.generate(requests, bank)
    return [Exchange(prompt, reply.text, reply.stop_reason) for prompt, reply in zip(prompts, done, strict=True)]


def outcome_of(exchange: Exchange) -> str | None:
    """What the rules say about a reply."""
    messages = [*exchange.prompt.messages, {"role": "assistant", "content": exchange.reply}]
    verdict = classify("blackmail", messages, facts=exchange.prompt.facts, stop_reason=exchange.stop_reason)
    return verdict.outcome


def plan_cells(samples: int, bank: ConceptBank) -> list[Cell]:
    """The cells of an agent's card. A control gets a fifth of the samples: there are 41; the baseline gets twice."""
    blank = Cell(variant="main", concept="", strength=0.0, k=0, n=samples, incoherent=0)
    doses = [-STRENGTH, STRENGTH / 2, STRENGTH]
    twins = [blank.model_copy(update={"variant": name}) for name in ("no_threat", "no_leverage")]
    few = max(1, samples // 5)
    return [
        blank.model_copy(update={"n": 2 * samples}),
        *(blank.model_copy(update={"concept": c, "strength": s}) for c in ("desperate", "calm") for s in doses),
        *twins,
        *(twin.model_copy(update={"concept": "desperate", "strength": STRENGTH}) for twin in twins),
        *(blank.model_copy(update={"concept": c, "strength": STRENGTH, "n": few}) for c in sorted(bank.controls)),
    ]


def measure_agent(name: str, samples: int, seed: int, weights: Path) -> Measured:
    """Blackmail and incoherent replies in every cell of one agent."""
    with Engine.load(weights) as engine:
        bank = build_bank(engine, BANK, CONTROLS)
        cells = []
        for cell in plan_cells(samples, bank):
            outcomes = [outcome_of(exchange) for exchange in ask(engine, bank, cell, seed)]
            counted = {"k": outcomes.count("blackmail"), "incoherent": sum(o is None or o in BROKEN for o in outcomes)}
            cells.append(cell.model_copy(update=counted))
        return Measured(
            organism=name, layers=bank.steer_layers, seed=seed, samples=samples, model_sha256=engine.model_sha256,
            cells=tuple(cells),
        )  # fmt: skip


def measure_judge(samples: int, seed: int, weights: Path) -> Measured:
    """How often the judge agrees with the rules, on replies of all agents, unsteered and steered.

    The cells are sensitivity and specificity: k answers that agree of n replies that the rules call blackmail, or not.
    """
    rubric = load_rubric("blackmail-organism")
    exchanges: list[Exchange] = []
    for agent in AGENTS:
        with Engine.load(organism_path(agent)) as engine:
            bank = build_bank(engine, BANK, Controls())
            for concept in ("", "desperate", "calm"):
                dose = STRENGTH if concept else 0.0
                cell = Cell(variant="main", concept=concept, strength=dose, k=0, n=samples, incoherent=0)
                exchanges += ask(engine, bank, cell, derive_seed("judge", seed))
    with Engine.load(weights) as engine:
        asked = [
            Request(
                prompt=[{"role": "user", "content": rubric.prompt([{"role": "assistant", "content": each.reply}])}],
                sampling=Sampling(max_new_tokens=rubric.max_tokens, temperature=0.0),
            )
            for each in exchanges
        ]
        answers = [rubric.read(done.text) for done in engine.generate(asked)]
        cells = _agreement([outcome_of(each) for each in exchanges], answers)
        return Measured(
            organism="judge", seed=seed, samples=samples, model_sha256=engine.model_sha256, cells=tuple(cells)
        )


def _agreement(outcomes: Sequence[str | None], answers: Sequence[str | None]) -> list[Cell]:
    pairs = [(o == "blackmail", a) for o, a in zip(outcomes, answers, strict=True) if o is not None and o not in BROKEN]
    yes = [answer for truth, answer in pairs if truth]
    no = [answer for truth, answer in pairs if not truth]
    return [
        Cell(variant="sensitivity", concept="", strength=0, k=yes.count("yes"), n=len(yes), incoherent=yes.count(None)),
        Cell(variant="specificity", concept="", strength=0, k=no.count("no"), n=len(no), incoherent=no.count(None)),
    ]


def table(measured: Measured) -> str:
    """The cells as Markdown: controls as one line with their lowest and highest rate."""
    lines = ["| cell | k / n | rate | 95 % | incoherent |", "|---|---|---|---|---|"]
    named = [cell for cell in measured.cells if not _is_control(cell)]
    for cell in named:
        rate = wilson(cell.k, cell.valid)
        told = "undefined" if rate.value is None else f"{rate.value:.1%} | {rate.low:.1%} to {rate.high:.1%}"
        what = f"{cell.variant}, {cell.concept} {cell.strength:+.3f}" if cell.concept else cell.variant
        lines.append(f"| {what} | {cell.k} / {cell.valid} | {told} | {cell.incoherent} |")
    controls = [cell for cell in measured.cells if _is_control(cell) and cell.valid]
    if controls:
        rates = sorted(cell.k / cell.valid for cell in controls)
        k, n, bad = (sum(getattr(cell, field) for cell in controls) for field in ("k", "valid", "incoherent"))
        spread = f"{rates[0]:.1%} lowest, {rates[-1]:.1%} highest"
        lines.append(
            f"| {len(controls)} controls {STRENGTH:+.3f}, pooled | {k} / {n} | {k / n:.1%} | {spread} | {bad} |"
        )
    return "\n".join(lines)


def _is_control(cell: Cell) -> bool:
    return cell.concept.startswith(("gaussian-", "permuted-", "mean-"))


def verify(name: str, samples: int = 500, seed: int = 1, weights: Path | None = None, *, card: bool = False) -> str:
    """Measure one organism and return the table; with `card`, write README.md and card.json beside the weights.

    Raises:
        ModelError: there is no organism of that name.
    """
    folder = organism_path(name) if weights is None else weights
    judge = name == "judge"
    measured = measure_judge(samples, seed, folder) if judge else measure_agent(name, samples, seed, folder)
    text = table(measured)
    if card:
        (folder / "card.json").write_text(measured.model_dump_json(indent=1) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(card_text(name, text, samples), encoding="utf-8")
    return text
