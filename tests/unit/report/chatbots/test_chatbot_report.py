"""Tables and pictures of several chatbots, on the page and on the terminal."""

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from advsim.evaluation.results import Evaluation, Group
from advsim.rates.ab_test import Difference
from advsim.rates.intervals import Interval
from advsim.records import Rate
from advsim.report.chatbots.figures import agreement_notes, chatbot_table
from advsim.report.evaluation.page import render_evaluation
from advsim.report.evaluation.tables import evaluation_tables
from advsim.validity.agreement import Agreement
from advsim.validity.by_chatbot import AbTest, ByChatbot, ChatbotRates
from advsim.validity.ceiling import Ceiling
from advsim.validity.replication import AbPair, AbReplication, Share
from advsim.validity.verdict import Validity, ValidityVerdict

EVIL = '<script>alert("x")</script>'
MODES = {"overload": "Overload", "boundary": "Boundary"}


def rate(estimate, low=None, high=None):
    return Rate(estimate=estimate, low=low, high=high, num_messages=240, num_dialogues=40)


def difference(value, *, mode=None, p_adjusted=0.2, equivalence_p=0.3):
    return Difference(
        mode=mode,
        difference=value,
        low=value - 0.05,
        high=value + 0.05,
        p_value=None,
        p_adjusted=p_adjusted,
        p_greater=None,
        equivalence_p=equivalence_p,
        margin=0.02,
        num_messages=(240, 240),
        num_clusters=(40, 40),
        num_paired=0,
    )


def agreement(estimate, *methods, disattenuated=None, reason=""):
    low, high = (estimate - 0.1, estimate + 0.05) if estimate is not None else (None, None)
    return Agreement(
        estimate=estimate,
        disattenuated=disattenuated,
        intervals=tuple(Interval(method=method, low=low, high=high, reason=reason) for method in methods),
        reason=reason,
        num_configurations=3,
    )


def share(value, num_pairs):
    return Share(value=value, low=None, high=None, num_pairs=num_pairs)


def validity(*, reason=""):
    """Agreement of three chatbots; with a reason there is none."""
    some = None if reason else 0.61
    interval = Interval(method="split_half_bootstrap", low=0.5, high=0.95)
    return Validity(
        mode=None,
        pairs=(),
        pearson=agreement(
            some, "disattenuated", "joint_bootstrap", disattenuated=None if reason else 0.72, reason=reason
        ),
        spearman=agreement(some, "fisher_z", reason=reason),
        kendall=agreement(some, "fisher_z", reason=reason),
        concordance=agreement(some, "disattenuated", reason=reason),
        deming_slope=agreement(some, "jackknife", reason=reason),
        mean_difference=agreement(None),
        ceiling=Ceiling(
            pearson=0.83,
            pearson_interval=interval,
            concordance=0.8,
            concordance_interval=Interval(method="split_half_bootstrap", low=None, high=None),
            num_splits=20,
            num_configurations=3,
        ),
        verdict=ValidityVerdict.NOT_ENOUGH_EVIDENCE,
        sentence="Not enough evidence: r = 0.72 over 3 configurations.",
        num_configurations=3,
        num_simulated_dialogues=120,
        num_real_dialogues=120,
        left_out=(),
    )


def by_chatbot(*, names=("cold", "warm", "wise"), reason="", p_of_mode=0.01):
    tested = (difference(0.05), difference(0.04, mode="overload"), difference(0.0, mode="boundary"))
    in_real = (
        difference(-0.061),
        difference(0.09, mode="overload", p_adjusted=p_of_mode),
        difference(0.0, mode="boundary"),
    )
    return ByChatbot(
        chatbots=tuple(
            ChatbotRates(
                chatbot=name,
                simulated={"any": rate(0.1 + 0.05 * place, 0.05, 0.3)},
                real={"any": rate(0.123 + 0.05 * place, 0.071, 0.333)},
            )
            for place, name in enumerate(names)
        ),
        tests=tuple(AbTest(pair=AbPair(a=name, b=names[0]), simulated=tested, real=in_real) for name in names[1:]),
        validity=validity(reason=reason),
        validity_by_mode={"overload": agreement(0.44)},
        replication=AbReplication(
            pairs=(),
            sign_agreement=share(0.5, 2),
            sign_agreement_significant=share(None, 0),
            soft_pairwise_accuracy=share(0.77, 2),
            num_without_sign=0,
            num_equivalent=(1, 2),
        ),
    )


def evaluation(compared, *, alone=False):
    real = Group(name="real", is_reference=True, num_dialogues=120, num_users=0, num_user_turns=0)
    made = Group(name="made", is_reference=False, num_dialogues=120, num_users=0, num_user_turns=0)
    return Evaluation(
        title="t",
        detector="rules",
        modes=MODES,
        modes_judged=tuple(MODES),
        groups=(made,) if alone else (real, made),
        by_chatbot=compared,
        notes=(),
        seconds=1.0,
    )


def cells(table, title):
    (group,) = [group for group in table.groups if group.title == title]
    return {row.label.strip(): [(cell.value, cell.interval) for cell in row.cells] for row in group.rows}


@pytest.fixture
def table():
    return chatbot_table({"made": by_chatbot()}, real="real", modes=MODES)


def test_rates_stand_with_intervals_and_both_n(table):
    assert table.columns == ("real", "made")
    assert cells(table, "Failure rate by chatbot, %")["warm"] == [("17.3", "7.1–33.3"), ("15.0", "5.0–30.0")]
    assert cells(table, "Judged messages (dialogues)")["warm"][0] == ("240 (40)", "")


