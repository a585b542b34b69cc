"""The battery of `vectors check`: runs every part on a bank and its model, and decides.

Three things are required to pass: the held-out stories (above chance and above a twin of random weights), the implicit
scenarios (the same, on another kind of text and with the bank's own vectors), and stability (the corpus repeats the
vectors, and they are the bank's). The rest is told beside: words, numbers, tokens and geometry show what a bank is
like, but each can come out well for a bad bank or badly for a good one, as their files say.
X stories of the check, C concepts, K steer layers, D width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from evalharness.concepts.bag_of_words import read_bag_of_words
from evalharness.concepts.bank import ConceptBank
from evalharness.concepts.battery_record import Battery, Implicit, ImplicitReading, Lens, Part, Stability
from evalharness.concepts.check import Means, decide
from evalharness.concepts.geometry import LEAST_CONCEPTS, LEAST_WORDS, read_geometry
from evalharness.concepts.held_out import TWIN_SEED, chosen_stories, story_means
from evalharness.concepts.implicit import ScenarioRow, Scenarios, choose_scenarios, read_scenarios
from evalharness.concepts.lens import read_lens
from evalharness.concepts.manifest import CheckResult
from evalharness.concepts.neutral import Neutral, read_neutral
from evalharness.concepts.norms import Norms
from evalharness.concepts.numeric import NumericTemplate, read_numeric
from evalharness.concepts.reading import TextRow
from evalharness.concepts.spec import BatteryBars, CheckSpec, ExtractionSpec
from evalharness.concepts.stability import read_stability
from evalharness.concepts.stories import Stories, StoryRow, read_stories
from evalharness.concepts.story_vectors import concept_vectors
from evalharness.errors import BankError, ModelError

if TYPE_CHECKING:
    from evalharness.engine import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What the parts read besides the stories. Scenarios and templates must be in the language of the stories."""

    neutral: Iterable[TextRow] = ()
    scenarios: Sequence[ScenarioRow] = ()
    templates: Sequence[NumericTemplate] = ()
    absent: str = "no material was given"
    """Why there are no scenarios or templates, for the record."""
    norms: Norms | None = None


@dataclass(frozen=True, slots=True)
class _Twin:
    """What is kept of the twin, read at the steer layers and at block 0, where there is hardly more than the words."""

    means: list[Means]
    implicit: list[ImplicitReading]


@dataclass(frozen=True, slots=True)
class _Stories:
    """The stories of the check in numbers."""

    corpus: Stories
    chosen_X: list[int]
    neutral: Neutral
    spec: ExtractionSpec

    @property
    def labels(self) -> list[str]:
        labels = self.corpus.labels
        return [labels[story] for story in self.chosen_X]

    def means(self, engine: Engine, layers: Sequence[int]) -> Means:
        return story_means(engine, self.corpus, self.chosen_X, self.neutral, layers, self.spec)


def run_battery(
    engine: Engine,
    bank: ConceptBank,
    stories: Iterable[StoryRow],
    material: Material,
    spec: ExtractionSpec = ExtractionSpec(),
    bars: BatteryBars = BatteryBars(),
) -> Battery:
    """Check a bank at its steer layers. `spec` says how stories are read (skip, denoise) and holds the held-out bars.

    Raises:
        BankError: the bank belongs to another model, no concept of it has a story, or stories or scenarios break the
            rules of their rows.
    """
    bank.require_model(engine.model_sha256)
    corpus = read_stories(engine, stories, spec.skip)
    _require_common(bank, corpus)
    rows = list(material.neutral)
    quiet = read_neutral(engine, rows, spec.skip) if rows and spec.denoise else Neutral()
    read = _Stories(corpus, chosen_stories(corpus, spec.check), quiet, spec)
    held_out = corpus.held_out(read.chosen_X)
    known = set(bank.concepts) & set(read.labels)
    scenarios = choose_scenarios(engine, material.scenarios, known)
    means_XKD = read.means(engine, bank.steer_layers)
    twin = _read_twin(engine, bank, read, scenarios, bars)
    check = decide(held_out, means_XKD, twin.means, layers=bank.steer_layers, bars=spec.check or CheckSpec())
    implicit = _implicit(engine, bank, scenarios, twin, bars)
    own = {name: np.stack([bank.vector(name, layer) for layer in bank.steer_layers]) for name in bank.concepts}
    stability = read_stability(
        means_XKD, held_out.labels, held_out.topics, {name: own[name].astype(np.float64) for name in own}
    )
    numeric = read_numeric(engine, bank, material.templates)
    lens, no_lens = _lens(engine, bank)
    geometry = read_geometry(bank, material.norms) if len(bank.concepts) >= LEAST_CONCEPTS else None
    not_run: dict[Part, str | None] = {
        "implicit": None if implicit else _why_no_scenarios(material, scenarios),
        "numeric": None if numeric else _why_no_templates(material),
        "lens": no_lens,
        "geometry": None if geometry else f"fewer than {LEAST_CONCEPTS} concepts",
        "norms": None if geometry and geometry.norms else _why_no_norms(material),
        "stability": None if stability else "fewer than two concepts with two stories",
    }
    reasons = (
        *check.reasons,
        *_strangers(bank, read.labels),
        *implicit_reasons(implicit, bars),
        *_stability_reasons(stability),
    )
    return Battery(
        passed=not reasons,
        reasons=reasons,
        required=_required(check, bars),
        not_run={part: reason for part, reason in not_run.items() if reason},
        model_sha256=engine.model_sha256,
        stories_sha256=corpus.sha256,
        layers=bank.steer_layers,
        concepts=bank.concepts,
        held_out=check,
        bag_of_words=read_bag_of_words(held_out, [str(row["text"]) for row in _rows(read)]),
        implicit=implicit,
        numeric=numeric,
        lens=lens,
        geometry=geometry,
        stability=stability,
    )


