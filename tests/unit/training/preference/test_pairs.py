import math
import random

import pytest

from advsim.config import PreferenceConfig
from advsim.records import Candidate, ScoredTurn
from advsim.training.preference.pairs import lowest_turns, pair_candidates


def scored(conversation_id, *rewards):
    return [
        ScoredTurn(conversation_id=conversation_id, turn=2 * i, user_turn=i + 1, p_real=0.5, reward=value)
        for i, value in enumerate(rewards)
    ]


def candidates(*text_rewards, conversation_id="c", turn=2, version=1):
    return [
        Candidate(
            conversation_id=conversation_id,
            turn=turn,
            index=i,
            text=text,
            token_ids=(10 + i,),
            finished=i % 2 == 0,
            simulator_version=version,
            p_real=0.5,
            reward=value,
        )
        for i, (text, value) in enumerate(text_rewards)
    ]


def completion_ids(candidate):
    return (*candidate.token_ids, 99) if candidate.finished else candidate.token_ids


def pairs_of(group, prompts=None, **options):
    prompts = prompts or {(c.conversation_id, c.turn): (1, 2, c.turn) for c in group}
    return pair_candidates(group, prompts, completion_ids=completion_ids, config=PreferenceConfig(**options))


def places(turns):
    return [(turn.conversation_id, turn.turn) for turn in turns]


def test_the_turns_of_lowest_reward_are_taken_of_each_conversation():
    turns = scored("a", 0.3, -1.0, 0.2, -2.0) + scored("b", 1.0, 2.0, 3.0)
    assert places(lowest_turns(turns, num_lowest=2)) == [("a", 2), ("a", 6), ("b", 0), ("b", 2)]


def test_of_equal_rewards_the_earlier_turn_is_taken():
    assert places(lowest_turns(scored("a", 0.0, 0.0, 0.0), num_lowest=1)) == [("a", 0)]


def test_conversations_of_one_user_turn_give_none():
    assert lowest_turns(scored("a", -5.0), num_lowest=2) == []


def test_pair_is_highest_against_lowest_on_the_exact_prompt():
    (pair,) = pairs_of(candidates(("x", 0.1), ("best", 2.0), ("worst", -1.0), ("y", 0.5)))
    assert (pair.chosen, pair.rejected) == ("best", "worst")
    assert (pair.chosen_reward, pair.rejected_reward, pair.margin) == (2.0, -1.0, 3.0)
    assert (pair.prompt_ids, pair.chosen_ids, pair.rejected_ids) == ((1, 2, 2), (11,), (12, 99))
    assert pair.simulator_version == 1


def test_candidates_of_different_turns_are_never_paired():
    group = candidates(("a", 0.0), ("b", 1.0), turn=2) + candidates(("c", 9.0), ("d", -9.0), turn=4)
    group += candidates(("e", 5.0), ("f", 6.0), turn=2, conversation_id="other")
    random.Random(0).shuffle(group)
    found = {(pair.conversation_id, pair.turn): (pair.chosen, pair.rejected) for pair in pairs_of(group)}
    assert found == {("c", 2): ("b", "a"), ("c", 4): ("c", "d"), ("other", 2): ("f", "e")}


def test_identical_texts_and_single_candidates_give_no_pair():
    assert pairs_of(candidates(("same", 0.0), ("same", 0.4))) == []
    assert pairs_of(candidates(("bye", 0.0), ("bye [END]", 1e-6))) == []
    assert pairs_of(candidates(("alone", 1.0))) == []


def test_no_margin_is_no_preference():
    assert pairs_of(candidates(("a", 1.0), ("b", 1.0))) == []


def test_pairs_below_the_least_margin_are_dropped():
    group = candidates(("a", 0.0), ("b", 1.0))
    assert len(pairs_of(group, min_margin=1.0)) == 1
    assert pairs_of(group, min_margin=1.01) == []


def test_the_pairs_of_largest_margin_are_kept_and_at_least_one():
    group = [c for turn in range(8) for c in candidates(("a", 0.0), ("b", 1.0 + (turn * 3) % 8), turn=turn)]
    margins = [pair.margin for pair in pairs_of(group)]
    kept = pairs_of(group, keep_fraction=0.25)
    assert sorted(pair.margin for pair in kept) == sorted(margins)[-2:]
    assert [pair.turn for pair in kept] == sorted(pair.turn for pair in kept)
    assert len(pairs_of(group, keep_fraction=0.01)) == 1
    assert pairs_of([], keep_fraction=0.5) == []


def test_further_pairs_of_a_turn_are_of_the_candidates_that_are_left():
    group = candidates(("a", 0.0), ("b", 4.0), ("c", 1.0), ("d", 3.0), ("e", 2.0))
    found = [(pair.chosen, pair.rejected) for pair in pairs_of(group, max_pairs_per_turn=9)]
    assert found == [("b", "a"), ("d", "c")]


def test_pairs_too_different_in_length_give_way_to_the_next():
    def tokens(candidate):
        return (0,) * len(candidate.text)

    group = candidates(("x" * 20, 9.0), ("y" * 10, 5.0), ("z" * 12, 0.0), ("w" * 3, -9.0))
    prompts = {("c", 2): (1,)}
    (pair,) = pair_candidates(group, prompts, completion_ids=tokens, config=PreferenceConfig(max_length_ratio=1.2))
    assert (pair.chosen, pair.rejected) == ("y" * 10, "z" * 12)
    (pair,) = pair_candidates(group, prompts, completion_ids=tokens, config=PreferenceConfig())
    assert (pair.chosen, pair.rejected) == ("x" * 20, "w" * 3)
    assert (
        pair_candidates(group[::3], prompts, completion_ids=tokens, config=PreferenceConfig(max_length_ratio=2)) == []
    )


def test_candidates_of_two_simulator_versions_are_refused():
    group = candidates(("a", 0.0), version=1) + candidates(("b", 1.0), version=2)
    with pytest.raises(ValueError, match=r"conversation c, turn 2: got candidates of simulator versions \[1, 2\]"):
        pairs_of(group)


def test_a_turn_without_prompt_is_refused():
    with pytest.raises(ValueError, match="no prompt"):
        pairs_of(candidates(("a", 0.0), ("b", 1.0)), prompts={("c", 4): (1,)})


def test_nan_rewards_are_refused():
    with pytest.raises(ValueError, match="NaN reward"):
        pairs_of(candidates(("a", 0.0), ("b", math.nan)))
    with pytest.raises(ValueError, match="NaN reward"):
        lowest_turns(scored("a", 0.0, math.nan), num_lowest=1)
