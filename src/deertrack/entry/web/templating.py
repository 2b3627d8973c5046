"""HTML from templates. Everything that is put into one is escaped."""

from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context, select_autoescape
from jinja2.runtime import Context

STATIC = Path(__file__).parent / "static"


def when(instant: datetime | None, zone: str = "UTC") -> str:
    """An instant by the clock of a zone, as app.js tells it."""
    if instant is None:
        return "time unknown"
    return f"{day(instant, zone)}, {instant.astimezone(ZoneInfo(zone)):%H:%M}"


def day(instant: datetime | None, zone: str = "UTC") -> str:
    """The day of an instant in a zone."""
    if instant is None:
        return "day unknown"
    local = instant.astimezone(ZoneInfo(zone))
    return f"{local.day} {local:%b %Y}"


def plural(count: int, word: str, words: str | None = None) -> str:
    """A count with its noun: ``1 photo``, ``1,213 photos``."""
    return f"{count:,} {word if count == 1 else words or word + 's'}"


def percent(probability: float | None) -> str:
    """A probability as people say it."""
    if probability is None:
        return "–"
    return "< 1 %" if 0 < probability < 0.005 else f"{100 * probability:.0f} %"


@pass_context
def here(context: Context, **changes: object) -> str:
    """The address of this page with some parameters of its query changed; None or "" takes one out."""
    given = dict(context["query"]) | changes
    query = urlencode({name: value for name, value in given.items() if value not in (None, "")})
    return f"{context['path']}?{query}" if query else str(context["path"])


_environment = Environment(
    loader=PackageLoader("deertrack.entry.web"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters |= {"when": when, "day": day, "plural": plural, "percent": percent}
_environment.globals["here"] = here


# Of pages that are one file with all in it, made to be kept: nothing is loaded, nothing can be sent.
_DOCUMENT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


def document(html: str) -> HTMLResponse:
    """A page that brings its own styles, scripts and pictures, such as the report."""
    return HTMLResponse(html, headers={"Content-Security-Policy": _DOCUMENT_POLICY})


def page(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """A page for whoever asks.

    Templates see ``who`` (None: nobody), ``path``, ``query`` and ``csrf`` beside ``values``.
    """
    given = {
        "who": getattr(request.state, "who", None),
        "csrf": getattr(request.state, "csrf", ""),
        "path": request.url.path,
        "query": request.query_params,
    }
    return HTMLResponse(_environment.get_template(template).render(**given, **values), status)
