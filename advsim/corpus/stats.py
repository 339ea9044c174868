"""What a corpus looks like: sizes, how its users type, and how much they differ from each other.

People differ (some never punctuate, some always do), and a simulator that only meets the mean is not like them; so the
spread of typing habits over dialogues stands beside the pooled shares.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from advsim.config import CorpusConfig
from advsim.corpus.load import load_corpus
from advsim.errors import CorpusError
from advsim.records import Dialogue, Speaker, Split, user_turns

EMOJI = re.compile("[\u2600-\u27bf\u2b50\u2b55\U0001f000-\U0001faff]")
"""Unicode's pictograph blocks; arrows, box drawing and signs such as (c) stand outside."""

ALL_CAPS = re.compile(r"\b[^\W\d_]{3,}\b")
CLOSING = "\"'”’»)]}*_~"
END_PUNCTUATION = (".", "!", "?", "…", "。", "！", "？", "؟", "।")


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
    """Figures of a corpus. Words are separated by white space; shares are of user turns unless stated."""

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
    """Turns of one to three words."""
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

    def to_json(self) -> dict[str, Any]:
        """Nested plain values, keys as the fields."""
        return asdict(self)


def corpus_stats(dialogues: Sequence[Dialogue]) -> CorpusStats:
    """Describe dialogues.

    Raises:
        CorpusError: there are none.
    """
    if not dialogues:
        raise CorpusError("corpus statistics: got no dialogues, expected at least one; check corpus.path")
    texts_of = [[turn.text for _, turn in user_turns(dialogue)] for dialogue in dialogues]
    texts = [text for of_dialogue in texts_of for text in of_dialogue]
    words = [_num_words(text) for text in texts]
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
        lowercase_start_share=share(_starts_lowercase),
        no_end_punctuation_share=share(_lacks_end_punctuation),
        emoji_share=share(lambda text: EMOJI.search(text) is not None),
        all_caps_share=share(lambda text: any(word.isupper() for word in ALL_CAPS.findall(text))),
        short_share=share(lambda text: 1 <= _num_words(text) <= 3),
        newline_share=share(lambda text: "\n" in text),
        user_opens_share=layer_share(lambda dialogue: dialogue.turns[0].speaker is Speaker.USER),
        profile_share=layer_share(lambda dialogue: bool(dialogue.context.profile)),
        themes_share=layer_share(lambda dialogue: bool(dialogue.context.themes)),
        earlier_sessions_share=layer_share(lambda dialogue: bool(dialogue.context.earlier_sessions)),
        session_share=layer_share(lambda dialogue: bool(dialogue.context.session)),
        lowercase_start_spread=spread(_starts_lowercase),
        no_end_punctuation_spread=spread(_lacks_end_punctuation),
        words_spread=spread(_num_words),
    )


def render_stats(stats: CorpusStats) -> Group:
    """Tables for a terminal: sizes, dialogues by chatbot where any is named, user turns, spread between dialogues."""
    sizes = Table("split", "dialogues", "users", "user turns", title="Corpus")
    for size in stats.splits:
        sizes.add_row(size.split, str(size.num_dialogues), str(size.num_users), str(size.num_user_turns))
    sizes.add_row(
        "all", str(stats.num_dialogues), str(stats.num_users), str(sum(size.num_user_turns for size in stats.splits))
    )
    sizes.caption = (
        f"{stats.num_dialogues_without_user} dialogues name no user and count as a user each for the split"
        if stats.num_dialogues_without_user
        else None
    )

    figures = Table("figure", "value", title="Dialogues and user turns")
    for name, value in (
        ("turns a dialogue, mean", f"{stats.turns_mean:.1f}"),
        ("user turns a dialogue, mean", f"{stats.user_turns_mean:.1f}"),
        ("dialogues opened by the user", _percent(stats.user_opens_share)),
        ("dialogues with a profile", _percent(stats.profile_share)),
        ("dialogues with themes", _percent(stats.themes_share)),
        ("dialogues with earlier sessions", _percent(stats.earlier_sessions_share)),
        ("dialogues with a session summary", _percent(stats.session_share)),
        ("words a user turn, mean", f"{stats.words_mean:.1f}"),
        ("words a user turn, median and p90", f"{stats.words_median:.0f}, {stats.words_p90:.0f}"),
        ("start lower-case", _percent(stats.lowercase_start_share)),
        ("no end punctuation", _percent(stats.no_end_punctuation_share)),
        ("with emoji", _percent(stats.emoji_share)),
        ("with an all-caps word", _percent(stats.all_caps_share)),
        ("one to three words", _percent(stats.short_share)),
        ("with a line break", _percent(stats.newline_share)),
    ):
        figures.add_row(name, value)

    spreads = Table("user turns of a dialogue", "p10", "p50", "p90", "std", title="Spread between dialogues")
    for name, spread, shown in (
        ("start lower-case", stats.lowercase_start_spread, _percent),
        ("no end punctuation", stats.no_end_punctuation_spread, _percent),
        ("words, mean", stats.words_spread, _one_decimal),
    ):
        std = "-" if spread.std is None else shown(spread.std)
        spreads.add_row(name, shown(spread.p10), shown(spread.p50), shown(spread.p90), std)
    tables = [sizes, *([_chatbots_table(stats)] if stats.num_by_chatbot else []), figures, spreads]
    for table in tables:
        for column in table.columns[1:]:
            column.justify = "right"
    return Group(*tables)


def _chatbots_table(stats: CorpusStats) -> Table:
    table = Table("chatbot", "dialogues", title="Dialogues by chatbot")
    for name, count in stats.num_by_chatbot.items():
        table.add_row(Text(name), str(count))
    num_unnamed = stats.num_dialogues - sum(stats.num_by_chatbot.values())
    if num_unnamed:
        table.add_row(Text("none named", style="dim"), str(num_unnamed))
    return table


def stats_command(config: CorpusConfig, *, as_json: bool, console: Console) -> None:
    """Load the configured corpus and print its statistics: what ``advsim corpus stats`` does.

    Raises:
        CorpusError: see :func:`advsim.corpus.load.load_corpus`.
    """
    corpus = load_corpus(config)
    stats = corpus_stats(corpus.dialogues)
    if as_json:
        console.print_json(data={"sha256": corpus.sha256, "num_left_out": corpus.num_left_out, **stats.to_json()})
    else:
        console.print(render_stats(stats))


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


def _num_words(text: str) -> int:
    return len(text.split())


def _starts_lowercase(text: str) -> bool:
    return text[:1].islower()


def _lacks_end_punctuation(text: str) -> bool:
    return not text.rstrip(CLOSING).endswith(END_PUNCTUATION)


def _percent(share: float) -> str:
    return f"{share:.0%}"


def _one_decimal(value: float) -> str:
    return f"{value:.1f}"
