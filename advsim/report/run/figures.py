"""The figures of a run as rows and columns, for the terminal's table and the page's alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from advsim.report.page.figures import (
    CONTROL_NAMES,
    DIVERSITY_NAMES,
    MISSING,
    NULL_LABEL,
    Cell,
    FigureTable,
    Row,
    RowGroup,
    control_name,
    estimate_cell,
    figure_row,
    filled_rows,
    format_figure,
    format_interval,
    keys_of,
    null_cell,
    turn_number,
    words,
)
from advsim.report.run.metrics import AtTurn, Before, Classifier, Diversity, RoundMetrics, Run

_NOTHING_BEFORE = Before()
_NO_ROUND = RoundMetrics(round=0)
FAMILY_QUESTIONS = {
    "surface": "reads the turn alone (character n-grams)",
    "context": "reads the turn with what was said before (embeddings)",
}
LEGEND: tuple[tuple[str, str], ...] = (
    (
        "accuracy",
        "share of turns a classifier names rightly, real or simulated; 0.5 is chance, lower is more realistic.",
    ),
    (
        "discriminator",
        "trained anew each round on conversations of the adapter before; the simulator is trained against it.",
    ),
    (
        "held-out",
        "classifiers never trained against, on next turns for real held-out prefixes, after the round. "
        "Surface reads the turn alone, context reads it with what was said before. Intervals are 95 %, from a "
        "bootstrap over dialogues.",
    ),
    (
        "relabelled",
        "the same classifiers where real and simulated turns of a user were exchanged at random: 95 % of them stay "
        "under the value; p is that of the accuracy above.",
    ),
    ("user turns alone", "the context classifier without the chatbot's turns."),
    (
        "power",
        "AUC of the same classifier on turns known not to be real. Where it finds its control too seldom, realism is "
        "not measurable by it, however near to chance its accuracy is.",
    ),
    ("MATTR, MTLD, distinct-n", "lexical diversity of user turns at one token budget; compare with real."),
    ("margin", "reward of the chosen text less that of the rejected one, averaged over the preference pairs."),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One state of the user side: real users, zero-shot, SFT, or the outcome of a round."""

    label: str
    before: Before = _NOTHING_BEFORE
    metrics: RoundMetrics = _NO_ROUND
    diversity: Diversity

    @property
    def held_out(self) -> dict[str, Classifier]:
        """Held-out classifiers by family."""
        return self.metrics.held_out or self.before.held_out


def figure_table(run: Run, *, rounds: Sequence[RoundMetrics] | None = None) -> FigureTable:
    """All figures of a run, or of some of its rounds beside the baseline."""
    columns = run_columns(run, rounds=rounds)
    groups = (
        RowGroup(title="Discriminator trained against", rows=filled_rows(_discriminator_rows(columns))),
        *(
            RowGroup(title=f"Held-out, {family}", rows=filled_rows(_family_rows(columns, family)))
            for family in families(run)
        ),
        RowGroup(title="Diversity of user turns", rows=filled_rows(_diversity_rows(columns))),
        RowGroup(title="Preference and DPO", rows=filled_rows(_training_rows(columns))),
        RowGroup(title="Rollout and delivery", rows=filled_rows(_rollout_rows(columns))),
        RowGroup(title="Seconds", rows=filled_rows(_seconds_rows(columns))),
    )
    return FigureTable(columns=tuple(c.label for c in columns), groups=tuple(group for group in groups if group.rows))


def run_columns(run: Run, *, rounds: Sequence[RoundMetrics] | None = None) -> tuple[Column, ...]:
    """Real, zero-shot, SFT and the given rounds (None: all)."""
    before = run.baseline
    return (
        Column(label="real", before=before.real, diversity=before.real.diversity),
        Column(label="zero-shot", before=before.zero_shot, diversity=before.zero_shot.diversity),
        Column(label="SFT", before=before.sft, diversity=before.sft.diversity),
        *(
            Column(label=f"round {metrics.round}", metrics=metrics, diversity=metrics.diversity.simulated)
            for metrics in (run.rounds if rounds is None else rounds)
        ),
    )


def families(run: Run) -> tuple[str, ...]:
    """Held-out families that a run measured: surface and context first, then others by name."""
    found = {family for column in run_columns(run) for family in column.held_out}
    known = [family for family in FAMILY_QUESTIONS if family in found]
    return (*known, *sorted(found - set(known)))


def controls(found: Iterable[Classifier]) -> list[str]:
    """Controls on which any of the classifiers was tried, known ones first."""
    tried = keys_of(classifier.power for classifier in found)
    known = [control for control in CONTROL_NAMES if control in tried]
    return [*known, *(control for control in tried if control not in CONTROL_NAMES)]


def _discriminator_rows(columns: Sequence[Column]) -> Iterable[Row]:
    found = [column.metrics.discriminator for column in columns]
    yield figure_row("accuracy", [one.accuracy for one in found])
    yield figure_row("AUC", [one.auc for one in found])
    yield figure_row("F1", [one.f1 for one in found], is_detail=True)
    yield figure_row("MCC", [one.mcc for one in found], is_detail=True)
    yield from _at_turn_rows([one.accuracy_at_turn for one in found])


