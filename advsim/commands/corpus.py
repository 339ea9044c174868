"""``advsim corpus``: statistics of dialogues."""

from __future__ import annotations

import argparse

from rich.console import Group
from rich.table import Table
from rich.text import Text

from advsim.commands.show import console_on, print_json
from advsim.config import Config, load_config, parse_config
from advsim.corpus.load import Corpus, load_corpus
from advsim.corpus.stats import CorpusStats, corpus_stats
from advsim.models.base import load_tokenizer, resolve_model
from advsim.prompts.simulator import SimulatorPrompts
from advsim.run_folder.results import plain_values
from advsim.training.fitting import FittedCorpus, fit_corpus


def run(options: argparse.Namespace) -> None:
    """Print the statistics of a corpus: ``advsim corpus stats``.

    Raises:
        ConfigError: a configuration that was given is not valid.
        CorpusError: see :func:`advsim.corpus.load.load_corpus`.
    """
    if options.path and options.path.endswith((".yaml", ".yml")):
        config = load_config(options.path, options.overrides)
    else:
        values = {"corpus": {"path": options.path}} if options.path else {}
        config = parse_config(values, options.overrides)
    corpus = load_corpus(config.corpus, to_train=False)
    stats = corpus_stats(corpus.dialogues)
    fitted = _fitted(corpus, config) if config.corpus.too_long != "error" else None
    console = console_on()
    if options.json:
        counts: dict[str, int | None] = {
            "num_left_out": corpus.num_left_out,
            "num_repeats": corpus.num_repeats,
            "num_dropped_turns": corpus.num_dropped_turns,
            "num_too_long_dropped": None if fitted is None else len(fitted.dropped),
            "num_too_long_cut": None if fitted is None else len(fitted.cut),
        }
        print_json({"sha256": corpus.sha256, **counts, **plain_values(stats)})
    else:
        console.print(render_stats(stats))
        if corpus.num_repeats:
            console.print(f"{corpus.num_repeats} dialogues say word for word what an earlier one says")
        if corpus.num_dropped_turns:
            console.print(f"{corpus.num_dropped_turns} turns of the roles in corpus.drop_roles are left out")
        if fitted is not None and (fitted.dropped or fitted.cut):
            console.print(
                f"too long for a prompt (corpus.too_long is {config.corpus.too_long}): {len(fitted.dropped)} left out, "
                f"{len(fitted.cut)} cut"
            )


def _fitted(corpus: Corpus, config: Config) -> FittedCorpus:
    """What training would leave out or cut; needs the simulator's tokenizer."""
    prompts = SimulatorPrompts(
        load_tokenizer(resolve_model(config.model)),
        instructions=config.prompt.instructions,
        budget_tokens=config.prompt_budget_tokens,
    )
    return fit_corpus(corpus, prompts, too_long=config.corpus.too_long)


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


def _percent(share: float) -> str:
    return f"{share:.0%}"


def _one_decimal(value: float) -> str:
    return f"{value:.1f}"
