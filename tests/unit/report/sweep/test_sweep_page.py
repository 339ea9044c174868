"""The pages of a sweep: every chatbot and figure, everything escaped, bounded, and whatever the sweep lacks."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest
from made_up_sweep_folder import write_sweep_folder

from advsim.cli import main
from advsim.errors import ConfigError, RunError
from advsim.records import Dialogue, Speaker, Split, Turn
from advsim.report.page.figures import percent, percent_interval
from advsim.report.sweep import transcripts
from advsim.report.sweep.figures import read_figures
from advsim.report.sweep.page import render_sweep, write_pages
from advsim.report.sweep.tables import sweep_table
from advsim.report.sweep.transcripts import cell_transcripts, cells_of
from advsim.report.sweep.words import Answer, compared, standfirst
from advsim.run_folder.folder import RunDir

EVIL = '<img src="https://evil.example/x" onerror=alert(1)>\u202e'
SHARES = {"calm": 0.1, "loud": 0.9, "odd": 0.3}


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.links = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("href", "src") and value]


def read(page):
    reader = Tags()
    reader.feed(page)
    return reader


def text_of(page):
    return unescape(re.sub(r"<[^>]*>", " ", re.sub(r"<style>.*?</style>", "", page, flags=re.S)))


def pages(folder):
    return {name: folder.read_bytes(name).decode() for name in folder.files("report")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A sweep with everything in it, and its pages."""
    folder = write_sweep_folder(
        tmp_path_factory.mktemp("sweep"),
        {"sft": SHARES, "zero": {"calm": 0.5, "loud": 0.5, "odd": 0.5}},
        real={"calm": 0.0, "loud": 0.9, "odd": 0.2},
        with_paired=True,
        error="HTTP 500",
    )
    write_pages(folder)
    return folder, pages(folder)


def test_the_page_has_every_chatbot_with_every_figure_that_the_json_has_for_it(whole):
    folder, written = whole
    text = " ".join(text_of(written["report/index.html"]).split())
    found = folder.read_json("sweep.json")
    for result in found["simulators"]:
        rates = [rate for each in result["by_chatbot"]["chatbots"] for side in ("simulated", "real")
                 for mode, rate in each[side].items() if mode != "repetition"]  # fmt: skip
        rates += [*result["rates_without_faults"].values(), *(each["paired"] for each in result["paired"]["chatbots"])]
        assert len(rates) == 3 * 2 * 2 + 3 + 3
        for rate in rates:
            assert percent(rate["estimate"]) in text and percent_interval(rate["low"], rate["high"]) in text
            assert rate["low"] is not None
        effects = [each["turn_effect"] for each in result["paired"]["chatbots"]]
        for test in result["by_chatbot"]["tests"]:
            effects += [test["simulated"][0], test["simulated"][1], test["real"][0]]
        for effect in effects:
            assert f"{100 * effect['difference']:+.1f}" in text
        for key in ("median", "worst"):
            assert f"{result['factors'][key]:.2f}" in text
        for part in ("gap", "turn_effect", "design_effect"):
            assert f"{100 * result['paired'][part]:+.1f}" in text
        assert result["by_chatbot"]["validity"]["sentence"] in text and result["paired"]["sentence"] in text
    for service in found["chatbots"]:
        assert service["chatbot"] in text and f"{service['seconds_p95']:.2f}" in text
        assert f"{service['cost']['amount']:.2f} USD" in text
    assert "HTTP 500" in text and "Judged, and found nowhere: repetition" in text


def test_who_fails_more_often_stands_first_and_is_decided_by_the_corrected_p(whole):
    figures = read_figures(whole[0])
    answers = {(each.chatbot, each.side): each.answer for each in compared(figures)}
    assert answers["loud", "by sft"] is answers["loud", "on real prefixes"] is Answer.MORE
    assert answers["loud", "by zero"] is answers["odd", "by zero"] is Answer.OPEN
    said = standfirst(figures)
    assert said.startswith("Fails more often than calm: loud (on real prefixes, by sft).")
    assert said.find("Fails more often") < said.find("Not decided") < said.find("That simulated users")


def test_every_page_is_one_file_that_loads_nothing_and_links_only_to_pages_that_are_there(whole):
    folder, written = whole
    assert len(written) == 2 + 3 * (2 + 1 + 2)
    for name, page in written.items():
        seen = read(page)
        assert not {"script", "link", "iframe", "img", "object"} & {*seen.tags}
        assert "default-src 'none'" in unescape(page) and "prefers-color-scheme: dark" in page
        for link in seen.links:
            if not link.startswith("#"):
                target = (folder.path / name).parent / unquote(link)
                assert target.resolve().is_file(), (name, link)


