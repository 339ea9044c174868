import math

import pytest

from advsim.records import Candidate, ScoredTurn
from advsim.training.preference.reward import reward, rewarded_candidate, turn_rewards, with_rewards


def scored(conversation_id, user_turn, p_real):
    return ScoredTurn(
        conversation_id=conversation_id, turn=2 * user_turn, user_turn=user_turn, p_real=p_real, reward=math.nan
    )


def test_rewards_are_differences_of_logits_from_even_odds():
    assert turn_rewards([0.5, 0.9, 0.9, 0.5]) == pytest.approx([0.0, math.log(9), 0.0, -math.log(9)])
    assert turn_rewards([]) == []


def test_rewards_add_up_to_the_last_logit():
    assert sum(turn_rewards([0.2, 0.7, 0.01, 0.8])) == pytest.approx(math.log(4))


def test_probabilities_are_clipped_at_1e_10():
    largest = math.log((1 - 1e-10) / 1e-10)
    assert turn_rewards([1.0, 0.0]) == pytest.approx([largest, -2 * largest])


@pytest.mark.parametrize("p", [math.nan, -0.1, 1.1])
def test_what_is_no_probability_is_refused(p):
    with pytest.raises(ValueError, match="got probability"):
        reward(p, 0.5)


def test_each_conversation_starts_from_even_odds():
    turns = [scored("a", 1, 0.9), scored("a", 2, 0.9), scored("b", 1, 0.9)]
    assert [turn.reward for turn in with_rewards(turns)] == pytest.approx([math.log(9), 0.0, math.log(9)])


def test_a_conversation_with_a_turn_missing_is_refused():
    with pytest.raises(ValueError, match=r"conversation a: got user turns \[1, 3\]"):
        with_rewards([scored("a", 1, 0.5), scored("a", 3, 0.5)])


def test_candidates_are_rewarded_against_the_turn_before():
    candidate = Candidate(
        conversation_id="a", turn=2, index=0, text="x", token_ids=(1,), finished=True, simulator_version=0
    )
    later = rewarded_candidate(candidate, p_real=0.9, previous_p_real=0.9)
    first = rewarded_candidate(candidate, p_real=0.9, previous_p_real=None)
    assert (later.p_real, later.reward) == (0.9, 0.0)
    assert first.reward == pytest.approx(math.log(9))
