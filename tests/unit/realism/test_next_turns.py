import random
import warnings
import zlib

import numpy as np
import pytest

from advsim.config import HeldOutConfig
from advsim.corpus.prefixes import choose_prefixes
from advsim.models.embedder import MiniLmEmbedder
from advsim.realism.controls import shuffled
from advsim.realism.families import Family, TurnExample, context_inputs, surface_inputs
from advsim.realism.folds import dialogue_folds
from advsim.realism.next_turns import auc_difference, measure_realism
from advsim.records import Context, Dialogue, NextTurn, Speaker, Split, Turn, user_turns

CONFIG = HeldOutConfig(num_folds=4, num_bootstrap=5, num_permutations=0)
PERMUTED = HeldOutConfig(num_folds=4, num_bootstrap=5, num_permutations=19)
FILLER = ("i", "was", "so", "then", "it", "just", "you", "know", "my", "and", "the", "that", "really", "never", "about")


@pytest.fixture(autouse=True)
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


class WordEmbedder:
    """Sum of a random vector a word: texts that share words are close."""

    def embed(self, texts):
        vectors = np.array([sum((self._word(word) for word in text.split()), np.zeros(32)) for text in texts])
        return vectors.reshape(len(texts), 32) / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)

    @staticmethod
    def _word(word):
        return np.random.default_rng(zlib.crc32(word.encode())).standard_normal(32)


def make_dialogues(num, *, num_turns=3, user_of=lambda i: None):
    """Each dialogue is about a word of its own, which the user says in every turn."""
    made = []
    for i in range(num):
        rng = random.Random(i)
        turns = []
        for _ in range(num_turns):
            said = " ".join([f"topic{i}", *rng.sample(FILLER, rng.randint(2, 6))])
            turns.append(Turn(speaker=Speaker.USER, text=said))
            turns.append(Turn(speaker=Speaker.CHATBOT, text=f"tell me more about topic{i} please"))
        context = Context(session=f"talks about topic{i}")
        made.append(
            Dialogue(
                id=f"d{i:02d}", source="t", split=Split.TEST, user_id=user_of(i), context=context, turns=tuple(turns)
            )
        )
    return made


DIALOGUES = make_dialogues(24)
PREFIXES = choose_prefixes(DIALOGUES, num_prefixes=36, seed=0)


def answer(dialogues, prefixes, write):
    by_id = {each.id: each for each in dialogues}
    return [NextTurn(dialogue_id=n, turn=t, text=write(by_id[n].turns[t].text)) for n, t in prefixes]


def same(text):
    return text


def shout(text):
    return text.upper() + "!!"


def measure(family=Family.SURFACE, *, dialogues=DIALOGUES, simulated=None, zero_shot=(), config=CONFIG, seed=0):
    return measure_realism(
        family,
        dialogues=dialogues,
        simulated=answer(dialogues, PREFIXES, same) if simulated is None else simulated,
        zero_shot=zero_shot,
        config=config,
        seed=seed,
        embedder=WordEmbedder(),
    )


def test_prefixes_are_user_turns_never_twice_and_all_there_are_if_fewer():
    everything = [(each.id, i) for each in DIALOGUES for i, _ in user_turns(each)]
    assert sorted(choose_prefixes(DIALOGUES, num_prefixes=1000, seed=0)) == sorted(everything)
    assert len(set(PREFIXES)) == len(PREFIXES) == 36


def test_prefixes_take_every_dialogue_before_any_twice():
    assert len({name for name, _ in PREFIXES[:24]}) == 24
    assert len({name for name, _ in PREFIXES[24:]}) == 12


