"""What a learned detector should read: classifiers on several inputs, trained on the same labels, held against `tune`.

`python benchmarks/detector_inputs.py --esconv train.jsonl.gz --esconv valid.jsonl.gz` trains a logistic regression a
mode on the parts `train` and `build` of the whole dialogues and on the composed messages, for each set of inputs. It
prints, beside the encoder that ships, mean AUC and mean average precision over modes, and over all (message, mode) the
precision at a recall of .5 and the share of good messages with an alarm there. With `--language-model` hidden states of
the embedded language model are inputs too (some 20 minutes on two cores).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score

from advsim.corpus.files import read_dialogues
from advsim.detectors.labelled import load_labelled
from advsim.detectors.learned.encoder import WIDTH
from advsim.detectors.learned.load import load_learned
from advsim.detectors.learned.regression import NUM_COUNTS, regression_inputs, user_said
from advsim.detectors.learned.training import Example, examples_of_dialogues, examples_of_messages
from advsim.detectors.rules import RulesDetector
from advsim.detectors.taxonomy import load_taxonomy
from advsim.detectors.whole_dialogues import load_whole_dialogues
from advsim.models.embedder import MiniLmEmbedder
from advsim.records import Dialogue, Speaker, Split, Turn

MODES = load_taxonomy().ids
Inputs = Callable[[Sequence[Example]], npt.NDArray[np.float64]]
_EMBEDDER = MiniLmEmbedder()


def inputs_of_regression(examples: Sequence[Example]) -> npt.NDArray[np.float64]:
    """What the regression that ships reads, shape (examples, inputs)."""
    return regression_inputs([example.case for example in examples], _EMBEDDER)


def embeddings(examples: Sequence[Example]) -> npt.NDArray[np.float64]:
    """Embeddings of message and user turn, shape (examples, 768)."""
    return inputs_of_regression(examples)[:, : 2 * WIDTH]


def interactions(examples: Sequence[Example]) -> npt.NDArray[np.float64]:
    """Products and absolute differences of the two embeddings, shape (examples, 768)."""
    message, user = np.split(embeddings(examples), 2, axis=1)
    return np.hstack([message * user, np.abs(message - user)])


def highest_sentences(examples: Sequence[Example]) -> npt.NDArray[np.float64]:
    """Highest and lowest of each dimension over the message's sentences, shape (examples, 768)."""
    return inputs_of_regression(examples)[:, 2 * WIDTH : 4 * WIDTH]


def counts(examples: Sequence[Example]) -> npt.NDArray[np.float64]:
    """Bounded counts of message and last chatbot turns, shape (examples, ``NUM_COUNTS``)."""
    return inputs_of_regression(examples)[:, -NUM_COUNTS:]


def rules(examples: Sequence[Example]) -> npt.NDArray[np.float64]:
    """What the rules find, from the same four turns, shape (examples, modes)."""
    dialogues = [
        Dialogue(id=str(k), source="", split=Split.TRAIN, turns=(*it.case.before, _chatbot(it)))
        for k, it in enumerate(examples)
    ]
    last = {(it.conversation_id, it.turn): it for it in RulesDetector().assess(dialogues)}
    found = [last[dialogue.id, len(dialogue.turns) - 1] for dialogue in dialogues]
    return np.array([[any(label.mode == mode for label in it.labels) for mode in MODES] for it in found], dtype=float)


def _chatbot(example: Example) -> Turn:
    return Turn(speaker=Speaker.CHATBOT, text=example.case.message)


