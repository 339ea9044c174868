"""Languages are told on sentences that were written for these tests (everyday_sentences.yaml)."""

from pathlib import Path

import pytest
import yaml

from advsim.detectors.language import ENGLISH, message_languages, told_language
from advsim.records import Dialogue, Speaker, Split, Turn

SENTENCES = yaml.safe_load((Path(__file__).parent / "everyday_sentences.yaml").read_text(encoding="utf-8"))
OTHERS = sorted(set(SENTENCES) - {"en", "rare"})


def dialogue(*texts: str, first: Speaker = Speaker.USER) -> Dialogue:
    order = (Speaker.USER, Speaker.CHATBOT) if first is Speaker.USER else (Speaker.CHATBOT, Speaker.USER)
    turns = tuple(Turn(speaker=order[i % 2], text=text) for i, text in enumerate(texts))
    return Dialogue(id="d", source="s", split=Split.TEST, turns=turns)


def is_english(*texts: str) -> list[bool]:
    told = dialogue(*texts)
    languages = message_languages(told)
    return [
        language == ENGLISH
        for language, turn in zip(languages, told.turns, strict=True)
        if turn.speaker is Speaker.CHATBOT
    ]


def test_of_a_hundred_everyday_sentences_beside_an_ok_two_at_most_are_taken_for_english() -> None:
    assert len(OTHERS) >= 15
    assert all(len(SENTENCES[language]) >= 30 for language in OTHERS)
    sentences = [(language, text) for language in OTHERS for text in SENTENCES[language]]
    taken = [it for it in sentences if True in is_english("ok", it[1]) + is_english(it[1], "ok")]
    assert len(taken) <= 0.02 * len(sentences), taken


def test_sentences_of_rare_languages_are_not_taken_for_english() -> None:
    taken = [text for text in SENTENCES["rare"] if told_language(text) in (None, ENGLISH)]
    assert len(taken) <= 2, taken


@pytest.mark.parametrize("language", OTHERS)
def test_a_dialogue_of_two_sentences_a_side_is_never_taken_for_english(language: str) -> None:
    sentences = SENTENCES[language]
    dialogues = [sentences[i : i + 4] for i in range(0, len(sentences) - 3, 4)]
    taken = [texts for texts in dialogues if True in is_english(*texts, "ok", "ok")]
    assert taken == []


def test_everyday_english_with_slang_and_typos_is_english() -> None:
    lost = [text for text in SENTENCES["en"] if is_english(text, "I'm sorry to hear that.", "ok", text) != [True] * 2]
    assert len(lost) <= 1, lost


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Ya no quiero vivir, esta noche me mato.", "es"),
        ("Ich bin so müde und traurig", "de"),
        ("YA NO QUIERO VIVIR, ESTA NOCHE ME MATO", "es"),
        ("мне очень грустно", "ru"),
        ("とても悲しいです", "ja"),
        ("我很难过", "zh"),
        ("मैं बहुत अकेला हूँ", "hi"),
        ("நான் மிகவும் தனியாக உணர்கிறேன்", "ta"),
        ("أشعر بالوحدة", "ar"),
    ],
)
def test_the_language_is_named(text: str, language: str) -> None:
    assert told_language(text) == language


@pytest.mark.parametrize(
    "text", ["", "  ", "ok", "no", "10 20 30 40 50", "👍👍👍", "no problem!", "\ud800", "https://a.b/c/d"]
)
def test_of_a_text_with_few_words_nothing_is_said(text: str) -> None:
    assert told_language(text) is None


def test_short_messages_are_of_the_language_of_their_speaker() -> None:
    assert is_english("mi madre no me deja en paz", "eso suena muy difícil", "ok", "ok") == [False, False]
    assert is_english("ok", "ok", "mi madre no me deja en paz", "no me digas eso nunca") == [False, False]
    assert is_english("my mom never leaves me alone", "that sounds hard", "no", "ok") == [True, True]


def test_a_dialogue_without_a_longer_turn_is_told_from_all_turns_together() -> None:
    assert is_english("quiero morir", "no exageres, hombre") == [False]
    assert is_english("hi", "hello!") == [True]


@pytest.mark.parametrize(
    "text",
    [
        "I WANT TO DIE",
        "he raped me",
        "my grandad touches me",
        "uncle touched me",
        "mum hit me",
        "i wnat to die",
        "I swallowed bleach",
        "he beats me",
        "papa slapped me",
        "landlord evicting us",
    ],
)
def test_a_short_plain_line_of_danger_is_english(text: str) -> None:
    assert is_english(text, "Ok.") == [True]


@pytest.mark.parametrize("text", ["quiero morir", "ich will sterben", "je veux mourir", "me pega mi padre", "hit mich"])
def test_a_short_line_of_danger_in_another_language_is_not(text: str) -> None:
    assert is_english(text, "Ok.") == [False]


def test_an_english_chatbot_is_not_judged_where_the_user_is_not() -> None:
    texts = ("Ya no quiero vivir, esta noche me mato.", "I am sorry, what happened to you?")
    assert is_english(*texts) == [False]
    assert is_english("ok", *texts[1:], *texts) == [False, False]


def test_a_long_message_in_another_language_in_an_english_dialogue_is_not_judged() -> None:
    english = ("I feel so alone since my mom died last year", "I'm so sorry, do you want to tell me more about her?")
    spanish = "No es para tanto, deja de quejarte y busca un hobby."
    assert is_english(*english, *english, english[0], spanish) == [True, True, False]
    assert is_english(*english, "mi madre murió el año pasado y me siento muy sola", *english[1:]) == [True, False]


def test_an_opening_of_the_chatbot_is_of_the_dialogues_language() -> None:
    turns = dialogue("Hola!", "mi madre no me deja en paz", "ok", first=Speaker.CHATBOT)
    assert message_languages(turns)[0] == "es"
