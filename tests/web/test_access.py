"""The walls of the web server: who gets in, as what, and what is refused on the way."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from pydantic import BaseModel

from deertrack.domain.errors import ConflictError
from deertrack.entry.web.access import Admin, Role, Viewer
from deertrack.entry.web.app import make_app
from deertrack.entry.web.once import Once
from deertrack.services import accounts, passwords
from deertrack.settings import Settings
from deertrack.storage.db import Database
from deertrack.storage.jobs import JobQueue

TOKEN = "a-token-that-is-long-enough"
PASSWORD = "four words nobody says"
HTML = {"Accept": "text/html"}
BROWSER = {"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}
# What everybody may do to what is their own.
OWN = {
    ("POST", "/api/v1/session"),
    ("DELETE", "/api/v1/session"),
    ("PUT", "/api/v1/session/password"),
    ("POST", "/api/v1/tokens"),
    ("DELETE", "/api/v1/tokens/{token_id}"),
    ("POST", "/login"),
    ("POST", "/logout"),
}
OPEN = {"/health", "/login", "/openapi.json"}


@pytest.fixture(autouse=True)
def _cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost is kept with each hash, so a lower one is the same code in less time."""
    monkeypatch.setattr(passwords, "_COST", (2**4, 8, 1))


@pytest.fixture
def app(db: Database) -> FastAPI:
    """A server that asks who somebody is, with routes of its own that go wrong in known ways."""
    app = make_app(Settings(api_token=TOKEN, hosts="testserver", login=True), db, JobQueue(db.url))
    app.include_router(_trials())
    return app


class Thing(BaseModel):
    text: str
    number: float = 0


def _trials() -> APIRouter:
    router, done = APIRouter(), []

    @router.post("/trial/once", status_code=201, dependencies=[Once])
    def once(thing: Thing, _: Admin) -> dict[str, int]:
        if thing.text == "no":
            raise ConflictError("too late", current={"text": "yes"}, hint="Look again.")
        done.append(thing)
        return {"done": len(done)}

    @router.post("/trial/bug")
    def bug(_: Viewer) -> None:
        raise RuntimeError("the password is hunter2")

    @router.post("/api/v1/uploads/trial")
    async def upload(request: Request, _: Viewer) -> dict[str, int]:
        return {"bytes": sum([len(part) async for part in request.stream()])}

    @router.get("/trial/stream")
    def stream(_: Viewer) -> StreamingResponse:
        return StreamingResponse(iter([b"one", b"two"]), media_type="text/event-stream")

    return router


@pytest.fixture
def anybody(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, follow_redirects=False) as client:
        yield client


@pytest.fixture
def admin(app: FastAPI) -> TestClient:
    """The token of the environment."""
    return TestClient(app, headers={"Authorization": f"Bearer {TOKEN}"}, follow_redirects=False)


