"""Training of the reader: whole dialogues once a pass, a loss at each labelled message of theirs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from advsim.config import Count, Section
from advsim.detectors.labelled import LabelledMessage
from advsim.detectors.reader.files import ReaderDescription, save_reader
from advsim.detectors.reader.network import ALPHA, RANK, UPDATED, DialogueReader, saved_tensors
from advsim.detectors.reader.windows import Window, windows
from advsim.detectors.whole_dialogues import LabelledDialogue
from advsim.errors import CorpusError
from advsim.models.batching import padded_groups
from advsim.records import Speaker, Turn
from advsim.runtime.progress import Reporter

Rate = Annotated[float, Field(gt=0.0, le=1.0, strict=True)]

_SORTED_TOGETHER = 64


class ReaderConfig(Section):
    """How the reader is trained."""

    num_epochs: Count = 2
    batch_pieces: Count = 1600
    """Word pieces that go through the model at once, with those that fill shorter windows up."""
    batches_a_step: Count = 2
    learning_rate: Rate = 4e-4
    """Of the updates; rises over the first 8 % of the steps, then falls to 2 %."""
    head_learning_rate: Rate = 2e-3
    positive_weight: Annotated[float, Field(gt=0.0, le=100.0, strict=True)] = 3.0
    """Weight of a mode's positives in the loss: they are few."""
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledTurns:
    """A dialogue with the modes of some of its chatbot turns, by the turn's number."""

    turns: tuple[Turn, ...]
    modes: Mapping[int, frozenset[str]]


def labelled_turns(
    dialogues: Sequence[LabelledDialogue], messages: Sequence[LabelledMessage] = ()
) -> list[LabelledTurns]:
    """Labelled dialogues, and single labelled messages after their contexts, as the reader learns from them."""
    whole = [
        LabelledTurns(turns=each.dialogue.turns, modes={turn: label.modes for turn, label in each.labels.items()})
        for each in dialogues
    ]
    return whole + [
        LabelledTurns(
            turns=(*each.context, Turn(speaker=Speaker.CHATBOT, text=each.message)),
            modes={len(each.context): each.modes},
        )
        for each in messages
    ]


def train_reader(
    labelled: Sequence[LabelledTurns],
    modes: Sequence[str],
    *,
    folder: Path,
    config: ReaderConfig | None = None,
    reporter: Reporter,
) -> None:
    """Train a reader and save it.

    Args:
        labelled: to train on.
        modes: its outputs in order.
        folder: for the two files.
        config: None is the default.
        reporter: shows progress.

    Raises:
        CorpusError: there is nothing to train on.
    """
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict

    settings = ReaderConfig() if config is None else config
    torch.manual_seed(settings.seed)
    reader = DialogueReader(modes)
    examples = _examples(labelled, reader)
    if not examples:
        raise CorpusError("got no labelled message to train the reader on, expected some")
    torch.nn.init.normal_(reader.head.weight, std=0.01)
    torch.nn.init.zeros_(reader.head.bias)
    lora = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=list(UPDATED))
    reader.base = get_peft_model(reader.base, lora)
    updates = [parameter for parameter in reader.base.parameters() if parameter.requires_grad]
    _fit(reader, updates, examples, settings, reporter)
    tensors = saved_tensors(get_peft_model_state_dict(reader.base), reader.head)
    num = sum(len(window.messages) for window, _ in examples)
    save_reader(folder, ReaderDescription(modes=tuple(modes), num_messages=num), tensors)


def _examples(labelled: Sequence[LabelledTurns], reader: DialogueReader) -> list[tuple[Window, Tensor]]:
    """Windows, each with the labels of its messages, shape (messages, modes)."""
    return [
        (
            window,
            torch.tensor([[float(m in each.modes[place.turn]) for m in reader.modes] for place in window.messages]),
        )
        for each in labelled
        for window in windows(each.turns, reader.tokenizer, only=each.modes.keys())
    ]


def _fit(
    reader: DialogueReader,
    updates: Sequence[torch.nn.Parameter],
    examples: Sequence[tuple[Window, Tensor]],
    config: ReaderConfig,
    reporter: Reporter,
) -> None:
    head = list(reader.head.parameters())
    optimiser = torch.optim.AdamW(
        [{"params": list(updates), "lr": config.learning_rate}, {"params": head, "lr": config.head_learning_rate}],
        weight_decay=0.01,
    )
    rng = np.random.default_rng(config.seed)
    sizes = [len(window.ids) for window, _ in examples]
    batches = [rows for _ in range(config.num_epochs) for rows in _batches(sizes, config.batch_pieces, rng)]
    num_steps = -(-len(batches) // config.batches_a_step)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, num_steps))
    loss_of = torch.nn.BCEWithLogitsLoss(pos_weight=torch.full((len(reader.modes),), config.positive_weight))
    reader.train()
    with reporter.stage("reader", total=config.num_epochs * len(examples), unit="window") as stage:
        for start in range(0, len(batches), config.batches_a_step):
            some = batches[start : start + config.batches_a_step]
            for rows in some:
                scores = reader([examples[row][0] for row in rows])
                loss = loss_of(scores, torch.cat([examples[row][1] for row in rows]))
                (loss / len(some)).backward()
                stage.advance(len(rows))
            torch.nn.utils.clip_grad_norm_([*updates, *head], 1.0)
            optimiser.step()
            schedule.step()
            optimiser.zero_grad()
            stage.note(f"loss {loss.item():.2f}")
    reader.eval()


def _rate(step: int, num_steps: int) -> float:
    """Share of the learning rate at a step: up over the first 8 %, then down to 2 %."""
    return min((step + 1) / (0.08 * num_steps), max(0.02, (num_steps - step) / (0.92 * num_steps)))


def _batches(sizes: Sequence[int], most_pieces: int, rng: np.random.Generator) -> Iterator[list[int]]:
    """All rows once, those of like length together, in random order."""
    order = rng.permutation(len(sizes)).tolist()
    batches = []
    for start in range(0, len(order), _SORTED_TOGETHER):
        rows = order[start : start + _SORTED_TOGETHER]
        groups = padded_groups([sizes[row] for row in rows], max_sequences=len(rows), max_padded_tokens=most_pieces)
        batches += [[rows[i] for i in group] for group in groups]
    for number in rng.permutation(len(batches)):
        yield batches[number]
