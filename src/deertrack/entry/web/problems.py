"""How errors are told: problem+json (RFC 9457) to programs, a page with the same words to people."""

import logging
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.exceptions import HTTPException

from deertrack.domain.errors import (
    ConflictError,
    DatabaseError,
    DeertrackError,
    NoSpaceError,
    NotFoundError,
    TooLargeError,
    UnstorableError,
)
from deertrack.entry.web.templating import page
from deertrack.services.accounts import LoginError, TooManyAttemptsError

_log = logging.getLogger(__name__)
_STATUS: tuple[tuple[type[DeertrackError], int], ...] = (
    (NotFoundError, 404),
    (ConflictError, 412),
    (LoginError, 401),
    (TooManyAttemptsError, 429),
    (TooLargeError, 413),
    (UnstorableError, 422),
    (DatabaseError, 503),
    (NoSpaceError, 507),
)


def wants_page(request: Request) -> bool:
    """Whether a person with a browser asks, and not a program."""
    return "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/api/")


def problem(
    request: Request,
    status: int,
    title: str,
    detail: str = "",
    *,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> Response:
    """An error's answer; ``more`` are further fields of the JSON."""
    if wants_page(request):
        answer: Response = page(request, "error.html", status=status, code=status, title=title, detail=detail)
        answer.headers.update(headers or {})
        return answer
    body = {"title": title, "status": status, "detail": detail, **more}
    return JSONResponse(body, status, dict(headers or {}), media_type="application/problem+json")


def answer_to(request: Request, error: Exception) -> Response:
    """The answer to any error. One that nobody expected is logged under a number and told by that number only."""
    match error:
        case HTTPException(status_code=401) if wants_page(request):
            return _to_login(request)
        case HTTPException():
            title = error.detail if error.detail != _phrase(error.status_code) else _plain(error.status_code)
            return problem(request, error.status_code, title, headers=error.headers)
        case RequestValidationError():
            return _unusable(request, error)
        case DeertrackError():
            status = next((status for kind, status in _STATUS if isinstance(error, kind)), 422)
            more: dict[str, Any] = {"current": error.current} if isinstance(error, ConflictError) else {}
            if isinstance(error, TooManyAttemptsError):
                more["headers"] = {"Retry-After": str(error.wait)}
            if status == 503:
                _log.error("%s", error.message)
            return problem(request, status, error.message, error.hint, **more)
    reference = secrets.token_hex(4)
    _log.error("error %s: %s %s", reference, request.method, request.url.path, exc_info=error)
    return problem(
        request,
        500,
        "a bug in deertrack",
        f"Nothing that was done before is lost. The server's log has the details under {reference}.",
        reference=reference,
    )


def _to_login(request: Request) -> Response:
    asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    back = f"?next={quote(asked, safe='/')}" if request.method in {"GET", "HEAD"} and asked != "/" else ""
    return RedirectResponse(f"/login{back}", 303)


def _unusable(request: Request, error: RequestValidationError) -> Response:
    errors = [
        {"where": ".".join(map(str, found["loc"])), "problem": str(found["msg"])} for found in error.errors()
    ]
    told = "; ".join(f"{e['where']}: {e['problem']}" for e in errors[:3])
    return problem(request, 422, "this request cannot be used", told, errors=errors)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _plain(status: int) -> str:
    return {404: "there is nothing here", 405: "this cannot be done here"}.get(
        status, _phrase(status).lower()
    )
