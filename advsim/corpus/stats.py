"""Statistics of a corpus: sizes, how its users type, and how much they differ from each other.

People differ (some never punctuate, some always do), and a simulator that only meets the mean is not like them; so the
spread of typing habits over dialogues stands beside the pooled shares.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from advsim.corpus.habits import (
    has_all_caps,
    has_emoji,
    is_short,
    lacks_end_punctuation,
    num_words,
    starts_lowercase,
)
from advsim.errors import CorpusError
from advsim.records import Dialogue, Speaker, Split, user_turns


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSize:
    """Size of one split. Users without an id are not counted as users."""

    split: Split
    num_dialogues: int
    num_users: int
    num_user_turns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Distribution over dialogues of a dialogue's own mean. ``std`` (n - 1) is None for fewer than two dialogues.

    Dialogues with few user turns spread by chance too: compare corpora of like length.
    """

    std: float | None
    p10: float
    p50: float
    p90: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusStats:
    """Figures of a corpus. Words as :func:`.habits.num_words` counts; shares are of user turns or as stated."""

    num_dialogues: int
    num_users: int
    """Distinct user ids."""
    num_dialogues_without_user: int
    splits: tuple[SplitSize, ...]
    num_by_chatbot: Mapping[str, int]
    """Dialogues by the chatbot that they name, by name; empty where none is named."""
    turns_mean: float
    user_turns_mean: float
    words_mean: float
    words_median: float
    words_p90: float
    lowercase_start_share: float
    no_end_punctuation_share: float
    """A closing quote or bracket after the punctuation does not count; an emoji does."""
    emoji_share: float
    all_caps_share: float
    """Turns with an all-caps word of three letters or more; abbreviations (PTSD) are among them."""
    short_share: float
    """Turns of three words at most."""
    newline_share: float
    user_opens_share: float
    """Of dialogues."""
    profile_share: float
    """Of dialogues, as the other context layers."""
    themes_share: float
    earlier_sessions_share: float
    session_share: float
    lowercase_start_spread: Spread
    no_end_punctuation_spread: Spread
    words_spread: Spread


def corpus_stats(dialogues: Sequence[Dialogue]) -> CorpusStats:
    """Describe dialogues.

    Raises:
        CorpusError: there are none.
    """
    if not dialogues:
        raise CorpusError("corpus statistics: got no dialogues, expected at least one; check corpus.path")
    texts_of = [[turn.text for _, turn in user_turns(dialogue)] for dialogue in dialogues]
    texts = [text for of_dialogue in texts_of for text in of_dialogue]
    words = [num_words(text) for text in texts]
    users = {dialogue.user_id for dialogue in dialogues} - {None}

    def share(holds: Callable[[str], bool]) -> float:
        return _mean([holds(text) for text in texts])

    def layer_share(present: Callable[[Dialogue], bool]) -> float:
        return _mean([present(dialogue) for dialogue in dialogues])

    def spread(value: Callable[[str], float]) -> Spread:
        return _spread([_mean([value(text) for text in of_dialogue]) for of_dialogue in texts_of])

    return CorpusStats(
        num_dialogues=len(dialogues),
        num_users=len(users),
        num_dialogues_without_user=sum(dialogue.user_id is None for dialogue in dialogues),
        splits=tuple(_split_size(dialogues, split) for split in Split),
        num_by_chatbot=dict(sorted(Counter(d.chatbot for d in dialogues if d.chatbot is not None).items())),
        turns_mean=_mean([len(dialogue.turns) for dialogue in dialogues]),
        user_turns_mean=_mean([len(of_dialogue) for of_dialogue in texts_of]),
        words_mean=_mean(words),
        words_median=float(np.median(words)),
        words_p90=float(np.percentile(words, 90)),
        lowercase_start_share=share(starts_lowercase),
        no_end_punctuation_share=share(lacks_end_punctuation),
        emoji_share=share(has_emoji),
        all_caps_share=share(has_all_caps),
        short_share=share(is_short),
        newline_share=share(lambda text: "\n" in text),
        user_opens_share=layer_share(lambda dialogue: dialogue.turns[0].speaker is Speaker.USER),
        profile_share=layer_share(lambda dialogue: bool(dialogue.context.profile)),
        themes_share=layer_share(lambda dialogue: bool(dialogue.context.themes)),
        earlier_sessions_share=layer_share(lambda dialogue: bool(dialogue.context.earlier_sessions)),
        session_share=layer_share(lambda dialogue: bool(dialogue.context.session)),
        lowercase_start_spread=spread(starts_lowercase),
        no_end_punctuation_spread=spread(lacks_end_punctuation),
        words_spread=spread(num_words),
    )


def _split_size(dialogues: Sequence[Dialogue], split: Split) -> SplitSize:
    inside = [dialogue for dialogue in dialogues if dialogue.split is split]
    return SplitSize(
        split=split,
        num_dialogues=len(inside),
        num_users=len({dialogue.user_id for dialogue in inside} - {None}),
        num_user_turns=sum(len(user_turns(dialogue)) for dialogue in inside),
    )


def _spread(values: Sequence[float]) -> Spread:
    p10, p50, p90 = (float(value) for value in np.percentile(values, [10, 50, 90]))
    return Spread(std=float(np.std(values, ddof=1)) if len(values) > 1 else None, p10=p10, p50=p50, p90=p90)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
