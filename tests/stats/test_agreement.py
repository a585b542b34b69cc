"""Agreement against closed forms and numbers computed by hand."""

from __future__ import annotations

import pytest

from evalharness.stats.agreement import ac1, alpha, confusion, kappa, with_bounds

RARE = [("y", "y")] * 3 + [("y", "n")] * 3 + [("n", "y")] * 2 + [("n", "n")] * 192
"""200 items, 3 both yes, 5 disagreements: where the measures part ways."""
HALF = [("y", "y")] * 40 + [("y", "n")] * 10 + [("n", "y")] * 20 + [("n", "n")] * 30


def test_the_confusion_table_counts_pairs_and_leaves_out_what_one_did_not_rate():
    """Rows are the first rater's."""
    assert confusion([*HALF, ("y", None), (None, None)]) == (("n", "y"), ((30, 20), (10, 40)))
    with pytest.raises(ValueError, match="two raters"):
        confusion([("y", "y", "n")])


def test_kappa_by_hand():
    """p_o = .70, p_e = .5 * .6 + .5 * .4 = .50, kappa = .40."""
    assert kappa(HALF) == pytest.approx(0.4)
    p_e = (6 * 5 + 194 * 195) / 200**2
    assert kappa(RARE) == pytest.approx((0.975 - p_e) / (1 - p_e))


def test_alpha_by_hand():
    """Two raters, nominal: 1 - (N - 1) o / (n_y n_n) with N values, o values in disagreement over both orders."""
    for ratings, disagreeing in ((HALF, 30), (RARE, 5)):
        values = [label for pair in ratings for label in pair]
        yes, no = values.count("y"), values.count("n")
        assert alpha(ratings) == pytest.approx(1 - (len(values) - 1) * disagreeing / (yes * no))


def test_alpha_of_four_raters_with_gaps_is_that_of_the_textbook():
    """Krippendorff's example (Computing Krippendorff's Alpha-Reliability, C): 12 units, nominal alpha .743."""
    a = "1 2 3 3 2 1 4 1 2 . . ."
    b = "1 2 3 3 2 2 4 1 2 5 . 3"
    c = ". 3 3 3 2 3 4 2 2 5 1 ."
    d = "1 2 3 3 2 4 4 1 2 5 1 ."
    columns = [[None if value == "." else value for value in text.split()] for text in (a, b, c, d)]
    assert alpha(list(zip(*columns, strict=True))) == pytest.approx(0.743, abs=0.0005)


def test_ac1_by_hand():
    """pi_y = mean share of yes; chance 2 pi (1 - pi) for two categories."""
    share = (50 + 60) / 200
    chance = 2 * share * (1 - share)
    assert ac1(HALF) == pytest.approx((0.7 - chance) / (1 - chance))
    share = (6 + 5) / 400
    chance = 2 * share * (1 - share)
    assert ac1(RARE) == pytest.approx((0.975 - chance) / (1 - chance))


def test_ac1_knows_categories_that_nobody_used():
    """Both say no to everything: perfect with two categories, undefined with one."""
    everything = [("n", "n")] * 20

    assert ac1(everything) is None
    assert ac1(everything, ("y", "n")) == 1
    assert kappa(everything) is None
    assert alpha(everything) is None


def test_ac1_of_three_raters_by_hand():
    """Pairs within an item agree 1 of 3 or 3 of 3; shares are means over items."""
    ratings = [("y", "y", "n"), ("n", "n", "n"), ("y", None, "n"), ("y", "y", "y")]
    observed = (1 / 3 + 1 + 0 + 1) / 4
    share = (2 / 3 + 0 + 1 / 2 + 1) / 4
    chance = 2 * share * (1 - share)

    assert ac1(ratings) == pytest.approx((observed - chance) / (1 - chance))


def test_where_a_label_is_rare_the_measures_part():
    """Hardly any disagreement, and yet kappa and alpha near .53 and AC1 near .97: none of them alone will do."""
    assert kappa(RARE) == pytest.approx(0.533, abs=0.001)
    assert alpha(RARE) == pytest.approx(0.534, abs=0.001)
    assert ac1(RARE) == pytest.approx(0.974, abs=0.001)


def test_bounds_hold_the_value_and_repeat_with_the_seed():
    """Percentiles over items; the same seed gives the same bounds."""
    found = with_bounds(kappa, HALF, seed=3)

    assert found == with_bounds(kappa, HALF, seed=3)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.4 < found.high
    # Standard error of kappa by its large-sample formula is .09 here; the percentiles must be of that size.
    assert 0.25 < found.high - found.low < 0.50


def test_no_spread_is_no_certainty():
    """Perfect agreement resampled is perfect agreement; its bounds are unknown, not [1, 1]."""
    found = with_bounds(kappa, [("y", "y")] * 3 + [("n", "n")] * 3, seed=0)

    assert (found.value, found.low, found.high, found.n) == (1.0, None, None, 6)


def test_items_of_one_rater_do_not_count():
    """n is what at least two raters rated."""
    assert with_bounds(kappa, [*HALF, ("y", None)], seed=0).n == 100
    assert with_bounds(kappa, [("y", None)], seed=0).value is None
