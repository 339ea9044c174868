"""Renders a template of the pages, everything in it escaped."""

from __future__ import annotations

from dataclasses import dataclass

import jinja2

# The page holds text of unknown origin: should an escape ever fail, the browser still loads and runs nothing.
CONTENT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFigure:
    """One of the few figures at the top of the page."""

    label: str
    value: str
    note: str


def render_page(template: str, **values: object) -> str:
    """A page of the report package with these values, everything in them escaped; a value it lacks is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("advsim.report", "page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(content_policy=CONTENT_POLICY, **values)
