"""The page of a score: one file, everything escaped, predicted and live rates drawn with their intervals."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_up_sweep import messages, write_sweep

from advsim.predictions.live import LiveLogs
from advsim.predictions.prediction import FrozenPrediction, predict
from advsim.predictions.scoring import Score, score
from advsim.report.chatbots.score_page import draw_score, render_score
from advsim.sweep.outcomes import read_sweep

EVIL = '<script>alert("x")</script>'


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)


def scored(folder: Path, predicted: dict[str, int], live: dict[str, int], *, num_dialogues: int = 40) -> Score:
    """So many of 120 messages of each chatbot fail."""
    sweep = write_sweep(folder / "sweep", {"sft": {name: messages(name, count) for name, count in predicted.items()}})
    frozen = FrozenPrediction(prediction=predict(read_sweep(sweep)), sha256="ab" * 32)
    seen = {name: messages(name, count, num_dialogues=num_dialogues) for name, count in live.items()}
    return score(frozen, seen, LiveLogs(files=(f"march {EVIL}",), dialogues=()), notes=[f"See {EVIL}"])


def test_the_page_is_one_file_without_scripts_and_escapes_what_was_written(tmp_path: Path) -> None:
    page = render_score(scored(tmp_path, {"calm": 12, EVIL: 36}, {"calm": 8, EVIL: 60}))
    reader = Tags()
    reader.feed(page)
    assert not {"script", "link", "iframe", "img"} & {*reader.tags}
    assert reader.tags.count("svg") == 2 and not re.search(r"(src|href)=\"https?:", page)
    assert page.count("&lt;script&gt;") >= 4  # file, note, facts, tables


def test_pictures_say_both_rates_with_their_intervals(tmp_path: Path) -> None:
    against, beside = draw_score(scored(tmp_path, {"calm": 12, "loud": 36}, {"calm": 6, "loud": 60}))
    assert re.search(r"loud: live 50\.0 % \(\S+\), predicted 30\.0 % \(\S+\)", against.svg)
    assert re.search(r"live: calm 5\.0 \(\S+\), loud 50\.0 \(\S+\); predicted: calm 10\.0 \(\S+\)", beside.svg)


def test_the_page_has_the_error_the_direction_and_the_hash(tmp_path: Path) -> None:
    page = render_score(scored(tmp_path, {"calm": 12, "loud": 36}, {"calm": 6, "loud": 60}))
    assert "2.00x" in page and "1 of 1" in page and "beyond chance" in page and "ab" * 32 in page


@pytest.mark.parametrize("num_dialogues", [3, 40])
def test_a_score_without_intervals_differences_or_failures_has_a_page(tmp_path: Path, num_dialogues: int) -> None:
    page = render_score(scored(tmp_path, {"calm": 0}, {"calm": 0}, num_dialogues=num_dialogues))
    assert "no rate above 0 to compare" in page and "Differences between chatbots" not in page


def test_a_chatbot_of_which_nothing_could_be_judged_is_on_no_picture(tmp_path: Path) -> None:
    found = scored(tmp_path, {"calm": 12}, {"calm": 8})
    silent = tuple(replace(rate, live=replace(rate.live, estimate=None)) for rate in found.rates)
    (beside,) = draw_score(replace(found, rates=silent))
    assert "live" not in beside.svg.split("<desc")[1].split("</desc>")[0]
