"""Several chatbots: rates, A/B tests, validity and replication against counts made by hand."""

import pytest
from made_up_studies import rows_of, spread_rates, study

from advsim.rates.ab_test import compare
from advsim.validity.by_chatbot import comparable, compare_chatbots, pairs_with_baseline, parse_pairs, rows_by_chatbot
from advsim.validity.population_test import simulator_verdict
from advsim.validity.replication import AbPair
from advsim.validity.verdict import ValidityVerdict, predictive_validity

MODES = ("boundary", "overload")


def chatbot(name, num_failing, *, num=12, mode="boundary"):
    """``num`` dialogues of two messages; the first message of ``num_failing`` of them fails."""
    return rows_of(name, [(int(i < num_failing), 2) for i in range(num)], mode=mode, prefix=f"{name}-")


def side(**failing):
    return {name: chatbot(name, number) for name, number in failing.items()}


def against_a(*names):
    return [AbPair(a=name, b="a") for name in names]


def test_rates_and_differences_are_those_counted_by_hand():
    found = compare_chatbots(side(a=3, b=9, c=0), side(a=6, b=12, c=6), modes=MODES, pairs=against_a("b", "c"))
    assert [one.chatbot for one in found.chatbots] == ["a", "b", "c"]
    assert [one.simulated["any"].estimate for one in found.chatbots] == [3 / 24, 9 / 24, 0.0]
    assert [one.real["boundary"].estimate for one in found.chatbots] == [6 / 24, 12 / 24, 6 / 24]
    assert found.chatbots[0].real["overload"].estimate == 0.0
    assert all(one.real["any"].low <= one.real["any"].estimate <= one.real["any"].high for one in found.chatbots)
    assert [test.simulated[0].difference for test in found.tests] == [6 / 24, -3 / 24]
    assert [test.real[0].difference for test in found.tests] == [6 / 24, 0.0]
    assert [result.same_sign for result in found.replication.pairs] == [True, None]
    assert found.replication.sign_agreement.value == 1.0
    assert found.replication.num_without_sign == 1


def test_validity_is_that_of_the_estimators_over_the_shared_chatbots():
    simulated, real = study(spread_rates(6), seed=1), study(spread_rates(6), seed=2)
    pairs = pairs_with_baseline(list(simulated))
    found = compare_chatbots(simulated, real, modes=MODES, pairs=pairs, num_bootstrap=50, num_permutations=50)
    alone = predictive_validity(simulated, real, num_bootstrap=50)
    assert found.validity.pearson == alone.pearson
    assert found.validity.pearson.estimate > 0.5
    assert found.validity.num_configurations == 6
    assert found.validity_by_mode.keys() == {"boundary"}  # overload is found nowhere
    assert found.validity_by_mode["boundary"].estimate == pytest.approx(alone.pearson.estimate)
    assert found.reason == ""
    assert found.population_test == simulator_verdict(simulated, real) and not found.population_test.flagged


def test_chatbots_in_the_right_order_with_wrong_rates_are_flagged_and_still_supported():
    """Agreement alone would not find these: all rates are half of the real ones."""
    rates = spread_rates(12, centre=-1)
    simulated, real = study(rates / 2, seed=1), study(rates, seed=2)
    pairs = pairs_with_baseline(list(simulated))[:1]
    found = compare_chatbots(simulated, real, modes=MODES, pairs=pairs, num_bootstrap=20, num_permutations=20)
    assert found.validity.verdict is ValidityVerdict.SUPPORTED
    assert found.population_test.flagged and "below the real one" in found.population_test.reasons[0]


def test_a_mode_that_one_side_never_shows_has_no_agreement():
    simulated = {name: chatbot(name, number, mode="overload") for name, number in {"a": 1, "b": 5, "c": 9}.items()}
    found = compare_chatbots(simulated, side(a=1, b=5, c=9), modes=MODES, pairs=against_a("b"), num_bootstrap=20)
    assert found.validity.pearson.estimate == pytest.approx(1.0)
    assert found.validity_by_mode == {}


def test_chatbot_on_one_side_is_left_out_of_agreement_and_keeps_its_rate():
    real = {**side(a=6, b=12), "old": chatbot("old", 2)}
    found = compare_chatbots(side(a=3, b=9, new=1), real, modes=MODES, pairs=against_a("b"))
    assert found.left_out == ("new", "old")
    assert found.validity.num_configurations == 2
    assert found.validity.verdict is ValidityVerdict.NOT_ENOUGH_EVIDENCE
    rates = {one.chatbot: one for one in found.chatbots}
    assert rates["new"].real == {} and rates["new"].simulated["any"].estimate == 1 / 24
    with pytest.raises(ValueError, match="got new, expected some of a, b"):
        compare_chatbots(side(a=3, b=9, new=1), real, modes=MODES, pairs=against_a("new"))