@pytest.fixture
def somebody(app: FastAPI, db: Database) -> Callable[..., TestClient]:
    """A browser in which somebody has just logged in."""

    def log_in(name: str, role: Role) -> TestClient:
        accounts.add_user(db, name, role, PASSWORD, actor="test")
        client = TestClient(app, headers=BROWSER, follow_redirects=False)
        answer = client.post("/api/v1/session", json={"name": name, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        client.headers["X-CSRF-Token"] = answer.json()["csrf"]
        return client

    return log_in


def operations(app: FastAPI) -> list[tuple[str, str]]:
    """Every method and path that the application describes."""
    # Pages are routes as well as the API; nothing is left out of the description.
    return [
        (method.upper(), path)
        for path, methods in app.openapi()["paths"].items()
        for method in methods
        if not path.startswith("/trial")
    ]


def filled(path: str) -> str:
    return re.sub(r"{[^}]*}", "1", path)


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


# Roles ------------------------------------------------------------------------------------------------------


def test_every_change_is_refused_to_a_viewer(app: FastAPI, somebody: Callable[..., TestClient]) -> None:
    viewer = somebody("Vera", Role.VIEWER)
    writes = [(m, p) for m, p in operations(app) if m != "GET" and "trial" not in p]
    assert len(writes) > len(OWN)
    refused = {
        (method, path): viewer.request(method, filled(path)).status_code
        for method, path in writes
        if (method, path) not in OWN
    }
    assert {(m, p): s for (m, p), s in refused.items() if s != 403} == {}
    assert set(writes) >= OWN


def test_nothing_but_the_door_is_open_to_nobody(app: FastAPI, anybody: TestClient) -> None:
    for method, path in operations(app):
        if path in OPEN or (method, path) == ("POST", "/api/v1/session"):
            continue
        answer = anybody.request(method, filled(path))
        assert answer.status_code == 401, (method, path)
        assert answer.headers["content-type"] == "application/problem+json"


def test_admins_pages_are_no_reviewers(somebody: Callable[..., TestClient]) -> None:
    reviewer = somebody("Rita", Role.REVIEWER)
    assert reviewer.get("/users", headers=HTML).status_code == 403
    assert reviewer.get("/api/v1/users").status_code == 403
    told = reviewer.post("/api/v1/users", json={"name": "x", "password": PASSWORD}).json()
    assert "needs the role admin" in told["title"]


def test_a_role_taken_away_counts_at_once(somebody: Callable[..., TestClient], db: Database) -> None:
    browser = somebody("Ada", Role.ADMIN)
    somebody("Bea", Role.ADMIN)
    assert browser.get("/api/v1/users").status_code == 200
    user = accounts.find_user(db, "ada")
    accounts.change_user(db, user.id, role=Role.VIEWER, actor="test")
    assert browser.get("/api/v1/users").status_code == 401  # the session ended


# Sessions ---------------------------------------------------------------------------------------------------


def test_the_form_logs_in_and_out(anybody: TestClient, db: Database) -> None:
    accounts.add_user(db, "Ada <b>", Role.REVIEWER, PASSWORD, actor="test")
    sent = anybody.get("/report?a=1&b=2", headers=HTML)
    assert (sent.status_code, sent.headers["location"]) == (303, "/login?next=/report%3Fa%3D1%26b%3D2")
    page = anybody.get(sent.headers["location"], headers=HTML)
    assert 'value="/report?a=1&amp;b=2"' in page.text
    form = {"name": "ada <B>", "password": PASSWORD, "next": "/account"}
    done = anybody.post("/login", data=form, headers={**HTML, **BROWSER})
    assert (done.status_code, done.headers["location"]) == (303, "/account")
    cookie = done.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "secure" not in cookie
    account = anybody.get("/account", headers=HTML)
    assert "Ada &lt;b&gt;" in account.text
    assert anybody.get("/login", headers=HTML).headers["location"] == "/"
    csrf = re.search(r'name="csrf" value="(\w+)"', account.text)
    assert csrf
    assert anybody.post("/logout", headers={**HTML, **BROWSER}).status_code == 403
    assert anybody.post("/logout", data={"csrf": csrf[1]}, headers={**HTML, **BROWSER}).status_code == 303
    assert anybody.get("/account", headers=HTML).headers["location"] == "/login?next=/account"


def test_a_wrong_password_is_told_on_the_form(anybody: TestClient, db: Database) -> None:
    accounts.add_user(db, "Ada", Role.ADMIN, PASSWORD, actor="test")
    for form in ({"name": "Ada", "password": "wrong"}, {"name": "Bob", "password": PASSWORD}, {}):
        answer = anybody.post("/login", data=form, headers=HTML)
        assert answer.status_code == 401
        assert "do not belong together" in answer.text
        assert "set-cookie" not in answer.headers
        assert PASSWORD not in answer.text


@pytest.mark.parametrize(
    "elsewhere",
    [
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "evil",
        "/\t/evil.example",
    ],
)
def test_a_login_leads_to_no_other_site(anybody: TestClient, db: Database, elsewhere: str) -> None:
    accounts.add_user(db, "Ada", Role.ADMIN, PASSWORD, actor="test")
    form = {"name": "Ada", "password": PASSWORD, "next": elsewhere}
    assert anybody.post("/login", data=form, headers=HTML).headers["location"] == "/"
    assert anybody.get("/login", params={"next": elsewhere}, headers=HTML).headers["location"] == "/"


@pytest.mark.parametrize(
    ("moved", "status"),
    [
        ("seen_at = now() - interval '11 hours'", 200),
        ("seen_at = now() - interval '13 hours'", 401),
        ("created_at = now() - interval '29 days'", 200),
        ("created_at = now() - interval '31 days'", 401),
    ],
)
def test_sessions_end(somebody: Callable[..., TestClient], url: str, moved: str, status: int) -> None:
    browser = somebody("Ada", Role.ADMIN)
    execute(url, f"UPDATE sessions SET {moved}")
    assert browser.get("/api/v1/session").status_code == status


def test_every_request_keeps_a_session_alive(somebody: Callable[..., TestClient], url: str) -> None:
    browser = somebody("Ada", Role.ADMIN)
    for _ in range(3):
        execute(url, "UPDATE sessions SET seen_at = seen_at - interval '11 hours'")
        assert browser.get("/api/v1/session").status_code == 200


def test_https_makes_the_cookie_secure(db: Database) -> None:
    accounts.add_user(db, "Ada", Role.ADMIN, PASSWORD, actor="test")
    order = {"name": "Ada", "password": PASSWORD}
    settings = Settings(login=True, hosts="testserver")
    for https, base in ((True, "http://testserver"), (False, "https://testserver")):
        settings.https = https
        client = TestClient(make_app(settings, db, JobQueue(db.url)), base_url=base)
        assert "secure" in client.post("/api/v1/session", json=order).headers["set-cookie"].lower()


def test_changing_the_password_ends_all_other_sessions(
    somebody: Callable[..., TestClient], app: FastAPI
) -> None:
    browser = somebody("Ada", Role.VIEWER)
    other = TestClient(app)
    other.post("/api/v1/session", json={"name": "Ada", "password": PASSWORD})
    assert other.get("/api/v1/session").status_code == 200
    wrong = browser.put("/api/v1/session/password", json={"current": "wrong", "new": "another pass word"})
    assert wrong.status_code == 401
    short = browser.put("/api/v1/session/password", json={"current": PASSWORD, "new": "short"})
    assert short.status_code == 422
    assert other.get("/api/v1/session").status_code == 200
    order = {"current": PASSWORD, "new": "another pass word"}
    assert browser.put("/api/v1/session/password", json=order).status_code == 200
    assert browser.get("/api/v1/session").json()["name"] == "Ada"
    assert other.get("/api/v1/session").status_code == 401


def test_guessing_is_slowed_down_and_right_answers_forgive(
    anybody: TestClient, db: Database, url: str
) -> None:
    accounts.add_user(db, "Ada", Role.ADMIN, PASSWORD, actor="test")
    right, wrong = ({"name": "Ada", "password": p} for p in (PASSWORD, "wrong"))
    assert [anybody.post("/api/v1/session", json=wrong).status_code for _ in range(4)] == [401] * 4
    assert anybody.post("/api/v1/session", json=right).status_code == 200
    anybody.cookies.clear()
    assert [anybody.post("/api/v1/session", json=wrong).status_code for _ in range(5)] == [401] * 5
    slow = anybody.post("/api/v1/session", json={**right, "name": "ADA"})
    assert slow.status_code == 429
    assert 0 < int(slow.headers["retry-after"]) <= 30
    page = anybody.post("/login", data=right, headers=HTML)
    assert (page.status_code, "Try again in" in page.text) == (429, True)
    execute(url, "UPDATE login_failures SET blocked_until = now()")
    assert anybody.post("/api/v1/session", json=wrong).status_code == 401
    assert 30 < int(anybody.post("/api/v1/session", json=right).headers["retry-after"]) <= 60
    execute(url, "UPDATE login_failures SET blocked_until = now()")
    assert anybody.post("/api/v1/session", json=right).status_code == 200


def test_guessing_many_names_from_one_address_is_slowed_down(anybody: TestClient) -> None:
    tried = [
        anybody.post("/api/v1/session", json={"name": f"n{i}", "password": "x"}).status_code
        for i in range(22)
    ]
    assert tried == [401] * 20 + [429] * 2


# Tokens -----------------------------------------------------------------------------------------------------


def test_a_token_does_what_its_account_may_until_it_ends(
    somebody: Callable[..., TestClient], app: FastAPI, url: str
) -> None:
    browser = somebody("Rita", Role.REVIEWER)
    made = browser.post("/api/v1/tokens", json={"label": "import", "days": 1}).json()
    script = TestClient(app, headers={"Authorization": f"Bearer {made['secret']}"})
    assert script.get("/api/v1/session").json()["role"] == "reviewer"
    assert script.get("/api/v1/users").status_code == 403
    # A token makes no tokens, or it would outlive itself.
    assert script.post("/api/v1/tokens", json={"label": "x"}).status_code == 403
    listed = script.get("/api/v1/tokens")
    assert listed.json()["total"] == 1
    assert made["secret"] not in listed.text
    execute(url, "UPDATE tokens SET expires_at = now()")
    assert script.get("/api/v1/session").status_code == 401


def test_anothers_token_is_neither_seen_nor_revoked(
    somebody: Callable[..., TestClient], app: FastAPI, admin: TestClient
) -> None:
    rita, eve = somebody("Rita", Role.REVIEWER), somebody("Eve", Role.REVIEWER)
    made = rita.post("/api/v1/tokens", json={"label": "mine"}).json()
    assert eve.get("/api/v1/tokens").json() == {"items": [], "total": 0}
    assert eve.get("/api/v1/tokens?everybody=true").status_code == 403
    assert admin.get("/api/v1/tokens?everybody=true").json()["total"] == 1
    assert eve.delete(f"/api/v1/tokens/{made['id']}").status_code == 404
    script = TestClient(app, headers={"Authorization": f"Bearer {made['secret']}"})
    assert script.get("/api/v1/session").status_code == 200
    assert admin.delete(f"/api/v1/tokens/{made['id']}").status_code == 204
    assert script.get("/api/v1/session").status_code == 401


def test_a_wrong_bearer_is_nobody_even_in_a_browser_that_is_logged_in(
    somebody: Callable[..., TestClient],
) -> None:
    browser = somebody("Ada", Role.ADMIN)
    for header in ("Bearer wrong", "Bearer deertrack_wrong", "Basic eDp5", "Bearer \u00e4", ""):
        answer = browser.get("/api/v1/session", headers={"Authorization": header.encode()})
        assert answer.status_code == 401


def test_the_last_admin_stays(somebody: Callable[..., TestClient], db: Database) -> None:
    browser = somebody("Ada", Role.ADMIN)
    user = accounts.find_user(db, "Ada")
    for change in ({"role": "viewer"}, {"enabled": False}):
        told = browser.patch(f"/api/v1/users/{user.id}", json=change)
        assert told.status_code == 422
        assert "last admin" in told.json()["title"]
    assert browser.get("/api/v1/users").json()["items"][0]["role"] == "admin"


# Forgery ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://testserver:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_pages_elsewhere_change_nothing(
    somebody: Callable[..., TestClient], db: Database, headers: dict[str, str]
) -> None:
    browser = somebody("Ada", Role.ADMIN)
    open_to_all = TestClient(make_app(Settings(hosts="testserver"), db, JobQueue(db.url)))
    order = {"name": "Eve", "password": PASSWORD}
    for client in (browser, open_to_all):
        answer = client.post("/api/v1/users", json=order, headers=headers)
        assert answer.status_code == 403
        assert "elsewhere" in answer.json()["title"]
    for basic in ({}, {"Authorization": "Basic eDp5"}):  # which a form can send along: http://x:y@…
        login = TestClient(browser.app).post("/login", data=order, headers={**headers, **basic})
        assert login.status_code == 403  # into somebody else's account


def test_a_session_needs_proof_that_the_page_is_ours(somebody: Callable[..., TestClient]) -> None:
    browser, other = somebody("Ada", Role.ADMIN), somebody("Bea", Role.ADMIN)
    order = {"name": "Eve", "password": PASSWORD}
    proof = browser.headers.pop("X-CSRF-Token")
    for wrong in ({}, {"X-CSRF-Token": "wrong"}, {"X-CSRF-Token": other.headers["X-CSRF-Token"]}):
        assert browser.post("/api/v1/users", json=order, headers=wrong).status_code == 403
    assert browser.post("/api/v1/users", json=order, headers={"X-CSRF-Token": proof}).status_code == 201


def test_where_nobody_logs_in_browsers_prove_it_and_scripts_need_not(db: Database) -> None:
    app = make_app(Settings(hosts="testserver"), db, JobQueue(db.url))
    client = TestClient(app, follow_redirects=False)
    order = {"name": "Ada", "password": PASSWORD, "role": "admin"}
    assert client.post("/api/v1/users", json=order, headers=BROWSER).status_code == 403
    page = client.get("/users", headers=HTML).text
    proof = re.search(r'<meta name="csrf" content="([^"]+)">', page)
    assert proof
    with_proof = {**BROWSER, "X-CSRF-Token": proof[1]}
    assert client.post("/api/v1/users", json=order, headers=with_proof).status_code == 201
    assert client.post("/api/v1/users", json={**order, "name": "Bob"}).status_code == 201  # curl
    session = client.get("/api/v1/session").json()
    assert (session["name"], session["role"], session["login"]) == ("user", "admin", False)
    assert client.get("/login", headers=HTML).headers["location"] == "/"
    assert client.get("/account", headers=HTML).status_code == 200


# Headers, hosts, errors -------------------------------------------------------------------------------------


def test_every_answer_carries_the_headers(app: FastAPI, admin: TestClient, anybody: TestClient) -> None:
    paths = [path for method, path in operations(app) if method == "GET"]
    assert len(paths) > 10
    for path in [*paths, "/nowhere", "/static/app.js", "/static/nowhere", "/trial/stream"]:
        for client in (admin, anybody):
            headers = client.get(filled(path)).headers
            policy = headers["content-security-policy"]
            assert "unsafe" not in policy or path == "/report", path
            assert "frame-ancestors 'none'" in policy
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "same-origin"
            assert headers["cross-origin-opener-policy"] == "same-origin"
            assert "permissions-policy" in headers
            if not path.startswith("/static/"):
                assert "public" not in headers["cache-control"]
    assert "script-src 'self'" in admin.get("/").headers["content-security-policy"]
    assert admin.get("/api/v1/status").headers["cache-control"] == "no-store"
    assert admin.get("/static/app.js").headers["cache-control"] == "no-cache"
    report = admin.get("/report").headers["content-security-policy"]
    assert report.startswith("default-src 'none'; style-src 'unsafe-inline'")
    forged = admin.get("/", headers={"Host": "evil.example"})
    assert (forged.status_code, "content-security-policy" in forged.headers) == (400, True)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "[::1]:8000", "TestServer"])
