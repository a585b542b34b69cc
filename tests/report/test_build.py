"""What the report says, before it is shown in any form."""

from __future__ import annotations

from evalharness.cells import build_cells
from evalharness.gate import decide
from evalharness.report import build_report, render_html, render_markdown
from tests.report.small_run import CONFIG, INSTRUMENT, MANIFEST, POLICY, key, report_on, row, small_run


def test_the_same_input_gives_the_same_report(model):
    """There is no clock and no unseeded draw in a report."""
    assert report_on(small_run()) == model


def test_decisions_carry_the_counts_of_their_cells(model):
    """A decision's rate is the gate's and the cell's, not a recount."""
    cell = next(cell for cell in build_cells(small_run()) if cell.variant == "*" and cell.kind == "baseline")
    decision = model.decisions[0]

    assert (decision.rule, decision.condition) == ("A-unsteered", "baseline")
    assert (decision.rate.k, decision.rate.n, decision.n_planned) == (cell.k, cell.n_valid, cell.n_planned)
    assert (decision.n_unscored, decision.n_incoherent) == (1, 1)
    assert decision.bound == cell.cp_upper_95
    assert abs(decision.margin_pp - 100 * (decision.theta - decision.bound)) < 1e-6


def test_a_required_cell_that_was_not_run_has_no_rate_and_no_bound(model):
    """What was never run is undefined and says so; it is not 0 %."""
    decision = next(line for line in model.decisions if line.rule == "S-angry")

    assert decision.verdict == "INCONCLUSIVE"
    assert (decision.rate.rate, decision.bound, decision.margin_pp) == (None, None, None)
    assert decision.rate.undefined_why == "not run"


def test_a_rule_on_any_harm_shows_the_counts_of_harm():
    """The rate beside a decision is the one that was decided on."""
    rows = tuple(row(key("baseline"), index, outcome="exposure") for index in range(20))
    cells = build_cells(rows)
    verdict = decide(POLICY.model_copy(update={"measure": "harm"}), cells, INSTRUMENT).to_json()
    decision = build_report(rows, cells, verdict, MANIFEST, CONFIG).decisions[0]

    assert (decision.measure, decision.rate.k, decision.rate.n) == ("harm", 20, 20)


def test_rules_on_broken_replies_stand_in_the_validity_panel(model):
    """They decide on no rate, so they have no row in which a rate of zero could be read."""
    assert not [line for line in model.decisions if line.rule == "V-coherent"]
    assert {check.ok for check in model.validity if check.name.startswith("V-coherent")} == {True}


def test_comparisons_with_controls_are_reported_as_they_were_judged(model):
    """Each concept cell beside its controls, with the side it fell on."""
    found = {item.cell: item for item in model.attribution.evidence}
    desperate = found["blackmail-organism / desperate+0.2"]

    assert (desperate.side, desperate.n_controls) == ("above", 20)
    assert desperate.rate.k == next(line for line in model.cells if line.condition == "desperate+0.2").rate.k


def test_a_cell_without_valid_samples_says_what_became_of_them():
    """The reason names how many were not scored and how many were incoherent."""
    cell = key("baseline")
    rows = (
        row(cell, 0, outcome=None, judge=None, note="never generated", reply=""),
        row(cell, 1, outcome="incoherent"),
        row(cell, 2, outcome="truncated"),
    )
    line = report_on(rows).cells[0]

    assert line.rate.rate is None
    assert line.rate.undefined_why == "no valid sample of 3 planned: 1 not scored, 2 incoherent or truncated"


def test_the_judge_panel_counts_add_up(model):
    """The four counts are the valid samples that the judge answered; disputed ones are the off-diagonal."""
    rows = small_run()
    valid = [entry for entry in rows if entry.valid]

    assert model.judge.num_both + model.judge.num_unanswered == len(valid)
    assert model.judge.num_disagreements == model.judge.rules_only + model.judge.judge_only == 1
    assert model.judge.disagreements[0].id == rows[2].id


def test_a_run_without_a_judge_has_no_judge_panel():
    """No confusion table of zeros is shown where nobody judged."""
    rows = tuple(row(key("baseline"), index, judge=None) for index in range(4))

    assert report_on(rows).judge is None


def test_every_scenario_and_role_with_concepts_has_a_figure(model):
    """Main variants are pooled into one figure, twins have their own."""
    assert [figure.role for figure in model.figures] == ["main", "twin"]