def _require_common(bank: ConceptBank, corpus: Stories) -> None:
    """A check that tests nothing of a bank must not replace the one it has: banks from pairs were checked on pairs."""
    if not set(bank.concepts) & set(corpus.names):
        raise BankError(
            "The stories have none of the bank's concepts.",
            expected=", ".join(bank.concepts[:30]),
            got=", ".join(corpus.names[:30]),
            fix="give stories of these concepts; a bank from matched pairs is checked when it is built",
        )


def _rows(read: _Stories) -> list[StoryRow]:
    return [read.corpus.rows[int(read.corpus.kept_S[story])] for story in read.chosen_X]


def _read_twin(engine: Engine, bank: ConceptBank, read: _Stories, scenarios: Scenarios, bars: BatteryBars) -> _Twin:
    """The twin reads the scenarios with vectors of its own, from the same stories: else it would fail by strangeness.

    They come from the stories of the check only, as many as it keeps in memory.
    """
    names = list(dict.fromkeys(read.labels))
    label_X = np.array([names.index(label) for label in read.labels])
    targets = [names.index(name) for name in scenarios.targets]
    found = _Twin([], [])
    with engine.random_twin(TWIN_SEED) as twin:
        for layers in (bank.steer_layers, (0,)):
            means_XKD = read.means(twin, layers)
            found.means.append(means_XKD)
            if len(targets) > 1:
                vectors_CKD = concept_vectors(means_XKD, label_X)[targets]
                found.implicit.append(read_scenarios(twin, scenarios, vectors_CKD, layers, bars.permutations))
    return found


def _implicit(
    engine: Engine, bank: ConceptBank, scenarios: Scenarios, twin: _Twin, bars: BatteryBars
) -> Implicit | None:
    if len(scenarios.targets) < 2:
        return None
    vectors_CKD = np.stack([[bank.vector(name, layer) for layer in bank.steer_layers] for name in scenarios.targets])
    return Implicit(
        targets=scenarios.targets,
        n=len(scenarios.ids_N),
        n_too_long=scenarios.n_too_long,
        prompt=scenarios.form,
        chance=1 / len(scenarios.targets),
        model=read_scenarios(engine, scenarios, vectors_CKD.astype(np.float64), bank.steer_layers, bars.permutations),
        twin=max(twin.implicit, key=lambda reading: reading.top1),
        required=len(scenarios.targets) >= bars.min_implicit_targets,
    )


def _lens(engine: Engine, bank: ConceptBank) -> tuple[Lens | None, str | None]:
    try:
        return read_lens(engine, bank), None
    except ModelError as error:
        return None, error.what


def _strangers(bank: ConceptBank, labels: Sequence[str]) -> list[str]:
    """Concepts that no story tells of: nothing here would have tested them, and a run may steer them."""
    missing = [name for name in bank.concepts if name not in set(labels)]
    if not missing:
        return []
    return [
        f"{len(missing)} of the bank's {len(bank.concepts)} concepts have no story in this check, so nothing tests "
        f"them: {', '.join(missing[:8])}{' ...' if len(missing) > 8 else ''}"
    ]


def implicit_reasons(implicit: Implicit | None, bars: BatteryBars) -> list[str]:
    """Why the scenarios fail the bank; empty where they pass, were not run, or decide nothing."""
    if implicit is None or not implicit.required:
        return []
    model, reasons = implicit.model, []
    if model.p_value > bars.max_implicit_p or model.top1 <= implicit.chance:
        reasons.append(
            f"implicit scenarios are not read better than by chance: top-1 {model.top1:.3f} "
            f"(chance {implicit.chance:.3f}), p = {model.p_value:.3f}, needed p <= {bars.max_implicit_p:g}"
        )
    if model.top1 <= implicit.twin.top1:
        reasons.append(
            f"a random-weights twin reads the implicit scenarios as well: top-1 {model.top1:.3f} against "
            f"{implicit.twin.top1:.3f}"
        )
    return reasons


def _stability_reasons(stability: Stability | None) -> list[str]:
    if stability is None:
        return ["halves of the stories could not be compared: fewer than two concepts with two stories"]
    reasons = []
    if stability.median <= stability.bar:
        reasons.append(
            f"two halves of the stories do not give the same vectors: median cosine {stability.median:.3f}, "
            f"with shuffled labels up to {stability.bar:.3f}"
        )
    if stability.bank_median is not None and stability.bank_median <= stability.bar:
        reasons.append(
            f"the bank's vectors are not those of these stories: median cosine {stability.bank_median:.3f}, halves "
            f"under shuffled labels reach {stability.bar:.3f}"
        )
    return reasons


def _required(check: CheckResult, bars: BatteryBars) -> dict[str, float]:
    return {
        **{f"held_out_{name}": value for name, value in check.required.items()},
        "implicit_max_p": bars.max_implicit_p,
        "implicit_min_targets": float(bars.min_implicit_targets),
        "stability_permuted_quantile": 0.95,
    }


def _why_no_scenarios(material: Material, scenarios: Scenarios) -> str:
    if not material.scenarios:
        return f"not run: {material.absent}"
    return f"not run: {len(scenarios.targets)} of the bank's concepts have scenarios that fit the model's context"


def _why_no_templates(material: Material) -> str:
    if not material.templates:
        return f"not run: {material.absent}"
    return "not run: the bank has none of the templates' concepts, or they do not fit the model's context"


def _why_no_norms(material: Material) -> str:
    if material.norms is None:
        return "not run: no ratings were given"
    return f"not run: fewer than {LEAST_WORDS} words in common with the ratings, or ratings that do not vary"
