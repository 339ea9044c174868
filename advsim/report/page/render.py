"""Renders a template of the pages: everything in it escaped, and without what would change the order of its letters."""

from __future__ import annotations

from dataclasses import dataclass

import jinja2
from markupsafe import Markup

from advsim.errors import printable

# The page holds text of unknown origin: should an escape ever fail, the browser still loads and runs nothing.
CONTENT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFigure:
    """One of the few figures at the top of the page."""

    label: str
    value: str
    note: str


def render_page(template: str, **values: object) -> str:
    """A page of the report package with these values, everything in them escaped; a value it lacks is an error.

    Control characters and overrides of writing direction are taken out, as on a terminal: a browser obeys the latter,
    and the rest of the line then reads in another order than it was written.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("advsim.report", "page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(content_policy=CONTENT_POLICY, **values)


def _shown(value: object) -> object:
    """A value as a page shows it; pictures are markup already, and hold names too."""
    if isinstance(value, Markup):
        return Markup(printable(value))
    return printable(value) if isinstance(value, str) else value
