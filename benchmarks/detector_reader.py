"""The embedded language model as a detector of failures: trained, and held against the detector that ships.

    python benchmarks/detector_reader.py --esconv train.jsonl.gz --esconv valid.jsonl.gz [--epochs 1] [--most-windows N]

    turns ──> windows ──> SmolLM2-135M with LoRA ──> end and mean of a message's states ──> linear ──> scores

A dialogue is read once, with a loss at each labelled message (parts train and build); a pass takes three quarters of an
hour on two cores. Printed for the parts final and fresh: mean average precision and AUC, and what is right and found at
the thresholds that find 52 and 58 % of the failures of tune; of it, of the learned detector that ships, and of
logistic scores of both, with and without what the rules find, fitted on tune.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor, nn

from advsim.config import ModelConfig
from advsim.corpus.files import read_dialogues
from advsim.detectors.labelled import load_labelled
from advsim.detectors.learned.inputs import Case, ends
from advsim.detectors.learned.load import load_learned
from advsim.detectors.rules import RulesDetector
from advsim.detectors.taxonomy import load_taxonomy
from advsim.detectors.whole_dialogues import LabelledDialogue, load_whole_dialogues
from advsim.models.base import load_tokenizer, resolve_model
from advsim.records import Dialogue, Speaker, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Floats = npt.NDArray[np.float64]

MODEL = ModelConfig(path="embedded:smollm2-135m")
RANK = 16
ALPHA = 32
"""Updates are ``ALPHA / RANK * up @ down`` (LoRA, Hu et al. 2022)."""
UPDATED = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
WINDOW_PIECES = 900
"""Pieces of a window; what is older than it is not read, so that nothing grows with the length of a dialogue."""
SHARED_TURNS = 4
"""Turns at the end of a window that the next one begins with."""
TURN_PIECES = {Speaker.USER: (150, 100), Speaker.CHATBOT: (150, 90)}
"""Of the beginning and of the end of a turn; what stands between in a longer one is not read."""

_STATES = 0.2
"""The states' scale before the linear layer, near that of unit vectors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a chatbot message stands in a window: pieces ``first`` up to its end token ``last``."""

    turn: int
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A stretch of a dialogue as pieces, and the messages that are scored in it."""

    ids: tuple[int, ...]
    messages: tuple[Place, ...]


def windows(
    turns: Sequence[Turn], tokenizer: PreTrainedTokenizerBase, *, only: Collection[int] | None = None
) -> list[Window]:
    """A dialogue as windows, each chatbot message scored in one of them.

    Where a window ends does not depend on what is said later.

    Args:
        turns: of the dialogue.
        tokenizer: of the base.
        only: numbers of the turns to score; None: all of the chatbot's.
    """

    def pieces(text: str) -> list[int]:
        ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    found: list[Window] = []
    tail = pieces("<|im_end|>\n")
    heads = {
        Speaker.USER: pieces("<|im_start|>user\n"),
        Speaker.CHATBOT: pieces("<|im_start|>assistant\n"),
    }
    bodies = [ends(pieces(turn.text), *TURN_PIECES[turn.speaker]) for turn in turns]
    next_turn = 0
    while next_turn < len(turns):
        start, new = max(0, next_turn - SHARED_TURNS), next_turn
        ids: list[int] = []
        places: list[Place] = []
        for i in range(start, len(turns)):
            head, body = heads[turns[i].speaker], bodies[i]
            if i > new and len(ids) + len(head) + len(body) + len(tail) > WINDOW_PIECES:
                break
            first = len(ids) + len(head)
            ids += [*head, *body, *tail]
            if i >= new and (turns[i].speaker is Speaker.CHATBOT if only is None else i in only):
                places.append(Place(turn=i, first=first, last=first + len(body)))
            next_turn = i + 1
        if places:
            found.append(Window(ids=tuple(ids), messages=tuple(places)))
    return found


class DialogueReader(nn.Module):  # type: ignore[misc]
    """Scores of each mode for every chatbot message of a dialogue.

    Args:
        num_modes: outputs.
    """

    def __init__(self, num_modes: int) -> None:
        super().__init__()
        from transformers import AutoModel
        from transformers.utils import logging

        logging.disable_progress_bar()
        path = resolve_model(MODEL)
        self.tokenizer = load_tokenizer(path)
        self.base = AutoModel.from_pretrained(str(path), local_files_only=True, dtype=torch.bfloat16)
        self.base.config.use_cache = False
        self.head = nn.Linear(2 * self.base.config.hidden_size, num_modes)
        for parameter in self.base.parameters():
            parameter.requires_grad = False
        self.eval()

    def forward(self, some: Sequence[Window]) -> Tensor:
        """Scores of the windows' messages in order, shape (messages, modes)."""
        longest = max(len(window.ids) for window in some)
        ids = torch.zeros(len(some), longest, dtype=torch.long)
        is_there = torch.zeros_like(ids)
        for row, window in enumerate(some):
            ids[row, : len(window.ids)] = torch.tensor(window.ids)
            is_there[row, : len(window.ids)] = 1
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mask = is_there if len(some) > 1 else None
            states = self.base(input_ids=ids, attention_mask=mask).last_hidden_state
        states = states.float()
        pooled = [
            torch.cat([states[row, place.last], states[row, place.first : place.last + 1].mean(dim=0)])
            for row, window in enumerate(some)
            for place in window.messages
        ]
        scores: Tensor = self.head(_STATES * torch.stack(pooled))
        return scores


