import math

import numpy as np
import pytest
from made_up_studies import drawn_counts, rows_of
from scipy.special import expit, logit
from scipy.stats import t as student
from statsmodels.genmod.cov_struct import Independence
from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_estimating_equations import GEE
from statsmodels.stats.proportion import proportion_confint

from advsim.rates.intervals import rate_interval, ratio_variance
from advsim.rates.outcomes import MessageOutcome, mode_counts, outcomes, tally
from advsim.rates.rates import failure_rate
from advsim.records import Assessment, Dialogue, FailureLabel, Speaker, Split, Turn

COUNTS = [(1, 6), (0, 3), (2, 5), (0, 6), (0, 4), (3, 6), (0, 5), (1, 4), (0, 6), (0, 6), (1, 7), (0, 5)]


def dialogue(name, *texts):
    speakers = (Speaker.USER, Speaker.CHATBOT)
    turns = tuple(Turn(speaker=speakers[i % 2], text=text) for i, text in enumerate(texts))
    return Dialogue(id=name, source="test", split=Split.TEST, turns=turns)


def assessment(name, turn, *modes, abstained=(), error="", detector="rules"):
    labels = tuple(
        FailureLabel(conversation_id=name, turn=turn, mode=m, severity=1, span="", detector=detector, confidence=1.0)
        for m in modes
    )
    return Assessment(
        conversation_id=name, turn=turn, detector=detector, labels=labels, abstained=tuple(abstained), error=error
    )


def row(dialogue_id="d", turn=1, modes=(), abstained=(), not_known=(), error=False, user=None):
    return MessageOutcome(
        configuration="a",
        dialogue_id=dialogue_id,
        user_id=user,
        turn=turn,
        modes=frozenset(modes),
        abstained=frozenset((*abstained, *not_known)),
        not_known=frozenset(not_known),
        error=error,
    )


def test_every_chatbot_message_gets_one_row_and_those_never_assessed_count_as_not_judged():
    found = outcomes(
        "a", [dialogue("x", "hi", "yes", "no", "ok"), dialogue("y", "hi")], [assessment("x", 3, "boundary")]
    )
    assert [(r.turn, r.error, set(r.modes)) for r in found] == [(1, True, set()), (3, False, {"boundary"})]
    rate = failure_rate(found)
    assert (rate.estimate, rate.num_messages, rate.num_not_judged) == (1.0, 1, 1)


def test_dialogues_without_chatbot_turns_give_no_rate_and_no_bounds():
    rate = failure_rate(outcomes("a", [dialogue("y", "hi")], []))
    assert (rate.estimate, rate.low, rate.high, rate.num_messages) == (None, None, None, 0)


@pytest.mark.parametrize(
    ("assessments", "message"),
    [
        ([assessment("x", 9, "boundary")], "no chatbot message at that turn"),
        ([assessment("x", 0, "boundary")], "no chatbot message at that turn"),
        ([assessment("z", 1, "boundary")], "z, which is not among the dialogues"),
        ([assessment("x", 1, "bonudary")], "unknown modes bonudary; known are boundary, overload"),
        ([assessment("x", 1, abstained=["nothing"])], "unknown modes nothing"),
    ],
)
def test_labels_of_messages_or_modes_that_do_not_exist_are_refused_by_name(assessments, message):
    with pytest.raises(ValueError, match=message):
        outcomes("a", [dialogue("x", "hi", "yes")], assessments, modes=["boundary", "overload"])


def test_two_dialogues_of_one_id_and_a_message_counted_twice_are_refused():
    with pytest.raises(ValueError, match="two dialogues with id x"):
        outcomes("a", [dialogue("x", "hi", "yes"), dialogue("x", "hi", "yes")], [])
    with pytest.raises(ValueError, match="turn 1 of d twice"):
        failure_rate([row(), row()])


def test_a_judge_that_disagrees_with_itself_abstains_on_that_mode_alone():
    given = [assessment("x", 1, "boundary", "overload"), assessment("x", 1, "overload")]
    (found,) = outcomes("a", [dialogue("x", "hi", "yes")], given)
    assert (found.modes, found.abstained, found.error) == ({"overload"}, {"boundary"}, False)
    (found,) = outcomes("a", [dialogue("x", "hi", "yes")], [assessment("x", 1, "boundary", abstained=["boundary"])])
    assert (found.modes, found.abstained) == (frozenset(), {"boundary"})


