from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import made_up_run as made
import pytest

from advsim.errors import RunError
from advsim.report.page.render import CONTENT_POLICY
from advsim.report.run.metrics import read_metrics
from advsim.report.run.page import render_run

ATTACK = "<script>alert(1)</script><img src=x onerror=alert(2)>"


class Tags(HTMLParser):
    """All tags and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


def render(*, manifest: Any, baseline: Any, rounds: Any, conversations: Any, reals: Any) -> str:
    """The page of a run that wrote this JSON."""
    metrics = read_metrics(manifest=manifest, baseline=baseline, rounds=rounds)
    return render_run(metrics, conversations=conversations, reals=reals)


@pytest.fixture
def page(manifest: Any, baseline: Any, rounds: Any, conversations: Any, reals: Any) -> str:
    return render(manifest=manifest, baseline=baseline, rounds=rounds, conversations=conversations, reals=reals)


def test_text_of_models_users_and_files_is_escaped(manifest: Any, baseline: Any, rounds: Any, reals: Any) -> None:
    manifest["name"] = manifest["config"]["name"] = manifest["versions"]["torch"] = manifest["started_at"] = ATTACK
    rounds[1]["stop"] |= {"explanation": ATTACK, "notes": [ATTACK]}
    rounds[1]["rollout"]["stop_reasons"][ATTACK] = 12
    rounds[1]["seconds"][ATTACK] = 300.0
    rounds[1]["held_out"][ATTACK] = rounds[1]["held_out"]["surface"]
    conversations = {n: [made.conversation(n, "d-1", text=ATTACK)] for n in (1, 2)}
    page = render(manifest=manifest, baseline=baseline, rounds=rounds, conversations=conversations, reals=reals)
    tags = Tags(page)
    assert "&lt;script&gt;" in page
    assert "script" not in tags.tags
    assert "img" not in tags.tags
    assert not [name for name, _ in tags.attributes if name.startswith("on")]


def test_overrides_of_writing_direction_are_obeyed_nowhere_on_the_page(
    manifest: Any, baseline: Any, rounds: Any, reals: Any
) -> None:
    """Neither in what users and models wrote, nor in names, also inside the pictures; letters of all scripts stay."""
    hostile = "\u202egpj.exe\u202c \u2066x\u2069 \u202a\u202b\u202d\u2067\u2068 \u05e9\u05dc\u05d5\u05dd\u200f!"
    manifest["name"] = manifest["config"]["name"] = manifest["started_at"] = hostile
    rounds[1]["stop"] |= {"explanation": hostile, "notes": [hostile]}
    rounds[1]["rollout"]["stop_reasons"][hostile] = 12
    rounds[1]["seconds"][hostile] = 300.0
    rounds[1]["held_out"][hostile] = rounds[1]["held_out"]["surface"]
    conversations = {n: [made.conversation(n, "d-1", text=hostile)] for n in (1, 2)}
    page = render(manifest=manifest, baseline=baseline, rounds=rounds, conversations=conversations, reals=reals)
    assert not re.findall("[\u202a-\u202e\u2066-\u2069]", page)
    assert page.count("gpj.exe x") > 5 and "\u05e9\u05dc\u05d5\u05dd\u200f!" in page
    assert "gpj.exe" in "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))


def test_page_loads_nothing(page: str) -> None:
    assert "http://" not in page
    assert "https://" not in page
    tags = Tags(page)
    assert not {"script", "link", "iframe", "img", "object", "base"} & set(tags.tags)
    assert not [value for name, value in tags.attributes if name in ("src", "href") and not value.startswith("#")]
    assert ("content", CONTENT_POLICY) in tags.attributes
    assert not re.findall(r"@import|url\((?!#)", page)


def test_ids_are_unique_and_references_resolve(page: str) -> None:
    tags = Tags(page)
    ids = [value for name, value in tags.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    wanted = {value[1:] for name, value in tags.attributes if name == "href"}
    wanted |= {part for name, value in tags.attributes if name == "aria-labelledby" for part in value.split()}
    wanted |= set(re.findall(r"url\(#([^)]+)\)", page))
    assert wanted
    assert wanted <= set(ids)


def test_realism_picture_names_the_chance_line(page: str) -> None:
    picture = page[page.index("Told from real users") : page.index("</svg>")]
    assert re.search(r"<text[^>]*>chance</text>", picture)


def test_pictures_take_their_colours_from_the_page(page: str) -> None:
    drawn = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.S))
    assert "var(--series-1)" in drawn
    assert not re.findall(r"(?:fill|stroke): #(?!ffffff)[0-9a-f]{6}", drawn)


def test_every_picture_has_a_text_with_its_figures(page: str) -> None:
    texts = re.findall(r"<desc[^>]*>(.*?)</desc>", page)
    assert len(texts) == page.count("<svg") == 8
    assert "held-out surface: zero-shot 0.86, SFT 0.66, round 1 0.60, round 2 0.54" in texts[0]


def test_discriminator_is_drawn_at_the_simulator_it_judged(page: str) -> None:
    assert "trained against: SFT 0.93, round 1 0.74" in page


def test_not_measurable_is_said_where_no_family_is(manifest: Any, baseline: Any, rounds: Any) -> None:
    for measured in (baseline["zero_shot"], baseline["sft"], *rounds):
        measured["held_out"] = made.held_out(0.52, 0.5, measurable=False)
    page = render(manifest=manifest, baseline=baseline, rounds=rounds, conversations={}, reals={})
    standfirst = page[page.index('class="standfirst"') :][:200]
    assert "not measurable" in standfirst
    assert "now near chance" not in page
    assert "The classifier finds its control with AUC 0.66 (&lt; 0.85)" in page


def test_text_in_place_of_a_verdict_is_refused_and_not_printed(manifest: Any, baseline: Any, rounds: Any) -> None:
    rounds[1]["stop"]["reason"] = ATTACK
    with pytest.raises(RunError, match=r"round 2, key stop\.reason"):
        render(manifest=manifest, baseline=baseline, rounds=rounds, conversations={}, reals={})


def test_run_without_a_verdict_renders(manifest: Any, baseline: Any, rounds: Any) -> None:
    rounds[1]["stop"] = None
    page = render(manifest=manifest, baseline=baseline, rounds=rounds, conversations={}, reals={})
    assert "After round" not in page and ">None<" not in page


@pytest.mark.parametrize("num_finished", [0, 2])
def test_a_round_without_signal_is_told_of(num_finished: int, manifest: Any, baseline: Any, rounds: Any) -> None:
    ended = {"reason": "no_signal", "explanation": f"The next is not trained. {ATTACK}"}
    kept = {"manifest": manifest, "baseline": baseline, "rounds": rounds[:num_finished]}
    told, silent = (
        render_run(read_metrics(**kept, no_signal=decision), conversations={}, reals={}) for decision in (ended, {})
    )
    assert f"<strong>Round {num_finished + 1}</strong>" in told and "The next is not trained." in told
    assert ATTACK not in told and "no signal" not in silent


def test_unfinished_run_renders(manifest: Any) -> None:
    page = render(manifest=manifest, baseline=None, rounds=[], conversations={}, reals={})
    assert "No round is finished yet" in page
    assert "<svg" not in page


@pytest.mark.parametrize("part", ["rollout", "discriminator", "held_out", "preference", "dpo", "push", "diversity"])
def test_page_renders_without_a_part(
    part: str, manifest: Any, baseline: Any, rounds: Any, conversations: Any, reals: Any
) -> None:
    rounds[0][part] = None
    del rounds[1][part]
    page = render(manifest=manifest, baseline=baseline, rounds=rounds, conversations=conversations, reals=reals)
    assert page.count("<svg") >= 5
    assert ">None<" not in page


def test_held_out_classifiers_are_shown_with_their_null_and_without_the_chatbots_turns(page: str) -> None:
    cells = re.sub(r"<[^>]+>", "|", page[page.index("Held-out, context") :])
    null, alone = cells.index("95 % of relabelled, and p"), cells.index("accuracy by user turns alone")
    assert re.search(r"0\.55\|+p 0\.010", cells[null : null + 120])
    assert "0.63" in cells[alone : alone + 120]
    assert "accuracy by user turns alone" not in page[page.index("Held-out, surface") : page.index("Held-out, context")]
    assert re.search(r"AUC at user turn 1\|.{0,40}0\.79\|+0\.72–0\.86, n 96", cells)


def test_run_from_before_the_null_was_measured_renders(manifest: Any, baseline: Any, rounds: Any) -> None:
    for measured in (baseline["zero_shot"], baseline["sft"], *rounds):
        for family in measured["held_out"].values():
            for key in ("p_value", "null_high", "auc_p_value", "auc_null_high", "user_only", "auc_at_turn"):
                del family[key]
    page = render(manifest=manifest, baseline=baseline, rounds=rounds, conversations={}, reals={})
    assert "95 % of relabelled, and p" not in page and "accuracy by user turns alone" not in page
    assert "accuracy by length alone" in page and ">None<" not in page


def test_null_and_nan_figures_render(manifest: Any, baseline: Any, rounds: Any) -> None:
    def hollow(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: hollow(inner) for key, inner in value.items()}
        if isinstance(value, int | float) and not isinstance(value, bool):
            return None if isinstance(value, float) else float("nan")
        return value

    emptied = [{**hollow(metrics), "round": metrics["round"]} for metrics in rounds]
    page = render(manifest=manifest, baseline=hollow(baseline), rounds=emptied, conversations={}, reals={})
    assert ">nan<" not in page
    assert ">None<" not in page


def test_wrong_kind_of_figure_names_its_key(manifest: Any, baseline: Any, rounds: Any) -> None:
    rounds[1]["dpo"]["last_step_loss"] = "low"
    with pytest.raises(
        RunError, match=r"metrics\.json of round 2, key dpo\.last_step_loss: got 'low'.*run the stage again"
    ):
        render(manifest=manifest, baseline=baseline, rounds=rounds, conversations={}, reals={})


def test_same_run_gives_the_same_page(manifest: Any, baseline: Any, rounds: Any, page: str, reals: Any) -> None:
    conversations = {1: [made.conversation(1, "d-2")], 2: [made.conversation(2, "d-2")]}
    again = render(manifest=manifest, baseline=baseline, rounds=rounds[::-1], conversations=conversations, reals=reals)
    assert again == page


def test_names_with_dollars_are_no_mathematics(manifest: Any, rounds: Any) -> None:
    rounds[0]["seconds"]["cost in $x$"] = 500.0
    page = render(manifest=manifest, baseline=None, rounds=rounds, conversations={}, reals={})
    assert "cost in $x$</text>" in page
