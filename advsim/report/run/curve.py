"""Rounds against SFT at every temperature: the picture, the rows and the findings.

A lower temperature gains coherence and loses variety, so that a round is better than SFT only where no temperature
gives the same: compared are the points of surface, context and variety (MTLD).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from advsim.report.page.figures import Cell, Row, RowGroup, format_figure, format_interval
from advsim.report.page.plots import SMALL, Picture, panel
from advsim.report.page.svg import INK, MUTED, inline_svg
from advsim.report.run.metrics import RunMetrics
from advsim.training.metrics import ClassifierMetrics
from advsim.training.run_metrics import AucDifference, Headroom, HeldOutMetrics, RoundMetrics

SURFACE, CONTEXT = "surface", "context"
_MTLD_SLACK = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """A simulator's place.

    Attributes:
        label: as it is shown.
        temperature: of SFT, as ``against_sft`` names it; empty for others.
        aucs: by family.
        mtld: lexical diversity.
    """

    label: str
    temperature: str = ""
    aucs: Mapping[str, float | None]
    mtld: float | None


def sft_points(run: RunMetrics) -> list[CurvePoint]:
    """SFT at each temperature that was measured, from the lowest."""
    sft = run.baseline.sft
    found = [
        CurvePoint(
            label=f"SFT {temperature}",
            temperature=temperature,
            aucs=_aucs(point.held_out),
            mtld=point.diversity.simulated.mtld,
        )
        for temperature, point in sft.curve.items()
    ]
    own = _own_temperature(run)
    if own and sft.held_out:
        found.append(CurvePoint(label=f"SFT {own}", temperature=own, aucs=_aucs(sft.held_out), mtld=sft.diversity.mtld))
    return sorted(found, key=lambda point: float(point.temperature))


def best_sft_point(run: RunMetrics, metrics: RoundMetrics | HeldOutMetrics, family: str) -> CurvePoint | None:
    """The SFT point of lowest AUC in a family among those whose MTLD is about as near to people's as this one's.

    Nearer counts too, and what is within 5 % of people's: MTLD of one sample of turns is no surer than that.
    """
    real, own = run.baseline.real.diversity.mtld, metrics.diversity.simulated.mtld
    if real is None or own is None:
        return None
    reach = max(abs(own - real), _MTLD_SLACK * real)
    near = [
        point
        for point in sft_points(run)
        if point.mtld is not None and point.aucs.get(family) is not None and abs(point.mtld - real) <= reach
    ]
    return min(near, key=lambda point: point.aucs[family] or 1.0, default=None)


def findings(run: RunMetrics) -> tuple[list[str], list[str]]:
    """What the paired differences from SFT say: sentences of what moved, and of what did not.

    Said of the last round's simulator, and of choosing among its draws by the last discriminator (``best_of``).
    """
    moved: list[str] = []
    unmoved: list[str] = []
    if len(sft_points(run)) < 2:
        return moved, unmoved
    for label, metrics in _last_compared(run):
        for family, classifier in metrics.held_out.items():
            if not classifier.measurable:
                continue
            point = best_sft_point(run, metrics, family)
            if point is None:
                unmoved.append(
                    f"Realism by {family}: no temperature of SFT is as near to people in variety (MTLD) as {label}."
                )
                continue
            difference = metrics.against_sft.get(point.temperature, {}).get(family)
            if difference is None or difference.value is None or difference.low is None or difference.high is None:
                continue
            said = (
                f"Realism by {family}, {label} against SFT at its best temperature of equal or better variety "
                f"({point.temperature}), on the same prefixes: AUC {_signed(difference)}."
            )
            (moved if difference.high < 0.0 or difference.low > 0.0 else unmoved).append(said)
    return moved, unmoved


def _last_compared(run: RunMetrics) -> Iterable[tuple[str, RoundMetrics | HeldOutMetrics]]:
    rounds = [metrics for metrics in run.rounds if metrics.against_sft]
    if rounds:
        yield f"round {rounds[-1].round}", rounds[-1]
    for metrics, headroom in reversed([(m, m.headroom) for m in run.rounds if m.headroom is not None]):
        if headroom.best.against_sft:
            yield f"the best of {headroom.num_draws} draws before round {metrics.round}", headroom.best
            return


def headroom_rows(run: RunMetrics) -> Iterable[RowGroup]:
    """AUC where the best, a random and the worst draw stand for the simulator before each round."""
    if not any(metrics.headroom for metrics in run.rounds):
        return
    blanks = (Cell(),) * 3
    rows = []
    for family in (SURFACE, CONTEXT):
        for which in ("best", "random", "worst"):
            cells = tuple(_headroom_cell(metrics.headroom, which, family) for metrics in run.rounds)
            rows.append(Row(label=f"{family} AUC, {which} draw", cells=(*blanks, *cells), is_detail=which == "worst"))
    yield RowGroup(title="Headroom: choosing among the draws before the round", rows=tuple(rows))


def _headroom_cell(headroom: Headroom | None, which: str, family: str) -> Cell:
    measured = None if headroom is None else getattr(headroom, which).held_out.get(family)
    return Cell() if measured is None else Cell(value=format_figure(measured.auc))


def curve_rows(run: RunMetrics) -> Iterable[RowGroup]:
    """AUC of every round, and of choosing before it, less that of SFT at each temperature; in the figure table."""
    if not any(metrics.against_sft for metrics in run.rounds):
        return
    best = [None if metrics.headroom is None else metrics.headroom.best for metrics in run.rounds]
    compared: dict[str, Sequence[RoundMetrics | HeldOutMetrics | None]] = {"": run.rounds}
    if any(metrics is not None and metrics.against_sft for metrics in best):
        compared[" best draw,"] = best
    blanks = (Cell(),) * 3  # real, zero-shot, SFT
    rows = [
        Row(
            label=f"{family},{which} less SFT at {point.temperature}",
            cells=(*blanks, *(_difference_cell(m, point.temperature, family) for m in metrics)),
            is_detail=family == SURFACE,
        )
        for which, metrics in compared.items()
        for family in (SURFACE, CONTEXT)
        for point in sft_points(run)
    ]
    yield RowGroup(title="AUC against SFT, on the same prefixes", rows=tuple(rows))


def draw_curve(run: RunMetrics) -> Picture | None:
    """Context against surface, variety as colour; people are told from people at .5 and .5."""
    sft = [point for point in sft_points(run) if _is_whole(point)]
    others = [point for point in _other_points(run) if _is_whole(point)]
    if len(sft) < 2:
        return None
    figure, axes = panel(3.4)
    real = run.baseline.real.diversity.mtld
    everything = [*sft, *others]
    variety = [point.mtld or 0.0 for point in everything] + ([] if real is None else [real])
    shades = {"cmap": "viridis", "vmin": min(variety), "vmax": max(variety), "edgecolors": INK, "linewidths": 0.8}
    axes.plot(*_places(sft), color=MUTED, linewidth=1.0, zorder=1)
    drawn = axes.scatter(*_places(sft), c=[point.mtld for point in sft], s=60, marker="o", zorder=2, **shades)
    if others:
        axes.scatter(*_places(others), c=[point.mtld for point in others], s=75, marker="D", zorder=3, **shades)
    if real is not None:
        axes.scatter([0.5], [0.5], c=[real], s=160, marker="*", zorder=3, **shades)
        axes.annotate("people", (0.5, 0.5), xytext=(7, 4), textcoords="offset points", fontsize=SMALL, color=INK)
    for point in everything:
        place = (point.aucs[SURFACE], point.aucs[CONTEXT])
        axes.annotate(point.label, place, xytext=(7, 4), textcoords="offset points", fontsize=SMALL, color=INK)
    axes.set_xlabel("surface AUC")
    axes.set_ylabel("context AUC")
    axes.margins(0.15)
    figure.colorbar(drawn, ax=axes, label="MTLD")
    title = "Rounds against SFT at every temperature"
    caption = (
        "AUC of the held-out classifiers; nearer to the lower left is more real, people are the star. Circles are SFT "
        "from cold to warm, diamonds the rounds and what choosing among draws would give. Colour is lexical diversity "
        "(MTLD): only a point of about people's colour is a gain."
    )
    svg = inline_svg(figure, name="curve", title=title, description=_described(everything, real))
    return Picture(name="curve", title=title, caption=caption, svg=svg)


def _other_points(run: RunMetrics) -> list[CurvePoint]:
    points = [
        CurvePoint(label=f"round {metrics.round}", aucs=_aucs(metrics.held_out), mtld=metrics.diversity.simulated.mtld)
        for metrics in run.rounds
    ]
    for metrics in run.rounds[:1]:
        if metrics.headroom is not None:
            best = metrics.headroom.best
            points.append(
                CurvePoint(
                    label=f"best of {metrics.headroom.num_draws}",
                    aucs=_aucs(best.held_out),
                    mtld=best.diversity.simulated.mtld,
                )
            )
    return points


def _own_temperature(run: RunMetrics) -> str:
    section: Any = run.manifest.config.get("held_out")
    sampling = section.get("sampling") if isinstance(section, Mapping) else None
    value = sampling.get("temperature") if isinstance(sampling, Mapping) else None
    return f"{value:g}" if isinstance(value, int | float) else ""


def _aucs(held_out: Mapping[str, ClassifierMetrics]) -> dict[str, float | None]:
    return {family: classifier.auc for family, classifier in held_out.items()}


def _is_whole(point: CurvePoint) -> bool:
    return point.mtld is not None and all(point.aucs.get(family) is not None for family in (SURFACE, CONTEXT))


def _places(points: Iterable[CurvePoint]) -> tuple[list[float | None], list[float | None]]:
    points = list(points)
    return [point.aucs[SURFACE] for point in points], [point.aucs[CONTEXT] for point in points]


def _difference_cell(metrics: RoundMetrics | HeldOutMetrics | None, temperature: str, family: str) -> Cell:
    difference = None if metrics is None else metrics.against_sft.get(temperature, {}).get(family)
    if difference is None or difference.value is None:
        return Cell()
    return Cell(value=f"{difference.value:+.2f}", interval=format_interval(difference.low, difference.high))


def _signed(difference: AucDifference) -> str:
    return f"{difference.value:+.2f} [{difference.low:+.2f}, {difference.high:+.2f}]"


def _described(points: Iterable[CurvePoint], real: float | None) -> str:
    said = [
        f"{point.label}: surface {format_figure(point.aucs[SURFACE])}, context {format_figure(point.aucs[CONTEXT])}, "
        f"MTLD {format_figure(point.mtld, 0)}"
        for point in points
    ]
    people = [] if real is None else [f"people: MTLD {real:.0f}"]
    return ". ".join([*said, *people]) + "."
