"""The walls around all routes: headers of every answer, who asks, forged requests, bodies that are too much.

Plain ASGI, for an answer that streams must not be held back.
"""

import hmac
import json
import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fastapi import HTTPException, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deertrack.domain.errors import DatabaseError
from deertrack.entry.web.access import Role, Who
from deertrack.entry.web.once import Recorder
from deertrack.entry.web.problems import answer_to
from deertrack.entry.web.sessions import COOKIE, csrf_of
from deertrack.entry.web.site import Site
from deertrack.services import accounts
from deertrack.storage.accounts import User

_MIB = 2**20
_BODY, _LIST, _UPLOAD = 1 * _MIB, 16 * _MIB, 64 * _MIB
_UPLOADS = "/api/v1/uploads"  # itself takes the list of a card's files
_SAFE = {"GET", "HEAD", "OPTIONS", "TRACE"}
_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; style-src 'self'; "
    "script-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}
# Neither can be stored as text or sent back as UTF-8.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def needs_login(site: Site) -> bool:
    """Whether requests have to say who makes them: as the settings say, else where there is a token."""
    login = site.settings.login
    return bool(site.settings.api_token) if login is None else login


class Headers:
    """Outermost: puts security headers on every answer that does not bring its own, and answers what was raised."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False
        # What is the same for everybody may be kept, if the browser asks whether it changed.
        keeping = "no-cache" if scope["path"].startswith("/static/") else "no-store"

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in {**_HEADERS, "cache-control": keeping}.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            response = answer_to(Request(scope), error)  # which logs it
            if started:  # too late to say so; cutting the answer off is the one sign left
                raise
            await response(scope, receive, send_with_headers)


class Guard:
    """Finds out who asks, and refuses what a page elsewhere forged, what is too long, and what cannot be stored."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self._app, self._site = app, site
        self._login = needs_login(site)
        # Where nobody logs in, pages show by this that they are ours. A restart makes another.
        self._secret = secrets.token_urlsafe(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        request.state.who, request.state.csrf = None, ""
        _check_address(scope)
        if not request.url.path.startswith("/static/"):
            request.state.who, request.state.csrf = await run_in_threadpool(self._identify, request)
        receive, body = await _limited(request, receive)
        if request.method not in _SAFE:
            self._refuse_forgery(request, body)
        await Recorder(self._app, self._site.db)(scope, receive, send)

    def _identify(self, request: Request) -> tuple[Who | None, str]:
        """Who asks, and what proves that a page is ours."""
        if not self._login:
            return Who("user", Role.ADMIN), self._secret
        try:
            return self._known(request)
        except DatabaseError:
            if request.url.path == "/health":  # which will say so itself
                return None, ""
            raise

    def _known(self, request: Request) -> tuple[Who | None, str]:
        if (given := request.headers.get("authorization")) is not None:
            scheme, _, token = given.partition(" ")
            return (self._bearer(token.strip()) if scheme.lower() == "bearer" else None), ""
        session = request.cookies.get(COOKIE)
        user = accounts.session_user(self._site.db, session) if session else None
        return (_who(user, session), csrf_of(session)) if user and session else (None, "")

    def _bearer(self, token: str) -> Who | None:
        expected = self._site.settings.api_token
        if expected and hmac.compare_digest(token.encode(), expected.encode()):
            return Who("token", Role.ADMIN)
        user = accounts.token_user(self._site.db, token)
        return _who(user) if user else None

    def _refuse_forgery(self, request: Request, body: bytes) -> None:
        """Every page that somebody visits can send requests here, and the browser adds the cookie (CSRF)."""
        who: Who | None = request.state.who
        if self._login and who and not who.session:
            return  # a token: no page elsewhere can send one along
        origin, fetched = (request.headers.get(name) for name in ("origin", "sec-fetch-site"))
        elsewhere = origin is not None and urlsplit(origin).netloc != request.headers.get("host", "").lower()
        if elsewhere or fetched not in {None, "same-origin", "none"}:
            raise HTTPException(403, "this was sent by a page elsewhere")
        browser = origin or fetched or "cookie" in request.headers
        if who is None or not (who.session or browser):
            return  # nobody's rights to abuse, or a script on this machine
        given = request.headers.get("x-csrf-token") or _form(request, body).get("csrf", "")
        if not hmac.compare_digest(given.encode(), request.state.csrf.encode()):
            raise HTTPException(403, "this page is out of date: reload it and try again")


def _who(user: User, session: str | None = None) -> Who:
    return Who(user.name, user.role, user.id, session)


def _form(request: Request, body: bytes) -> dict[str, str]:
    """The fields of an HTML form."""
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return {}
    return {name: values[-1] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


def _check_address(scope: Scope) -> None:
    if "\0" in scope["path"] or b"%00" in scope["query_string"]:
        raise HTTPException(400, "an address cannot hold a NUL character")


async def _limited(request: Request, receive: Receive) -> tuple[Receive, bytes]:
    """The way to read this request's body, which ends where it becomes too long, and the body.

    A body is read here and now, and looked at. Only pieces of files stream; theirs is empty here.
    """
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    is_json = kind == "application/json" or kind.endswith("+json")
    path = request.url.path if request.state.who is not None else ""
    piece = path.startswith(_UPLOADS) and not is_json
    most = _UPLOAD if piece else _LIST if path == _UPLOADS else _BODY
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > most:
        raise _too_long(most)
    counted = _counted(receive, most)
    if request.method in _SAFE or piece:
        return counted, b""
    body = bytearray()
    while True:
        message = await counted()
        if message["type"] != "http.request":  # hung up
            return _replayed(message, receive), b""
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    if is_json:
        _check_json(bytes(body))
    return _replayed({"type": "http.request", "body": bytes(body), "more_body": False}, receive), bytes(body)


def _counted(receive: Receive, most: int) -> Callable[[], Awaitable[Message]]:
    seen = 0

    async def counting() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > most:
            raise _too_long(most)
        return message

    return counting


def _replayed(first: Message, receive: Receive) -> Callable[[], Awaitable[Message]]:
    messages = [first]

    async def replaying() -> Message:
        return messages.pop() if messages else await receive()

    return replaying


def _too_long(most: int) -> HTTPException:
    return HTTPException(413, f"expected at most {most // _MIB} MiB in one request", {"Connection": "close"})


def _check_json(body: bytes) -> None:
    """Refuse numbers that are none and texts that no database holds. What is no JSON is told by who reads it."""
    try:
        pending: list[Any] = [json.loads(body, parse_constant=_no_number, parse_float=_number)]
    except (ValueError, RecursionError):
        return
    while pending:
        match pending.pop():
            case dict() as item:
                pending += [*item, *item.values()]
            case list() as items:
                pending += items
            case str() as text if _UNSTORABLE.search(text):
                raise HTTPException(422, "expected text without NUL characters and half characters")


def _no_number(text: str) -> float:
    raise HTTPException(422, f"expected finite numbers, got {text}")


def _number(text: str) -> float:
    return _no_number(text[:40]) if abs(value := float(text)) == float("inf") else value