@pytest.mark.parametrize(("names", "said"), [(("a",), "1 configuration"), ((), "0 configurations")])
def test_fewer_than_two_shared_chatbots_leave_agreement_undefined_and_the_tests_alone(names, said):
    real = {name: chatbot(name, 6) for name in names}
    found = compare_chatbots(side(a=3, b=9), real, modes=MODES, pairs=against_a("b"))
    assert found.reason == f"agreement over configurations is undefined for {said}"
    assert found.validity is None and found.replication is None and found.population_test is None
    assert found.tests[0].simulated[0].difference == 6 / 24
    assert found.tests[0].real == ()


def test_one_side_alone_has_tests_and_no_validity():
    simulated = side(a=3, b=9, c=11)
    found = compare_chatbots(simulated, modes=MODES, pairs=against_a("b", "c"), num_permutations=400)
    assert found.validity is None and found.left_out == ()
    single = [compare(simulated[name], simulated["a"], num_permutations=400).p_value for name in "bc"]
    assert min(single) < 0.05
    by_hand = [min(1.0, 2 * p) if p == min(single) else max(2 * min(single), p) for p in single]
    assert [test.simulated[0].p_adjusted for test in found.tests] == pytest.approx(by_hand)  # Holm over two pairs


def test_modes_of_a_pair_are_corrected_by_benjamini_hochberg():
    simulated = {
        "a": chatbot("a", 0),
        "b": [*chatbot("b", 9), *rows_of("b", [(1, 1)], mode="overload", prefix="more")],
    }
    (test,) = compare_chatbots(simulated, modes=MODES, pairs=against_a("b"), num_permutations=400).tests
    _, boundary, overload = test.simulated
    assert (boundary.mode, overload.mode) == MODES
    assert boundary.p_value < overload.p_value
    assert boundary.p_adjusted == pytest.approx(2 * boundary.p_value)  # the smaller of two
    assert overload.p_adjusted == pytest.approx(overload.p_value)


def test_no_failure_anywhere_has_rates_of_0_with_intervals_and_undefined_agreement():
    found = compare_chatbots(side(a=0, b=0, c=0), side(a=0, b=0, c=0), modes=MODES, pairs=against_a("b", "c"))
    assert all(one.real["any"].estimate == 0.0 and one.real["any"].high > 0 for one in found.chatbots)
    assert found.validity.pearson.estimate is None
    assert "the same in all configurations" in found.validity.pearson.reason
    assert found.validity.verdict is ValidityVerdict.NOT_ENOUGH_EVIDENCE
    assert found.validity_by_mode == {}
    assert found.replication.sign_agreement.value is None
    assert found.replication.soft_pairwise_accuracy.value == 1.0
    assert [test.simulated[0].p_adjusted for test in found.tests] == [1.0, 1.0]


def test_chatbot_without_a_message_is_left_out_by_the_estimators():
    names = {"d1": "a", "d2": "b", "d3": "silent"}
    rows = [*rows_of("file", [(0, 1)], prefix="d1-"), *rows_of("file", [(0, 1)], prefix="d2-")]
    found = rows_by_chatbot(rows, {f"{key}-0": name for key, name in names.items()})
    assert {name: len(own) for name, own in found.items()} == {"a": 1, "b": 1, "silent": 0}
    assert found["b"][0].configuration == "b"
    compared = compare_chatbots(found, found, modes=MODES, pairs=against_a("b", "silent"))
    assert compared.validity.left_out == ("silent",)
    assert compared.tests[1].real[0].difference is None


def test_dialogues_that_name_no_chatbot_are_in_none():
    assert rows_by_chatbot(chatbot("file", 1), {}) == {}


def test_pairs_are_read_against_the_names_even_with_colons_in_them():
    names = ("m:large", "m", "large:x", "cold")
    assert parse_pairs(["m:large:m", " cold : m "], names) == (AbPair(a="m:large", b="m"), AbPair(a="cold", b="m"))
    with pytest.raises(ValueError, match="one way to read it"):
        parse_pairs(["m:large:x"], (*names, "x"))
    for text in ("cold", "cold:warm", "cold:cold", ""):
        with pytest.raises(ValueError, match="expected NAME:NAME, two different ones of cold, large:x, m, m:large"):
            parse_pairs([text], names)
    with pytest.raises(ValueError, match="every pair once"):
        parse_pairs(["cold:m", "m:cold"], names)


def test_default_pairs_are_all_against_the_baseline_or_the_first_name():
    assert [(p.a, p.b) for p in pairs_with_baseline(["c", "a", "b"])] == [("b", "a"), ("c", "a")]
    assert [(p.a, p.b) for p in pairs_with_baseline(["c", "a", "b"], "b")] == [("a", "b"), ("c", "b")]
    assert pairs_with_baseline(["a"]) == ()
    with pytest.raises(ValueError, match="baseline: got d, expected one of a, b"):
        pairs_with_baseline(["a", "b"], "d")


def test_comparable_are_shared_names_or_else_those_of_the_conversations():
    assert comparable(["b", "a"], None) == ("a", "b")
    assert comparable(["b", "a", "c"], ["a", "b"]) == ("a", "b")
    assert comparable(["b", "a"], ["a", "z"]) == ("a", "b")
