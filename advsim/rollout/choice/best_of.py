"""Best of n: of several draws of a user turn, the one that the probe finds most like what a person would say there.

engine ──n draws──> sound ones, each text once ──> TurnReader ──features──> Probe ──highest log-odds──> the turn
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from advsim.models.base import resolve_model
from advsim.models.precision import training_precision
from advsim.prompts.text import strip_end
from advsim.records import Context, Turn
from advsim.rollout.choice.probe import Probe
from advsim.rollout.choice.spec import ChoiceSpec
from advsim.rollout.choice.turn_reader import TurnReader, TurnTexts
from advsim.rollout.faults import leaves_silently, user_turn_fault


class BestOf:
    """Chooses among draws.

    Args:
        spec: by what.
        use_gpu: read on the GPU that Ray assigned to this process.

    Raises:
        ConfigError: the model is not there.
    """

    def __init__(self, spec: ChoiceSpec, *, use_gpu: bool = False) -> None:
        self._instructions = spec.prompt.instructions
        self._probe = Probe.of_files(spec.probe)
        self._reader = TurnReader(
            base=resolve_model(spec.model),
            prompt=spec.prompt,
            dtype=training_precision(spec.model.dtype, on_gpu=use_gpu),
            device="cuda" if use_gpu else "cpu",
            max_texts=spec.max_texts,
        )

    def choose(self, context: Context, prefix: Sequence[Turn], draws: Sequence[str]) -> int:
        """Index of the draw to say.

        A draw with a fault is chosen where all have one. Whether the user leaves without a word is the first draw's
        matter: with n chances to be passed over, people who leave so would stay.

        Args:
            context: what the user is told of themselves.
            prefix: turns before.
            draws: one or more, as they were sampled.
        """
        texts, ended = zip(*map(strip_end, draws), strict=True)
        if leaves_silently(texts[0], ended=ended[0], turns=prefix):
            return 0
        sound = [i for i, text in enumerate(texts) if user_turn_fault(text, instructions=self._instructions) is None]
        first_of = {texts[i]: i for i in reversed(sound)}
        if len(first_of) < 2:
            return sound[0] if sound else 0
        different = tuple(sorted(first_of, key=first_of.__getitem__))
        request = TurnTexts(dialogue_id="", context=context, prefix=tuple(prefix), texts=different)
        scores = self._probe.score(self._reader.read(request))
        return first_of[different[int(np.argmax(scores))]]
