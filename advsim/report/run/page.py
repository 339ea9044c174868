"""One self-contained HTML page a run: no scripts, no requests, everything that a model or a person wrote escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import yaml

from advsim.records import Conversation, Dialogue
from advsim.report.page.figures import format_figure, format_interval
from advsim.report.page.render import KeyFigure, render_page
from advsim.report.run.figures import FAMILY_QUESTIONS, LEGEND, families, figure_table, run_columns
from advsim.report.run.headline import make_headline
from advsim.report.run.metrics import RunMetrics
from advsim.report.run.pictures import draw_pictures
from advsim.report.run.transcripts import compare_transcripts


def render_run(
    run: RunMetrics, *, conversations: Mapping[int, Sequence[Conversation]], reals: Mapping[str, Dialogue]
) -> str:
    """The page as HTML text; whatever is missing in an unfinished run is left out. The same input gives the same text.

    Args:
        run: its figures.
        conversations: simulated conversations by round number; one of the first and one of the last round are shown.
        reals: real dialogues by id, to stand beside the conversations of the same scenario.
    """
    return render_page(
        "report.html",
        run=run,
        headline=make_headline(run),
        key_figures=_key_figures(run),
        pictures=draw_pictures(run),
        comparison=compare_transcripts(conversations, reals),
        figures=figure_table(run),
        last=run.rounds[-1] if run.rounds else None,
        legend=LEGEND,
        family_questions=FAMILY_QUESTIONS,
        facts=_facts(run),
        config_yaml=yaml.safe_dump(_plain(run.manifest.config), sort_keys=False, allow_unicode=True, width=100),
        versions=run.manifest.versions,
    )


def _key_figures(run: RunMetrics) -> tuple[KeyFigure, ...]:
    """Latest held-out accuracies, the discriminator trained against, and words a turn."""
    columns = run_columns(run)[1:]
    shown: list[KeyFigure] = []
    for family in families(run):
        measured = [(c.label, c.held_out[family]) for c in columns if family in c.held_out]
        label, classifier = next((last for last in reversed(measured) if last[1].accuracy is not None), measured[-1])
        interval = format_interval(classifier.low, classifier.high)
        verdict = "" if classifier.measurable else "not measurable, "
        shown.append(
            KeyFigure(
                label=f"Held-out accuracy, {family}",
                value=format_figure(classifier.accuracy),
                note=f"{verdict}{label}" + (f", interval {interval}" if interval else ", no interval"),
            )
        )
    judged = [metrics for metrics in run.rounds if metrics.discriminator.accuracy is not None]
    if judged:
        shown.append(
            KeyFigure(
                label="Discriminator trained against",
                value=format_figure(judged[-1].discriminator.accuracy),
                note=f"accuracy, round {judged[-1].round}; no evidence of realism",
            )
        )
    spoken = [column for column in columns if column.diversity.mean_turn_words is not None]
    if spoken:
        real = run.baseline.real.diversity.mean_turn_words
        shown.append(
            KeyFigure(
                label="Words a user turn",
                value=format_figure(spoken[-1].diversity.mean_turn_words, 1),
                note=spoken[-1].label + ("" if real is None else f", real users {real:.1f}"),
            )
        )
    return tuple(shown)


def _facts(run: RunMetrics) -> tuple[tuple[str, str], ...]:
    manifest = run.manifest
    splits = ", ".join(f"{format_figure(count, 0)} {split}" for split, count in manifest.corpus.splits.items())
    dialogues = manifest.corpus.num_dialogues
    facts = (
        ("Started", _moment(manifest.started_at)),
        ("Rounds", str(len(run.rounds))),
        ("Real dialogues", "" if dialogues is None else f"{dialogues:,}" + (f" ({splits})" if splits else "")),
        ("Corpus SHA-256", manifest.corpus.sha256[:12]),
        ("Model", _configured(manifest.config, "model", "path")),
        ("Chatbot", _configured(manifest.config, "chatbot", "name")),
        ("Seed", "" if manifest.seed is None else str(manifest.seed)),
    )
    return tuple((name, value) for name, value in facts if value)


def _moment(text: str) -> str:
    """An ISO 8601 time to the minute; other text as it is."""
    try:
        return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M %Z").strip()
    except ValueError:
        return text


def _configured(config: Mapping[str, object], section: str, key: str) -> str:
    values = config.get(section)
    return str(values.get(key, "")) if isinstance(values, Mapping) else ""


def _plain(value: object) -> object:
    """Tuples and other sequences as lists, so that YAML shows no Python tags."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
