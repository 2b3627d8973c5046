"""The catalogue in numbers."""

from datetime import date
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from fastapi.responses import PlainTextResponse, Response

from deertrack.entry.web.access import Viewer
from deertrack.entry.web.site import Site
from deertrack.reporting.sheets import csv_lines
from deertrack.services.dashboard import NAMES, Asked
from deertrack.services.lifecycle.monitor import By
from deertrack.storage.dashboard import Limits


def asked(
    since: Annotated[date | Literal[""] | None, Query(description="Photos from this day on.")] = None,
    until: Annotated[date | Literal[""] | None, Query(description="Photos through this day.")] = None,
    station: Annotated[str | None, Query(max_length=200, description="Of this station only.")] = None,
    by: Annotated[By, Query(description="How long a period is.")] = By.MONTH,
    decided: Annotated[
        date | Literal[""] | None, Query(description="Decisions since this day (UTC).")
    ] = None,
) -> Asked:
    """What a request wants to see. Empty values, as forms send them, are none."""
    return Asked(Limits(since or None, until or None, station or None), by, decided or None)


Wanted = Annotated[Asked, Depends(asked)]


def routes(site: Site) -> APIRouter:
    """Routes of the dashboard."""
    router = APIRouter()
    dashboard = site.dashboard

    @router.get("/api/v1/dashboard")
    def names(_: Viewer) -> dict[str, list[str]]:
        """The tables that there are."""
        return {"tables": list(NAMES)}

    @router.get("/api/v1/dashboard/{name}", response_model=None)
    def table(
        name: str, wanted: Wanted, _: Viewer, format: Literal["json", "csv"] = "json"
    ) -> dict[str, Any] | Response:
        """One table, as JSON or CSV; at most some minutes old."""
        found = dashboard.table(name, wanted)
        if format == "csv":
            return PlainTextResponse(
                "".join(csv_lines(found.columns, found.rows)),
                media_type="text/csv",
                headers={"Content-Disposition": f'attachment; filename="deertrack-{found.name}.csv"'},
            )
        rows = [dict(zip(found.columns, row, strict=True)) for row in found.rows]
        return {"name": found.name, "title": found.title, "note": found.note, "rows": rows}

    return router