def test_this_machines_own_names_are_answered(admin: TestClient, host: str) -> None:
    assert admin.get("/health", headers={"Host": host}).status_code == 200


def test_no_page_has_inline_scripts_or_styles(app: FastAPI, admin: TestClient) -> None:
    for method, path in operations(app):
        answer = admin.get(filled(path), headers=HTML) if method == "GET" and path != "/report" else None
        if answer is not None and answer.headers.get("content-type", "").startswith("text/html"):
            assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=", answer.text), path


def test_a_bug_is_told_by_a_number_and_logged_under_it(
    admin: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    answer = admin.post("/trial/bug")
    assert answer.status_code == 500
    assert "hunter2" not in answer.text
    assert "Traceback" not in answer.text
    reference = answer.json()["reference"]
    assert reference in caplog.text
    assert "hunter2" in caplog.text
    page = admin.post("/trial/bug", headers=HTML)
    assert (page.status_code, "A bug in deertrack" in page.text) == (500, True)


def test_errors_are_told_alike_to_programs_and_people(admin: TestClient) -> None:
    missing = admin.get("/api/v1/individuals/99")
    assert missing.headers["content-type"] == "application/problem+json"
    assert missing.json().keys() == {"title", "status", "detail"}
    unknown = admin.get("/nowhere", headers=HTML)
    assert (unknown.status_code, "There is nothing here" in unknown.text) == (404, True)
    assert admin.get("/nowhere").json()["title"] == "there is nothing here"
    assert admin.delete("/api/v1/status").status_code == 405
    wrong = admin.post("/trial/once", json={"number": "x"}).json()
    assert wrong["status"] == 422
    assert {e["where"] for e in wrong["errors"]} == {"body.text", "body.number"}
    late = admin.post("/trial/once", json={"text": "no"})
    assert (late.status_code, late.json()["current"]) == (412, {"text": "yes"})


@pytest.mark.parametrize(
    "body",
    [
        b'{"text": "a", "number": NaN}',
        b'{"text": "a", "number": -Infinity}',
        b'{"text": "a", "number": 1e999}',
        b'{"text": "a\\u0000b"}',
        b'{"text": "\\ud800"}',
        b'{"text": "a\x00b"}',
        b'{"\\u0000": 1, "text": "a"}',
        b'{"text": ' + b"[" * 50_000,
        b'{"text": "a", "number": ' + b"9" * 5000 + b"}",
        b'\xff\xfe{"text"',
        b"",
    ],
)
def test_json_that_nothing_can_hold_is_refused(admin: TestClient, body: bytes) -> None:
    for headers in ({"Content-Type": "application/json"}, {}):
        answer = admin.post("/trial/once", content=body, headers=headers)
        assert answer.status_code in {400, 422}, answer.text
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path", ["/api/v1/individuals/%00", "/nowhere%00", "/login?next=%00", "/api/v1/tokens?limit=%00"]
)
def test_an_address_holds_no_nul(admin: TestClient, path: str) -> None:
    assert admin.get(path).status_code == 400


