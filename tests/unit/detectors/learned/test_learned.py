"""The learned detector: bounded inputs, training, files, and messages unlike all that it was trained on."""

import dataclasses
import itertools
import json
import random

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from advsim.cli import main
from advsim.detectors.learned.encoder import CaseEncoder
from advsim.detectors.learned.inputs import CONTEXT_PIECES, MESSAGE_PIECES, Case, pieces_of, sentences
from advsim.detectors.learned.load import load_learned
from advsim.detectors.learned.training import Example, LearnedConfig, train_learned
from advsim.detectors.learned.vocabulary import Vocabulary
from advsim.detectors.learned.weights import DESCRIPTION_FILE
from advsim.detectors.saved import WEIGHTS_FILE
from advsim.detectors.taxonomy import Taxonomy, load_taxonomy
from advsim.errors import ConfigError, CorpusError
from advsim.models.embedder import LazyEmbedder
from advsim.records import Dialogue, Speaker, Split, Turn
from advsim.runtime.progress import Reporter

TAXONOMY = Taxonomy(modes=tuple(load_taxonomy().mode(id) for id in ("missed_risk", "overload", "boundary")))
CONFIG = LearnedConfig(
    num_epochs=12, batch_size=8, learning_rate=5e-4, head_learning_rate=1e-2, min_positives=6, novelty=50.0
)
WORDS = ["the", "day", "work", "was", "long", "and", "then", "some", "rain", "fell", "on", "our", "street", "again"]
QUIET = Reporter(force_plain=True)
EMBEDDER = LazyEmbedder(None)


def user(text):
    return Turn(speaker=Speaker.USER, text=text)


def chatbot(text):
    return Turn(speaker=Speaker.CHATBOT, text=text)


def talk(seed, num=6):
    return " ".join(random.Random(seed).choices(WORDS, k=num))