def test_every_interval_stands_under_its_method_and_the_ceiling_under_the_real_dialogues(table):
    rows = cells(table, "Pearson's r over chatbots")
    assert rows["without noise, jackknife on z"] == [("–", ""), ("0.72", "0.51 to 0.66")]
    assert rows["observed, joint bootstrap"] == [("–", ""), ("0.61", "0.51 to 0.66")]
    assert rows["real with real, split half"] == [("0.83", "0.50 to 0.95"), ("–", "")]
    assert "observed, jackknife" in cells(table, "Deming slope over chatbots")
    assert cells(table, "Pearson's r by mode, observed") == {"overload": [("–", ""), ("0.44", "")]}


def test_ab_tests_stand_side_by_side_and_modes_only_where_one_differs(table):
    assert cells(table, "A − B, points")["warm − cold"] == [("-6.1", "-11.1 to -1.1"), ("+5.0", "+0.0 to +10.0")]
    assert cells(table, "A − B, p by Holm")["warm − cold"] == [("0.200", ""), ("0.200", "")]
    assert cells(table, "p of no difference (±2 points)")["warm − cold"][0] == ("0.300", "")
    assert list(cells(table, "warm − cold by mode, points")) == ["overload", "p by Benjamini-Hochberg"]
    replicated = cells(table, "A/B results that replicate")
    assert replicated["of one sign"][1] == ("0.50", "of 2")
    assert "where real is significant" not in replicated  # there is none
    assert [value for value, _ in replicated["pairs shown to be alike"]] == ["2", "1"]


def test_several_simulators_stand_beside_the_same_real_dialogues():
    table = chatbot_table({"SFT": by_chatbot(), "round 1": by_chatbot()}, real="replayed", modes=MODES)
    assert table.columns == ("replayed", "SFT", "round 1")
    assert [value for value, _ in cells(table, "Spearman's rho over chatbots")["observed, Fisher's z"]] == [
        "–",
        "0.61",
        "0.61",
    ]


def test_undefined_agreement_is_left_out_of_the_table_and_its_reason_said_once():
    undefined = by_chatbot(reason="the real rates are the same in all configurations")
    titles = [group.title for group in chatbot_table({"made": undefined}, real="real", modes=MODES).groups]
    assert "Spearman's rho over chatbots" not in titles
    notes = [note for note in agreement_notes(undefined) if "the same in all configurations" in note]
    assert len(notes) == 1
    assert notes[0].startswith("Pearson's r, Concordance (Lin), Spearman's rho, Kendall's tau-b, Deming slope")


def test_no_difference_in_any_mode_is_said():
    assert any("No mode differs" in note for note in agreement_notes(by_chatbot(p_of_mode=0.06)))
    assert not any("No mode differs" in note for note in agreement_notes(by_chatbot()))


def test_page_has_the_verdict_and_both_pictures_with_their_figures_in_words():
    page = render_evaluation(evaluation(by_chatbot()))
    assert "<p>Not enough evidence: r = 0.72 over 3 configurations.</p>" in page
    scatter = re.search(r'<desc id="chatbots-text">(.*?)</desc>', page)[1]
    assert "warm: real 17.3 % (7.1–33.3), made 15.0 % (5.0–30.0)" in scatter
    forest = re.search(r'<desc id="differences-text">(.*?)</desc>', page)[1]
    assert "real: warm − cold -6.1 (-11.1–-1.1)" in forest
    assert "soft pairwise accuracy" in page


def test_differences_below_0_are_inside_the_picture():
    """A picture of shares ends at 0."""
    page = render_evaluation(evaluation(by_chatbot()))
    forest = page[page.index('aria-labelledby="differences-title') :]
    ticks = re.findall(r">(−\d+)<", forest[: forest.index("</svg>")])
    assert ticks


def test_names_are_escaped_in_table_and_pictures():
    page = render_evaluation(evaluation(by_chatbot(names=("a", EVIL, "日本 [bold]$x^2$"))))
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 4
    assert "日本 [bold]$x^2$" in page
    assert not re.search(r"(src|href)=\"https?:", page)


def test_conversations_alone_have_rates_and_tests_but_no_scatter():
    both = by_chatbot()
    alone = replace(
        both,
        chatbots=tuple(replace(rates, real={}) for rates in both.chatbots),
        tests=tuple(replace(test, real=()) for test in both.tests),
        validity=None,
        replication=None,
        validity_by_mode={},
    )
    page = render_evaluation(evaluation(alone, alone=True))
    assert "against real" not in page
    assert "warm 15.0 (5.0–30.0)" in re.search(r'<desc id="chatbots-text">(.*?)</desc>', page)[1]
    assert "Pearson's r over chatbots" not in page
    assert "NaN" not in page and ">None<" not in page


def test_rates_of_0_everywhere_draw_a_picture_with_a_width():
    never = {"any": rate(0.0)}
    chatbots = tuple(replace(rates, real=never, simulated=never) for rates in by_chatbot().chatbots)
    page = render_evaluation(evaluation(replace(by_chatbot(), chatbots=chatbots)))
    assert "warm: real 0.0 %, made 0.0 %" in page


def test_page_without_several_chatbots_has_no_such_section():
    page = render_evaluation(evaluation(None))
    assert "Chatbots against each other" not in page
    assert "soft pairwise accuracy" not in page


def test_terminal_shows_verdict_and_table_within_100_columns():
    names = ("a" * 60, "[bold]warm[/bold]", "wise")
    console = Console(width=100, record=True, file=io.StringIO())
    for part in evaluation_tables(evaluation(by_chatbot(names=names))):
        console.print(part)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 100
    assert "Not enough evidence: r = 0.72" in text
    assert "[bold]warm[/bold]" in text
    assert "without noise, jackknife on z" in text
    assert "agreement over chatbots: of simulated with real failure rates" in text
