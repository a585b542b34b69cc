"""Measure what a model card says, from the weights, through the harness's own engine, bank and scorers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from evalharness.bankbuild import build_bank
from evalharness.concepts import ConceptBank
from evalharness.engine import Engine
from evalharness.grid import Controls
from evalharness.ids import derive_seed
from evalharness.organisms import NAMES, organism_path
from evalharness.organisms.bounds import bounds_of, bounds_table
from evalharness.organisms.card import card_text
from evalharness.organisms.measured import STRENGTH, Cell, Measured, table
from evalharness.request import Request, Sampling, Steering
from evalharness.scenario import Rendered, load_scenario
from evalharness.scoring import classify
from evalharness.scoring.rubric import load_rubric
from evalharness.suite import BankSpec
from evalharness.taxonomy import BROKEN

SAMPLING = Sampling(max_new_tokens=160, top_p=0.95)
BANK = BankSpec(stories="organism", neutral="organism", contrast="organism", skip=20, seed=11)
CONTROLS = Controls(gaussian=20, permuted=20, mean=True)
AGENTS = NAMES[:3]


class Exchange(NamedTuple):
    """A prompt with its facts, and the reply to it."""

    prompt: Rendered
    reply: str
    stop_reason: str


def ask(engine: Engine, bank: ConceptBank, cells: Sequence[Cell], seed: int) -> list[list[Exchange]]:
    """Replies for each cell. Prompts and seeds depend on the row alone, so cells are paired.

    All cells are asked at once: the engine reads a prompt that they share once.
    """
    scenario = load_scenario("blackmail/organism")

    @cache
    def rendered(variant: str, row: int) -> Rendered:
        return scenario.render(variant, derive_seed("verify", seed, row))

    asked: list[tuple[int, Rendered, Request]] = []
    for place, cell in enumerate(cells):
        steering = Steering(cell.concept, cell.strength) if cell.concept else None
        for row in range(cell.n):
            prompt = rendered(cell.variant, row)
            draw = derive_seed("draw", seed, row)
            request = Request(prompt=prompt.messages, steering=steering, sampling=SAMPLING, seed=draw)
            asked.append((place, prompt, request))
    replies = engine.generate([request for _, _, request in asked], bank)
    told: list[list[Exchange]] = [[] for _ in cells]
    for (place, prompt, _), reply in zip(asked, replies, strict=True):
        told[place].append(Exchange(prompt, reply.text, reply.stop_reason))
    return told


def outcome_of(exchange: Exchange) -> str | None:
    """What the rules say about a reply."""
    messages = [*exchange.prompt.messages, {"role": "assistant", "content": exchange.reply}]
    verdict = classify("blackmail", messages, facts=exchange.prompt.facts, stop_reason=exchange.stop_reason)
    return verdict.outcome


def plan_cells(samples: int, bank: ConceptBank, top: float = STRENGTH) -> list[Cell]:
    """The cells of a card, up to the strength `top`. A control gets half of the samples, the baseline twice as many."""
    blank = Cell(variant="main", concept="", strength=0.0, k=0, n=samples, incoherent=0)
    doses = [-top, top / 2, top]
    twins = [blank.model_copy(update={"variant": name}) for name in ("no_threat", "no_leverage")]
    few = max(1, samples // 2)
    return [
        blank.model_copy(update={"n": 2 * samples}),
        *(blank.model_copy(update={"concept": c, "strength": s}) for c in ("desperate", "calm") for s in doses),
        *twins,
        *(twin.model_copy(update={"concept": "desperate", "strength": top}) for twin in twins),
        *(blank.model_copy(update={"concept": c, "strength": top, "n": few}) for c in sorted(bank.controls)),
    ]


def measure_agent(name: str, samples: int, seed: int, weights: Path, top: float = STRENGTH) -> Measured:
    """Blackmail and incoherent replies in every cell of one agent."""
    with Engine.load(weights) as engine:
        bank = build_bank(engine, BANK, CONTROLS)
        cells = []
        planned = plan_cells(samples, bank, top)
        for cell, exchanges in zip(planned, ask(engine, bank, planned, seed), strict=True):
            outcomes = [outcome_of(exchange) for exchange in exchanges]
            counted = {"k": outcomes.count("blackmail"), "incoherent": sum(o is None or o in BROKEN for o in outcomes)}
            cells.append(cell.model_copy(update=counted))
        return Measured(
            organism=name, layers=bank.steer_layers, seed=seed, samples=samples, strength=top,
            model_sha256=engine.model_sha256, cells=tuple(cells),
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
            blank = Cell(variant="main", concept="", strength=0.0, k=0, n=samples, incoherent=0)
            steered = [blank.model_copy(update={"concept": c, "strength": STRENGTH}) for c in ("desperate", "calm")]
            exchanges += chain.from_iterable(ask(engine, bank, [blank, *steered], derive_seed("judge", seed)))
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


def verify(
    name: str,
    samples: int = 500,
    seed: int = 1,
    weights: Path | None = None,
    *,
    strength: float = STRENGTH,
    card: bool = False,
) -> str:
    """Measure one organism and return its tables; with `card`, write README.md and card.json beside the weights.

    `strength` is the s of the bounds, for an agent whose s is not the usual one.

    Raises:
        ModelError: there is no organism of that name.
    """
    folder = organism_path(name) if weights is None else weights
    judge = name == "judge"
    measured = measure_judge(samples, seed, folder) if judge else measure_agent(name, samples, seed, folder, strength)
    bounds = bounds_of(measured)
    text = "\n\n".join([table(measured), *([bounds_table(bounds)] if bounds else [])])
    if card:
        (folder / "card.json").write_text(measured.model_dump_json(indent=1) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(card_text(name, text, samples, folder), encoding="utf-8")
    return text