BATCH_PIECES = 1600
BATCHES_A_STEP = 2
LEARNING_RATE, HEAD_LEARNING_RATE = 4e-4, 2e-3
POSITIVE_WEIGHT = 3.0
"""Of a mode's positives in the loss: they are few."""
MODES = load_taxonomy().ids
Labelled = tuple[Sequence[Turn], dict[int, frozenset[str]]]
"""Turns, and the modes of some of them by the turn's number."""


def train(labelled: Sequence[Labelled], *, epochs: int, most_windows: int | None) -> DialogueReader:
    """A reader trained on labelled turns."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    reader = DialogueReader(len(MODES))
    torch.nn.init.normal_(reader.head.weight, std=0.01)
    torch.nn.init.zeros_(reader.head.bias)
    examples = [
        (window, torch.tensor([[float(mode in modes[it.turn]) for mode in MODES] for it in window.messages]))
        for turns, modes in labelled
        for window in windows(turns, reader.tokenizer, only=modes.keys())
    ][:most_windows]
    lora = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=list(UPDATED))
    reader.base = get_peft_model(reader.base, lora)
    updates = [parameter for parameter in reader.base.parameters() if parameter.requires_grad]
    for parameter in updates:
        parameter.data = parameter.data.float()
    optimiser = torch.optim.AdamW(
        [
            {"params": updates, "lr": LEARNING_RATE},
            {"params": list(reader.head.parameters()), "lr": HEAD_LEARNING_RATE},
        ],
        weight_decay=0.01,
    )
    rng = np.random.default_rng(0)
    batches = [rows for _ in range(epochs) for rows in _batches([window for window, _ in examples], rng)]
    num_steps = -(-len(batches) // BATCHES_A_STEP)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, num_steps))
    loss_of = torch.nn.BCEWithLogitsLoss(pos_weight=torch.full((len(MODES),), POSITIVE_WEIGHT))
    reader.train()
    started, losses = time.monotonic(), []
    for start in range(0, len(batches), BATCHES_A_STEP):
        some = batches[start : start + BATCHES_A_STEP]
        for rows in some:
            loss = loss_of(reader([examples[row][0] for row in rows]), torch.cat([examples[row][1] for row in rows]))
            (loss / len(some)).backward()
            losses.append(loss.item())
        torch.nn.utils.clip_grad_norm_([*updates, *reader.head.parameters()], 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        if start % 40 == 0:
            spent = time.monotonic() - started
            print(
                f"{start + len(some)}/{len(batches)} batches, {spent:.0f} s, loss {np.mean(losses[-60:]):.3f}",
                flush=True,
            )
    reader.eval()
    return reader


def _rate(step: int, num_steps: int) -> float:
    """Share of the learning rate at a step: up over the first 8 %, then down to 2 %."""
    return min((step + 1) / (0.08 * num_steps), max(0.02, (num_steps - step) / (0.92 * num_steps)))


def _batches(some: Sequence[Window], rng: np.random.Generator) -> Iterator[list[int]]:
    """All rows once, those of like length together, in random order."""
    order = rng.permutation(len(some)).tolist()
    batches: list[list[int]] = []
    for start in range(0, len(order), 64):
        batch: list[int] = []
        for row in sorted(order[start : start + 64], key=lambda row: len(some[row].ids)):
            if batch and len(some[row].ids) * (len(batch) + 1) > BATCH_PIECES:
                batches.append(batch)
                batch = []
            batch.append(row)
        batches.append(batch)
    for number in rng.permutation(len(batches)):
        yield batches[number]


# --- comparison ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Labelled messages of a part by each detector, shapes (messages, modes)."""

    shown: npt.NDArray[np.bool_]
    reader: Floats  # scores
    shipped: Floats  # log-odds
    rules: Floats  # 1 where the rules find the mode