def test_prefixes_are_spread_over_user_turn_numbers():
    chosen = choose_prefixes(make_dialogues(100, num_turns=10), num_prefixes=100, seed=3)
    counts = np.bincount([turn // 2 for _, turn in chosen], minlength=10)
    assert counts.min() >= 8 and counts.max() <= 12


def test_prefixes_do_not_depend_on_the_order_of_the_dialogues_and_a_longer_list_begins_with_the_shorter():
    assert choose_prefixes(DIALOGUES[::-1], num_prefixes=36, seed=0) == PREFIXES
    assert choose_prefixes(DIALOGUES, num_prefixes=60, seed=0)[:36] == PREFIXES
    assert choose_prefixes(DIALOGUES, num_prefixes=36, seed=1) != PREFIXES


def test_blank_user_turns_are_no_prefixes():
    blank = Dialogue(id="b", source="t", split=Split.TEST, turns=(Turn(speaker=Speaker.USER, text=" \n"),))
    assert choose_prefixes([blank], num_prefixes=5, seed=0) == []


@pytest.mark.parametrize("family", Family)
def test_identical_turns_are_at_chance(family):
    result = measure(family)
    assert result.accuracy.value == result.auc.value == result.length_only.value == pytest.approx(0.5)
    assert result.accuracy.low == result.accuracy.high == pytest.approx(0.5)


def test_surface_finds_another_style():
    result = measure(simulated=answer(DIALOGUES, PREFIXES, shout))
    assert result.accuracy.value > 0.95 and result.auc.value > 0.95
    assert result.num_prefixes == 36 and result.accuracy.num_turns == 72 and result.accuracy.num_dialogues == 24


@pytest.mark.parametrize("family", Family)
def test_new_turns_of_the_same_writer_are_near_chance_because_predictions_are_out_of_fold(family):
    rng = random.Random(5)

    def another(text):
        return " ".join([text.split()[0], *rng.sample(FILLER, rng.randint(2, 6))])

    result = measure(family, simulated=answer(DIALOGUES, PREFIXES, another))
    assert 0.3 < result.accuracy.value < 0.7 and 0.3 < result.auc.value < 0.7


def test_surface_sees_how_turns_end():
    with_stops = [
        Dialogue(
            id=each.id,
            source="t",
            split=Split.TEST,
            turns=tuple(Turn(speaker=t.speaker, text=f"so. {t.text}") for t in each.turns),
        )
        for each in DIALOGUES
    ]
    # The same characters on both sides: only the place of the stop differs.
    result = measure(dialogues=with_stops, simulated=answer(with_stops, PREFIXES, lambda text: f"so {text[4:]}."))
    assert result.accuracy.value > 0.95
    assert surface_inputs([TurnExample(dialogue=DIALOGUES[0], turn=0, text="")])[0] != ""


def test_surface_is_blind_to_shuffled_turns_and_does_not_learn_to_be_wrong():
    assert measure().power["shuffled"].value == pytest.approx(0.5, abs=0.02)


def test_context_finds_turns_of_another_dialogue_with_a_perfect_surface():
    result = measure(Family.CONTEXT)
    assert result.power["shuffled"].value > 0.95
    assert result.measurable and result.gate.startswith("the context classifier finds its control shuffled with AUC")


def test_context_reads_nothing_of_the_dialogue_after_the_prefix():
    before = DIALOGUES[0]
    after = Dialogue(
        id=before.id,
        source="t",
        split=Split.TEST,
        context=before.context,
        turns=(*before.turns[:2], *(Turn(speaker=t.speaker, text="entirely other") for t in before.turns[2:])),
    )
    inputs = [
        context_inputs([TurnExample(dialogue=each, turn=2, text="topic0 ok")], WordEmbedder())
        for each in (before, after)
    ]
    assert np.array_equal(*inputs)


def test_context_reads_the_chatbots_turn():
    before = DIALOGUES[0]
    other = Dialogue(
        id=before.id,
        source="t",
        split=Split.TEST,
        context=before.context,
        turns=(before.turns[0], Turn(speaker=Speaker.CHATBOT, text="and the weather"), *before.turns[2:]),
    )
    inputs = [
        context_inputs([TurnExample(dialogue=each, turn=2, text="topic0 ok")], WordEmbedder())
        for each in (before, other)
    ]
    assert not np.allclose(*inputs)


def test_context_features_are_finite_without_any_context():
    bare = Dialogue(id="x", source="t", split=Split.TEST, turns=(Turn(speaker=Speaker.USER, text="hi"),))
    inputs = context_inputs([TurnExample(dialogue=bare, turn=0, text=text) for text in ("", "hi")], WordEmbedder())
    assert inputs.shape == (2, 21) and np.isfinite(inputs).all()
    assert context_inputs([], WordEmbedder()).shape == (0, 21)


def test_surface_needs_to_find_the_base_models_turns():
    zero_shot = answer(DIALOGUES, PREFIXES, shout)
    assert measure(zero_shot=zero_shot).measurable
    blind = measure(zero_shot=answer(DIALOGUES, PREFIXES, same))
    assert not blind.measurable
    assert blind.gate == "the surface classifier finds its control zero_shot with AUC 0.50 (< 0.85)"
    untried = measure()
    assert not untried.measurable and "not tried on its control zero_shot" in untried.gate
    assert untried.notes == ("control zero_shot left out: it can be built on 0 of 36 prefixes",)
    assert set(untried.power) == {"shuffled", "repeated", "truncated"}


def test_context_power_on_shuffled_decides_whatever_zero_shot_says():
    blind = HeldOutConfig(num_folds=4, num_bootstrap=20, min_control_auc=1.0)
    result = measure(Family.CONTEXT, zero_shot=answer(DIALOGUES, PREFIXES, shout), config=blind)
    assert result.measurable is (result.power["shuffled"].value >= 1.0)
    assert "shuffled" in result.gate


def test_length_alone_is_reported():
    longer = measure(simulated=answer(DIALOGUES, PREFIXES, lambda text: f"{text} {text} {text}"))
    assert longer.length_only.value > 0.9
    assert measure(simulated=answer(DIALOGUES, PREFIXES, str.upper)).length_only.value == pytest.approx(0.5)


def test_accuracy_is_given_at_the_user_turns_that_exist():
    result = measure(simulated=answer(DIALOGUES, PREFIXES, shout))
    assert set(result.accuracy_at_turn) == {1, 2}
    numbers = [turn // 2 + 1 for _, turn in PREFIXES]
    assert {n: e.num_turns for n, e in result.accuracy_at_turn.items()} == {n: 2 * numbers.count(n) for n in (1, 2)}
    assert {n: e.num_turns for n, e in result.auc_at_turn.items()} == {n: 2 * numbers.count(n) for n in (1, 2)}
    assert result.auc_at_turn[1].value > 0.95


def test_bounds_are_none_under_ten_dialogues():
    for num, bounded in ((9, False), (10, True)):
        few = make_dialogues(num)
        simulated = answer(few, choose_prefixes(few, num_prefixes=20, seed=0), shout)
        result = measure(dialogues=few, simulated=simulated)
        assert result.accuracy.value is not None
        assert (result.accuracy.low is not None) is (result.auc.high is not None) is bounded


@pytest.mark.parametrize("family", Family)
def test_one_user_gives_no_figure_instead_of_a_crash(family):
    alone = make_dialogues(4, user_of=lambda i: "anna")
    result = measure(
        family, dialogues=alone, simulated=answer(alone, choose_prefixes(alone, num_prefixes=4, seed=0), same)
    )
    assert result.accuracy.value is None and result.auc.value is None and not result.measurable and result.notes
    assert measure(family, simulated=[]).num_prefixes == 0


@pytest.mark.parametrize("family", Family)
def test_constant_and_empty_turns_give_defined_figures(family):
    dialogues = [
        Dialogue(id=f"e{i}", source="t", split=Split.TEST, turns=(Turn(speaker=Speaker.USER, text="ok"),))
        for i in range(6)
    ]
    prefixes = [(each.id, 0) for each in dialogues]
    result = measure(family, dialogues=dialogues, simulated=answer(dialogues, prefixes, lambda _: ""))
    assert result.accuracy.value == 1.0
    assert result.power == {} and len(result.notes) == 4


@pytest.mark.parametrize("family", Family)
def test_new_turns_of_the_same_writer_have_no_small_p(family):
    nulls = []
    for seed in range(3):
        rng = random.Random(seed)

        def another(text, rng=rng):
            return " ".join([text.split()[0], *rng.sample(FILLER, rng.randint(2, 6))])

        nulls.append(measure(family, simulated=answer(DIALOGUES, PREFIXES, another), config=PERMUTED).nulls)
    assert np.mean([each.accuracy.p_value for each in nulls]) > 0.2
    assert min(each.accuracy.p_value for each in nulls) > 0.05
    assert all(each.accuracy.high > 0.5 for each in nulls)


def test_another_style_has_the_least_p_and_identical_turns_the_greatest():
    shouted = measure(simulated=answer(DIALOGUES, PREFIXES, shout), config=PERMUTED)
    assert shouted.nulls.accuracy.p_value == shouted.nulls.auc.p_value == pytest.approx(1 / 20)
    assert shouted.nulls.accuracy.high < shouted.accuracy.value
    assert measure(config=PERMUTED).nulls.accuracy.p_value == 1.0
    assert measure().nulls is None


def test_user_turns_alone_do_not_find_turns_that_only_answer_another_question():
    rng = np.random.default_rng(3)
    asked = [
        Dialogue(
            id=f"q{i}",
            source="t",
            split=Split.TEST,
            turns=tuple(
                turn
                for topic in rng.integers(0, 40, size=3)
                for turn in (
                    Turn(speaker=Speaker.CHATBOT, text=f"what of topic{topic}"),
                    Turn(speaker=Speaker.USER, text=f"topic{topic} {rng.choice(FILLER)} {rng.choice(FILLER)}"),
                )
            ),
        )
        for i in range(40)
    ]
    prefixes = choose_prefixes(asked, num_prefixes=80, seed=0)
    folds = dialogue_folds(asked, num_folds=4, seed=0)
    exchanged = shuffled({each.id: each for each in asked}, prefixes, within=folds, seed=0)
    result = measure(Family.CONTEXT, dialogues=asked, simulated=exchanged, config=PERMUTED)
    assert result.accuracy.low > 0.8 and result.nulls.accuracy.p_value == pytest.approx(1 / 20)
    assert 0.35 < result.user_only.value < 0.62
    assert measure(dialogues=asked, simulated=exchanged).user_only is None


def test_result_is_the_same_for_the_same_seed():
    simulated = answer(DIALOGUES, PREFIXES, lambda text: text.replace("i", "e"))
    assert measure(simulated=simulated, config=PERMUTED) == measure(simulated=simulated, config=PERMUTED)


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([NextTurn(dialogue_id="nobody", turn=0, text="x")], "unknown dialogue"),
        ([NextTurn(dialogue_id="d00", turn=1, text="x")], "no user turn at that index"),
        ([NextTurn(dialogue_id="d00", turn=0, text=text) for text in "xy"], "two turns on one prefix"),
    ],
)
def test_turns_on_no_prefix_or_on_one_twice_are_refused(turns, message):
    with pytest.raises(ValueError, match=message):
        measure(simulated=turns)


def test_the_encoder_loads_without_a_download_and_knows_related_texts(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        vectors = MiniLmEmbedder().embed(["my boss yells at me", "trouble at work", "a recipe for soup", " "])
    assert vectors.shape == (4, 384)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 1, 0], abs=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]


