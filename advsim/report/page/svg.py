"""From a matplotlib figure to inline SVG that takes its colours and typeface from the page, in light and dark."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from xml.etree import ElementTree

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Stand-ins for colours: matplotlib writes them, and the page's style sheet says what each is in light and dark.
INK, MUTED, RULE, PAPER = "#010001", "#010002", "#010003", "#010004"
SERIES = ("#010011", "#010012", "#010013", "#010014", "#010015", "#010016", "#010017")
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    PAPER: "var(--paper)",
    **{colour: f"var(--series-{number})" for number, colour in enumerate(SERIES, start=1)},
}
STYLE: dict[str, object] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "advsim",
    "text.parse_math": False,  # names of stages and stop reasons are text, whatever they hold
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": RULE,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "axes.labelsize": 9.5,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.7,
    "lines.markersize": 5.5,
}
_SPACE = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"


def inline_svg(
    figure: Figure, *, name: str, title: str, description: str, in_full: Mapping[str, str] | None = None
) -> Markup:
    """SVG markup without namespaces, metadata or anything that loads from elsewhere; equal input gives equal text.

    Args:
        figure: drawn with the colours of this module.
        name: unique on the page; prefixes every id.
        title: short name for screen readers.
        description: what the picture shows, in words and numbers.
        in_full: names by what is written of them where they are cut; the pointer over one shows all of it.
    """
    stream = io.StringIO()
    with rc_context(STYLE):
        FigureCanvasSVG(figure).print_svg(stream, metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(stream.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == f"{_SPACE}metadata":
                parent.remove(child)
    for element in list(root.iter()):
        element.tag = element.tag.removeprefix(_SPACE)
        full = (in_full or {}).get(element.text or "") if element.tag == "text" else None
        if full is not None and full != element.text:
            tip = ElementTree.SubElement(element, "title")
            tip.text = full
        element.attrib = {
            key.replace(_LINK, "href"): _localised(value, key=key, name=name) for key, value in element.attrib.items()
        }
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.attrib |= {
        "role": "img",
        "aria-labelledby": f"{name}-title {name}-text",
        "preserveAspectRatio": "xMidYMid meet",
    }
    for position, (tag, key, text) in enumerate((("title", "title", title), ("desc", "text", description))):
        element = ElementTree.Element(tag, {"id": f"{name}-{key}"})
        element.text = text
        root.insert(position, element)
    return Markup(ElementTree.tostring(root, encoding="unicode"))  # ElementTree escaped every text


def _localised(value: str, *, key: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == _LINK:
        return value.replace("#", f"#{name}-", 1)
    for colour, variable in _VARIABLES.items():
        value = value.replace(colour, variable)
    return re.sub(r"url\(#", f"url(#{name}-", value)
