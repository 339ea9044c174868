import pytest

from advsim.config import StopConfig
from advsim.training.metrics import ClassifierMetrics, DiscriminatorMetrics, StopVerdict
from advsim.training.stop_rule import RoundSignals, decide_on_signal, decide_stop

CONFIG = StopConfig(max_rounds=9, chance_margin=0.05, divergence_margin=0.1)


GATE = "the context classifier finds its control shuffled with AUC 0.71 (< 0.85)"


def classifier(value, half_width=0.02, *, measurable=True, bounds=True):
    low, high = (value - half_width, value + half_width) if bounds else (None, None)
    return ClassifierMetrics(accuracy=value, low=low, high=high, measurable=measurable, gate=GATE)


def signals(number, discriminator, **held_out):
    return RoundSignals(round=number, discriminator_accuracy=discriminator, held_out=held_out)


def decide(*history, config=CONFIG):
    return decide_stop(history, config)


def test_goes_on_while_a_classifier_beats_chance():
    decision = decide(signals(1, 0.9, surface=classifier(0.8), context=classifier(0.52)))
    assert decision.reason is StopVerdict.CONTINUE and not decision.stop


def test_stops_at_chance_when_every_measurable_interval_ends_there():
    decision = decide(signals(1, 0.9, surface=classifier(0.52), context=classifier(0.5)))
    assert decision.reason is StopVerdict.AT_CHANCE and decision.stop
    assert "surface 0.54" in decision.explanation and "context 0.52" in decision.explanation


def test_a_point_at_chance_with_a_wide_interval_does_not_stop():
    assert decide(signals(1, 0.9, surface=classifier(0.5, 0.06))).reason is StopVerdict.CONTINUE


def test_a_point_at_chance_without_bounds_does_not_stop():
    history = signals(1, 0.9, surface=classifier(0.5, bounds=False), context=classifier(0.5))
    assert decide(history).reason is StopVerdict.CONTINUE


def test_a_blind_classifier_at_chance_does_not_stop_and_is_named():
    decision = decide(signals(1, 0.9, surface=classifier(0.8), context=classifier(0.5, measurable=False)))
    assert decision.reason is StopVerdict.CONTINUE
    assert decision.notes == (
        "realism not measurable by the context classifier: "
        "the context classifier finds its control shuffled with AUC 0.71 (< 0.85)",
    )
    only_blind = decide(
        signals(1, 0.9, surface=classifier(0.5, measurable=False), context=classifier(0.5, measurable=False))
    )
    assert only_blind.reason is StopVerdict.CONTINUE and len(only_blind.notes) == 2
    assert decide(signals(1, 0.9)).reason is StopVerdict.CONTINUE


def test_a_blind_classifier_above_chance_does_not_keep_the_rounds_going():
    history = signals(1, 0.9, surface=classifier(0.5), context=classifier(0.9, measurable=False))
    assert decide(history).reason is StopVerdict.AT_CHANCE


def test_stops_after_the_last_round_allowed():
    history = [signals(number, 0.9, surface=classifier(0.8)) for number in (1, 2)]
    assert decide(*history, config=StopConfig(max_rounds=2)).reason is StopVerdict.MAX_ROUNDS
    assert decide(*history, config=StopConfig(max_rounds=3)).reason is StopVerdict.CONTINUE


def test_stops_when_held_out_accuracy_rises_while_the_trained_against_falls():
    decision = decide(signals(1, 0.95, surface=classifier(0.6)), signals(2, 0.85, surface=classifier(0.7)))
    assert decision.reason is StopVerdict.OVER_OPTIMISED
    assert "0.95 to 0.85" in decision.explanation and "0.60 to 0.70" in decision.explanation


@pytest.mark.parametrize(
    ("discriminator", "held_out"),
    [
        (0.86, classifier(0.8)),  # the discriminator did not fall enough
        (0.60, classifier(0.69)),  # the held-out classifier did not rise enough
        (0.60, classifier(0.75, 0.16)),  # it rose, but its interval reaches down to the first round's point
        (0.60, classifier(0.75, bounds=False)),
        (0.60, classifier(0.55, 0.01)),  # both fell: what training is for
        (None, classifier(0.8)),
    ],
)
def test_over_optimisation_needs_both_movements_and_an_interval(discriminator, held_out):
    decision = decide(signals(1, 0.95, surface=classifier(0.6)), signals(2, discriminator, surface=held_out))
    assert decision.reason is StopVerdict.CONTINUE


def test_over_optimisation_is_measured_from_round_1_not_from_the_sft_simulator():
    sft = signals(0, None, surface=classifier(0.5, 0.2))
    rounds = signals(1, 0.95, surface=classifier(0.75)), signals(2, 0.6, surface=classifier(0.78))
    assert decide(sft, *rounds).reason is StopVerdict.CONTINUE
    assert decide(sft, rounds[0], signals(2, 0.6, surface=classifier(0.9))).reason is StopVerdict.OVER_OPTIMISED


def test_over_optimisation_is_said_before_chance_and_number_of_rounds():
    first = signals(1, 0.95, surface=classifier(0.3), context=classifier(0.5))
    now = signals(2, 0.5, surface=classifier(0.45), context=classifier(0.5))
    assert decide(now).reason is StopVerdict.AT_CHANCE
    assert decide(first, now, config=StopConfig(max_rounds=2)).reason is StopVerdict.OVER_OPTIMISED


def test_a_broken_history_is_refused():
    with pytest.raises(ValueError, match="got no round"):
        decide()
    with pytest.raises(ValueError, match=r"got rounds \[2, 1\]"):
        decide(signals(2, 0.9), signals(1, 0.9))


def test_a_round_whose_discriminator_finds_nothing_is_not_trained():
    found = DiscriminatorMetrics(auc=0.62, auc_low=0.56, auc_high=0.68)
    assert decide_on_signal(2, found, CONFIG) is None
    unclear = DiscriminatorMetrics(auc=0.6, auc_low=0.54, auc_high=0.66)
    decision = decide_on_signal(2, unclear, CONFIG)
    assert decision is not None and decision.stop and decision.reason is StopVerdict.NO_SIGNAL
    assert "Round 2 is not trained" in decision.explanation and "0.60 [0.54, 0.66]" in decision.explanation


def test_a_discriminator_without_interval_does_not_end_the_rounds():
    assert decide_on_signal(1, DiscriminatorMetrics(auc=0.5), CONFIG) is None
