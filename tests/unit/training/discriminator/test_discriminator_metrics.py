import random

import pytest

from advsim.models.batching import length_bucketed_batches, padded_groups
from advsim.training.discriminator.metrics import JudgedTurn, measure


def measured(*judged):
    turns = [JudgedTurn(user_turn=user_turn, label=label, p_real=p) for user_turn, label, p in judged]
    return measure(turns, num_train_turns=7, num_held_out_scenarios=2, seconds=1.0)


def test_metrics_of_known_decisions():
    metrics = measured((1, 1, 0.9), (2, 1, 0.4), (1, 0, 0.6), (2, 0, 0.1))
    assert metrics.accuracy == metrics.f1 == 0.5
    assert metrics.mcc == 0.0
    assert metrics.auc == 0.75
    assert metrics.real_fraction == 0.5
    assert (metrics.num_held_out_turns, metrics.num_train_turns) == (4, 7)


def test_accuracy_at_a_user_turn_counts_that_turn_alone():
    metrics = measured((1, 1, 0.9), (1, 0, 0.1), (2, 1, 0.4), (5, 0, 0.4))
    at = {user_turn: (share.value, share.n) for user_turn, share in metrics.accuracy_at_turn.items()}
    assert at == {1: (1.0, 2), 2: (0.0, 1), 5: (1.0, 1), 10: (None, 0)}


def test_undefined_metrics_are_none_and_never_nan():
    empty = measured()
    assert empty.accuracy is empty.f1 is empty.mcc is empty.auc is empty.real_fraction is None
    one_class = measured((1, 0, 0.1), (2, 0, 0.2))
    assert one_class.accuracy == 1.0
    assert one_class.f1 is one_class.mcc is one_class.auc is None


def test_an_epoch_holds_every_index_once_in_batches_of_like_length():
    rng = random.Random(0)
    lengths = [rng.randint(10, 500) for _ in range(203)]
    batches = length_bucketed_batches(lengths, batch_size=8, rng=rng)
    assert sorted(i for batch in batches for i in batch) == list(range(203))
    assert max(map(len, batches)) == 8
    padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    assert padded < 1.2 * sum(lengths)
    assert batches != length_bucketed_batches(lengths, batch_size=8, rng=rng)


@pytest.mark.parametrize("limit", [100, 700, None])
def test_padded_groups_keep_within_tokens_and_sequences(limit):
    lengths = [5, 300, 40, 120, 8, 90, 90, 7]
    groups = padded_groups(lengths, max_sequences=3, max_padded_tokens=limit)
    assert sorted(i for group in groups for i in group) == list(range(8))
    for group in groups:
        assert len(group) <= 3
        padded = len(group) * max(lengths[i] for i in group)
        assert len(group) == 1 or limit is None or padded <= limit
