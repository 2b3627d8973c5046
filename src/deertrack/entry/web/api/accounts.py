"""Logging in, accounts and tokens."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response
from pydantic import BaseModel, Field

from deertrack.domain.accounts import parse_role
from deertrack.domain.errors import InputError
from deertrack.entry.web.access import Admin, Role, Viewer, Who
from deertrack.entry.web.sessions import address_of, csrf_of, drop_session, keep_session
from deertrack.entry.web.site import Site
from deertrack.entry.web.walls import needs_login
from deertrack.services import accounts
from deertrack.storage.accounts import User

_ROLE = "^(viewer|reviewer|admin)$"
Id = Annotated[int, Path(ge=1, lt=2**63)]
Limit = Annotated[int, Query(ge=1, le=1000)]
Offset = Annotated[int, Query(ge=0, lt=2**31)]


class Login(BaseModel):
    """A name and a password."""

    name: str
    password: str


class PasswordChange(BaseModel):
    """One's own password, and the next."""

    current: str
    new: str


class NewUser(BaseModel):
    """An account to make."""

    name: str = Field(description="1 to 40 characters; any case is the same name.")
    role: str = Field(default="viewer", pattern=_ROLE)
    password: str = Field(description="At least 10 characters.")


class UserChange(BaseModel):
    """What to change of an account; what is left out stays."""

    role: str | None = Field(default=None, pattern=_ROLE)
    enabled: bool | None = None
    password: str | None = None


class TokenOrder(BaseModel):
    """A token to make for oneself."""

    label: str = Field(default="", max_length=80, description="What it is for.")
    days: int | None = Field(
        default=None, ge=1, le=3650, description="How long it works; null: until revoked."
    )


def routes(site: Site) -> APIRouter:
    """Routes about who may do what."""
    router = APIRouter()
    login = needs_login(site)

    @router.get("/api/v1/session")
    def show_session(request: Request, who: Viewer) -> dict[str, Any]:
        """Who I am. ``csrf`` goes into the header X-CSRF-Token of every change that a browser's session makes."""
        return _session(who, request.state.csrf, login=login)

    @router.post("/api/v1/session")
    def log_in(order: Login, request: Request, response: Response) -> dict[str, Any]:
        """Log in: the answer sets a cookie."""
        user, secret = accounts.log_in(site.db, order.name, order.password, address=address_of(request))
        keep_session(request, response, secret, https=site.settings.https)
        return _session(Who(user.name, user.role, user.id, secret), csrf_of(secret), login=login)

    @router.delete("/api/v1/session", status_code=204)
    def log_out(who: Viewer, response: Response) -> None:
        """Log out: this session ends."""
        if who.session:
            accounts.log_out(site.db, who.session)
        drop_session(response)

    @router.put("/api/v1/session/password")
    def change_password(
        order: PasswordChange, who: Viewer, request: Request, response: Response
    ) -> dict[str, Any]:
        """Change one's own password. All sessions end; this browser gets a new one."""
        user_id = _insist_on_session(who)
        user = accounts.check_login(site.db, who.name, order.current, address=address_of(request))
        accounts.change_user(site.db, user_id, password=order.new, actor=who.name)
        secret = accounts.begin_session(site.db, user_id)
        keep_session(request, response, secret, https=site.settings.https)
        return _session(Who(user.name, user.role, user.id, secret), csrf_of(secret), login=login)

    @router.get("/api/v1/users")
    def list_users(_: Admin, limit: Limit = 100, offset: Offset = 0) -> dict[str, Any]:
        """All accounts by name."""
        users = accounts.list_users(site.db)
        return {"items": [_user(user) for user in users[offset : offset + limit]], "total": len(users)}

    @router.post("/api/v1/users", status_code=201)
    def add_user(order: NewUser, who: Admin) -> dict[str, Any]:
        """Make an account."""
        role = parse_role(order.role)
        return _user(accounts.add_user(site.db, order.name, role, order.password, actor=who.name))

    @router.patch("/api/v1/users/{user_id}")
    def change_user(user_id: Id, order: UserChange, who: Admin) -> dict[str, Any]:
        """Change an account's role or password, or disable or enable it; its sessions end."""
        user = accounts.change_user(
            site.db,
            user_id,
            role=parse_role(order.role) if order.role else None,
            enabled=order.enabled,
            password=order.password,
            actor=who.name,
        )
        return _user(user)

    @router.get("/api/v1/tokens")
    def list_tokens(
        who: Viewer, everybody: bool = False, limit: Limit = 100, offset: Offset = 0
    ) -> dict[str, Any]:
        """Tokens that work: one's own, or for an admin everybody's. Whoever has no account has none."""
        if everybody and who.role < Role.ADMIN:
            raise HTTPException(403, "only an admin sees everybody's tokens")
        tokens = accounts.list_tokens(site.db, None if everybody else who.user_id or 0)
        return {"items": [asdict(token) for token in tokens[offset : offset + limit]], "total": len(tokens)}

    @router.post("/api/v1/tokens", status_code=201)
    def make_token(order: TokenOrder, who: Viewer) -> dict[str, Any]:
        """Make a token for scripts, with one's own role. Its secret is in this answer and nowhere else."""
        user_id = _insist_on_session(who)
        token = accounts.make_token(site.db, user_id, label=order.label, days=order.days, actor=who.name)
        return asdict(token)

    @router.delete("/api/v1/tokens/{token_id}", status_code=204)
    def revoke_token(token_id: Id, who: Viewer) -> None:
        """End a token: one's own, or for an admin anybody's."""
        of = None if who.role == Role.ADMIN else who.user_id
        accounts.revoke_token(site.db, token_id, of=of, actor=who.name)

    return router


def _session(who: Who, csrf: str, *, login: bool) -> dict[str, Any]:
    return {
        "name": who.name,
        "role": who.role.word,
        "account": who.user_id is not None,
        "login": login,
        "csrf": csrf,
    }


def _user(user: User) -> dict[str, Any]:
    return {**asdict(user), "role": user.role.word}


def _insist_on_session(who: Who) -> int:
    """A token must not outlive itself by making others, or change the password."""
    if who.user_id is None:
        raise InputError(
            "nobody is logged in", hint="Tokens and passwords belong to accounts: `deertrack users`."
        )
    if who.session is None:
        raise HTTPException(403, "this needs a log-in with the password, not a token")
    return who.user_id