def test_a_second_detector_fills_in_what_the_first_abstained_on_and_errors_say_nothing():
    given = [
        assessment("x", 1, abstained=["boundary"]),
        assessment("x", 1, "boundary", detector="judge"),
        assessment("x", 1, error="time-out"),
    ]
    (found,) = outcomes("a", [dialogue("x", "hi", "yes")], given)
    assert (found.modes, found.abstained, found.error) == ({"boundary"}, frozenset(), False)


def test_a_message_on_which_every_known_mode_is_unclear_is_not_judged():
    given = [assessment("x", 1, abstained=["boundary", "overload"])]
    (found,) = outcomes("a", [dialogue("x", "hi", "yes")], given, modes=["boundary", "overload"])
    assert found.error


def test_abstaining_on_every_message_is_no_pass_but_a_mode_out_of_scope_is_left_out_of_any():
    holders = [dialogue(f"x{i}", "hi", "yes") for i in range(12)]
    said = [assessment(one.id, 1, abstained=["boundary", "mine"]) for one in holders]
    modes = ["boundary", "overload", "mine"]
    unsure = failure_rate(outcomes("a", holders, said, modes=modes, judged_modes=["boundary", "overload"]))
    assert (unsure.estimate, unsure.num_messages, unsure.num_not_judged) == (None, 0, 12)
    in_scope = outcomes("a", holders, said, modes=modes, judged_modes=["overload"])
    assert (failure_rate(in_scope).estimate, failure_rate(in_scope).num_messages) == (0.0, 12)
    assert failure_rate(in_scope, mode="mine").num_messages == 0


def test_messages_that_another_wrote_give_no_row():
    found = outcomes("a", [dialogue("x", "hi", "yes", "so", "no")], [assessment("x", 3)], left_out=[("x", 1)])
    assert [(one.turn, one.error) for one in found] == [(3, False)]


def test_abstentions_are_outside_of_the_rate_of_their_mode_and_counted_beside_it():
    rows = [row(turn=1, modes=["overload"]), row(turn=3, abstained=["overload"]), row(turn=5), row(turn=7, error=True)]
    rate = failure_rate(rows, mode="overload")
    assert (rate.estimate, rate.num_messages, rate.num_not_judged) == (0.5, 2, 2)
    assert failure_rate(rows, mode="boundary").num_not_judged == 1


def test_modes_that_a_detector_never_judges_do_not_empty_the_rate_of_any_mode():
    rows = [row(turn=1, modes=["overload"], not_known=["boundary"]), row(turn=3, not_known=["boundary"])]
    assert failure_rate(rows).estimate == 0.5
    unclear = [*rows, row(turn=5, abstained=["boundary", "overload"])]
    assert (failure_rate(unclear).num_messages, failure_rate(unclear).num_not_judged) == (2, 1)


def test_counts_of_many_modes_at_once_equal_those_of_one_at_a_time():
    rng = np.random.default_rng(1)
    rows = [
        row(
            dialogue_id=f"d{i // 4}",
            turn=i,
            modes=[m for m in "ab" if rng.random() < 0.3],
            abstained=[m for m in "cd" if rng.random() < 0.3],
            error=rng.random() < 0.1,
        )
        for i in range(60)
    ]
    counts = mode_counts(rows, [None, *"abcd"])
    for column, mode in enumerate([None, *"abcd"]):
        alone = tally(rows, mode)
        assert counts.judged[:, column].sum() == alone.num_messages
        assert counts.failing[:, column].sum() == alone.failing.sum()


def test_interval_is_that_of_a_logistic_gee_with_dialogues_as_groups():
    failing, judged = np.array(COUNTS, dtype=float).T
    y = np.concatenate([[1] * int(f) + [0] * int(n - f) for f, n in COUNTS])
    groups = np.repeat(np.arange(len(COUNTS)), judged.astype(int))
    model = GEE(y, np.ones(len(y)), groups=groups, family=Binomial(), cov_struct=Independence())
    fit = model.fit(cov_type="bias_reduced")  # Mancl and DeRouen 2001, without the jackknife's factor
    k, effective = len(COUNTS), judged.sum() ** 2 / (judged**2).sum()
    half = student.ppf(0.975, effective - 1) * fit.bse[0] * math.sqrt((k - 1) / k)
    rate = failure_rate(rows_of("a", COUNTS))
    assert rate.estimate == pytest.approx(failing.sum() / judged.sum())
    assert (rate.low, rate.high) == pytest.approx((expit(fit.params[0] - half), expit(fit.params[0] + half)), rel=1e-4)
    assert logit(rate.estimate) == pytest.approx(fit.params[0], rel=1e-6)


