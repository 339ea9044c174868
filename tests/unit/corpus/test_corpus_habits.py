"""Typing habits of one text; those that the statistics of a corpus give stand in test_corpus_stats.py too."""

import pytest

from advsim.corpus.habits import has_question_mark, is_short, lacks_end_punctuation, num_words, starts_lowercase


def test_white_space_around_a_text_is_no_habit():
    for habit in (starts_lowercase, lacks_end_punctuation, is_short, num_words):
        assert habit(" \n Hi there. \n") == habit("Hi there.")
        assert habit(" \n hi there \n") == habit("hi there")
    assert not lacks_end_punctuation('"Hi there." ')


@pytest.mark.parametrize(("text", "asks"), [("what? no", True), ("什么？", True), ("ماذا؟", True), ("what", False)])
def test_question_marks_of_other_scripts_count(text, asks):
    assert has_question_mark(text) is asks


def test_a_text_of_three_words_is_short_and_of_four_is_not():
    assert is_short("a b c") and not is_short("a b c d")
