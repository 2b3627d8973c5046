"""Every change by anybody, the machine's among them."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse

from deertrack.entry.web.access import Admin
from deertrack.entry.web.parameters import Limit
from deertrack.entry.web.site import Site
from deertrack.reporting.sheets import csv_lines, utc
from deertrack.services.audit import read_all, read_page
from deertrack.storage.audit import Line, Wanted

_COLUMNS = ("at", "actor", "kind", "subject", "from", "to", "detail")
_CHUNK = 1 << 16  # characters


def wanted(
    since: Annotated[datetime | None, Query(description="From this instant on; UTC unless it says.")] = None,
    until: Annotated[datetime | None, Query(description="Before this instant.")] = None,
    actor: Annotated[str | None, Query(max_length=200, description="By whom; `machine` is one.")] = None,
    kind: Annotated[str | None, Query(max_length=200, description="E.g. `rename`, `decide assign`.")] = None,
    subject: Annotated[str | None, Query(max_length=200, description="E.g. `deer:12`, or `deer`.")] = None,
) -> Wanted:
    """Which lines a request is about."""
    return Wanted(_aware(since), _aware(until), actor, kind, subject)


Asked = Annotated[Wanted, Depends(wanted)]


def routes(site: Site) -> APIRouter:
    """Routes of the audit. Log-ins and addresses are among it, so it is for admins."""
    router = APIRouter()

    @router.get("/api/v1/audit")
    def page(
        asked: Asked,
        _: Admin,
        limit: Limit = 100,
        before: Annotated[str | None, Query(max_length=100, description="An answer's `next`.")] = None,
    ) -> dict[str, Any]:
        """Who changed what, from which value to which, newest first; `next` leads to what is older."""
        found = read_page(site.db, asked, before=before, limit=limit)
        return {"items": [_told(line) for line in found.lines], "next": found.next}

    @router.get("/api/v1/audit.jsonl", response_class=StreamingResponse)
    def as_jsonl(asked: Asked, _: Admin) -> StreamingResponse:
        """All of it, a JSON object a line."""
        lines = (json.dumps(_told(line), ensure_ascii=False) + "\n" for line in read_all(site.db, asked))
        return _file(lines, "application/x-ndjson", "deertrack-audit.jsonl")

    @router.get("/api/v1/audit.csv", response_class=StreamingResponse)
    def as_csv(asked: Asked, _: Admin) -> StreamingResponse:
        """All of it as a table; values from and to as JSON where they are more than a word."""
        rows = ([_cell(told[name]) for name in _COLUMNS] for told in map(_told, read_all(site.db, asked)))
        return _file(csv_lines(_COLUMNS, rows), "text/csv", "deertrack-audit.csv")

    return router


def _told(line: Line) -> dict[str, Any]:
    place = line.place
    return {
        "at": utc(place.at),
        "actor": line.actor,
        "kind": line.kind,
        "subject": line.subject,
        "from": line.before,
        "to": line.after,
        "detail": line.detail,
        "log": place.log,
        "id": place.id,
    }


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    return json.dumps(value, ensure_ascii=False)


def _aware(instant: datetime | None) -> datetime | None:
    return instant.replace(tzinfo=UTC) if instant and instant.tzinfo is None else instant


def _file(lines: Iterator[str], media_type: str, name: str) -> StreamingResponse:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(_chunks(lines), media_type=media_type, headers=headers)


def _chunks(lines: Iterator[str]) -> Iterator[str]:
    """Lines in larger pieces: each piece that is sent is a change of threads."""
    held: list[str] = []
    size = 0
    for line in lines:
        held.append(line)
        size += len(line)
        if size >= _CHUNK:
            yield "".join(held)
            held, size = [], 0
    yield "".join(held)