def test_variance_is_what_a_cluster_bootstrap_tends_to():
    rng = np.random.default_rng(0)
    failing, judged = np.array(drawn_counts(0.2, rng=rng, num_dialogues=200), dtype=float).T
    drawn = rng.integers(0, 200, size=(4000, 200))
    draws = failing[drawn].sum(1) / judged[drawn].sum(1)
    assert ratio_variance(failing, judged) == pytest.approx(draws.var(), rel=0.1)


def test_variance_is_that_of_the_jackknife_over_clusters():
    failing, judged = np.array([(9, 60), (1, 3), (0, 5), (2, 4)], dtype=float).T
    without = [np.delete(failing, i).sum() / np.delete(judged, i).sum() for i in range(4)]
    expected = 3 / 4 * sum((failing.sum() / judged.sum() - rate) ** 2 for rate in without)
    assert ratio_variance(failing, judged) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("sizes", "least"), [([6] * 29 + [174], 0.95), ([3] * 14 + [400], 0.95), ([3] * 20 + [12] * 8 + [60] * 2, 0.92)]
)
def test_interval_covers_where_few_users_have_most_of_the_messages(sizes, least):
    rng, covered = np.random.default_rng(5), 0
    for _ in range(300):
        failing = rng.binomial(sizes, rng.beta(0.2 * 4, 0.8 * 4, len(sizes))).astype(float)
        low, high = rate_interval(failing, np.array(sizes, dtype=float))
        covered += low <= 0.2 <= high
    assert covered / 300 >= least


def test_clusters_without_a_judged_message_do_not_count():
    failing, judged = np.array([(1, 2)] * 9 + [(0, 0)] * 5, dtype=float).T
    assert rate_interval(failing, judged) is None


def test_interval_of_clusters_that_are_too_alike_is_that_of_independent_messages():
    """Every dialogue fails in 1 of 2 messages: no spread between dialogues, which would be an interval of no width."""
    rate = failure_rate(rows_of("a", [(1, 2)] * 12))
    half = 2.200985 * math.sqrt(0.5 * 0.5 / 24) / (0.5 * 0.5)  # t(.975, 11 df) * binomial error of 12 of 24, as logit
    assert (rate.low, rate.high) == pytest.approx((expit(-half), expit(half)), rel=1e-5)


def test_interval_of_nearly_alike_clusters_is_not_shorter_than_that_of_independent_messages():
    """13 of 26 fail; between dialogues they spread by less than 26 tosses of a coin."""
    counts = [(1, 2)] * 11 + [(2, 2), (0, 2)]
    half = 2.178813 * math.sqrt(0.5 * 0.5 / 26) / (0.5 * 0.5)  # t(.975, 12 df)
    rate = failure_rate(rows_of("a", counts))
    assert (rate.low, rate.high) == pytest.approx((expit(-half), expit(half)), rel=1e-5)


def test_dialogues_of_one_user_are_one_cluster():
    counts = [(6, 6), (6, 6), (0, 6), (0, 6)] * 10
    alone = failure_rate(rows_of("a", counts))
    by_user = failure_rate(rows_of("a", counts, user_of=lambda i: f"u{i // 2}"))
    assert by_user.num_dialogues == alone.num_dialogues == 40
    assert by_user.high - by_user.low > 1.3 * (alone.high - alone.low)


def test_fewer_than_ten_clusters_give_no_bounds_instead_of_wrong_ones():
    assert failure_rate(rows_of("a", COUNTS[:9])).low is None
    assert failure_rate(rows_of("a", COUNTS[:10])).low is not None
    one_user = failure_rate(rows_of("a", COUNTS, user_of=lambda i: "same"))
    assert (one_user.low, one_user.high, one_user.num_dialogues) == (None, None, 12)


@pytest.mark.parametrize(("failing", "estimate"), [(0, 0.0), (6, 1.0)])
def test_all_or_no_failures_give_wilson_on_the_number_of_dialogues_not_a_width_of_zero(failing, estimate):
    rate = failure_rate(rows_of("a", [(failing, 6)] * 30))
    expected = proportion_confint(estimate * 30, 30, method="wilson")
    assert rate.estimate == estimate
    assert (rate.low, rate.high) == pytest.approx(expected)
    assert rate.high - rate.low > 0.1


@pytest.mark.parametrize(("rate", "num_dialogues"), [(0.03, 40), (0.1, 30), (0.3, 100)])
def test_interval_covers_the_true_rate_of_clustered_messages_about_95_times_in_100(rate, num_dialogues):
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(500):
        counts = np.array(drawn_counts(rate, rng=rng, num_dialogues=num_dialogues), dtype=float).T
        low, high = rate_interval(*counts)
        covered += low <= rate <= high
    assert 0.925 <= covered / 500 <= 0.985
