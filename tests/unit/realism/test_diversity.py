import dataclasses
import math

import pytest
from lexicalrichness import LexicalRichness

from advsim.corpus.habits import words_of
from advsim.realism.diversity import common_token_budget, measure_diversity

VARIED = [f"word{i} and another{i % 7} thing" for i in range(60)]


def test_words_keep_inner_apostrophes_and_lose_case_and_punctuation():
    assert words_of("I DON’T know... it's 'fine', ok_ay? é1") == [
        "i",
        "don't",
        "know",
        "it's",
        "fine",
        "ok",
        "ay",
        "é1",
    ]


def test_figures_of_a_known_text():
    diversity = measure_diversity(["a b a b", "c a"], token_budget=None, seed=0)
    assert diversity.num_tokens == 6 and diversity.num_turns == 2
    assert diversity.ttr == diversity.distinct_1 == pytest.approx(3 / 6)
    assert diversity.mean_turn_words == pytest.approx(3.0)
    assert diversity.entropy == pytest.approx(
        -(3 / 6 * math.log2(3 / 6) + 2 / 6 * math.log2(2 / 6) + 1 / 6 * math.log2(1 / 6))
    )


def test_ngrams_do_not_cross_turns():
    diversity = measure_diversity(["a b a b", "c a"], token_budget=None, seed=0)
    assert diversity.distinct_2 == pytest.approx(3 / 4)  # ab ba ab | ca
    assert diversity.distinct_3 == pytest.approx(2 / 2)  # aba bab


def test_library_measures_are_taken_on_the_same_tokens():
    diversity = measure_diversity(
        ["Don't stop! " * 3 + " ".join(f"w{i % 31}" for i in range(90))], token_budget=None, seed=0
    )
    tokens = ["don't", "stop"] * 3 + [f"w{i % 31}" for i in range(90)]
    expected = LexicalRichness(tokens, preprocessor=None, tokenizer=None)
    assert diversity.num_tokens == len(tokens)
    assert diversity.ttr == expected.ttr
    assert diversity.mattr == expected.mattr(window_size=50)
    assert diversity.mtld == expected.mtld()


def test_too_few_tokens_give_none_and_never_nan():
    empty = measure_diversity(["", "..."], token_budget=None, seed=0)
    assert (empty.ttr, empty.mattr, empty.mtld, empty.distinct_1, empty.entropy) == (None,) * 5
    assert empty.mean_turn_words == 0.0 and empty.num_turns == 2
    assert measure_diversity([], token_budget=None, seed=0).mean_turn_words is None
    short = measure_diversity(["one two"], token_budget=None, seed=0)
    assert short.ttr == 1.0 and short.distinct_2 == 1.0
    assert (short.mattr, short.mtld, short.distinct_3) == (None, None, None)
    figures = [value for few in (empty, short) for value in dataclasses.astuple(few) if value is not None]
    assert not any(math.isnan(value) for value in figures)


def test_budget_is_met_exactly_by_cutting_the_last_turn():
    assert measure_diversity(VARIED, token_budget=101, seed=0).num_tokens == 101
    assert measure_diversity(VARIED, token_budget=0, seed=0).ttr is None
    assert measure_diversity(VARIED, token_budget=10_000, seed=0).num_tokens == 240


def test_budget_does_not_shorten_the_mean_turn():
    assert measure_diversity(VARIED, token_budget=3, seed=0).mean_turn_words == pytest.approx(4.0)


def test_turns_inside_the_budget_are_drawn_by_seed():
    texts = ["same same same same"] * 50 + [f"a{i} b{i} c{i} d{i}" for i in range(50)]
    by_seed = {seed: measure_diversity(texts, token_budget=40, seed=seed) for seed in (0, 1, 2)}
    assert by_seed[0] == measure_diversity(texts, token_budget=40, seed=0)
    assert len({result.ttr for result in by_seed.values()}) > 1
    assert all(result.ttr is not None and result.ttr > 0.1 for result in by_seed.values())  # not the first turns alone


def test_negative_budget_is_refused():
    with pytest.raises(ValueError, match="token_budget: got -1"):
        measure_diversity(VARIED, token_budget=-1, seed=0)


def test_common_budget_is_that_of_the_smallest_group():
    assert common_token_budget([["a b", "c"], ["a b c d e"], ["x y"]]) == 2
    assert common_token_budget([]) == 0


def test_uniform_words_have_the_entropy_of_their_number():
    assert measure_diversity(["a b c d"], token_budget=None, seed=0).entropy == pytest.approx(2.0)
    assert measure_diversity(["a a a"], token_budget=None, seed=0).entropy == 0.0
