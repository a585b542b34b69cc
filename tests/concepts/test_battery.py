"""The battery of `vectors check`: it passes where meaning was planted, and every required part can fail it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from evalharness.bankbuild import build_bank
from evalharness.bankcheck import CheckRequest, check_folder
from evalharness.checkpoint import resolve_checkpoint
from evalharness.cli import _run
from evalharness.concepts import ConceptBank, ExtractionSpec, extract
from evalharness.concepts.battery import Material, implicit_reasons, run_battery
from evalharness.concepts.battery_files import write_battery
from evalharness.concepts.battery_record import Battery
from evalharness.concepts.controls import permuted_labels
from evalharness.concepts.held_out import check_layers
from evalharness.concepts.numeric import NumericTemplate
from evalharness.concepts.spec import BatteryBars
from evalharness.corpora import load_neutral, load_stories, numeric_templates
from evalharness.engine import Engine
from evalharness.errors import BankError, ContentError
from evalharness.gate.instrument import breaches
from evalharness.grid import Controls
from evalharness.suite import BankSpec
from tests.concepts.planted import CONCEPTS, DOSES, LAST_WORD, LAYER, PLAIN, SKIP, scenarios, stories, write_planted
from tests.conftest import Checkpoints
from tests.gate.rows import instrument, release

SPEC = ExtractionSpec(skip=SKIP, steer_layers=(LAYER,), denoise=0, gaussian=1, permuted=1, mean=False)
DOSES_GIVEN = NumericTemplate(
    name="dose", text="{x}", values=DOSES, expected={CONCEPTS[0]: "up", CONCEPTS[1]: "up", "unknown": "up"}
)
NOTHING = NumericTemplate(name="nothing", text=f"{{x}} {PLAIN[5]}", values=DOSES, expected={CONCEPTS[2]: "up"})
"""Its last word, which is what this model is read at, does not depend on the number."""


@pytest.fixture(scope="module")
def speaking(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Iterator[Engine]:
    """The planted model under a template that ends with the message."""
    del one_thread
    with Engine.load(write_planted(tmp_path_factory.mktemp("speaking"), LAST_WORD)) as engine:
        yield engine


@pytest.fixture(scope="module")
def bank(speaking: Engine) -> ConceptBank:
    """Its concepts."""
    return extract(speaking, stories(), (), SPEC)


@pytest.fixture(scope="module")
def battery(speaking: Engine, bank: ConceptBank) -> Battery:
    """The check of that bank with all its parts."""
    return run_battery(
        speaking, bank, stories(), Material(scenarios=scenarios(), templates=[DOSES_GIVEN, NOTHING]), SPEC
    )


def test_planted_meaning_passes_every_part(battery: Battery) -> None:
    """The model reads cues it shares no word with; its twin, and a bag of words, do not."""
    assert battery.passed, battery.reasons
    assert battery.implicit is not None
    assert (1.0, True, 24) == (battery.implicit.model.top1, battery.implicit.required, battery.implicit.n)
    assert CONCEPTS == battery.implicit.targets
    assert battery.implicit.prompt == "chat-template"
    assert battery.implicit.twin.top1 < 0.6
    assert all(row.index(max(row)) == place for place, row in enumerate(battery.implicit.model.cosines))
    assert battery.bag_of_words.top1 < 0.5 < battery.held_out.top1
    assert battery.stability is not None
    assert battery.stability.low > 0.95
    assert battery.stability.bank_median == pytest.approx(1, abs=1e-4)
    assert battery.lens is not None
    assert set(CONCEPTS) == set(battery.lens.words)


def test_the_sign_table_says_what_rose_and_what_fell(battery: Battery) -> None:
    """The number's own concept rises with it and another falls, unexpectedly; what does not change has no sign."""
    assert battery.numeric is not None
    calm, angry, sad = battery.numeric.signs
    assert ("up", True, 1.0) == (calm.got, calm.agrees, round(calm.spearman or 0, 6))
    assert ("down", False) == (angry.got, angry.agrees)
    assert ("flat", False, None) == (sad.got, sad.agrees, sad.spearman)
    assert (1, 3, 7 / 8) == (battery.numeric.n_agree, battery.numeric.n, battery.numeric.p_value)


