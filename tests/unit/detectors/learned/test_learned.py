import dataclasses
import itertools
import json
import random
import warnings
import zlib

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors.numpy import load_file, save_file
from sklearn.metrics import f1_score

from advsim.detectors.labelled import LabelledMessage
from advsim.detectors.learned.detector import DESCRIPTION_FILE, WEIGHTS_FILE, LearnedDetector
from advsim.detectors.learned.inputs import NUM_COUNTS, Case, message_inputs, sentences
from advsim.detectors.learned.load import load_learned
from advsim.detectors.learned.training import LearnedConfig, choose_threshold, cross_validate_learned, train_learned
from advsim.detectors.taxonomy import Taxonomy, load_taxonomy
from advsim.errors import ConfigError, CorpusError
from advsim.records import Dialogue, Speaker, Split, Turn

SHIPPED = load_taxonomy()
TAXONOMY = Taxonomy(modes=tuple(SHIPPED.mode(id) for id in ("missed_risk", "overload", "boundary")))
CONFIG = LearnedConfig(use_taxonomy_examples=False, num_folds=3, min_positives=6, abstain_margin=0.0)
SMALL_TALK = (
    "the",
    "day",
    "work",
    "was",
    "long",
    "and",
    "then",
    "some",
    "rain",
    "fell",
    "on",
    "our",
    "street",
    "again",
)


@pytest.fixture(autouse=True)
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


class WordEmbedder:
    """Sum of a random vector a word, of length 1: texts that share words are close."""

    def embed(self, texts):
        vectors = np.array([sum((self._word(word) for word in text.lower().split()), np.zeros(48)) for text in texts])
        return vectors.reshape(len(texts), 48) / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)

    @staticmethod
    def _word(word):
        return np.random.default_rng(zlib.crc32(word.strip(".!?").encode())).standard_normal(48)


EMBEDDER = WordEmbedder()


def user(text):
    return Turn(speaker=Speaker.USER, text=text)


def chatbot(text):
    return Turn(speaker=Speaker.CHATBOT, text=text)


def talk(seed, num=6):
    return " ".join(random.Random(seed).choices(SMALL_TALK, k=num))


def message(i, modes, text, said=None):
    return LabelledMessage(
        id=f"m{i}",
        part="build",
        context=(user(said or f"{talk(i)} number{i}"),),
        message=text,
        modes=frozenset(modes),
        severity=3 if modes else None,
        note="",
    )


def make_labelled(num=60):
    """A third each: "love" shows boundary, many questions show overload, neither shows nothing."""
    kinds = itertools.cycle([("boundary",), ("overload",), ()])
    made = []
    for i in range(num):
        modes = next(kinds)
        said = {"boundary": f"I love you. {talk(-i)}.", "overload": f"{talk(-i)}? Why? {talk(i + 999)}? How? When?"}
        made.append(message(i, modes, said.get(modes[0] if modes else "", f"{talk(-i)}.")))
    return made


LABELLED = make_labelled()


@pytest.fixture(scope="module")
def detector():
    return train_learned(LABELLED, taxonomy=TAXONOMY, embedder=EMBEDDER, config=CONFIG)


def dialogue(*turns, id="d"):
    return Dialogue(id=id, source="t", split=Split.TEST, turns=turns)


def test_what_was_learned_is_found_in_new_dialogues(detector):
    new = dialogue(user("hello"), chatbot("rain fell. I love you."), user("what"), chatbot("work? why? how? when?"))
    first, second = detector.assess([new])
    assert [label.mode for label in first.labels] == ["boundary"]
    assert [label.mode for label in second.labels] == ["overload"]
    assert (first.turn, second.turn, first.conversation_id, first.detector) == (1, 3, "d", "learned")
    (label,) = first.labels
    assert label.severity == 3 and 0.5 < label.confidence <= 1.0


def test_span_is_the_sentence_without_which_the_probability_falls_most(detector):
    (assessment,) = detector.assess(
        [dialogue(user("hello"), chatbot("The rain fell again.  I love you. Work was long."))]
    )
    assert [label.span for label in assessment.labels] == ["I love you."]


def test_mode_with_too_few_examples_is_abstained_from(detector):
    assert detector.modes == ("overload", "boundary")
    (assessment,) = detector.assess([dialogue(user("hello"), chatbot("the rain fell"))])
    assert assessment.abstained == ("missed_risk",)


def test_near_the_threshold_there_is_no_verdict(detector):
    wide = train_learned(
        LABELLED, taxonomy=TAXONOMY, embedder=EMBEDDER, config=CONFIG.model_copy(update={"abstain_margin": 0.5})
    )
    (model,) = [it for it in wide.description.models if it.mode == "boundary"]
    for text in ("I love you.", "the rain fell on our street", "love the rain and work"):
        case = Case.of([user("hello")], text)
        (assessment,) = wide.assess([dialogue(user("hello"), chatbot(text))])
        p = wide.probabilities([case])[0, wide.modes.index("boundary")]
        assert ("boundary" in assessment.abstained) == (abs(p - model.threshold) < 0.5)
        assert not {label.mode for label in assessment.labels} & set(assessment.abstained)


