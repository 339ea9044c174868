"""Dialogues that are too long for the simulator's prompts."""

from __future__ import annotations

import pytest
from tiny import build_tokenizer

from advsim.corpus.load import Corpus
from advsim.errors import CorpusError
from advsim.prompts.simulator import SimulatorPrompts
from advsim.records import Context, Dialogue, Speaker, Split, Turn
from advsim.training.fitting import fit_corpus

LONG = "sleep " * 400


@pytest.fixture(scope="module")
def prompts() -> SimulatorPrompts:
    return SimulatorPrompts(build_tokenizer(), instructions="Play.", budget_tokens=300)


def dialogue(name: str, *texts: str, split: Split = Split.TRAIN, profile: str = "") -> Dialogue:
    turns = tuple(Turn(speaker=(Speaker.USER, Speaker.CHATBOT)[i % 2], text=text) for i, text in enumerate(texts))
    return Dialogue(id=name, source="s", split=split, turns=turns, context=Context(profile=profile))


def corpus_of(*dialogues: Dialogue) -> Corpus:
    return Corpus(dialogues=dialogues, sha256="abc")


FITS = dialogue("fits", "hi", "hello", "bye")
LATE = dialogue("late", "hi", "hello", "well", LONG, "bye", "bye")
EARLY = dialogue("early", "hi", LONG, "bye")
NEVER = dialogue("never", "hi", "hello", "bye", profile=LONG)
LAST = dialogue("last", "hi", LONG)


def test_a_dialogue_is_cut_behind_the_last_user_turn_that_fits(prompts: SimulatorPrompts) -> None:
    fitted = fit_corpus(corpus_of(FITS, LATE, EARLY, NEVER, LAST), prompts, too_long="cut")
    assert [(it.id, len(it.turns)) for it in fitted.corpus.dialogues] == [
        ("fits", 3),
        ("late", 3),
        ("early", 1),
        ("last", 2),
    ]
    assert (fitted.cut, fitted.dropped) == (("late", "early"), ("never",))
    assert fitted.corpus.sha256 == "abc"
    for kept in fitted.corpus.dialogues:
        prompts.check_fits(kept)


def test_too_long_dialogues_are_left_out_where_the_config_says_so(prompts: SimulatorPrompts) -> None:
    fitted = fit_corpus(corpus_of(FITS, LATE, NEVER), prompts, too_long="drop")
    assert [it.id for it in fitted.corpus.dialogues] == ["fits"]
    assert (fitted.cut, fitted.dropped) == ((), ("late", "never"))


def test_all_too_long_dialogues_are_named_with_the_remedy(prompts: SimulatorPrompts) -> None:
    names = [f"d{number}" for number in range(1200)]
    corpus = corpus_of(FITS, *(dialogue(name, "hi", LONG, "bye") for name in names))
    with pytest.raises(
        CorpusError, match=r"dialogue d0, turn 2: .*corpus.too_long.*1200 dialogues are too long"
    ) as all_of:
        fit_corpus(corpus, prompts, too_long="error")
    assert ", d999 and 200 more" in str(all_of.value)
    with pytest.raises(CorpusError, match=r"dialogue early, turn 2: .*corpus.too_long"):
        fit_corpus(corpus_of(FITS, EARLY), prompts, too_long="error")


def test_dialogues_of_the_test_split_are_in_no_prompt_and_stay(prompts: SimulatorPrompts) -> None:
    held_out = dialogue("test", "hi", LONG, "bye", split=Split.TEST)
    assert fit_corpus(corpus_of(FITS, held_out), prompts, too_long="error").corpus == corpus_of(FITS, held_out)