def test_a_model_that_forgets_the_message_fails_the_scenarios(
    tmp_path: Path, bank: ConceptBank, battery: Battery
) -> None:
    """Without a template the last token is the same in every prompt, and nothing here carries the message to it."""
    with Engine.load(write_planted(tmp_path)) as engine:
        assert engine.model_sha256 == bank.model_sha256
        found = run_battery(engine, bank, stories(), Material(scenarios=scenarios()), SPEC)
    assert found.implicit is not None
    assert found.implicit.prompt == "plain"
    assert not found.passed
    assert any("implicit scenarios are not read better than by chance" in reason for reason in found.reasons)
    assert found.held_out == battery.held_out
    assert found.held_out.passed


def test_vectors_of_another_kind_fail(speaking: Engine, bank: ConceptBank) -> None:
    """The held-out stories never look at a bank's own vectors. These are the right ones under wrong names."""
    turned = {name: bank.vector(other, LAYER)[None] for name, other in zip(CONCEPTS, CONCEPTS[::-1], strict=True)}
    norms = [bank.mean_norm(LAYER)]
    wrong = ConceptBank.from_arrays(turned, layers=[LAYER], mean_norms=norms).with_origin(bank.origin)
    found = run_battery(speaking, wrong, stories(), Material(), SPEC)
    assert found.held_out.passed
    assert not found.passed
    assert ["the bank's vectors are not those of these stories"] == [reason.split(":")[0] for reason in found.reasons]


def test_concepts_without_stories_are_not_vouched_for(speaking: Engine, bank: ConceptBank) -> None:
    """A bank may not pass on the stories of other concepts."""
    more = {name: bank.vector(name, LAYER)[None] for name in CONCEPTS} | {
        "bored": bank.vector("gaussian-00", LAYER)[None]
    }
    wider = ConceptBank.from_arrays(more, layers=[LAYER], mean_norms=[1.0]).with_origin(bank.origin)
    found = run_battery(speaking, wider, stories(), Material(), SPEC)
    assert not found.passed
    assert "bored" in found.reasons[0]