@pytest.mark.parametrize("number", [2**63, 10**30, -1, 0])
def test_numbers_beyond_all_rows_are_no_bug(app: FastAPI, admin: TestClient, number: int) -> None:
    for method, path in operations(app):
        if "{" in path:
            answer = admin.request(method, re.sub(r"{[^}]*}", str(number), path), json={})
            assert answer.status_code < 500, (method, path, answer.text)


def test_numbers_in_addresses_are_numbers(app: FastAPI, admin: TestClient) -> None:
    for path, methods in app.openapi()["paths"].items():
        for given in methods.get("get", {}).get("parameters", []):
            if "number" in str(given["schema"]) and given["in"] == "query":
                for text in ("nan", "inf", "-inf", "1e999"):
                    answer = admin.get(filled(path), params={given["name"]: text})
                    assert answer.status_code < 500, (path, given["name"], text)


def test_bodies_are_limited(admin: TestClient) -> None:
    mib = 2**20
    order = {"Content-Type": "application/json"}
    fits = json.dumps({"text": "a" * (mib - 100)})
    assert admin.post("/trial/once", content=fits, headers=order).status_code == 201
    assert admin.post("/trial/once", content=b" " * (mib + 1), headers=order).status_code == 413

    def parts(count: int) -> Iterator[bytes]:  # sent in chunks, without saying how much comes
        yield from (b"x" * mib for _ in range(count))

    assert admin.post("/trial/once", content=parts(2), headers=order).status_code == 413
    piece = {"Content-Type": "application/octet-stream"}
    assert admin.post("/api/v1/uploads/trial", content=parts(3), headers=piece).json() == {"bytes": 3 * mib}
    assert admin.post("/api/v1/uploads/trial", content=parts(65), headers=piece).status_code == 413
    assert admin.post("/api/v1/uploads/trial", content=parts(2), headers=order).status_code == 413
    nobody = {**piece, "Authorization": ""}
    assert admin.post("/api/v1/uploads/trial", content=parts(2), headers=nobody).status_code == 413


