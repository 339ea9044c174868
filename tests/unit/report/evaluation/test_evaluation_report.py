"""Page and tables of an evaluation."""

import io
import json
import re
from html.parser import HTMLParser

import pytest
from rich.console import Console

from advsim.errors import RunError
from advsim.evaluation.results import Evaluation
from advsim.report.evaluation.figures import evaluation_table
from advsim.report.evaluation.page import MAX_SHOWN_CHARACTERS, render_evaluation
from advsim.report.evaluation.tables import evaluation_tables
from advsim.run_folder.results import read_values

EVIL = '<script>alert("x")</script>'


def rate(estimate, *, low=None, high=None):
    return {
        "estimate": estimate,
        "low": low,
        "high": high,
        "num_messages": 80,
        "num_dialogues": 20,
        "num_not_judged": 1,
    }


def habit_of(name, **figures):
    return {"habit": name, "mean": None, "std": None, "p10": None, "p50": None, "p90": None, **figures}


def difference(value, **figures):
    """A difference of rates, with none of its tests."""
    tests = dict.fromkeys(("p_value", "p_adjusted", "p_greater", "equivalence_p"))
    sizes = {"num_messages": [80, 80], "num_clusters": [20, 20], "num_paired": 0}
    return {"mode": None, "difference": value, "low": None, "high": None, "margin": 0.02, **tests, **sizes, **figures}


def divergence(value, **figures):
    nothing = dict.fromkeys(("low", "high", "kl_real_simulated", "kl_simulated_real", "null_mean", "null_high"))
    sizes = dict.fromkeys(
        (f"num_{side}_{what}" for side in ("simulated", "real") for what in ("messages", "dialogues")), 20
    )
    shares = {"categories": ["overload"], "simulated": {"overload": 1.0}, "real": {"overload": 1.0}}
    return {"jensen_shannon": value, **shares, **nothing, "p_value": None, **sizes, **figures}


def spread(*comparisons):
    num = {"num_real": 20, "num_simulated": 20, "num_real_users": 20, "num_simulated_users": 20}
    return {"habits": list(comparisons), "turn_budget": 6, **num, "num_permutations": 99, "num_bootstrap": 100}


def mauve(reason):
    num = {"num_turns": 12, "num_buckets": None, "num_seeds": 5, "num_real": 12, "num_simulated": 12}
    return {"score": None, "ceiling": None, "embedder": "all-MiniLM-L6-v2", **num, "reason": reason}


def users(*, compared):
    habit = habit_of("lowercase_start", mean=0.25, std=0.3, num_dialogues=20)
    comparison = {
        "habit": "lowercase_start",
        "real": habit,
        "simulated": habit,
        "wasserstein": 0.11,
        "p_adjusted": 0.04,
        "std_ratio": 0.31,
        "std_ratio_low": 0.12,
        "std_ratio_high": 0.55,
    }
    estimate = {"value": 0.71, "low": 0.64, "high": 0.78, "num_turns": 160, "num_dialogues": 40}
    too_few = {"value": None, "low": None, "high": None, "num_turns": 7, "num_dialogues": 7}
    return {
        "diversity": {"mattr": 0.83, "mean_turn_words": 14.6},
        "habits": [habit],
        "spread": spread(comparison) if compared else None,
        "realism": [
            {
                "family": "surface",
                "auc": estimate,
                "auc_dialogue": estimate,
                "accuracy": estimate | {"value": 0.66, "low": 0.6, "high": 0.72},
                "at_turn": {
                    "10": {"accuracy": too_few, "auc": too_few},
                    "2": {"accuracy": estimate, "auc": estimate | {"value": 0.74}},
                },
                "nulls": {
                    "accuracy": {"p_value": 0.02, "high": 0.55, "num_permutations": 99},
                    "auc": {"p_value": 0.01, "high": 0.57, "num_permutations": 99},
                },
                "length_only": estimate,
                "user_only": None,
                "power": {"truncated": estimate},
                "measurable": False,
                "gate": "the surface classifier finds its control truncated with AUC 0.71 (< 0.85)",
                "turn_budget": 6,
            }
        ]
        if compared
        else [],
        "mauve": mauve("12 turns a side, 50 are needed") if compared else None,
    }


