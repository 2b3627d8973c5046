"""The catalogue in charts and tables."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from markupsafe import Markup

from deertrack.entry.web.access import Viewer
from deertrack.entry.web.api.dashboard import Wanted
from deertrack.entry.web.site import Site
from deertrack.entry.web.templating import page
from deertrack.reporting.dashboard import draw
from deertrack.services.dashboard import Asked, Table

_PARTS = {
    "animals": ("population", "discovery", "visits", "activity", "nights", "composition"),
    "recognition": ("assignment", "waiting", "answered", "similarities", "errors", "versions", "ab"),
}
_ROWS = 400  # of a table on the page; its CSV has all
_WORDS = {
    "age_class": "age class", "in_words": "in words", "median_similarity": "median similarity",
    "ms_median": "ms, median", "ms_p95": "ms, 95 %", "first_right": "first right",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Figure:
    """A table with its chart, and where it is as CSV."""

    table: Table
    chart: Markup
    csv: str
    columns: tuple[str, ...]
    rows: list[list[str]]
    left_out: int


def routes(site: Site) -> APIRouter:
    """Pages of the dashboard."""
    router = APIRouter()
    dashboard = site.dashboard

    @router.get("/dashboard", response_class=HTMLResponse)
    def show(
        request: Request,
        wanted: Wanted,
        _: Viewer,
        part: Annotated[Literal["animals", "recognition"], Query()] = "animals",
    ) -> HTMLResponse:
        """Charts of who was seen where and when, or of how recognition does."""
        figures = [_figure(dashboard.table(name, wanted), wanted) for name in _PARTS[part]]
        stations = dashboard.stations()
        return page(request, "dashboard.html", part=part, figures=figures, stations=stations, asked=wanted)

    return router


def _figure(table: Table, asked: Asked) -> Figure:
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    limits = asked.limits
    query = {
        "format": "csv", "since": limits.since, "until": limits.until, "station": limits.station, "by": asked.by,
        "decided": asked.decided,
    }  # fmt: skip
    return Figure(
        table,
        draw(table.name, table.title, rows),
        f"/api/v1/dashboard/{table.name}?" + urlencode({k: v for k, v in query.items() if v}),
        tuple(_WORDS.get(column, column) for column in table.columns),
        [[_said(value) for value in row] for row in table.rows[-_ROWS:]],
        max(len(rows) - _ROWS, 0),
    )


def _said(value: Any) -> str:
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.3f}"
    return str(value)