def test_a_stream_is_not_held_back(app: FastAPI) -> None:
    """Asked of the application itself: the test client collects what comes before it shows anything."""
    import asyncio

    sent: list[tuple[str, bytes]] = []
    waiting = asyncio.Event()

    @app.get("/trial/slow")
    async def slow(_: Viewer) -> StreamingResponse:
        async def parts() -> Any:
            yield b"first"
            await waiting.wait()
            yield b"second"

        return StreamingResponse(parts())

    async def watch() -> None:
        async def receive() -> Any:
            await asyncio.sleep(60)

        async def send(message: Any) -> None:
            sent.append((message["type"], message.get("body", b"")))
            if message.get("body") == b"first":
                waiting.set()

        headers = [(b"host", b"testserver"), (b"authorization", f"Bearer {TOKEN}".encode())]
        scope = {
            **{"type": "http", "method": "GET", "path": "/trial/slow", "raw_path": b"/trial/slow"},
            **{"query_string": b"", "headers": headers, "client": ("1.2.3.4", 5), "scheme": "http"},
            **{
                "server": ("testserver", 80),
                "http_version": "1.1",
                "root_path": "",
                "asgi": {"version": "3.0"},
            },
        }
        await asyncio.wait_for(app(scope, receive, send), 10)

    asyncio.run(watch())
    assert [body for _, body in sent if body] == [b"first", b"second"]