def hidden_states(examples: Sequence[Example]) -> npt.NDArray[np.float64]:
    """Mean and last hidden state of the embedded language model over context and message, two depths."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    from advsim.config import ModelConfig
    from advsim.models.base import resolve_model

    path = str(resolve_model(ModelConfig()))
    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    model = AutoModel.from_pretrained(path, local_files_only=True, dtype=torch.bfloat16)
    rows = []
    for example in examples:
        said = "\n".join(f"{turn.speaker}: {turn.text[-400:]}" for turn in example.case.before[-2:])
        ids = tokenizer(f"{said}\nchatbot: {example.case.message[:1200]}", return_tensors="pt", truncation=True)
        with torch.inference_mode():
            states = model(**ids, output_hidden_states=True).hidden_states
        parts = [states[depth][0].float() for depth in (len(states) // 2, -1)]
        vectors = [vector.numpy() for part in parts for vector in (part.mean(0), part[-1])]
        rows.append(np.concatenate([vector / np.linalg.norm(vector) for vector in vectors]))
    return np.array(rows)


def figures(scores: npt.NDArray[np.float64], shown: npt.NDArray[np.bool_]) -> str:
    """Mean AUC and average precision, and what a recall of .5 over all findings costs."""
    modes = [m for m in range(shown.shape[1]) if 0 < shown[:, m].sum() < len(shown)]
    auc = np.mean([roc_auc_score(shown[:, m], scores[:, m]) for m in modes])
    precision = np.mean([average_precision_score(shown[:, m], scores[:, m]) for m in modes])
    order = np.argsort(-scores.ravel(), kind="stable")
    right = np.cumsum(shown.ravel()[order])
    num = int(np.searchsorted(right, 0.5 * shown.sum())) + 1
    alarms = (scores >= scores.ravel()[order[num - 1]]).any(axis=1)[~shown.any(axis=1)].mean()
    return f"AUC {auc:.3f}  AP {precision:.3f}  at recall .5: precision {right[num - 1] / num:.2f}, alarms {alarms:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--esconv", action="append", default=[], metavar="FILE", help="your copy of ESConv")
    parser.add_argument("--language-model", action="store_true", help="try hidden states of the embedded model")
    options = parser.parse_args()
    copy = [dialogue for file in options.esconv for dialogue in read_dialogues(file).dialogues]
    composed = examples_of_messages(load_labelled("build"))
    whole = examples_of_dialogues(load_whole_dialogues("train", "build", copy=copy))
    tune = examples_of_dialogues(load_whole_dialogues("tune", copy=copy))
    shown = np.array([[mode in it.modes for mode in MODES] for it in tune])
    print(f"{len(whole)} messages of whole dialogues, {len(composed)} composed ones; measured on {len(tune)}")
    sets: list[tuple[str, list[Inputs], bool, list[Example]]] = [
        ("composed messages only: embeddings, bounded counts", [embeddings, counts], False, composed),
        ("embeddings, bounded counts", [embeddings, counts], False, whole + composed),
        ("... and interactions", [embeddings, interactions, counts], False, whole + composed),
        ("... and highest over sentences", [embeddings, highest_sentences, counts], False, whole + composed),
        ("... and TF-IDF of words", [embeddings, highest_sentences, counts], True, whole + composed),
        ("... and what rules find", [embeddings, highest_sentences, counts, rules], True, whole + composed),
    ]
    if options.language_model:
        sets.append(("hidden states of the embedded model", [hidden_states, counts], False, whole + composed))
    for name, inputs, words, examples in sets:
        print(f"{name:52} {figures(_by_regression(inputs, words, examples, tune), shown)}", flush=True)
    detector = load_learned()
    p, _ = detector.probabilities([it.case for it in tune])
    scores = np.zeros(shown.shape)
    scores[:, [MODES.index(mode) for mode in detector.modes]] = p
    print(f"{'the encoder that ships':52} {figures(scores, shown)}")


def _by_regression(
    inputs: Sequence[Inputs], words: bool, examples: Sequence[Example], tune: Sequence[Example]
) -> npt.NDArray[np.float64]:
    """Log-odds of logistic regressions, shape (tune, modes)."""
    train_X, tune_X = (csr_matrix(np.hstack([of(part) for of in inputs])) for part in (examples, tune))
    if words:
        for text in (lambda it: it.case.message.lower(), lambda it: user_said(it.case).lower()):
            vectorizer = TfidfVectorizer(ngram_range=(1, 3), min_df=3, sublinear_tf=True, token_pattern=r"[a-z']+|\?")
            train_X = hstack([train_X, vectorizer.fit_transform([text(it) for it in examples])]).tocsr()
            tune_X = hstack([tune_X, vectorizer.transform([text(it) for it in tune])]).tocsr()
    columns = []
    for mode in MODES:
        shows = np.array([mode in example.modes for example in examples])
        fitted = LogisticRegression(class_weight="balanced", max_iter=3000, solver="liblinear").fit(train_X, shows)
        columns.append(fitted.decision_function(tune_X))
    return np.column_stack(columns)


if __name__ == "__main__":
    main()
