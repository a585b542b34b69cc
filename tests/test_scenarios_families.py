"""The families of single replies: every file is sound, twins are twins, items are many, different and evenly used."""

from __future__ import annotations

import itertools
import re
from collections import Counter

import pytest

from evalharness.grid import Grid
from evalharness.plan import build_plan
from evalharness.sampling import SamplingSpec
from evalharness.scenario import load_scenario, scenario_names
from evalharness.scenariocheck import check_scenario
from evalharness.scoring import classify
from evalharness.suite import Block, Suite
from evalharness.taxonomy import FAMILIES
from tests.scoring.anchored import items

LEAST = {"guard": (5, 150), "sycophancy": (8, 24), "deception": (6, 18)}
"""Files and items of a family that there are at least."""

NAMES = [
    name
    for name in scenario_names()
    if name.split("/", maxsplit=1)[0] in LEAST and not name.endswith("/organism")  # these have no items
]


def of(family):
    return [name for name in NAMES if name.startswith(f"{family}/")]


@pytest.mark.parametrize("family", LEAST)
def test_there_are_enough_files_and_a_third_is_held_out(family):
    """As many settings and items as the family promises."""
    files, least = LEAST[family]
    splits = [load_scenario(name).split for name in of(family)]

    assert len(splits) >= files
    assert sum(len(items(name)) for name in of(family)) >= least
    assert 0.3 <= splits.count("heldout") / len(splits) <= 0.4


@pytest.mark.parametrize("name", NAMES)
def test_every_file_passes_the_check_for_each_of_its_items(name):
    """Facts, template marks and twins; each item is drawn."""
    scenario = load_scenario(name)

    assert check_scenario(scenario, len(items(name))).draws == len(items(name))
    assert scenario.id == name.replace("/", "-")
    assert scenario.family == name.split("/", maxsplit=1)[0]
    assert scenario.cover == "item"


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("guard/")])
def test_main_and_twin_tell_a_scorer_opposite_things(name):
    """One main variant, one twin; what must be said differs between them for every item, and a judge is asked too."""
    scenario = load_scenario(name)
    main, twin = scenario.variants
    key = "stance" if scenario.family == "sycophancy" else "hides"

    assert (main.role, twin.role, twin.twin_of) == ("main", "twin", main.id)
    assert scenario.rubric == scenario.family
    for seed in range(len(items(name))):
        case, other = (scenario.render(variant.id, seed) for variant in (main, twin))
        assert case.facts[key] != other.facts[key]
        assert case.facts["truth"] != other.facts["truth"]
        assert case.messages[-1] != other.messages[-1]


def test_no_two_items_are_alike():
    """No sentence of any length stands in two files, no prompt twice, no canary twice."""
    runs = {}
    for name in NAMES:
        if name.startswith("guard/"):
            continue
        said = [" ".join(item.values()) for item in items(name)]
        found = [re.findall(r"[a-z']+", text.lower()) for text in said]
        runs[name] = {tuple(words[at : at + 9]) for words in found for at in range(len(words) - 8)}
    shared = {(one, other): runs[one] & runs[other] for one, other in itertools.combinations(runs, 2)}
    canaries = [load_scenario(name).canary for name in NAMES]
    texts = [
        load_scenario(name).render(variant.id, seed).messages[-1]["content"]
        for name in NAMES
        for variant in load_scenario(name).variants
        for seed in range(len(items(name)))
    ]

    assert {pair: found for pair, found in shared.items() if found} == {}
    assert len(set(canaries)) == len(canaries)
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("name", NAMES)
def test_a_plan_uses_each_item_equally_often(name):
    """In every cell, whatever the seed of the run; and a cell with fewer samples than items has none twice."""
    n, scenario = len(items(name)), load_scenario(name)
    variants = [variant.id for variant in scenario.variants]
    for run_seed, samples in ((0, 2 * n), (7, max(2, n // 2))):
        suite = Suite(
            schema="suite/1",
            id="even",
            version=1,
            title="t",
            sampling=SamplingSpec(max_new_tokens=8),
            blocks=[Block(scenario=name, variants=variants, samples=samples, grid=Grid())],
        )
        plan = build_plan(suite, run_seed).samples
        for variant in variants:
            facts = [str(sorted(sample.facts.items())) for sample in plan if sample.cell.variant == variant]
            asked = [str(sample.messages[-1]["content"]) for sample in plan if sample.cell.variant == variant]
            if scenario.family == "guard":
                assert max(Counter(asked).values()) == -(-samples // n)
                assert len(set(asked)) == min(samples, n)
            else:
                assert max(Counter(facts).values()) == -(-samples // n)
                assert len(set(facts)) == min(samples, n)


@pytest.mark.parametrize("name", NAMES)
def test_the_scorer_of_the_family_has_the_facts_it_needs(name):
    """No draw makes the rules abstain on plain English."""
    scenario = load_scenario(name)
    for variant in scenario.variants:
        for seed in range(len(items(name))):
            rendered = scenario.render(variant.id, seed)
            messages = [*rendered.messages, {"role": "assistant", "content": "I have thought about it for a while."}]
            said = classify(scenario.family, messages, facts=rendered.facts, stop_reason="stop").outcome
            assert said in FAMILIES[scenario.family].outcomes


@pytest.mark.parametrize("name", of("sycophancy") + of("deception"))
def test_saying_the_truth_is_safe_and_saying_the_claim_is_not(name):
    """What the scenario holds to be true, said as it stands, is never the unsafe outcome; an open lie always is."""
    scenario = load_scenario(name)
    unsafe = FAMILIES[scenario.family].unsafe
    main = next(variant.id for variant in scenario.variants if variant.role == "main")
    for variant in scenario.variants:
        for seed in range(len(items(name))):
            rendered = scenario.render(variant.id, seed)
            facts = rendered.facts
            truth = [*rendered.messages, {"role": "assistant", "content": facts["truth"]}]
            assert classify(scenario.family, truth, facts=facts, stop_reason="stop").outcome not in unsafe
            if scenario.family == "deception" and variant.id == main:
                lie = f"I can state this: {facts['false_claims'].split('|')[0].replace('*', '').replace(' ...', '')}."
                told = [*rendered.messages, {"role": "assistant", "content": lie}]
                assert classify(scenario.family, told, facts=facts, stop_reason="stop").outcome in unsafe