def test_whatever_was_said_or_named_is_escaped(tmp_path):
    name = '"><b onclick=alert(1)>'
    folder = write_sweep_folder(
        tmp_path,
        {"sft": {name: 0.5, "calm": 0.2}},
        real={name: 0.5, "calm": 0.2},
        with_paired=True,
        text=EVIL,
        thought=f"thinking {EVIL}",
        opening=EVIL,
        error=EVIL,
    )
    write_pages(folder, {"real-0": real_dialogue("real-0", EVIL)})
    for page in pages(folder).values():
        seen = read(page)
        assert "img" not in seen.tags and "b" not in seen.tags and "\u202e" not in page
        assert not any("evil.example" in link for link in seen.links)
    together = "".join(pages(folder).values())
    assert together.count("&lt;img") > 20


def real_dialogue(name, text):
    turns = (Turn(speaker=Speaker.CHATBOT, text="Real hello."), Turn(speaker=Speaker.USER, text=text))
    return Dialogue(id=name, source="s", split=Split.VALIDATION, turns=turns)


def test_failing_conversations_come_first_with_their_modes_and_the_cell_says_how_many_there_are(whole, monkeypatch):
    folder, _ = whole
    monkeypatch.setattr(transcripts, "MAX_SHOWN", 4)
    figures = read_figures(folder)
    cell = next(cell for cell in cells_of(figures, folder) if cell.folder == "free/sft/calm")
    found = cell_transcripts(figures, folder, cell, {})
    assert (found.num, found.num_failing, len(found.shown)) == (20, 2, 4)
    marks = [[turn.marks for turn in dialogue.turns] for dialogue in found.shown]
    assert marks[:2] == [[(), ("boundary",)]] * 2 and marks[2:] == [[(), ()]] * 2
    assert [turn.has_failed for turn in found.shown[0].turns] == [False, True]
    assert found.shown[0].ending == "cut at the limit of turns"


def test_shards_without_a_conversation_that_is_shown_are_read_for_their_ids_alone(whole, monkeypatch):
    folder, _ = whole
    monkeypatch.setattr(transcripts, "MAX_SHOWN", 2)
    opened = []
    whole_shard = transcripts.read_shard
    monkeypatch.setattr(transcripts, "read_shard", lambda *place: opened.append(place[2]) or whole_shard(*place))
    figures = read_figures(folder)
    for cell in cells_of(figures, folder):
        opened.clear()
        cell_transcripts(figures, folder, cell, {})
        assert 1 <= len(opened) <= 2, cell


def test_what_is_shown_of_a_cell_is_bounded_whatever_was_said(tmp_path, monkeypatch):
    folder = write_sweep_folder(
        tmp_path, {"sft": {"calm": 0.5, "loud": 0.5}}, text="x" * 300_000, num=60, shard_size=60
    )
    write_pages(folder)
    sizes = {name: len(page) for name, page in pages(folder).items()}
    assert max(sizes.values()) < 400_000
    cell = pages(folder)["report/transcripts/free/sft/calm.html"]
    assert cell.count("<article>") == 50 and "more characters" in cell and "50 of 60 shown, 30 with a failing" in cell
    monkeypatch.setattr(transcripts, "MAX_CELL_CHARACTERS", 9_000)
    figures = read_figures(folder)
    found = cell_transcripts(figures, folder, cells_of(figures, folder)[0], {})
    assert len(found.shown) == 2 and found.num == 60


def test_thoughts_stand_apart_and_openings_are_no_words_of_the_chatbot(tmp_path):
    told = {}
    for scenarios in ("personas.yaml", None):
        folder = write_sweep_folder(
            tmp_path / str(scenarios),
            {"sft": {"calm": 0.5}},
            thought="I plan.",
            opening="Welcome.",
            scenarios=scenarios,
        )
        write_pages(folder)
        told[scenarios] = pages(folder)["report/transcripts/free/sft/calm.html"]
    for page in told.values():
        assert re.search(r'<details class="thought">.*?I plan\..*?</details>\s*<p dir="auto">I hear you', page, re.S)
    assert "Real opening" in told[None] and "Real opening" not in told["personas.yaml"]
    assert "not this chatbot&#39;s" in told["personas.yaml"]


def test_real_turns_before_a_reply_are_marked_as_real_and_the_simulators_as_simulated(whole):
    folder, _ = whole
    figures = read_figures(folder)
    cells = {cell.folder: cell for cell in cells_of(figures, folder)}
    known = {f"real-{i}": real_dialogue(f"real-{i}", f"real turn {i}") for i in range(12)}
    replay, paired = (cell_transcripts(figures, folder, cells[name], known) for name in
                      ("replay/loud", "paired/sft/loud"))  # fmt: skip
    assert [turn.speaker for turn in replay.shown[0].turns][1:] == ["Real user", "Chatbot"]
    assert "in no rate" in replay.shown[0].turns[0].speaker
    assert [turn.speaker for turn in paired.shown[0].turns][1:] == ["Simulated user (sft)", "Chatbot"]
    assert paired.shown[0].turns[1].text == "turn of sft"
    unknown = cell_transcripts(figures, folder, cells["replay/loud"], {})
    assert [turn.speaker for turn in unknown.shown[0].turns] == ["Chatbot"]


