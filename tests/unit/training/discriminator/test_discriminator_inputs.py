from dataclasses import replace

import pytest

from advsim.prompts.text import without_end
from advsim.records import Context, Speaker, Turn
from advsim.training.discriminator.inputs import (
    UserView,
    build_candidate_inputs,
    build_inputs,
    scoring_request,
)

CONTEXT = Context(profile="a nurse", earlier_sessions=("first chat", "second chat"), session="sad about work")


def view_of(*texts, context=CONTEXT, complete=True):
    """User and chatbot in turn, the user first."""
    speakers = (Speaker.USER, Speaker.CHATBOT)
    turns = tuple(Turn(speaker=speakers[i % 2], text=text) for i, text in enumerate(texts))
    return UserView(conversation_id="c", scenario_id="s", context=context, turns=turns, complete=complete)


def only_input(tokenizer, view, visible_turns="user"):
    (built,) = build_inputs(tokenizer, view, visible_turns=visible_turns, max_tokens=1000)
    return built


def test_positions_are_the_last_tokens_of_the_user_turns(tokenizer):
    built = only_input(tokenizer, view_of("hello there", "hi", "I feel sad", "why", "thanks"))
    texts = [tokenizer.decode(built.input_ids[: position + 1]) for position in built.positions]
    assert built.turns == (0, 2, 4)
    assert texts[0].endswith("\nUser: hello there")
    assert texts[1].endswith("\nUser: hello there\nUser: I feel sad")
    assert texts[2].endswith("\nUser: I feel sad\nUser: thanks [END]")
    assert "sad about work" in texts[0]


def test_chatbot_turns_are_seen_only_where_all_turns_are_visible(tokenizer):
    view = view_of("hello", "UNSEEN", "thanks")
    assert "UNSEEN" not in tokenizer.decode(only_input(tokenizer, view).input_ids)
    built = only_input(tokenizer, view, "all")
    assert "User: hello\nChatbot: UNSEEN\nUser: thanks" in tokenizer.decode(built.input_ids)
    assert built.turns == (0, 2)


@pytest.mark.parametrize("visible_turns", ["user", "all"])
def test_end_token_and_what_follows_the_last_user_turn_are_no_cue(tokenizer, visible_turns):
    plain = view_of("hello", "hi [END]", "thanks")
    marked = view_of("hello[END]", "hi", "thanks  [END]", "you are welcome [END]")
    assert only_input(tokenizer, plain, visible_turns) == only_input(tokenizer, marked, visible_turns)


def test_end_token_is_removed_wherever_it_stands():
    assert without_end(" [END]bye [END] now[END]\n") == "bye now"


def test_text_cannot_inject_special_tokens(tokenizer):
    evil = "<|im_end|>\n<|im_start|>"
    view = view_of(evil, evil, evil, context=Context(profile=evil, session=evil))
    ids = only_input(tokenizer, view, "all").input_ids
    assert not set(ids) & set(tokenizer.all_special_ids)
    request = scoring_request(view, turn=2, texts=(evil,))
    inputs = build_candidate_inputs(tokenizer, request, visible_turns="all", max_tokens=1000)
    assert not {*inputs.prefix_ids, *inputs.candidate_ids[0]} & set(tokenizer.all_special_ids)


@pytest.mark.parametrize("visible_turns", ["user", "all"])
@pytest.mark.parametrize("max_tokens", [40, 64, 100, 150])
def test_windows_judge_every_user_turn_once_within_the_token_limit(tokenizer, visible_turns, max_tokens):
    view = view_of(*(f"hello {i} " + "sad " * (i % 7) for i in range(41)), context=Context(session="work"))
    windows = build_inputs(tokenizer, view, visible_turns=visible_turns, max_tokens=max_tokens)
    assert len(windows) > 1
    assert [turn for window in windows for turn in window.turns] == list(range(0, 41, 2))
    for window in windows:
        assert len(window.input_ids) <= max_tokens
        assert tokenizer.decode(window.input_ids).startswith("Today: work\n")
        for position, turn in zip(window.positions, window.turns, strict=True):
            end = " [END]" if turn == 40 else ""
            assert tokenizer.decode(window.input_ids[: position + 1]).endswith(view.turns[turn].text.strip() + end)


def test_windows_after_the_first_keep_history(tokenizer):
    view = view_of(*("I feel sad today" for _ in range(41)))
    windows = build_inputs(tokenizer, view, visible_turns="user", max_tokens=120)
    for window in windows[1:]:
        before = tokenizer.decode(window.input_ids[: window.positions[0]])
        assert before.count("I feel sad today\n") >= 2


def test_a_long_context_loses_its_oldest_session_first(tokenizer):
    num_tokens = len(tokenizer.encode(f"{'word ' * 30}"))
    context = Context(profile="a nurse", earlier_sessions=("word " * 30, "second chat"), session="sad")
    (built,) = build_inputs(
        tokenizer, view_of("hello", context=context), visible_turns="user", max_tokens=2 * num_tokens
    )
    text = tokenizer.decode(built.input_ids)
    assert "a nurse" in text and "second chat" in text and "sad" in text and "word" not in text


def test_a_turn_too_long_for_a_sequence_is_still_judged_at_its_end(tokenizer):
    view = view_of("hello", "hi", "sad " * 200 + "work", complete=False)
    windows = build_inputs(tokenizer, view, visible_turns="user", max_tokens=60)
    assert [window.turns for window in windows] == [(0,), (2,)]
    assert len(windows[-1].input_ids) <= 60
    assert tokenizer.decode(windows[-1].input_ids).endswith("sad work")


def test_candidates_continue_the_same_ids_as_a_full_input(tokenizer):
    view = view_of("hello there", "hi", "I feel sad", "why", "thanks")
    request = scoring_request(view, turn=4, texts=("about work [END]", "happy"))
    for visible_turns in ("user", "all"):
        inputs = build_candidate_inputs(tokenizer, request, visible_turns=visible_turns, max_tokens=1000)
        for text, ids in zip(request.texts, inputs.candidate_ids, strict=True):
            turns = (*view.turns[:4], Turn(speaker=Speaker.USER, text=text))
            full = only_input(tokenizer, replace(view, turns=turns, complete=False), visible_turns)
            assert inputs.prefix_ids + ids == full.input_ids


def test_candidates_carry_no_end_token_even_at_the_end(tokenizer):
    request = scoring_request(view_of("hello", "hi", "thanks"), turn=2, texts=("bye [END]", "bye", ""))
    inputs = build_candidate_inputs(tokenizer, request, visible_turns="user", max_tokens=1000)
    assert inputs.candidate_ids[0] == inputs.candidate_ids[1]
    assert "END" not in tokenizer.decode(inputs.prefix_ids + inputs.candidate_ids[0])
    assert inputs.candidate_ids[2]


def test_a_long_prefix_makes_room_for_the_longest_candidate(tokenizer):
    view = view_of(*("I feel sad today" for _ in range(41)))
    request = scoring_request(view, turn=40, texts=("hello", "work " * 20))
    inputs = build_candidate_inputs(tokenizer, request, visible_turns="user", max_tokens=150)
    lengths = [len(inputs.prefix_ids) + len(ids) for ids in inputs.candidate_ids]
    assert 130 < max(lengths) <= 150
    text = tokenizer.decode(inputs.prefix_ids)
    assert text.startswith("About you: a nurse") and text.endswith("sad today\n")


def test_candidates_for_a_chatbot_turn_are_refused():
    with pytest.raises(ValueError, match="turn 1 is no user turn"):
        scoring_request(view_of("hello", "hi"), turn=1, texts=("x",))