# Once -------------------------------------------------------------------------------------------------------


def test_the_same_key_gets_the_same_answer_and_does_nothing_twice(admin: TestClient, url: str) -> None:
    key = {"Idempotency-Key": "a1"}
    first = admin.post("/trial/once", json={"text": "a"}, headers=key)
    again = admin.post("/trial/once", json={"text": "a"}, headers=key)
    assert (first.status_code, first.json()) == (again.status_code, again.json()) == (201, {"done": 1})
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert admin.post("/trial/once", json={"text": "b"}, headers=key).status_code == 422
    assert admin.post("/trial/once", json={"text": "a"}).json() == {"done": 2}
    execute(url, "UPDATE answers SET at = now() - interval '25 hours'")
    assert admin.post("/trial/once", json={"text": "a"}, headers=key).json() == {"done": 3}


def test_what_failed_may_be_tried_again_and_what_is_under_way_not(admin: TestClient, url: str) -> None:
    key = {"Idempotency-Key": "a1"}
    assert admin.post("/trial/once", json={"text": "no"}, headers=key).status_code == 412
    assert admin.post("/trial/once", json={"text": "a"}, headers=key).json() == {"done": 1}
    execute(url, "UPDATE answers SET status = NULL")
    assert admin.post("/trial/once", json={"text": "a"}, headers=key).status_code == 409
    execute(url, "UPDATE answers SET at = now() - interval '2 minutes'")  # whoever worked on it is dead
    assert admin.post("/trial/once", json={"text": "a"}, headers=key).json() == {"done": 2}
    for bad in ("", "x" * 201):
        assert (
            admin.post("/trial/once", json={"text": "a"}, headers={"Idempotency-Key": bad}).status_code == 400
        )


