"""Logging in, and who may do what."""

from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from deertrack.domain.accounts import SHORTEST_PASSWORD
from deertrack.entry.web.access import Admin, Role, Viewer
from deertrack.entry.web.sessions import address_of, drop_session, keep_session, local_path
from deertrack.entry.web.site import Site
from deertrack.entry.web.templating import page
from deertrack.entry.web.walls import needs_login
from deertrack.services import accounts
from deertrack.services.accounts import LoginError, TooManyAttemptsError


def routes(site: Site) -> APIRouter:
    """Pages about accounts."""
    router = APIRouter()

    @router.get("/login", response_class=HTMLResponse)
    def login(request: Request, next: str = "/") -> Response:
        """Where somebody logs in. Who is known already goes on."""
        if request.state.who:
            return RedirectResponse(local_path(next), 303)
        return page(request, "login.html", next=local_path(next), name="", problem="")

    @router.post("/login", response_class=HTMLResponse)
    async def log_in(request: Request) -> Response:
        """Log in by the form: the fields ``name``, ``password`` and ``next``."""
        given = parse_qs((await request.body()).decode("utf-8", "replace"))
        name, password, where = (given.get(field, [""])[-1] for field in ("name", "password", "next"))
        where = local_path(where)
        try:
            _, secret = await run_in_threadpool(
                accounts.log_in, site.db, name, password, address=address_of(request)
            )
        except (LoginError, TooManyAttemptsError) as error:
            told = f"{error.message[:1].upper()}{error.message[1:]}. {error.hint}"
            status = 429 if isinstance(error, TooManyAttemptsError) else 401
            answer: Response = page(request, "login.html", status=status, next=where, name=name, problem=told)
            if isinstance(error, TooManyAttemptsError):
                answer.headers["Retry-After"] = str(error.wait)
            return answer
        answer = RedirectResponse(where, 303)
        keep_session(request, answer, secret, https=site.settings.https)
        return answer

    @router.post("/logout")
    def log_out(who: Viewer) -> Response:
        """Log out by the form."""
        if who.session:
            accounts.log_out(site.db, who.session)
        answer = RedirectResponse("/login", 303)
        drop_session(answer)
        return answer

    @router.get("/account", response_class=HTMLResponse)
    def account(request: Request, who: Viewer) -> HTMLResponse:
        """Who I am, my password, my tokens."""
        tokens = accounts.list_tokens(site.db, who.user_id) if who.user_id else []
        return page(
            request, "account.html", tokens=tokens, login=needs_login(site), shortest=SHORTEST_PASSWORD
        )

    @router.get("/users", response_class=HTMLResponse)
    def users(request: Request, _: Admin) -> HTMLResponse:
        """All accounts and tokens, for admins."""
        return page(
            request,
            "users.html",
            users=accounts.list_users(site.db),
            tokens=accounts.list_tokens(site.db),
            roles=[role.word for role in Role],
            login=needs_login(site),
            shortest=SHORTEST_PASSWORD,
        )

    return router