def difference(first, second, *, family=Family.SURFACE, dialogues=DIALOGUES):
    return auc_difference(
        family,
        dialogues=dialogues,
        first=first,
        second=second,
        config=HeldOutConfig(num_folds=4, num_bootstrap=25),
        seed=0,
        embedder=WordEmbedder(),
    )


def test_the_simulator_that_is_told_apart_less_has_a_difference_below_zero():
    near, far = answer(DIALOGUES, PREFIXES, same), answer(DIALOGUES, PREFIXES, shout)
    found = difference(near, far)
    assert found.value < -0.4 and found.high < 0.0
    turned = difference(far, near)
    assert (turned.value, turned.low, turned.high) == pytest.approx((-found.value, -found.high, -found.low))


def test_equal_simulators_differ_by_nothing_and_only_prefixes_that_both_answer_count():
    some = answer(DIALOGUES, PREFIXES, shout)
    found = difference(some, some[:30])
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
    assert found.num_turns == 60


def test_a_difference_of_two_simulators_is_surer_than_either_of_them():
    def half(text):
        return text.upper() if len(text) % 2 else text

    def a_little_more(text):
        return text.upper() if len(text) % 2 or len(text) % 7 == 0 else text

    first, second = answer(DIALOGUES, PREFIXES, half), answer(DIALOGUES, PREFIXES, a_little_more)
    found = difference(first, second)
    alone = measure(simulated=first, config=HeldOutConfig(num_folds=4, num_bootstrap=25, num_permutations=0)).auc
    other = measure(simulated=second, config=HeldOutConfig(num_folds=4, num_bootstrap=25, num_permutations=0)).auc
    apart = ((alone.high - alone.low) ** 2 + (other.high - other.low) ** 2) ** 0.5
    assert found.value == pytest.approx(alone.value - other.value)
    assert found.high - found.low < apart


def test_a_difference_on_one_dialogue_has_no_figure():
    one = answer(DIALOGUES, PREFIXES[:1], same)
    assert difference(one, one).value is None