def test_a_key_counts_for_whoever_sends_it(admin: TestClient, somebody: Callable[..., TestClient]) -> None:
    ada, key = somebody("Ada", Role.ADMIN), {"Idempotency-Key": "a1"}
    assert admin.post("/trial/once", json={"text": "a"}, headers=key).json() == {"done": 1}
    assert ada.post("/trial/once", json={"text": "a"}, headers=key).json() == {"done": 2}


# Health -----------------------------------------------------------------------------------------------------


def test_health_tells_everybody_whether_and_friends_what(
    anybody: TestClient, admin: TestClient, db: Database, url: str
) -> None:
    assert anybody.get("/health").json() == {"status": "ok"}
    parts = admin.get("/health").json()["parts"]
    assert parts["model"] == {"ok": True, "pack": "lite"}
    assert parts["queue"] == {"ok": True, "waiting": 0, "worker": False}
    JobQueue(db.url).defer("nobody.does.this", {})
    execute(url, "INSERT INTO procrastinate_workers DEFAULT VALUES")
    assert admin.get("/health").json()["parts"]["queue"] == {"ok": True, "waiting": 1, "worker": True}
    execute(url, "ALTER TABLE procrastinate_workers RENAME TO gone")
    broken = anybody.get("/health")
    assert (broken.status_code, broken.json()) == (503, {"status": "failing", "failing": ["queue"]})


def test_health_misses_a_model_that_is_gone(db: Database, url: str) -> None:
    execute(url, """INSERT INTO settings (key, value) VALUES ('active_version', '"v9_gone"')""")
    client = TestClient(make_app(Settings(hosts="testserver"), db, JobQueue(db.url)))
    answer = client.get("/health")
    assert (answer.status_code, answer.json()["failing"]) == (503, ["model"])
    assert "v9_gone" in answer.json()["parts"]["model"]["problem"]


def test_no_secret_is_in_the_database(somebody: Callable[..., TestClient], db: Database) -> None:
    browser = somebody("Ada", Role.ADMIN)
    made = browser.post("/api/v1/tokens", json={"label": "x"}).json()
    browser.post("/api/v1/session", json={"name": PASSWORD, "password": "typed into the wrong field"})
    secrets = [PASSWORD, made["secret"], browser.cookies["deertrack_session"]]
    with db.transaction() as connection:
        rows = [
            str(connection.execute(f"SELECT * FROM {table}").fetchall())
            for table in ("users", "sessions", "tokens", "login_failures", "events")
        ]
    assert len(rows[-1]) > 100
    assert not [secret for secret in secrets if secret in "".join(rows)]