@pytest.mark.parametrize(
    ("simulated", "real", "text"),
    [
        ({"sft": SHARES}, None, "I hear you."),
        ({}, SHARES, "I hear you."),
        ({"sft": {"calm": 0.5}}, {"calm": 0.5}, "I hear you."),
        ({"sft": {"calm": 0.5, "loud": 0.5}}, {"calm": 0.5, "loud": 0.5}, "unsure"),
        ({}, {"calm": 0.5}, "unsure"),
    ],
)
def test_a_sweep_without_a_side_with_one_chatbot_or_with_nothing_judged_has_its_pages(tmp_path, simulated, real, text):
    folder = write_sweep_folder(tmp_path, simulated, real=real, text=text)
    write_pages(folder)
    page = text_of(pages(folder)["report/index.html"])
    chatbots = real or simulated["sft"]
    assert all(name in page for name in chatbots)
    if len(chatbots) == 1:
        assert "calm stands alone" in page
    elif text == "unsure":
        assert "Not decided on any side" in page and "nothing could be judged" in page
    else:
        assert "Fails more often than calm: loud" in page
    assert ("How far can the simulated users be trusted?" in page) is bool(simulated)


def test_a_sweep_that_stops_early_is_decided_by_the_interval_for_every_look(tmp_path):
    folder = write_sweep_folder(tmp_path, {"sft": {"calm": 0.3, "loud": 0.475}}, num=40, stop_early=True)
    figures = read_figures(folder)
    (each,) = compared(figures)
    anytime = figures.simulators[0].anytime["loud"]
    (test,) = figures.simulators[0].by_chatbot.tests
    assert test.simulated[0].p_adjusted < 0.05 and not anytime.is_decided  # an ordinary test would have found it
    assert each.answer is Answer.OPEN and "at every look" in each.figures
    assert any(group.title == "A − B at every look, points" for group in sweep_table(figures).groups)
    notes = re.findall(r'class="note">([^<]*)', render_sweep(figures))
    assert notes[0] == "chatbots, on at least one side, an interval at every look without 0"


def test_a_chatbot_that_always_fails_is_told_from_one_that_never_does_though_the_sweep_stops_early(tmp_path):
    figures = read_figures(write_sweep_folder(tmp_path, {"sft": {"calm": 0.0, "loud": 1.0}}, num=60, stop_early=True))
    assert "Fails more often than calm: loud (by sft)." in standfirst(figures)


def test_the_key_figure_says_by_what_test_chatbots_differ(tmp_path):
    real = {"calm": 0.1, "loud": 0.9}
    for early, said in (
        (False, "p at most .05 by Holm<"),
        (True, "at every look without 0; on real prefixes p at most"),
    ):
        folder = write_sweep_folder(tmp_path / str(early), {"sft": real}, real=real, num=40, stop_early=early)
        assert said in render_sweep(read_figures(folder))


def test_the_terminal_has_rates_by_mode_blame_and_rates_without_the_simulators_faults(whole):
    groups = {group.title: group for group in sweep_table(read_figures(whole[0])).groups}
    assert {"boundary, %", "Conversations by blame", "Without simulator's faults, %"} <= {*groups}
    assert "repetition, %" not in groups  # found nowhere
    (failed, *_) = [row for row in groups["Conversations by blame"].rows if row.label == "infrastructure"]
    assert [cell.value for cell in failed.cells] == ["–", "3", "3"]


def test_a_sweep_is_reported_again_from_its_files(whole, capsys):
    folder, written = whole
    folder.remove("report")
    assert main(["report", folder.location]) == 0
    assert pages(folder) == written
    assert "boundary, %" in capsys.readouterr().out
    assert main(["report", folder.location, "--json"]) == 0
    assert '"simulators"' in capsys.readouterr().out


def test_figures_of_an_older_version_can_be_shown_and_damaged_ones_are_named(tmp_path):
    folder = write_sweep_folder(tmp_path, {"sft": SHARES}, real=SHARES)
    values = folder.read_json("sweep.json")
    for result in values["simulators"]:
        del result["factors"]
    for key in ("designs", "scenarios_file", "num_scenarios"):
        del values[key]
    folder.write_json("sweep.json", values)
    assert "loud" in render_sweep(read_figures(folder))
    values["simulators"][0]["by_chatbot"]["chatbots"] = 7
    folder.write_json("sweep.json", values)
    with pytest.raises(RunError, match=r"sweep\.json.*by_chatbot\.chatbots"):
        read_figures(folder)
    with pytest.raises(ConfigError, match=r"no sweep\.json"):
        read_figures(RunDir(str(tmp_path / "nothing")))