@pytest.fixture
def metrics():
    """An evaluation as its JSON, which :func:`evaluation_of` reads."""
    failures = {
        "rates": {
            "any": rate(0.18, low=0.14, high=0.23),
            "overload": rate(0.18, low=0.14, high=0.23),
            "boundary": rate(None),
        },
        "severities": {"1": 4, "2": 9, "3": 1},
        "visibilities": {},
        "num_messages": 81,
        "num_errors": 0,
    }
    example = {
        "mode": "overload",
        "severity": 3,
        "confidence": 0.9,
        "dialogue_id": "d-1",
        "turn": 5,
        "user": f"help {EVIL}",
        "message": f"Listen. {EVIL} So many words. Bye.",
        "span": "So many words.",
    }
    blame = {
        "num_by_blame": {"chatbot": 9, "none": 11},
        "num_by_fault": {"repetition": 0},
        "rate_without_user_side_faults": rate(None),
    }
    size = {"num_dialogues": 20, "num_users": 20, "num_user_turns": 90}
    return {
        "title": f"file {EVIL}",
        "detector": "rules",
        "modes": {"overload": "Overload", "boundary": "Boundary"},
        "modes_judged": ["overload"],
        "groups": [
            {"name": "real", "is_reference": True, **size, "failures": failures, "users": users(compared=False)},
            {
                "name": "made",
                "is_reference": False,
                **size,
                "failures": failures
                | {
                    "differences": [difference(0.02, low=-0.03, high=0.07)],
                    "divergence": divergence(0.05, low=0.0, high=0.1, null_high=0.06, p_value=0.2),
                    "blame": blame,
                },
                "users": users(compared=True),
                "examples": [example],
            },
        ],
        "notes": ["A note."],
        "seconds": 1.0,
    }


def evaluation_of(metrics):
    return read_values(Evaluation, metrics, where="metrics.json", remedy="evaluate again")


def page_of(metrics):
    return render_evaluation(evaluation_of(metrics))


