import random

import pytest

from advsim.records import Context, Conversation, Dialogue, Speaker, Split, StopReason, Turn
from advsim.training.discriminator.dataset import cut_to_user_turns, real_view, simulated_view, split_by_scenario
from advsim.training.discriminator.inputs import UserView

U = Turn(speaker=Speaker.USER, text="u")
B = Turn(speaker=Speaker.CHATBOT, text="b")


def view(scenario, user=None, number=0):
    return UserView(
        conversation_id=f"{scenario}-{number}", scenario_id=scenario, user_id=user, context=Context(), turns=(U,)
    )


def test_real_dialogues_are_cut_after_the_last_user_turn_allowed():
    assert cut_to_user_turns((B, U, B, U, B, U, B), 2) == (B, U, B, U)
    assert cut_to_user_turns((U, B, U, B), 8) == (U, B, U)
    assert cut_to_user_turns((B,), 8) == ()


def test_no_scenario_and_no_user_is_on_both_sides():
    real = [view(f"s{i}", user=f"u{i % 12}" if i < 30 else None) for i in range(60)]
    # Simulated views that lack the user must follow the real dialogue of their scenario.
    simulated = [view(f"s{i}", number=n) for i in range(60) for n in (1, 2)]
    for seed in range(20):
        split = split_by_scenario(real, simulated, held_out_fraction=0.3, seed=seed)
        sides = [split.train, split.held_out]
        scenarios, users = ([{f(item.view) for item in side} for side in sides] for f in (_scenario, _user))
        assert scenarios[0] and scenarios[1] and not scenarios[0] & scenarios[1]
        assert not (users[0] & users[1]) - {None}
        assert len(split.train) + len(split.held_out) == 180
        assert {item.label for item in split.held_out} == {0, 1}


def test_labels_are_one_for_real_and_zero_for_simulated():
    split = split_by_scenario([view("a"), view("b")], [view("a", number=1)], held_out_fraction=0.5, seed=0)
    labels = {item.view.conversation_id: item.label for item in (*split.train, *split.held_out)}
    assert labels == {"a-0": 1, "b-0": 1, "a-1": 0}


def test_split_depends_on_the_seed_and_not_on_the_order():
    real = [view(f"s{i}") for i in range(40)]
    shuffled = random.Random(3).sample(real, k=len(real))

    def held_out(views, seed):
        split = split_by_scenario(views, [], held_out_fraction=0.15, seed=seed)
        return {item.view.scenario_id for item in split.held_out}

    assert len(held_out(real, 0)) == 6
    assert held_out(real, 0) == held_out(shuffled, 0)
    assert held_out(real, 0) != held_out(real, 1)


def test_a_single_scenario_stays_for_training():
    split = split_by_scenario([view("a")], [view("a", number=1)], held_out_fraction=0.5, seed=0)
    assert len(split.train) == 2 and not split.held_out


def test_a_scenario_of_two_users_is_refused():
    with pytest.raises(ValueError, match="scenario a: got users 'u' and 'v'"):
        split_by_scenario([view("a", user="u")], [view("a", user="v")], held_out_fraction=0.5, seed=0)


def test_views_of_both_sides_share_context_user_and_cut():
    dialogue = Dialogue(
        id="d", source="x", split=Split.TRAIN, user_id="u", context=Context(session="s"), turns=(U, B, U, B, U)
    )
    conversation = Conversation(
        id="c",
        scenario_id="d",
        chatbot="assistant",
        simulator_version=0,
        simulator_sha256="0",
        turns=(U, B, U, B),
        stop_reason=StopReason.MAX_TURNS,
        num_prompt_tokens=0,
        num_output_tokens=0,
        seed=0,
    )
    real = real_view(dialogue, max_user_turns=2)
    simulated = simulated_view(conversation, dialogue, max_user_turns=2)
    assert real.turns == simulated.turns == (U, B, U)
    assert (real.scenario_id, real.user_id, real.context) == ("d", "u", dialogue.context)
    assert (simulated.scenario_id, simulated.user_id, simulated.context) == ("d", "u", dialogue.context)
    assert (real.conversation_id, simulated.conversation_id) == ("d", "c")


def _scenario(seen):
    return seen.scenario_id


def _user(seen):
    return seen.user_id