def judge(dialogues: Sequence[LabelledDialogue], reader: DialogueReader) -> Judged:
    """What each detector says of the labelled messages."""
    learned, rules = load_learned(), RulesDetector(load_taxonomy())
    cases, shown, scores, found = [], [], [], []
    for each in dialogues:
        turns = each.dialogue.turns
        by_turn: dict[int, Floats] = {}
        for window in windows(turns, reader.tokenizer):
            with torch.inference_mode():
                rows = reader([window]).numpy().astype(np.float64)
            by_turn |= {place.turn: row for place, row in zip(window.messages, rows, strict=True)}
        by_rules = {it.turn: {label.mode for label in it.labels} for it in rules.assess([each.dialogue])}
        own_cases = Case.all_of(turns)
        for turn, label in each.labels.items():
            cases.append(own_cases[turn])
            shown.append([mode in label.modes for mode in MODES])
            scores.append(by_turn[turn])
            found.append([float(mode in by_rules[turn]) for mode in MODES])
    p, _ = learned.probabilities(cases)
    shipped = np.full((len(cases), len(MODES)), logit(1e-6))
    shipped[:, [MODES.index(mode) for mode in learned.modes]] = logit(np.clip(p, 1e-6, 1 - 1e-6))
    return Judged(shown=np.array(shown), reader=np.array(scores), shipped=shipped, rules=np.array(found))


def figures(scores: Floats, shown: npt.NDArray[np.bool_], thresholds: Sequence[float]) -> str:
    """Mean average precision and AUC, and right/found and right/shown at thresholds."""
    modes = [m for m in range(shown.shape[1]) if shown[:, m].any()]
    precision = np.mean([average_precision_score(shown[:, m], scores[:, m]) for m in modes])
    auc = np.mean([roc_auc_score(shown[:, m], scores[:, m]) for m in modes])
    at = []
    for threshold in thresholds:
        found = scores >= threshold
        right = int((found & shown).sum())
        at.append(f"{right}/{found.sum()} = {right / max(1, found.sum()):.2f}, {right / shown.sum():.2f}")
    return f"AP {precision:.3f}  AUC {auc:.3f}  right, found: {'; '.join(at)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--esconv", action="append", default=[], metavar="FILE", help="your copy of ESConv")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--most-windows", type=int, default=None, help="train on fewer, to try it out")
    asked = parser.parse_args()
    copy: list[Dialogue] = [dialogue for file in asked.esconv for dialogue in read_dialogues(file).dialogues]
    labelled: list[Labelled] = [
        (each.dialogue.turns, {turn: label.modes for turn, label in each.labels.items()})
        for each in load_whole_dialogues("train", "build", copy=copy)
    ]
    for message in load_labelled("build"):
        turns = (*message.context, Turn(speaker=Speaker.CHATBOT, text=message.message))
        labelled.append((turns, {len(turns) - 1: message.modes}))
    reader = train(labelled, epochs=asked.epochs, most_windows=asked.most_windows)
    tune, final, fresh = (judge(load_whole_dialogues(part, copy=copy), reader) for part in ("tune", "final", "fresh"))
    sides = {
        "reader": ("reader",),
        "learned": ("shipped",),
        "both": ("shipped", "reader"),
        "learned, rules": ("shipped", "rules"),
        "reader, rules": ("reader", "rules"),
        "all": ("shipped", "reader", "rules"),
    }
    for name, parts in sides.items():
        inputs = [np.stack([getattr(it, part) for part in parts], axis=-1) for it in (tune, final, fresh)]
        fitted = LogisticRegression(C=100.0).fit(inputs[0].reshape(-1, len(parts)), tune.shown.ravel())
        scores = [fitted.decision_function(x.reshape(-1, len(parts))).reshape(x.shape[:2]) for x in inputs]
        highest = np.sort(scores[0][tune.shown])[::-1]
        thresholds = [float(highest[int(share * len(highest))]) for share in (0.52, 0.58)]
        for part, own, judged in (("final", scores[1], final), ("fresh", scores[2], fresh)):
            print(f"{name:16}{part:8}{figures(own, judged.shown, thresholds)}", flush=True)


if __name__ == "__main__":
    main()
