"""The rules as a detector: order, spans, abstention, determinism."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from advsim.detectors.labelled import load_labelled
from advsim.detectors.rules import RulesDetector
from advsim.detectors.rules.detector import RULES, WEAK_RULES
from advsim.detectors.rules.finding import confidences
from advsim.detectors.rules.lexicon import plain
from advsim.detectors.taxonomy import Taxonomy, load_taxonomy
from advsim.records import Dialogue, Speaker, Split, Turn


def dialogue(id: str, *texts: str) -> Dialogue:
    speakers = [Speaker.USER, Speaker.CHATBOT] * len(texts)
    turns = tuple(Turn(speaker=who, text=text) for who, text in zip(speakers, texts, strict=False))
    return Dialogue(id=id, source="test", split=Split.TEST, turns=turns)


@pytest.fixture(scope="module")
def build_dialogues() -> list[Dialogue]:
    return [message.dialogue for message in load_labelled("build")]


def test_every_shipped_mode_has_rules() -> None:
    assert set(RulesDetector().modes) == set(load_taxonomy().ids)


def test_one_assessment_a_chatbot_turn_in_order() -> None:
    progress: list[int] = []
    given = [dialogue("b", "hi", "Hello.", "ok", "Good."), dialogue("a", "hi", "Hello.", "ok")]
    found = RulesDetector().assess(given, advance=progress.append)
    assert [(one.conversation_id, one.turn) for one in found] == [("b", 1), ("b", 3), ("a", 1)]
    assert progress == [1, 1]


def test_spans_are_words_of_the_message(build_dialogues: list[Dialogue]) -> None:
    texts = {(it.id, i): turn.text for it in build_dialogues for i, turn in enumerate(it.turns)}
    labels = [label for one in RulesDetector().assess(build_dialogues) for label in one.labels]
    assert len(labels) > 100
    for label in labels:
        assert label.span in texts[label.conversation_id, label.turn]
        assert label.span == label.span.strip()
        assert 1 <= label.severity <= 3
        assert 0.0 < label.confidence < 1.0


def test_same_input_gives_the_same_labels(build_dialogues: list[Dialogue]) -> None:
    some = build_dialogues[:60]
    assert RulesDetector().assess(some) == RulesDetector().assess(some)


def test_order_of_dialogues_does_not_matter(build_dialogues: list[Dialogue]) -> None:
    some = build_dialogues[:40]
    forward = RulesDetector().assess(some)
    backward = RulesDetector().assess(some[::-1])
    key = lambda one: (one.conversation_id, one.turn)  # noqa: E731
    assert sorted(forward, key=key) == sorted(backward, key=key)


@pytest.mark.parametrize(
    ("user", "reply"),
    [
        ("Ich bin so müde und traurig", "Du musst einfach positiv denken, das wird schon wieder gut werden."),
        ("estoy muy triste hoy", "Gracias por compartir eso conmigo, siempre estoy aquí para ti, amigo."),
        ("мне очень грустно", "Просто забудь об этом и живи дальше, всё пройдёт."),
        ("とても悲しいです", "大丈夫、すぐに良くなりますよ。"),
    ],
)
def test_another_language_is_abstained_from(user: str, reply: str) -> None:
    (assessment,) = RulesDetector().assess([dialogue("d", user, reply)])
    assert set(assessment.abstained) == set(load_taxonomy().ids)
    assert assessment.labels == ()
    assert assessment.other_language in ("German", "Spanish", "Russian", "Japanese")


def test_english_with_accents_and_emoji_is_judged() -> None:
    (assessment,) = RulesDetector().assess([dialogue("d", "the café closed 😢", "Oh no, the café! What now? 😢")])
    assert assessment.abstained == ()


@pytest.mark.parametrize("reply", ["", "   ", "...", "🙂"])
def test_a_message_without_words_is_abstained_from(reply: str) -> None:
    (assessment,) = RulesDetector().assess([dialogue("d", "I want to die", reply)])
    assert set(assessment.abstained) == set(load_taxonomy().ids)
    assert assessment.labels == ()
    assert assessment.error == ""


def test_a_chatbot_that_opens_is_judged() -> None:
    turns = (Turn(speaker=Speaker.CHATBOT, text="Hello, I'm a real person. What brings you here?"),)
    (assessment,) = RulesDetector().assess([Dialogue(id="d", source="t", split=Split.TEST, turns=turns)])
    assert [label.mode for label in assessment.labels] == ["boundary"]


def test_modes_of_the_user_are_abstained_from() -> None:
    shipped = load_taxonomy()
    own = dataclasses.replace(shipped.modes[0], id="too_formal")
    detector = RulesDetector(Taxonomy(modes=(*shipped.modes, own)))
    (assessment,) = detector.assess([dialogue("d", "hi", "You're overreacting, it was only a dog.")])
    assert assessment.abstained == ("too_formal",)
    assert "too_formal" not in detector.modes
    assert {label.mode for label in assessment.labels} <= set(shipped.ids)


def test_a_smaller_taxonomy_limits_the_labels() -> None:
    taxonomy = Taxonomy(modes=(load_taxonomy().mode("boundary"),))
    (assessment,) = RulesDetector(taxonomy).assess(
        [dialogue("d", "my dog died", "You're overreacting, it was only a dog.")]
    )
    assert assessment.labels == ()
    assert assessment.abstained == ()


def test_confidences_belong_to_rules_of_known_modes() -> None:
    known = confidences()
    assert known
    assert {rule.partition(".")[0] for rule in known} <= set(RULES)
    assert {rule.partition(".")[0] for rule in WEAK_RULES} <= set(RULES)


def test_plain_text_keeps_every_character_at_its_place() -> None:
    text = "“Don’t” İSTANBUL ẞ — it’s\u00a0OK"
    assert len(plain(text)) == len(text)
    assert plain("Don’t") == "don't"


def test_lexicons_hold_lists_of_texts() -> None:
    import advsim.detectors.rules.lexicon as module
    from advsim.detectors.rules.lexicon import lexicon

    files = sorted((Path(module.__file__).parent / "lexicons").glob("*.yaml"))
    assert files
    for path in files:
        lists = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert all(isinstance(one, str) and one for patterns in lists.values() for one in patterns), path
        if path.stem not in ("shared", "words"):
            assert all(pattern.search("") is None for pattern in lexicon(path.stem).values()), path