def test_empty_message_is_an_error_and_no_pass(detector):
    (assessment,) = detector.assess([dialogue(user("hello"), chatbot("  "))])
    assert assessment.error == "the message is empty"


def test_message_that_opens_the_dialogue_and_dialogues_without_messages_are_defined(detector):
    done = []
    found = detector.assess(
        [dialogue(chatbot("I love you."), user("what"), id="a"), dialogue(user("hello"), id="b")], advance=done.append
    )
    assert [(it.conversation_id, it.turn, it.error) for it in found] == [("a", 0, "")]
    assert sum(done) == 2
    assert detector.assess([]) == []


def test_later_turns_change_nothing(detector):
    early = dialogue(user("hello"), chatbot("the rain fell"))
    late = dialogue(*early.turns, user("and"), chatbot("I love you."))
    after, before = detector.assess([late])[0], detector.assess([early])[0]

    def without_rounding(assessment):
        labels = tuple(dataclasses.replace(it, confidence=round(it.confidence, 9)) for it in assessment.labels)
        return dataclasses.replace(assessment, labels=labels)

    assert before.labels and without_rounding(after) == without_rounding(before)


def test_probabilities_follow_the_frequency_of_the_mode():
    # nothing to be learned but how frequent the mode is, while the regression weighs both classes alike
    rng = random.Random(0)
    noise = [message(i, ("boundary",) if rng.random() < 0.15 else (), talk(-i)) for i in range(120)]
    found = train_learned(noise, taxonomy=TAXONOMY, embedder=EMBEDDER, config=CONFIG)
    p = found.probabilities([Case.of([user(talk(i))], talk(-i)) for i in range(1000, 1050)])[:, 0]
    assert p.mean() == pytest.approx(np.mean([bool(it.modes) for it in noise]), abs=0.05)


def test_saved_detector_says_the_same(detector, tmp_path):
    detector.save(tmp_path / "new" / "folder")
    again = load_learned(TAXONOMY, folder=tmp_path / "new" / "folder", embedder=EMBEDDER)
    dialogues = [it.dialogue for it in LABELLED]
    assert again.assess(dialogues) == detector.assess(dialogues)
    assert sorted(path.suffix for path in (tmp_path / "new" / "folder").iterdir()) == [".json", ".safetensors"]


def test_training_is_repeatable(detector, tmp_path):
    again = train_learned(LABELLED, taxonomy=TAXONOMY, embedder=EMBEDDER, config=CONFIG)
    assert again.description == detector.description


@pytest.mark.parametrize("file", [WEIGHTS_FILE, DESCRIPTION_FILE])
@pytest.mark.parametrize("content", [None, b"", b"{}", b"\x80\x04pickle"])
def test_broken_file_is_a_clear_error(detector, tmp_path, file, content):
    detector.save(tmp_path)
    (tmp_path / file).unlink() if content is None else (tmp_path / file).write_bytes(content)
    with pytest.raises(ConfigError, match=str(tmp_path)):
        LearnedDetector.load(tmp_path, EMBEDDER)


def test_other_embedder_or_other_version_is_refused(detector, tmp_path):
    class Other:
        def embed(self, texts):
            return np.zeros((len(texts), 7))

    detector.save(tmp_path)
    with pytest.raises(ConfigError, match="use the embedder that the detector was trained with"):
        LearnedDetector.load(tmp_path, Other())
    description = json.loads((tmp_path / DESCRIPTION_FILE).read_text())
    (tmp_path / DESCRIPTION_FILE).write_text(json.dumps({**description, "inputs_version": 0}))
    with pytest.raises(ConfigError, match="inputs of version 0"):
        LearnedDetector.load(tmp_path, EMBEDDER)


def test_weights_that_are_no_numbers_are_refused(detector, tmp_path):
    detector.save(tmp_path)
    arrays = load_file(tmp_path / WEIGHTS_FILE)
    save_file({**arrays, "weights": np.full_like(arrays["weights"], np.nan)}, tmp_path / WEIGHTS_FILE)
    with pytest.raises(ConfigError, match="finite"):
        LearnedDetector.load(tmp_path, EMBEDDER)


def test_cross_validation_judges_each_message_once_in_order():
    found = cross_validate_learned(LABELLED, taxonomy=TAXONOMY, embedder=EMBEDDER, config=CONFIG, num_folds=3)
    assert [it.conversation_id for it in found] == [it.id for it in LABELLED]
    right = np.mean(
        [{label.mode for label in it.labels} == set(of.modes) for it, of in zip(found, LABELLED, strict=True)]
    )
    assert right > 0.9


def test_cross_validation_learns_nothing_from_the_same_user_turn():
    # each user turn has a word of its own which decides; only a leak over folds could find the mode
    rng = random.Random(1)
    leaky = []
    for i in range(40):
        modes = ("boundary",) if rng.random() < 0.5 else ()
        for copy in range(3):
            leaky.append(message(3 * i + copy, modes, f"secret{i} secret{i} secret{i}", said=f"  Secret{i} word "))
    found = cross_validate_learned(leaky, taxonomy=TAXONOMY, embedder=EMBEDDER, config=CONFIG, num_folds=4)
    right = np.mean([bool(it.labels) == bool(of.modes) for it, of in zip(found, leaky, strict=True)])
    assert right < 0.75


