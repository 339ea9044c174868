from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from advsim.cli import main
from advsim.commands.corpus import render_stats
from advsim.corpus.stats import CorpusStats, corpus_stats
from advsim.errors import CorpusError
from advsim.records import Context, Dialogue, Speaker, Split, Turn

USER, CHATBOT = Speaker.USER, Speaker.CHATBOT


def dialogue(*turns: tuple[Speaker, str], **more: object) -> Dialogue:
    fields: dict[str, object] = {"id": str(len(turns)), "source": "s", "split": Split.TRAIN, **more}
    return Dialogue(turns=tuple(Turn(speaker=speaker, text=text) for speaker, text in turns), **fields)  # type: ignore[arg-type]


def one_turn(text: str) -> CorpusStats:
    return corpus_stats([dialogue((USER, text))])


def test_only_user_turns_count_as_typing() -> None:
    stats = corpus_stats([dialogue((CHATBOT, "one two three four five"), (USER, "Yes please."))])
    assert (stats.words_mean, stats.turns_mean, stats.user_turns_mean) == (2.0, 2.0, 1.0)
    assert stats.user_opens_share == 0.0


def test_word_figures_are_over_user_turns() -> None:
    stats = corpus_stats([dialogue(*[(USER, "w " * n) for n in (1, 2, 3, 4, 20)])])
    assert (stats.words_mean, stats.words_median) == (6.0, 3.0)
    assert stats.words_p90 == pytest.approx(13.6)
    assert stats.short_share == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("text", "lowercase", "no_end", "emoji", "caps", "newline"),
    [
        ("hi", 1, 1, 0, 0, 0),
        ("Hi there.", 0, 0, 0, 0, 0),
        ('She said "no."', 0, 0, 0, 0, 0),
        ("Why?!", 0, 0, 0, 0, 0),
        ("42 times", 0, 1, 0, 0, 0),
        ("I am SO tired", 0, 1, 0, 0, 0),
        ("I am NOT ok.", 0, 0, 0, 1, 0),
        ("A ÄÖÜ word.", 0, 0, 0, 1, 0),
        ("code A1B2 100.", 1, 0, 0, 0, 0),
        ("ok.\nbye.", 1, 0, 0, 0, 1),
        ("Thanks \U0001f62d", 0, 1, 1, 0, 0),
        ("Love ❤", 0, 1, 1, 0, 0),
        ("Left → right ©.", 0, 0, 0, 0, 0),
    ],
)
def test_typing_habits_are_recognised(
    text: str, lowercase: int, no_end: int, emoji: int, caps: int, newline: int
) -> None:
    stats = one_turn(text)
    assert stats.lowercase_start_share == lowercase
    assert stats.no_end_punctuation_share == no_end
    assert stats.emoji_share == emoji
    assert stats.all_caps_share == caps
    assert stats.newline_share == newline


def test_layers_are_shares_of_dialogues() -> None:
    full = Context(profile="p", themes=("t",), earlier_sessions=("e",), session="s")
    stats = corpus_stats([dialogue((USER, "a"), context=full), *[dialogue((USER, "a"))] * 3])
    layers = (stats.profile_share, stats.themes_share, stats.earlier_sessions_share, stats.session_share)
    assert layers == (0.25, 0.25, 0.25, 0.25)


def test_spread_shows_users_who_differ_where_the_mean_does_not() -> None:
    alike = [dialogue((USER, "hi."), (USER, "Hi."))] * 10
    different = [dialogue((USER, "hi."), (USER, "hi."))] * 5 + [dialogue((USER, "Hi."), (USER, "Hi."))] * 5
    same, apart = corpus_stats(alike), corpus_stats(different)
    assert same.lowercase_start_share == apart.lowercase_start_share == 0.5
    assert same.lowercase_start_spread.std == 0.0
    assert apart.lowercase_start_spread.std == pytest.approx(0.527, abs=1e-3)
    assert (apart.lowercase_start_spread.p10, apart.lowercase_start_spread.p90) == (0.0, 1.0)


def test_one_dialogue_has_no_standard_deviation() -> None:
    assert one_turn("hi").words_spread.std is None


def test_users_and_splits_are_counted() -> None:
    stats = corpus_stats(
        [
            dialogue((USER, "a"), user_id="u-1"),
            dialogue((USER, "a"), (CHATBOT, "b"), (USER, "c"), user_id="u-1"),
            dialogue((USER, "a"), split=Split.TEST),
        ]
    )
    assert (stats.num_users, stats.num_dialogues_without_user) == (1, 1)
    sizes = {size.split: (size.num_dialogues, size.num_users, size.num_user_turns) for size in stats.splits}
    assert sizes == {Split.TRAIN: (2, 1, 3), Split.VALIDATION: (0, 0, 0), Split.TEST: (1, 0, 1)}


def test_chatbots_are_counted_where_they_are_named() -> None:
    stats = corpus_stats(
        [
            *[dialogue((USER, "a"), chatbot="warm [b]")] * 2,
            dialogue((USER, "a"), chatbot="cold"),
            dialogue((USER, "a")),
        ]
    )
    assert list(stats.num_by_chatbot.items()) == [("cold", 1), ("warm [b]", 2)]
    out = io.StringIO()
    Console(file=out, width=100).print(render_stats(stats))
    assert "warm [b]" in out.getvalue()
    assert re.search(r"none named\W+1\b", out.getvalue())
    out = io.StringIO()
    Console(file=out, width=100).print(render_stats(corpus_stats([dialogue((USER, "a"), chatbot="cold")])))
    assert "cold" in out.getvalue() and "none named" not in out.getvalue()


def test_no_table_of_chatbots_where_none_is_named() -> None:
    out = io.StringIO()
    Console(file=out, width=100).print(render_stats(corpus_stats([dialogue((USER, "a"))])))
    assert "by chatbot" not in out.getvalue()


def test_no_dialogues_is_an_error_and_not_a_division_by_zero() -> None:
    with pytest.raises(CorpusError, match="got no dialogues"):
        corpus_stats([])


def test_command_prints_json_that_a_machine_reads(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert main(["corpus", "stats", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["num_dialogues"] == sum(size["num_dialogues"] for size in values["splits"])
    assert len(values["sha256"]) == 64


def test_command_shows_the_figures_of_a_file_without_a_train_split(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "held_out.jsonl"
    path.write_text('{"split": "test", "turns": [{"speaker": "user", "text": "hi"}]}\n')
    assert main(["corpus", "stats", str(path)]) == 0
    assert "start lower-case" in capsys.readouterr().out


def test_tables_show_the_figures() -> None:
    out = io.StringIO()
    stats = corpus_stats([dialogue((USER, "hello there"))])
    Console(file=out, width=100).print(render_stats(stats))
    assert "start lower-case" in out.getvalue()
    assert "100%" in out.getvalue()
    assert "1 dialogues name no user" in out.getvalue()