def test_a_curve_runs_through_the_baseline_at_zero(model):
    """Each concept's points are ordered by strength with the unsteered rate at 0."""
    series = {series.concept: series for series in model.figures[0].series}

    assert [point.strength for point in series["desperate"].points] == [-0.2, 0.0, 0.2]
    assert series["desperate"].points[1].rate == model.figures[0].baseline
    assert series["desperate"].points[2].n_controls == 20


def test_the_control_band_spans_the_controls(model):
    """The band is as wide as the control cells of the same size, and each of them is in the figure."""
    figure = model.figures[0]
    rates = [point.rate.rate for point in figure.controls if abs(point.strength - 0.2) < 1e-9]
    steered = [point for series in figure.series for point in series.points if point.strength]

    assert len(rates) == 20
    assert {(point.control_low, point.control_high) for point in steered} == {(min(rates), max(rates))}


def test_a_concept_looks_the_same_in_every_figure():
    """A twin that steers one concept only does not give it the look of another."""
    rows = tuple(entry for entry in small_run(4) if entry.cell.role == "main" or entry.cell.concept != "calm")
    main, twin = report_on(rows).figures
    looks = {series.concept: series.look for series in main.series}

    assert {series.concept: series.look for series in twin.series} == {"desperate": looks["desperate"]}
    assert len(set(looks.values())) == len(looks)


def test_the_description_of_a_figure_holds_its_rates(model):
    """Who cannot see the plot can read it."""
    rate = next(s for s in model.figures[0].series if s.concept == "desperate").points[-1].rate.rate

    assert f"{100 * rate:.1f} percent at +0.2" in model.figures[0].alt
    assert "20 control cells" in model.figures[0].alt


def test_methods_say_layers_strengths_and_sampling(model):
    """What a reader needs to judge the numbers is on the page."""
    said = {fact.name: fact.text for group in model.methods for fact in group.facts}

    assert said["steered layers"] == "2"
    assert said["strengths"] == "−0.2, +0.2"
    assert said["max_new_tokens"] == "160"
    assert said["controls"] == "20 directions"


def test_the_command_to_repeat_the_run_is_complete(model):
    """Suite, model, seed and grader are in it."""
    assert model.commands[0] == (
        "evalharness run quick --model organism:emotional --seed 7 --grader steered/organism:judge --out DIR"
    )


def test_a_model_name_cannot_break_out_of_the_command():
    """A name with shell characters is quoted."""
    command = report_on(small_run(2), model="x; rm -rf '~'").commands[0]

    assert "--model 'x; rm -rf '\\''~'\\''' " in command


def test_unscored_and_broken_samples_are_counted_in_the_validity_panel(model):
    """What is missing is in the report with its share and its reason."""
    found = {check.name: check.value for check in model.validity}

    assert "(1/600;" in found["planned samples that were not scored"]
    assert "(1/599;" in found["scored samples incoherent or truncated"]
    assert found["not scored, 1 samples"] == "error: the device ran out of memory"


def test_a_transferred_bank_is_stated_in_every_form():
    """Both models stand in the coverage part of page and Markdown, before the numbers, and in the validity panel."""
    rows = small_run()
    cells = build_cells(rows)
    foreign = INSTRUMENT.model_copy(update={"bank_model_sha256": "d" * 64, "bank_transferred": True})
    config = {**CONFIG, "bank": "banks/other", "transfer_bank": True}
    report = build_report(rows, cells, decide(POLICY, cells, foreign).to_json(), MANIFEST, config)
    panel = next(check for check in report.validity if check.name == "bank and model belong together")

    assert panel.ok is False
    assert "transferred" in panel.note
    assert "--bank banks/other " in report.commands[0]
    assert " --transfer-bank " in report.commands[0]
    for page, numbers in ((render_html(report), '<h2 id="decisions">'), (render_markdown(report), "## Decisions")):
        head = page[: page.index(numbers)]
        assert "Transferred vectors" in head
        assert "c" * 64 in head
        assert "d" * 64 in head


def test_the_validity_panel_tells_held_from_broken_and_unmeasured():
    """A failed check, a broken chain and an unmeasured bank are three different things."""
    rows = small_run()
    cells = build_cells(rows)
    broken = INSTRUMENT.model_copy(
        update={"bank_check_passed": None, "bank_model_sha256": "d" * 64, "receipts_checked": 3, "ledger_ok": False}
    )
    report = build_report(rows, cells, decide(POLICY, cells, broken).to_json(), MANIFEST, CONFIG)
    found = {check.name: check.ok for check in report.validity}

    assert found["policy fixed before the run"] is True
    assert found["concept bank, check"] is None
    assert [found[name] for name in ("bank and model belong together", "steering receipts", "ledger")] == [False] * 3
