"""The figures of a run as rows and columns, for the terminal's table and the page's alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from advsim.realism.diversity import Diversity
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
    words,
)
from advsim.report.run.curve import curve_rows, headroom_rows
from advsim.report.run.metrics import RunMetrics
from advsim.training.metrics import ClassifierMetrics, TurnAccuracy, TurnEstimate
from advsim.training.run_metrics import RoundMetrics, SftBaseline

_NO_SFT = SftBaseline()
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
        "trained anew each round on what the adapter before said, in conversations or as draws on real prefixes (where "
        "draws outnumber real turns: read its AUC); the simulator is trained against it.",
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
    sft: SftBaseline = _NO_SFT
    metrics: RoundMetrics = _NO_ROUND
    held_out: Mapping[str, ClassifierMetrics] = field(default_factory=dict)  # by family
    diversity: Diversity


def figure_table(run: RunMetrics, *, rounds: Sequence[RoundMetrics] | None = None) -> FigureTable:
    """All figures of a run, or of some of its rounds beside the baseline."""
    columns = run_columns(run, rounds=rounds)
    shown = run if rounds is None else replace(run, rounds=tuple(rounds))
    groups = (
        RowGroup(title="Discriminator trained against", rows=filled_rows(_discriminator_rows(columns))),
        *(
            RowGroup(title=f"Held-out, {family}", rows=filled_rows(_family_rows(columns, family)))
            for family in families(run)
        ),
        *headroom_rows(shown),
        *curve_rows(shown),
        RowGroup(title="Diversity of user turns", rows=filled_rows(_diversity_rows(columns))),
        RowGroup(title="Preference and DPO", rows=filled_rows(_training_rows(columns))),
        RowGroup(title="Rollout and delivery", rows=filled_rows(_rollout_rows(columns))),
        RowGroup(title="Seconds", rows=filled_rows(_seconds_rows(columns))),
    )
    return FigureTable(columns=tuple(c.label for c in columns), groups=tuple(group for group in groups if group.rows))


def run_columns(run: RunMetrics, *, rounds: Sequence[RoundMetrics] | None = None) -> tuple[Column, ...]:
    """Real, zero-shot, SFT and the given rounds (None: all)."""
    before = run.baseline
    return (
        Column(label="real", diversity=before.real.diversity),
        Column(label="zero-shot", held_out=before.zero_shot.held_out, diversity=before.zero_shot.diversity),
        Column(label="SFT", sft=before.sft, held_out=before.sft.held_out, diversity=before.sft.diversity),
        *(
            Column(
                label=f"round {metrics.round}",
                metrics=metrics,
                held_out=metrics.held_out,
                diversity=metrics.diversity.simulated,
            )
            for metrics in (run.rounds if rounds is None else rounds)
        ),
    )


def families(run: RunMetrics) -> tuple[str, ...]:
    """Held-out families that a run measured: surface and context first, then others by name."""
    measured = {family for column in run_columns(run) for family in column.held_out}
    known = [family for family in FAMILY_QUESTIONS if family in measured]
    return (*known, *sorted(measured - set(known)))


def controls(classifiers: Iterable[ClassifierMetrics]) -> list[str]:
    """Controls on which any of the classifiers was tried, known ones first."""
    tried = keys_of(classifier.power for classifier in classifiers)
    known = [control for control in CONTROL_NAMES if control in tried]
    return [*known, *(control for control in tried if control not in CONTROL_NAMES)]


def _discriminator_rows(columns: Sequence[Column]) -> Iterable[Row]:
    trained = [column.metrics.discriminator for column in columns]
    yield figure_row("accuracy", [discriminator.accuracy for discriminator in trained])
    yield Row(
        label="AUC",
        cells=tuple(Cell(value=format_figure(d.auc), interval=format_interval(d.auc_low, d.auc_high)) for d in trained),
    )
    yield figure_row("F1", [discriminator.f1 for discriminator in trained], is_detail=True)
    yield figure_row("MCC", [discriminator.mcc for discriminator in trained], is_detail=True)
    yield from _at_turn_rows([discriminator.accuracy_at_turn for discriminator in trained])


def _family_rows(columns: Sequence[Column], family: str) -> Iterable[Row]:
    classifiers = [column.held_out.get(family, ClassifierMetrics()) for column in columns]
    yield Row(
        label="accuracy",
        cells=tuple(
            Cell(value=format_figure(c.accuracy), interval=format_interval(c.low, c.high)) for c in classifiers
        ),
    )
    yield Row(label=NULL_LABEL, cells=tuple(null_cell(c.null_high, c.p_value) for c in classifiers))
    yield Row(
        label="AUC",
        cells=tuple(
            Cell(value=format_figure(c.auc), interval=format_interval(c.auc_low, c.auc_high)) for c in classifiers
        ),
    )
    nulls = tuple(null_cell(c.auc_null_high, c.auc_p_value) for c in classifiers)
    yield Row(label=NULL_LABEL, cells=nulls, is_detail=True)
    answers = {True: "yes", False: "no", None: MISSING}
    yield Row(label="measurable", cells=tuple(Cell(value=answers[c.measurable]) for c in classifiers))
    for control in controls(classifiers):
        yield figure_row(
            f"power: {control_name(control)}",
            [c.power.get(control) for c in classifiers],
            is_detail=control not in ("zero_shot", "shuffled"),
        )
    yield figure_row("accuracy by length alone", [c.length_only for c in classifiers])
    yield figure_row("accuracy by user turns alone", [c.user_only for c in classifiers])
    yield from _at_turn_rows([c.accuracy_at_turn for c in classifiers])
    yield from _at_turn_rows([c.auc_at_turn for c in classifiers], measure="AUC")
    yield figure_row("prefixes", [c.num_prefixes for c in classifiers], digits=0, is_detail=True)
    yield figure_row("dialogues", [c.num_dialogues for c in classifiers], digits=0, is_detail=True)


def _at_turn_rows(
    measured: Sequence[Mapping[int, TurnAccuracy] | Mapping[int, TurnEstimate]], *, measure: str = "accuracy"
) -> Iterable[Row]:
    for turn in sorted({turn for at_turn in measured for turn in at_turn}):
        cells = tuple(_at_turn_cell(at_turn.get(turn)) for at_turn in measured)
        yield Row(label=f"{measure} at user turn {turn}", cells=cells, is_detail=True)


def _at_turn_cell(at: TurnAccuracy | TurnEstimate | None) -> Cell:
    if at is None or at.value is None:
        return Cell()
    low, high = (at.low, at.high) if isinstance(at, TurnEstimate) else (None, None)
    return estimate_cell(at.value, low, high, n=at.n)


def _diversity_rows(columns: Sequence[Column]) -> Iterable[Row]:
    for key, label in DIVERSITY_NAMES.items():
        digits = 1 if key in ("mtld", "mean_turn_words") else 2
        yield figure_row(label, [getattr(column.diversity, key) for column in columns], digits=digits)


def _training_rows(columns: Sequence[Column]) -> Iterable[Row]:
    preferences = [column.metrics.preference for column in columns]
    dpo = [column.metrics.dpo for column in columns]
    yield figure_row("SFT loss, first step", [column.sft.train_loss_first for column in columns])
    yield figure_row("SFT loss, last step", [column.sft.train_loss_last for column in columns])
    yield figure_row(
        "most likely temperature", [column.sft.most_likely_temperature for column in columns], is_detail=True
    )
    yield figure_row("preference pairs", [preference.num_pairs for preference in preferences], digits=0)
    yield figure_row("mean margin", [preference.mean_margin for preference in preferences])
    yield figure_row("DPO loss, first step", [training.first_step_loss for training in dpo], digits=3)
    yield figure_row("DPO loss, last step", [training.last_step_loss for training in dpo], digits=3)
    yield figure_row("DPO reward accuracy", [training.reward_accuracy for training in dpo])
    yield figure_row("DPO steps", [training.num_steps for training in dpo], digits=0, is_detail=True)


def _rollout_rows(columns: Sequence[Column]) -> Iterable[Row]:
    rollouts = [column.metrics.rollout for column in columns]
    pushes = [column.metrics.push for column in columns]
    yield figure_row("conversations", [rollout.num_conversations for rollout in rollouts], digits=0)
    yield figure_row("failed conversations", [rollout.num_failed for rollout in rollouts], digits=0)
    yield figure_row("user turns drawn again", [rollout.num_regenerated for rollout in rollouts], digits=0)
    yield figure_row("output tokens a second", [rollout.output_tokens_per_s for rollout in rollouts], digits=0)
    for reason in keys_of(rollout.stop_reasons for rollout in rollouts):
        counts = [rollout.stop_reasons.get(reason) for rollout in rollouts]
        yield figure_row(f"ended by {words(reason)}", counts, digits=0, is_detail=True)
    yield figure_row("engines pushed to", [push.num_engines for push in pushes], digits=0)
    yield figure_row("slowest push (ms)", [push.max_ms for push in pushes], digits=0)
    yield figure_row(
        "canary difference (nats)", [push.max_canary_difference for push in pushes], digits=3, is_detail=True
    )
    digests = tuple(Cell(value=push.sha256[:8]) if push.sha256 else Cell() for push in pushes)
    yield Row(label="adapter SHA-256", cells=digests, is_detail=True)


def _seconds_rows(columns: Sequence[Column]) -> Iterable[Row]:
    spent = [column.metrics.seconds for column in columns]
    for stage in keys_of(spent):
        yield figure_row(words(stage), [seconds.get(stage) for seconds in spent], digits=1)
    totals = []
    for column in columns:
        known = [seconds for seconds in column.metrics.seconds.values() if seconds is not None]
        totals.append(sum(known) if known else column.sft.seconds)
    yield figure_row("together", totals, digits=1)
