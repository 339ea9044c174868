from collections import Counter

from advsim.corpus.prefixes import user_turn_number
from advsim.realism.controls import repeated, shuffled, truncated
from advsim.records import Dialogue, NextTurn, Speaker, Split, Turn


def dialogue(name, *texts, user_id=None, chatbot_opens=False):
    """Speakers alternate; the user's texts are given, the chatbot says the same each time."""
    turns = []
    for text in texts:
        pair = [Turn(speaker=Speaker.USER, text=text), Turn(speaker=Speaker.CHATBOT, text="mhm")]
        turns += reversed(pair) if chatbot_opens else pair
    return Dialogue(id=name, source="test", split=Split.TEST, user_id=user_id, turns=tuple(turns))


def index(*dialogues):
    return {each.id: each for each in dialogues}


MANY = index(*[dialogue(f"d{i}", *[f"turn {k} of {i}" for k in range(1, 5)]) for i in range(8)])
FOLDS = {name: i % 2 for i, name in enumerate(MANY)}
PREFIXES = [(name, 2 * k) for name in MANY for k in range(4)]


def test_no_shuffled_turn_stays_in_its_dialogue():
    turns = shuffled(MANY, PREFIXES, within=FOLDS, seed=0)
    assert [(turn.dialogue_id, turn.turn) for turn in turns] == PREFIXES
    assert all(not turn.text.endswith(f"of {turn.dialogue_id[1:]}") for turn in turns)


def test_shuffled_turns_stay_in_their_fold_so_that_both_sides_hold_the_same_texts():
    turns = shuffled(MANY, PREFIXES, within=FOLDS, seed=0)
    for fold in (0, 1):
        given = Counter(turn.text for turn in turns if FOLDS[turn.dialogue_id] == fold)
        real = Counter(MANY[name].turns[turn].text for name, turn in PREFIXES if FOLDS[name] == fold)
        assert given == real


def test_shuffled_turns_keep_their_user_turn_number_where_they_can():
    for turn in shuffled(MANY, PREFIXES, within=FOLDS, seed=0):
        assert turn.text.startswith(f"turn {user_turn_number(MANY[turn.dialogue_id], turn.turn)} ")


def test_shuffle_is_drawn_by_seed():
    first, again, other = (shuffled(MANY, PREFIXES, within=FOLDS, seed=seed) for seed in (0, 0, 1))
    assert first == again and first != other


def test_shuffle_takes_another_user_where_there_is_one():
    same_user = [dialogue(f"a{i}", f"a says {i}", user_id="a") for i in range(2)]
    others = [dialogue(f"b{i}", "x", f"b{i} says", user_id=f"b{i}") for i in range(2)]
    by_id = index(*same_user, *others)
    prefixes = [("a0", 0), ("a1", 0), ("b0", 2), ("b1", 2)]
    for turn in shuffled(by_id, prefixes, within=dict.fromkeys(by_id, 0), seed=0):
        assert turn.text.startswith("b" if turn.dialogue_id.startswith("a") else "a")


def test_prefixes_without_a_donor_are_left_out_of_the_shuffle():
    by_id = index(dialogue("d0", "one", "two"), dialogue("d1", "ok"), dialogue("d2", "ok"))
    assert shuffled(by_id, [("d0", 0), ("d0", 2)], within={"d0": 0}, seed=0) == []
    assert shuffled(by_id, [("d1", 0), ("d2", 0)], within={"d1": 0, "d2": 0}, seed=0) == []


def test_repeated_is_the_previous_user_turn_and_skips_first_turns():
    by_id = index(dialogue("d", "one", "two", "three", chatbot_opens=True))
    assert repeated(by_id, [("d", 1), ("d", 3), ("d", 5)]) == [
        NextTurn(dialogue_id="d", turn=3, text="one"),
        NextTurn(dialogue_id="d", turn=5, text="two"),
    ]


def test_a_user_who_repeats_themselves_is_no_control():
    assert repeated(index(dialogue("d", "ok", "ok")), [("d", 2)]) == []


def test_truncated_is_the_first_half_of_the_words_with_their_spacing():
    by_id = index(dialogue("d", "I  am\nso tired now", "two words", "one", ""))
    turns = truncated(by_id, [("d", 0), ("d", 2), ("d", 4), ("d", 6)])
    assert [turn.text for turn in turns] == ["I  am", "two"]


def test_user_turn_numbers_count_user_turns_from_one():
    assert user_turn_number(dialogue("d", "a", "b"), 2) == 2
    assert user_turn_number(dialogue("d", "a", "b", chatbot_opens=True), 1) == 1