def test_stories_of_other_concepts_leave_the_bank_alone(speaking: Engine, bank: ConceptBank, tmp_path: Path) -> None:
    """A check that would test nothing is refused and writes nothing."""
    bank.save(tmp_path)
    rows = [{**row, "concept": f"no-{row['concept']}"} for row in stories()]
    (tmp_path / "other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(BankError, match="none of the bank's concepts"):
        check_folder(speaking, tmp_path, CheckRequest(stories=str(tmp_path / "other.jsonl"), scenarios="none"))
    assert not (tmp_path / "check").exists()
    assert ConceptBank.load(tmp_path).check == bank.check


def test_a_twin_that_reads_the_scenarios_as_well_fails_the_bank(battery: Battery) -> None:
    """Better than chance is not enough; a draw with the twin is none either, and it counts from four targets on."""
    assert battery.implicit is not None
    drawn = battery.implicit.model_copy(update={"twin": battery.implicit.model})
    assert implicit_reasons(battery.implicit, BatteryBars()) == []
    assert ["a random-weights twin reads the implicit scenarios as well"] == [
        reason.split(":")[0] for reason in implicit_reasons(drawn, BatteryBars())
    ]
    assert implicit_reasons(drawn.model_copy(update={"required": False}), BatteryBars()) == []


def test_few_targets_decide_nothing(speaking: Engine, bank: ConceptBank) -> None:
    """With scenarios of three concepts the numbers stand there and no bar applies, even where all are mislabelled."""
    turned = [{**row, "concept": CONCEPTS[(CONCEPTS.index(row["concept"]) + 1) % 3]} for row in scenarios()[:18]]
    found = run_battery(speaking, bank, stories(), Material(scenarios=turned), SPEC)
    assert found.implicit is not None
    assert (0.0, False, True) == (found.implicit.model.top1, found.implicit.required, found.passed)


def test_a_failed_battery_takes_the_bank_with_it(battery: Battery, bank: ConceptBank, tmp_path: Path) -> None:
    """What a run reads, `check`, fails with the battery's reasons and keeps the held-out numbers."""
    failed = battery.model_copy(update={"passed": False, "reasons": ("implicit scenarios failed",)})
    verdict = write_battery(failed, tmp_path / "check")
    bank.with_battery(failed.held_out, verdict).save(tmp_path)
    back = ConceptBank.load(tmp_path)
    assert back.check is not None
    assert (False, ("implicit scenarios failed",)) == (back.check.passed, back.check.reasons)
    assert battery.held_out.top1 == back.check.top1
    assert verdict == back.battery
    policy = release()
    facts = instrument(policy, bank_check_passed=back.check.passed, bank_check_reasons=back.check.reasons)
    assert breaches(policy, facts, steered=True) == ("the concept bank failed its check; implicit scenarios failed",)
    for name in CONCEPTS:
        assert bank.fingerprint(name, [LAYER]) == back.fingerprint(name, [LAYER])


def test_a_manifest_with_two_verdicts_is_refused(battery: Battery, bank: ConceptBank, tmp_path: Path) -> None:
    """`check` cannot be turned to passed beside a battery that failed."""
    failed = battery.model_copy(update={"passed": False, "reasons": ("no",)})
    bank.with_battery(failed.held_out, write_battery(failed, tmp_path / "check")).save(tmp_path)
    path = tmp_path / "manifest.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "check": {**told["check"], "passed": True}}))
    with pytest.raises(BankError, match="end differently"):
        ConceptBank.load(tmp_path)


def test_the_files_of_a_check(battery: Battery, tmp_path: Path) -> None:
    """JSON comes back as it was, figures are SVG with their text, and the same check gives the same bytes."""
    write_battery(battery, tmp_path / "a")
    write_battery(battery, tmp_path / "b")
    assert battery == Battery.model_validate_json((tmp_path / "a" / "check.json").read_text())
    names = {"check.json", "check.md", "implicit.svg", "components.svg", "stability.svg"}
    assert names == {path.name for path in (tmp_path / "a").iterdir()}
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        if name.endswith(".svg"):
            assert ElementTree.parse(tmp_path / "a" / name).getroot().tag.endswith("svg")
    assert "proud" in (tmp_path / "a" / "implicit.svg").read_text()
    told = (tmp_path / "a" / "check.md").read_text()
    assert "**passed**" in told
    assert "![implicit](implicit.svg)" in told


def test_random_weights_fail_on_the_command_line(
    engine: Engine,
    checkpoint: Checkpoints,
    stories: Any,
    neutral: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 1, the reasons on the screen and in the bank, and what could not be run said with its reason."""
    for name, rows in (("stories", stories), ("neutral", neutral[:-1])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = tmp_path / "bank"
    extract(engine, stories, neutral, ExtractionSpec(skip=5, gaussian=0, permuted=0, check=None)).save(folder)
    norms = tmp_path / "norms.csv"
    norms.write_text("word,valence,arousal\ncalm,7,2\nangry,2,7\nsad,2,3\n")
    code = _run([
        "vectors", "check", str(folder), "--model", str(checkpoint()), "--stories", str(tmp_path / "stories.jsonl"),
        "--neutral", str(tmp_path / "neutral.jsonl"), "--norms", str(norms), "--out", str(tmp_path / "out"),
    ])  # fmt: skip
    said = " ".join(capsys.readouterr().out.split())
    assert code == 1
    assert "random-weights twin" in said
    assert "can only end INVALID" in said
    found = Battery.model_validate_json((tmp_path / "out" / "check.json").read_text())
    assert "5 words" in found.not_run["norms"]
    assert found.implicit is not None
    assert not found.implicit.required
    assert found.implicit.n + found.implicit.n_too_long == 18
    back = ConceptBank.load(folder)
    assert back.check is not None
    assert back.battery is not None
    assert (False, found.reasons) == (back.check.passed, back.check.reasons)


@pytest.mark.slow
def test_the_organism_passes(tmp_path: Path) -> None:
    """With stories in its own language; scenarios in another one are left out, which the bank's manifest says."""
    recipe = BankSpec(
        stories="organism", neutral="organism", contrast="organism", stories_per_concept=12, skip=20, seed=11
    )
    with Engine.load(resolve_checkpoint("organism:emotional")) as engine:
        built = build_bank(engine, recipe, Controls(gaussian=1, permuted=1, mean=True))
        built.save(tmp_path)
        found = check_folder(engine, tmp_path, CheckRequest(stories="organism", neutral="organism", seed=11))
    assert built.check is not None
    assert built.check.passed, built.check.reasons
    assert built.check.twin_top1 < 2 * built.check.chance
    assert built.check.margin == pytest.approx(built.check.top1 - built.check.twin_top1)
    assert found.passed, found.reasons
    assert "not run: no scenarios in the language of the organisms" == found.not_run["implicit"]
    assert found.held_out.top1 > 2 * found.held_out.twin_top1
    assert found.bag_of_words.top1 < found.held_out.top1
    back = ConceptBank.load(tmp_path)
    assert back.check is not None
    assert back.battery is not None
    assert back.check.passed
    assert "no scenarios" in back.battery.not_run["implicit"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_shuffled_labels_are_read_at_chance_on_the_organism(number: int) -> None:
    """The same stories and the same steps, but for the labels: nothing is left to read, and the check says so."""
    recipe = BankSpec(stories="organism", neutral="organism", stories_per_concept=12, skip=20, seed=11)
    rows = list(load_stories(recipe))
    shuffled = permuted_labels([str(row["concept"]) for row in rows], 11, number)
    spec = ExtractionSpec(skip=20, steer_layers=(2,), seed=11)
    with Engine.load(resolve_checkpoint("organism:emotional")) as engine:
        mixed = [{**row, "concept": label} for row, label in zip(rows, shuffled, strict=True)]
        (found,) = check_layers(engine, mixed, load_neutral(recipe), (2,), spec)

    assert not found.passed
    assert found.p_value > 0.01
    assert found.top1 < 2 * found.chance


def test_the_shipped_templates() -> None:
    """Six, as in the paper, each rising in six steps."""
    templates = numeric_templates()
    assert 6 == len(templates)
    assert all(6 == len(template.messages()) for template in templates)
    assert 12 == sum(len(template.expected) for template in templates)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": "no place"}, "exactly once"),
        ({"values": (3, 2, 1)}, "must rise"),
        ({"expected": {"sad": "left"}}, "up"),
    ],
)
def test_a_template_that_breaks_the_schema(change: dict[str, Any], message: str) -> None:
    """The reason is in the error."""
    whole = {"name": "x", "text": "{x}", "values": (1, 2, 3), "expected": {"sad": "up"}}
    with pytest.raises(ValueError, match=message):
        NumericTemplate.model_validate({**whole, **change})


def test_norms_that_cannot_be_used(speaking: Engine, bank: ConceptBank, tmp_path: Path) -> None:
    """A missing file is told before anything is read."""
    bank.save(tmp_path)
    with pytest.raises(ContentError, match="cannot be read"):
        check_folder(speaking, tmp_path, CheckRequest(norms=tmp_path / "absent.csv"))