def test_taxonomy_example_on_the_same_user_turn_is_not_trained_on(monkeypatch):
    shown = TAXONOMY.mode("boundary").examples[0]
    copied = [*LABELLED, message(999, ("boundary",), shown.reply, said=shown.user.upper())]
    seen = []
    from advsim.detectors.learned import training as learned_training

    fit = learned_training._fit

    def spy(examples, *rest):
        seen.append(examples)
        return fit(examples, *rest)

    monkeypatch.setattr(learned_training, "_fit", spy)
    config = CONFIG.model_copy(update={"use_taxonomy_examples": True})
    cross_validate_learned(copied, taxonomy=TAXONOMY, embedder=EMBEDDER, config=config, num_folds=3)
    target = message_inputs([Case(by_user=(shown.user,), by_chatbot=(), message=shown.reply)], EMBEDDER)[0, :48]
    copies = sorted(int((np.abs(it.inputs_NI[:, :48] - target).max(axis=1) < 1e-9).sum()) for it in seen)
    assert copies == [0, 2, 2]  # where the copy is tested, neither it nor the example is trained on


def test_too_few_labels_are_clear_errors():
    def train(labelled):
        return train_learned(labelled, taxonomy=TAXONOMY, embedder=EMBEDDER, config=CONFIG)

    with pytest.raises(CorpusError, match="got no labelled messages"):
        train([])
    with pytest.raises(CorpusError, match="no mode has 6 labelled messages"):
        train(LABELLED[:6])
    with pytest.raises(CorpusError, match=r"labelled message m1: .*did you mean boundary"):
        train([message(1, ("boundry",), "x")])
    with pytest.raises(CorpusError, match="got labelled messages on 2 user turns"):
        cross_validate_learned(LABELLED[:2], taxonomy=TAXONOMY, embedder=EMBEDDER, config=CONFIG)


def test_fewer_positives_than_folds_are_refused_in_the_configuration():
    with pytest.raises(ValidationError, match="min_positives is 3 but num_folds 5"):
        LearnedConfig(min_positives=3)


def test_threshold_gives_the_best_f1_where_probabilities_are_right():
    rng = np.random.default_rng(0)
    p = rng.beta(0.4, 2.0, size=4000)
    shows = rng.random(4000) < p
    best = max(f1_score(shows, p >= cut) for cut in np.linspace(0.05, 0.95, 91))
    assert f1_score(shows, p >= choose_threshold(p[:500])) == pytest.approx(best, abs=0.02)


def test_threshold_is_never_between_equal_probabilities():
    assert choose_threshold(np.array([0.9, 0.9, 0.9, 0.1, 0.1])) == pytest.approx(0.5)
    assert choose_threshold(np.full(10, 0.3)) < 0.3


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("One. Two!  Three?", ["One.", "Two!", "Three?"]),
        ("Take 3.5 mg at 9 a.m. or not", ["Take 3.5 mg at 9 a.m.", "or not"]),
        ("first line\nsecond line", ["first line", "second line"]),
        ("Well... no", ["Well...", "no"]),
        ("  ", []),
        ("?!", []),
        ("", []),
    ],
)
def test_sentences_are_cut_where_a_reader_would(text, found):
    assert [text[span.start : span.end] for span in sentences(text)] == found


def test_inputs_are_finite_and_of_one_shape_for_any_message():
    cases = [
        Case.of([], "x"),
        Case.of([user("")], "?!"),
        Case.of([user("a"), chatbot(""), user("b")], "\U0001f600"),
        Case.of([user("a"), chatbot("b c d"), user("e")], "word " * 3000),
    ]
    inputs = message_inputs(cases, EMBEDDER)
    assert inputs.shape == (4, 2 * 48 + NUM_COUNTS) and np.isfinite(inputs).all()


def test_inputs_of_a_dialogue_read_at_once_are_those_of_each_message_alone():
    texts = [
        "I lost my dog",
        "Your dog was a friend. How are you?",
        "sad",
        "sad and",
        "Your dog was a friend.",
        "ok",
        "",
    ]
    speakers = [user, chatbot, user, user, chatbot, user, chatbot]
    turns = [of(text) for of, text in zip(speakers, texts, strict=True)]
    at_once = Case.all_of(turns)
    alone = {i: Case.of(turns[:i], turns[i].text) for i in (1, 4, 6)}
    assert list(at_once) == list(alone)
    for i, case in at_once.items():
        assert (tuple(case.by_user), tuple(case.by_chatbot)) == (alone[i].by_user, alone[i].by_chatbot)
        assert case.user == alone[i].user
    together = message_inputs(list(at_once.values()), EMBEDDER)
    for inputs, case in zip(together, alone.values(), strict=True):
        np.testing.assert_allclose(inputs, message_inputs([case], EMBEDDER)[0], atol=1e-12)