class Parsed(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.tags = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def test_page_is_one_file_without_scripts_and_escapes_what_was_written(metrics):
    page = page_of(metrics)
    tags = Parsed(page).tags
    assert not any(tag in ("script", "link", "iframe", "img") for tag, _ in tags)
    assert not re.search(r"(src|href)=\"https?:", page)
    assert page.count("&lt;script&gt;") >= 4  # title twice, the user's turn, the message
    assert page_of(metrics) == page


def test_overrides_of_writing_direction_in_messages_and_names_are_not_on_the_page(metrics):
    example = metrics["groups"][1]["examples"][0]
    hostile = "\u202egpj.exe\u202c \u2066x\u2069"
    example |= {"user": hostile, "message": f"{hostile} {example['message']}", "dialogue_id": hostile}
    metrics |= {"title": hostile, "notes": [hostile]}
    metrics["groups"][1]["name"] = hostile
    page = page_of(metrics)
    assert not re.findall("[\u202a-\u202e\u2066-\u2069]", page)
    assert page.count("gpj.exe x") > 6 and "<mark>So many words.</mark>" in page


def test_evidence_is_marked_inside_its_message(metrics):
    assert "<mark>So many words.</mark> Bye." in page_of(metrics)


def test_long_messages_are_cut_around_the_evidence(metrics):
    example = metrics["groups"][1]["examples"][0]
    example["message"] = "a" * 5000 + "EVIDENCE" + "b" * 5000
    example["span"] = "EVIDENCE"
    page = page_of(metrics)
    assert "… " + "a" * MAX_SHOWN_CHARACTERS + "<mark>EVIDENCE</mark>" + "b" * MAX_SHOWN_CHARACTERS + " …" in page
    assert "a" * (MAX_SHOWN_CHARACTERS + 1) not in page


def test_absent_evidence_and_absent_figures_are_shown_as_such(metrics):
    metrics["groups"][1]["examples"][0]["span"] = "not in the message"
    page = page_of(metrics)
    assert "<mark>" not in page
    assert "50 are needed" in page
    assert "an AUC near 0.5 would say nothing" in page
    assert "NaN" not in page and "None" not in page


def test_page_of_a_file_alone_and_of_nothing_renders(metrics):
    metrics["groups"] = metrics["groups"][:1]
    assert "Failing messages, real" in page_of(metrics)
    metrics["groups"] = []
    assert "No dialogue with a chatbot message" in page_of(metrics)


def test_rows_without_any_figure_are_left_out(metrics):
    table = evaluation_table(evaluation_of(metrics))
    labels = {row.label for group in table.groups for row in group.rows}
    assert "overload" in labels
    assert "boundary" not in labels
    assert "with emoji" not in labels


def row_named(metrics, title, label):
    """The first row of this label in the group of rows whose title starts so; None where there is none."""
    table = evaluation_table(evaluation_of(metrics))
    rows = [row for group in table.groups if group.title.startswith(title) for row in group.rows]
    return next((row for row in rows if row.label.strip() == label), None)


def test_difference_stands_with_both_p_values(metrics):
    (tested,) = metrics["groups"][1]["failures"]["differences"]
    tested |= {"p_adjusted": 0.4213, "equivalence_p": 0.0312}
    row = row_named(metrics, "Difference", "p; p of equal within ±2")
    assert (row.cells[1].value, row.cells[1].interval) == ("0.421", "0.031")
    assert row.cells[0].value == "–"


def test_modes_seen_only_over_the_dialogue_say_so_beside_their_rate(metrics):
    assert row_named(metrics, "Found in messages", "seen only over the dialogue") is None
    metrics["groups"][0]["failures"]["visibilities"] = {"overload": {"message": 11, "trajectory": 3}}
    row = row_named(metrics, "Found in messages", "seen only over the dialogue")
    assert row.cells[0].value == "3 of 14"


def rows_of(metrics, title):
    table = evaluation_table(evaluation_of(metrics))
    group = next(group for group in table.groups if group.title == title)
    return [(row.label.strip(), row.cells[1].value, row.cells[1].interval) for row in group.rows]


def test_classifiers_are_shown_with_null_accuracy_and_user_turns(metrics):
    rows = rows_of(metrics, "Users told apart by surface, AUC")
    assert rows[0][:2] == ("what it says", "told apart")
    assert rows[1:3] == [("by turn", "0.71", "0.64–0.78"), ("95 % of relabelled, and p", "0.57", "p 0.010")]
    assert ("accuracy by turn", "0.66", "0.60–0.72") in rows
    assert ("95 % of relabelled, and p", "0.55", "p 0.020") in rows
    assert ("at user turn 2", "0.74", "0.64–0.78, n 160") in rows
    assert not any("10" in label or "user turns alone" in label for label, *_ in rows)
    assert "made: too few dialogues for classifiers at user turn 10 (7 turns)." in page_of(metrics)


def test_user_turns_alone_are_shown_where_there_are_any(metrics):
    classifier = metrics["groups"][1]["users"]["realism"][0]
    classifier["user_only"] = {"value": 0.58, "low": 0.5, "high": 0.66, "num_turns": 160, "num_dialogues": 40}
    assert ("by user turns alone", "0.58", "0.50–0.66") in rows_of(metrics, "Users told apart by surface, AUC")
    assert "– user turns alone 0.58" in page_of(metrics)


def test_evaluation_without_null_accuracy_and_figures_at_a_turn_renders(metrics):
    classifier = metrics["groups"][1]["users"]["realism"][0]
    nothing = {"value": None, "low": None, "high": None, "num_turns": 0, "num_dialogues": 0}
    classifier |= {"accuracy": nothing, "at_turn": {}, "nulls": None, "user_only": None}
    labels = [label for label, *_ in rows_of(metrics, "Users told apart by surface, AUC")]
    assert labels == ["by turn", "by dialogue", "by length alone", "power: truncated turns"]
    assert "None" not in page_of(metrics)


@pytest.mark.parametrize("num_groups", [1, 2, 6])
def test_tables_stay_within_100_columns_and_keep_the_reference(metrics, num_groups):
    made = metrics["groups"][1]
    metrics["groups"] = [metrics["groups"][0], *({**made, "name": f"round {n}"} for n in range(num_groups - 1))]
    console = Console(width=100, record=True, file=io.StringIO())
    for part in evaluation_tables(evaluation_of(metrics)):
        console.print(part)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 100
    assert text.count("real (ref.)") == (2 if num_groups == 6 else 1)
    assert "18.0" in text
    assert "14.0–23.0" in text
    assert all(f"round {n}" in text for n in range(num_groups - 1))


def test_terminal_prints_markup_in_names_as_text(metrics):
    metrics["groups"][1]["name"] = "[bold]x[/bold]"
    console = Console(width=100, record=True, file=io.StringIO())
    for part in evaluation_tables(evaluation_of(metrics)):
        console.print(part)
    text = console.export_text()
    assert "[bold]x[/bold]: rules finds" in text
    assert text.count("[bold]x[/bold]") >= 2  # the sentence and the column


def test_metrics_of_another_kind_are_refused_by_key(metrics):
    metrics["groups"][0]["failures"]["rates"]["any"]["num_messages"] = "many"
    with pytest.raises(RunError, match=r"groups\.0\.failures\.rates\.any\.num_messages: got 'many'"):
        evaluation_of(json.loads(json.dumps(metrics)))


def test_metrics_of_a_version_that_measured_less_are_refused_with_the_remedy(metrics):
    del metrics["groups"][1]["users"]["realism"][0]["nulls"]
    with pytest.raises(RunError, match=r"key groups\.1\.users\.realism\.0\.nulls: got no such key.*evaluate again"):
        evaluation_of(metrics)


def test_metrics_of_a_version_that_measured_more_are_read(metrics):
    known = evaluation_of(metrics)
    metrics["groups"][1]["users"]["mood"] = 0.7
    assert evaluation_of(metrics) == known