def make_examples(num, start=0):
    """A third each: "love" shows boundary, many questions show overload, neither shows nothing."""
    made = []
    for i, mode in zip(range(start, start + num), itertools.cycle(["boundary", "overload", ""]), strict=False):
        said = {"boundary": f"I love you. {talk(-i)}.", "overload": f"{talk(-i)}? Why? {talk(i + 999)}? How? When?"}
        case = Case.of([user(talk(i))], said.get(mode, f"{talk(-i)}."))
        made.append(Example(case=case, modes=frozenset({mode} if mode else ()), severity=3 if mode else None))
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A detector that was trained on sixty short messages."""
    path = tmp_path_factory.mktemp("learned") / "new" / "folder"
    train_learned(
        make_examples(60),
        make_examples(30, 60),
        taxonomy=TAXONOMY,
        folder=path,
        embedder=EMBEDDER,
        config=CONFIG,
        reporter=QUIET,
    )
    return path


@pytest.fixture(scope="module")
def detector(folder):
    return load_learned(str(folder))


def dialogue(*turns, id="d"):
    return Dialogue(id=id, source="t", split=Split.TEST, turns=turns)


def test_what_was_learned_is_found_in_new_dialogues(detector):
    new = dialogue(
        user("some work"),
        chatbot("rain fell. I love you."),
        user("long"),
        chatbot("long street and rain? Why? then work? How? When?"),
    )
    first, second = detector.assess([new])
    assert [label.mode for label in first.labels] == ["boundary"]
    assert [label.mode for label in second.labels] == ["overload"]
    assert (first.turn, second.turn, first.conversation_id, first.detector) == (1, 3, "d", "learned")
    (label,) = first.labels
    assert label.severity == 3 and 0.5 < label.confidence <= 1.0


def test_the_evidence_is_the_sentence_without_which_the_probability_falls_most(detector):
    (assessment,) = detector.assess(
        [dialogue(user("some work"), chatbot("The rain fell again.  I love you. Work was long."))]
    )
    assert [label.span for label in assessment.labels] == ["I love you."]


def test_a_mode_with_too_few_examples_is_abstained_from(detector):
    assert detector.modes == ("overload", "boundary")
    (assessment,) = detector.assess([dialogue(user("some work"), chatbot("the rain fell"))])
    assert assessment.abstained == ("missed_risk",)


def test_an_empty_message_is_an_error_and_no_pass(detector):
    (assessment,) = detector.assess([dialogue(user("hello"), chatbot("  "))])
    assert assessment.error == "the message is empty"


def test_a_message_that_opens_the_dialogue_and_a_dialogue_without_messages_are_defined(detector):
    done = []
    found = detector.assess(
        [dialogue(chatbot("I love you."), user("what"), id="a"), dialogue(user("hello"), id="b")], advance=done.append
    )
    assert [(it.conversation_id, it.turn, it.error) for it in found] == [("a", 0, "")]
    assert sum(done) == 2
    assert detector.assess([]) == []


def test_later_turns_and_turns_long_before_change_nothing(detector):
    middle = (user("some work"), chatbot("the rain fell"), user("and then"), chatbot("I love you."))
    long_before = tuple(turn for k in range(30) for turn in (user(f"{talk(k)}"), chatbot(f"{talk(-k)}? Why? How?")))
    late = (user("and"), chatbot("I love you. Why? How? When?"))
    alone = detector.assess_with_probabilities([dialogue(*long_before[-2:], *middle)])[2]
    between = detector.assess_with_probabilities([dialogue(*long_before, *middle, *late)])[31]
    assert between[0].turn == len(long_before) + 3
    assert between[1] == pytest.approx(alone[1], abs=1e-5)


def test_a_message_unlike_all_that_the_shipped_detector_was_trained_on_gets_no_verdict():
    shipped = load_learned()
    strange = (
        r"\frac{\partial f}{\partial x} = \lim_{h \to 0} \frac{f(x+h)-f(x)}{h} where f is the slope of the curve. " * 3
    )
    (assessment,) = shipped.assess([dialogue(user("what is this"), chatbot(strange))])
    assert set(assessment.abstained) == set(load_taxonomy().ids) and not assessment.labels
    (fine,) = shipped.assess([dialogue(user("I can't sleep since she left"), chatbot("How long has it been?"))])
    assert set(fine.abstained) == set(load_taxonomy().ids) - set(shipped.modes)


def test_novelty_is_the_share_of_words_that_no_training_message_has():
    tokenizer = CaseEncoder(1).tokenizer
    known, strange, short = (
        pieces_of(Case.of([user("unseen words here")], text), tokenizer)
        for text in ("the rain fell and then some", "zebra quartz flux vortex " * 10, "zebra")
    )
    vocabulary = Vocabulary.of([known])
    novelty = vocabulary.novelty([known, strange, short])
    assert novelty[0] == 0.0 and novelty[1] > 0.7 and novelty[2] < 0.2
    again = Vocabulary.from_tensors(vocabulary.tensors())
    assert again.novelty([strange]) == pytest.approx(novelty[1:2])


def test_probabilities_are_calibrated_on_the_messages_for_choosing(detector):
    # as many as are found in new messages of the same kind, not as the weighted loss has it
    examples = make_examples(60, 500)
    p, _ = detector.probabilities([example.case for example in examples])
    shown = np.array([[mode in example.modes for mode in detector.modes] for example in examples])
    assert p.mean() == pytest.approx(shown.mean(), abs=0.08)


def test_a_case_has_no_more_pieces_than_its_bound_however_long_the_turns():
    tokenizer = CaseEncoder(1).tokenizer
    long = " ".join(["word"] * 3000)
    turns = [user(long), chatbot(long)] * 20
    pieces = pieces_of(Case.of(turns, f"first {long} last"), tokenizer)
    assert len(pieces.ids) == sum(CONTEXT_PIECES) + sum(MESSAGE_PIECES) + len(CONTEXT_PIECES) + 2
    said = tokenizer.decode(pieces.ids[pieces.num_context :])
    assert said.startswith("first word") and said.endswith("word last [SEP]")


def test_training_is_repeatable(folder, tmp_path):
    config = CONFIG.model_copy(update={"num_epochs": 1})
    for name in "ab":
        train_learned(
            make_examples(24),
            make_examples(12, 60),
            taxonomy=TAXONOMY,
            folder=tmp_path / name,
            embedder=EMBEDDER,
            config=config,
            reporter=QUIET,
        )
    a, b = (load_file(tmp_path / name / WEIGHTS_FILE) for name in "ab")
    assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_only_updates_of_low_rank_are_saved(folder):
    tensors = load_file(folder / WEIGHTS_FILE)
    assert max(min(tensor.shape) for name, tensor in tensors.items() if name.endswith((".up", ".down"))) == CONFIG.rank
    assert sum(path.stat().st_size for path in folder.iterdir()) < 8e6
    assert sorted(path.name for path in folder.iterdir()) == [DESCRIPTION_FILE, WEIGHTS_FILE]


def test_too_few_labels_are_a_clear_error(tmp_path):
    for examples, choosing, said in (
        (make_examples(9), make_examples(9), "no mode that 6 of them show"),
        (make_examples(60), [], "to calibrate with"),
        ([dataclasses.replace(make_examples(1)[0], modes=frozenset({"rude"}))], make_examples(9), "unknown modes rude"),
    ):
        with pytest.raises(CorpusError, match=said):
            train_learned(
                examples,
                choosing,
                taxonomy=TAXONOMY,
                folder=tmp_path / "x",
                embedder=EMBEDDER,
                config=CONFIG,
                reporter=QUIET,
            )
    assert not (tmp_path / "x").exists()


def copied(folder, to):
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


@pytest.mark.parametrize("file", [WEIGHTS_FILE, DESCRIPTION_FILE])
@pytest.mark.parametrize("content", [None, b"", b"{}", b"\x80\x04pickle"])
def test_a_broken_file_is_a_clear_error(folder, tmp_path, file, content):
    copied(folder, tmp_path)
    (tmp_path / file).unlink() if content is None else (tmp_path / file).write_bytes(content)
    with pytest.raises(ConfigError, match=str(tmp_path)):
        load_learned(str(tmp_path))


def test_another_version_other_shapes_and_what_is_no_number_are_refused(folder, tmp_path):
    copied(folder, tmp_path)
    description = json.loads((tmp_path / DESCRIPTION_FILE).read_text())
    (tmp_path / DESCRIPTION_FILE).write_text(json.dumps({**description, "inputs_version": 0}))
    with pytest.raises(ConfigError, match="inputs_version: got 0, this advsim has"):
        load_learned(str(tmp_path))
    (tmp_path / DESCRIPTION_FILE).write_text(json.dumps({**description, "models": description["models"][:1]}))
    with pytest.raises(ConfigError, match="do not belong together"):
        load_learned(str(tmp_path))
    copied(folder, tmp_path)
    arrays = load_file(tmp_path / WEIGHTS_FILE)
    save_file({**arrays, "head.bias": arrays["head.bias"] * float("nan")}, tmp_path / WEIGHTS_FILE)
    with pytest.raises(ConfigError, match="finite"):
        load_learned(str(tmp_path))
    save_file({**arrays, "more": arrays["head.bias"].clone()}, tmp_path / WEIGHTS_FILE)
    with pytest.raises(ConfigError, match="do not belong together"):
        load_learned(str(tmp_path))


def test_the_command_refuses_a_folder_that_holds_something(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["detectors", "train", "--out", str(tmp_path)]) == 2
    assert "name a new folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_sentences_keep_their_places():
    text = "At 3.5 I woke.  Then?! Nothing\nmore... "
    assert [text[span.start : span.end] for span in sentences(text)] == [
        "At 3.5 I woke.",
        "Then?!",
        "Nothing",
        "more...",
    ]