def _family_rows(columns: Sequence[Column], family: str) -> Iterable[Row]:
    found = [column.held_out.get(family, Classifier()) for column in columns]
    yield Row(
        label="accuracy",
        cells=tuple(Cell(value=format_figure(c.accuracy), interval=format_interval(c.low, c.high)) for c in found),
    )
    yield Row(label=NULL_LABEL, cells=tuple(null_cell(c.null_high, c.p_value) for c in found))
    yield Row(
        label="AUC",
        cells=tuple(Cell(value=format_figure(c.auc), interval=format_interval(c.auc_low, c.auc_high)) for c in found),
    )
    nulls = tuple(null_cell(c.auc_null_high, c.auc_p_value) for c in found)
    yield Row(label=NULL_LABEL, cells=nulls, is_detail=True)
    answers = {True: "yes", False: "no", None: MISSING}
    yield Row(label="measurable", cells=tuple(Cell(value=answers[c.measurable]) for c in found))
    for control in controls(found):
        yield figure_row(
            f"power: {control_name(control)}",
            [c.power.get(control) for c in found],
            is_detail=control not in ("zero_shot", "shuffled"),
        )
    yield figure_row("accuracy by length alone", [c.length_only for c in found])
    yield figure_row("accuracy by user turns alone", [c.user_only for c in found])
    yield from _at_turn_rows([c.accuracy_at_turn for c in found])
    yield from _at_turn_rows([c.auc_at_turn for c in found], measure="AUC")
    yield figure_row("prefixes", [c.num_prefixes for c in found], digits=0, is_detail=True)
    yield figure_row("dialogues", [c.num_dialogues for c in found], digits=0, is_detail=True)


def _at_turn_rows(found: Sequence[dict[str, AtTurn]], *, measure: str = "accuracy") -> Iterable[Row]:
    for turn in sorted({turn for at_turn in found for turn in at_turn}, key=turn_number):
        cells = []
        for at_turn in found:
            at = at_turn.get(turn, AtTurn())
            cells.append(estimate_cell(at.value, at.low, at.high, n=at.n if at.value is not None else None))
        yield Row(label=f"{measure} at user turn {turn}", cells=tuple(cells), is_detail=True)


def _diversity_rows(columns: Sequence[Column]) -> Iterable[Row]:
    for key, label in DIVERSITY_NAMES.items():
        digits = 1 if key in ("mtld", "mean_turn_words") else 2
        yield figure_row(label, [getattr(column.diversity, key) for column in columns], digits=digits)


def _training_rows(columns: Sequence[Column]) -> Iterable[Row]:
    pairs = [column.metrics.preference for column in columns]
    dpo = [column.metrics.dpo for column in columns]
    yield figure_row("SFT loss, first step", [column.before.train_loss_first for column in columns])
    yield figure_row("SFT loss, last step", [column.before.train_loss_last for column in columns])
    yield figure_row("preference pairs", [one.num_pairs for one in pairs], digits=0)
    yield figure_row("mean margin", [one.mean_margin for one in pairs])
    yield figure_row("DPO loss, first step", [one.first_step_loss for one in dpo], digits=3)
    yield figure_row("DPO loss, last step", [one.last_step_loss for one in dpo], digits=3)
    yield figure_row("DPO reward accuracy", [one.reward_accuracy for one in dpo])
    yield figure_row("DPO steps", [one.num_steps for one in dpo], digits=0, is_detail=True)


def _rollout_rows(columns: Sequence[Column]) -> Iterable[Row]:
    rollouts = [column.metrics.rollout for column in columns]
    pushes = [column.metrics.push for column in columns]
    yield figure_row("conversations", [one.num_conversations for one in rollouts], digits=0)
    yield figure_row("failed conversations", [one.num_failed for one in rollouts], digits=0)
    yield figure_row("user turns drawn again", [one.num_regenerated for one in rollouts], digits=0)
    yield figure_row("output tokens a second", [one.output_tokens_per_s for one in rollouts], digits=0)
    for reason in keys_of(one.stop_reasons for one in rollouts):
        counts = [one.stop_reasons.get(reason) for one in rollouts]
        yield figure_row(f"ended by {words(reason)}", counts, digits=0, is_detail=True)
    yield figure_row("engines pushed to", [one.num_engines for one in pushes], digits=0)
    yield figure_row("slowest push (ms)", [one.max_ms for one in pushes], digits=0)
    yield figure_row(
        "canary difference (nats)", [one.max_canary_difference for one in pushes], digits=3, is_detail=True
    )
    digests = tuple(Cell(value=one.sha256[:8]) if one.sha256 else Cell() for one in pushes)
    yield Row(label="adapter SHA-256", cells=digests, is_detail=True)


def _seconds_rows(columns: Sequence[Column]) -> Iterable[Row]:
    spent = [column.metrics.seconds for column in columns]
    for stage in keys_of(spent):
        yield figure_row(words(stage), [seconds.get(stage) for seconds in spent], digits=1)
    totals = []
    for column in columns:
        known = [seconds for seconds in column.metrics.seconds.values() if seconds is not None]
        totals.append(sum(known) if known else column.before.seconds)
    yield figure_row("together", totals, digits=1)
