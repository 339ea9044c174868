"""The pages of a sweep: the answer with its figures, a list of transcripts, and a page of them for each cell.

Each is one file without scripts or requests; pages of transcripts link to each other by relative names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from advsim.records import Dialogue
from advsim.report.chatbots.figures import CHATBOT_LEGEND
from advsim.report.page.figures import MISSING, format_figure, money, words
from advsim.report.page.render import KeyFigure, render_page
from advsim.report.sweep.figures import REAL, SweepFigures, read_figures
from advsim.report.sweep.pictures import draw_sweep
from advsim.report.sweep.tables import service_cells, sweep_table
from advsim.report.sweep.transcripts import CellTranscripts, cell_transcripts, cells_of
from advsim.report.sweep.words import Answer, Compared, compared, decided_by, standfirst, trust
from advsim.run_folder.folder import RunDir
from advsim.run_folder.layout import REPORT
from advsim.sweep.planning.items import Cell, Design
from advsim.validity.factors import LARGE_CHANGE

TRANSCRIPTS = "report/transcripts.html"

_LEGEND = (
    (REAL, "replay: the chatbots answer real held-out prefixes, one message each; of people who are not simulated"),
    (
        "paired replay",
        "the same real prefixes with the simulator's last user turn in place of the real one: what it changes is due "
        "to that turn alone",
    ),
    (
        "simulated by real rate, as a factor",
        "max(simulated / real, real / simulated) of each chatbot, 1 at best. Direction: of pairs of chatbots whose "
        f"real rates differ by {LARGE_CHANGE:g}x or more, the share whose simulated rates differ the same way",
    ),
    (
        "blame",
        "of a conversation: the simulator where its turns are empty, repeated or out of role; else the chatbot, or the "
        "detector where it is not sure",
    ),
    (
        "at every look",
        "intervals that hold however often one looks, of sweeps that stop early; these decide there, as an ordinary "
        "test would find a difference too easily",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CellLink:
    """A cell in the list of transcripts."""

    design: str
    simulator: str
    chatbot: str
    href: str
    num: int
    num_failing: int
    num_shown: int


def write_pages(folder: RunDir, dialogues: Mapping[str, Dialogue] | None = None) -> str:
    """Write the pages of a finished sweep from its files; returns where the first one is.

    Args:
        folder: of the sweep.
        dialogues: real ones by id, to stand before the replies to them; None: they are not known.

    Raises:
        ConfigError: it is no folder of a finished sweep.
        RunError: a file is damaged, or the folder cannot be written.
    """
    figures = read_figures(folder)
    links = []
    for cell in cells_of(figures, folder):
        found = cell_transcripts(figures, folder, cell, dialogues or {})
        links.append(_link(found))
        folder.write_bytes(_page_of(cell), render_cell(figures, found).encode())
    folder.write_bytes(TRANSCRIPTS, render_transcripts(figures, links, has_real=bool(dialogues)).encode())
    folder.write_bytes(REPORT, render_sweep(figures).encode())
    return f"{folder.location}/{REPORT}"


def render_sweep(figures: SweepFigures) -> str:
    """The first page as HTML text. The same figures give the same text."""
    found = compared(figures)
    shown = {answer: [each for each in found if each.answer is answer] for answer in Answer}
    decided = [*shown[Answer.MORE], *shown[Answer.LESS], *shown[Answer.ALIKE]]
    not_found = [words(mode) for mode in figures.rated_modes if mode not in figures.found_modes]
    return render_page(
        "sweep.html",
        title=_title(figures),
        figures_of=figures,
        standfirst=standfirst(figures),
        key_figures=_key_figures(figures, found),
        decided=[_said(each, figures.baseline) for each in decided],
        undecided=[_said(each, figures.baseline) for each in shown[Answer.OPEN]],
        trust=trust(figures),
        failed=[service for service in figures.chatbots if service.reasons],
        pictures=draw_sweep(figures),
        figures=sweep_table(figures, is_full=True),
        services=service_cells(figures.chatbots),
        modes_not_found=", ".join(not_found),
        legend=(*CHATBOT_LEGEND, *_LEGEND),
    )


def render_transcripts(figures: SweepFigures, links: list[CellLink], *, has_real: bool) -> str:
    """The list of cells as HTML text."""
    return render_page("transcripts.html", title=_title(figures), links=links, has_real=has_real, figures_of=figures)


def render_cell(figures: SweepFigures, found: CellTranscripts) -> str:
    """Transcripts of one cell as HTML text."""
    up = "../" * (_page_of(found.cell).count("/") - 1)
    return render_page("cell.html", title=_name(found.cell), sweep=_title(figures), found=found, up=up)


def _title(figures: SweepFigures) -> str:
    return f"Sweep of {figures.made_from.run}" if figures.made_from.run else "Sweep"


def _name(cell: Cell) -> str:
    if cell.design is Design.REPLAY:
        return f"{cell.chatbot} on real prefixes"
    return f"{cell.chatbot} with {cell.simulator}" + (", paired replay" if cell.design is Design.PAIRED else "")


def _page_of(cell: Cell) -> str:
    return f"report/transcripts/{cell.folder}.html"


def _link(found: CellTranscripts) -> CellLink:
    cell = found.cell
    kinds = {Design.FREE: "conversations", Design.REPLAY: "replies to real prefixes", Design.PAIRED: "paired replay"}
    return CellLink(
        design=kinds[cell.design],
        simulator=cell.simulator or MISSING,
        chatbot=cell.chatbot,
        href=quote(_page_of(cell).removeprefix("report/")),
        num=found.num,
        num_failing=found.num_failing,
        num_shown=len(found.shown),
    )


def _said(each: Compared, baseline: str) -> str:
    than = f" than {baseline}" if each.answer in (Answer.MORE, Answer.LESS) else f" from {baseline}"
    than = f" against {baseline}" if each.answer is Answer.OPEN else than
    return f"{each.chatbot}, {each.side}: {each.answer}{than}; {each.figures}"


def _key_figures(figures: SweepFigures, found: tuple[Compared, ...]) -> tuple[KeyFigure, ...]:
    differ = {each.chatbot for each in found if each.answer in (Answer.MORE, Answer.LESS)}
    num_others = len({each.chatbot for each in found})
    shown = [
        KeyFigure(
            label=f"Differ from {figures.baseline}",
            value=f"{len(differ)} of {num_others}" if num_others else MISSING,
            note=f"chatbots, on at least one side, {decided_by(figures)}",
        )
    ]
    last = figures.simulators[-1] if figures.simulators else None
    if last is not None and last.validity is not None:
        verdict = words(last.validity.verdict)
        shown.append(
            KeyFigure(
                label=f"Agreement with real people, {last.simulator}",
                value=format_figure(last.validity.pearson.estimate),
                note=f"Pearson's r as observed over {last.validity.num_configurations} chatbots; {verdict}",
            )
        )
    if last is not None and last.factors is not None and last.factors.median is not None:
        shown.append(
            KeyFigure(
                label=f"Median factor off, {last.simulator}",
                value=f"{format_figure(last.factors.median)}x",
                note=f"simulated by real rate, {last.factors.num_chatbots} chatbots; direction right in "
                f"{last.factors.num_right} of {last.factors.num_large} pairs from {LARGE_CHANGE:g}x",
            )
        )
    num_replies = sum(service.num_replies for service in figures.chatbots)
    costs = [f"{service.chatbot} {money(service.cost)}" for service in figures.chatbots if service.cost is not None]
    shown.append(
        KeyFigure(
            label="Replies of the chatbots",
            value=f"{num_replies:,}",
            note=f"{sum(service.num_failed for service in figures.chatbots):,} failed"
            + (f"; cost: {', '.join(costs[:4])}" + (" ..." if len(costs) > 4 else "") if costs else ""),
        )
    )
    return tuple(shown)
