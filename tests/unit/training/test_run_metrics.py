"""Figures of a run: what its stages write, and what a later stage or a report reads."""

import dataclasses
import json

import made_up_run as made
import pytest

from advsim.realism.families import Family
from advsim.realism.next_turns import ClassifierResult
from advsim.realism.permutation import Null, Nulls
from advsim.records import Estimate, StopReason
from advsim.run_folder.results import plain_values, read_values
from advsim.training.held_out import classifier_metrics
from advsim.training.metrics import ClassifierMetrics, StopVerdict, rollout_metrics
from advsim.training.run_metrics import Baseline, RoundMetrics, SftBaseline

RESULT = ClassifierResult(
    family=Family.CONTEXT,
    accuracy=Estimate(value=0.6, low=0.5, high=0.7, num_turns=48, num_dialogues=13),
    auc=Estimate(value=0.65, low=0.55, high=0.75, num_turns=48, num_dialogues=13),
    accuracy_at_turn={2: Estimate(value=0.4, low=None, high=None, num_turns=16, num_dialogues=8)},
    auc_at_turn={},
    nulls=Nulls(
        accuracy=Null(p_value=0.02, high=0.57, num_permutations=99),
        auc=Null(p_value=0.01, high=0.58, num_permutations=99),
    ),
    power={"shuffled": Estimate(value=0.9, low=0.8, high=0.95, num_turns=48, num_dialogues=13)},
    length_only=Estimate(value=0.52, low=None, high=None, num_turns=48, num_dialogues=13),
    user_only=Estimate(value=0.54, low=None, high=None, num_turns=48, num_dialogues=13),
    measurable=True,
    gate="finds its control",
    num_prefixes=24,
    notes=("a note",),
)


def read(values):
    return read_values(RoundMetrics, values, where="metrics.json", remedy="run the stage again")


def made_up_round():
    return made.make_round(1, accuracy=0.93, surface=0.60, context=0.73, scale=0.9)


def test_a_round_is_read_as_it_was_written():
    metrics = read(made_up_round())
    assert metrics.stop.reason is StopVerdict.CONTINUE
    assert metrics.held_out["context"].accuracy_at_turn[1].n == 96
    assert read(json.loads(json.dumps(plain_values(metrics)))) == metrics


def test_what_an_earlier_version_did_not_measure_is_null_in_a_round():
    values = made_up_round()
    for family in values["held_out"].values():
        del family["null_high"], family["auc_at_turn"]
    del values["push"], values["stop"]
    metrics = read(values)
    assert metrics.held_out["surface"].null_high is None and not metrics.held_out["surface"].auc_at_turn
    assert plain_values(metrics)["push"]["max_ms"] is None and metrics.stop is None


def test_every_figure_of_a_classifier_stands_under_its_own_key():
    metrics = classifier_metrics(RESULT)
    assert (metrics.accuracy, metrics.low, metrics.high) == (0.6, 0.5, 0.7)
    assert (metrics.auc, metrics.auc_low, metrics.auc_high) == (0.65, 0.55, 0.75)
    assert (metrics.p_value, metrics.null_high) == (0.02, 0.57)
    assert (metrics.auc_p_value, metrics.auc_null_high, metrics.num_permutations) == (0.01, 0.58, 99)
    assert (metrics.num_prefixes, metrics.num_dialogues, dict(metrics.power)) == (24, 13, {"shuffled": 0.9})
    assert (metrics.length_only, metrics.user_only, metrics.notes) == (0.52, 0.54, ("a note",))
    assert plain_values(metrics)["accuracy_at_turn"] == {"2": {"value": 0.4, "low": None, "high": None, "n": 16}}
    assert [field.name for field in dataclasses.fields(ClassifierMetrics)] == list(plain_values(metrics))


def test_a_classifier_without_null_and_without_ablation_has_null_in_their_place():
    metrics = classifier_metrics(dataclasses.replace(RESULT, nulls=None, user_only=None))
    nothing = (metrics.p_value, metrics.null_high, metrics.auc_p_value, metrics.auc_null_high, metrics.num_permutations)
    assert nothing == (None,) * 5 and metrics.user_only is None


def test_losses_of_sft_stand_behind_what_was_measured_of_it():
    values = plain_values(Baseline(token_budget=600, sft=SftBaseline(train_loss_first=3.4)))
    assert list(values) == ["token_budget", "real", "zero_shot", "sft"]
    assert list(values["real"]) == ["diversity"] and list(values["zero_shot"]) == ["diversity", "held_out"]
    training = ["train_loss_first", "train_loss_last", "most_likely_temperature", "seconds"]
    assert list(values["sft"]) == ["diversity", "held_out", "curve", *training]


@pytest.mark.parametrize(("seconds", "speed"), [(7.0, 60.0), (0.0, None)])
def test_failed_conversations_are_counted_in_a_rollout(seconds, speed):
    failed = dataclasses.replace(made.conversation(1, "b"), stop_reason=StopReason.ERROR, error="timed out")
    metrics = rollout_metrics([made.conversation(1, "a"), made.conversation(1, "c"), failed], seconds=seconds)
    assert (metrics.num_conversations, metrics.num_failed, metrics.num_user_turns) == (3, 1, 12)
    assert metrics.stop_reasons == {"end_token": 2, "error": 1}
    assert metrics.output_tokens_per_s == speed
