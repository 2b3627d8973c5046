"""The pages about accounts in a real browser: logging in by keyboard, passwords, tokens, other people's roles."""

import shutil
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect, sync_playwright

from deertrack.entry.web.access import Role
from deertrack.entry.web.app import make_app
from deertrack.services import accounts
from deertrack.settings import Settings
from deertrack.storage.db import Database
from deertrack.storage.jobs import JobQueue

PASSWORD, EVIL = "four words nobody says", "<script>alert(1)</script>"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (Debian: apt install chromium)")


@pytest.fixture
def address(db: Database) -> Iterator[str]:
    """A server that asks for a login, with an admin, a reviewer and somebody with a name to be careful of."""
    for name, role in (("Ada", Role.ADMIN), ("Rita", Role.REVIEWER), (EVIL, Role.VIEWER)):
        accounts.add_user(db, name, role, PASSWORD, actor="test")
    app = make_app(Settings(login=True), db, JobQueue(db.url))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://localhost:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def page() -> Iterator[Page]:
    """A small phone in the dark. What a script gets wrong, or the policy forbids, fails the test."""
    wrong: list[str] = []
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 360, "height": 700}, color_scheme="dark")
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if "Content Security" in said.text else None)
        yield page
        browser.close()
    assert wrong == []


def log_in(page: Page, name: str, password: str = PASSWORD) -> None:
    """By keyboard alone: the name has the focus."""
    page.keyboard.type(name)
    page.keyboard.press("Tab")
    page.keyboard.type(password)
    page.keyboard.press("Enter")


def sound(page: Page) -> bool:
    """Nothing that a screen reader trips over, and nothing beyond the edge of the screen."""
    violations = Axe().run(page).response["violations"]
    assert violations == []
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def test_an_admin_changes_others(page: Page, address: str, db: Database) -> None:
    page.goto(f"{address}/users")
    assert sound(page)
    log_in(page, "ada", "wrong")
    expect(page.get_by_role("alert")).to_contain_text("do not belong together")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{address}/users")
    assert sound(page)
    expect(page.get_by_role("rowheader", name=EVIL)).to_be_visible()
    page.get_by_label("Role of Rita").select_option("admin")
    expect(page.get_by_label("Role of Rita")).to_have_value("admin")
    page.get_by_role("button", name=f"Disable {EVIL}").click()
    expect(page.get_by_role("button", name=f"Enable {EVIL}")).to_be_visible()
    page.get_by_role("button", name="New password for Rita").click()
    page.get_by_role("dialog").get_by_label("New password, at least").fill("another pass word")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Rita has a new password.")).to_be_visible()
    page.locator("#name").fill("Bob")
    page.locator("#password").fill(PASSWORD)
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_role("rowheader", name="Bob")).to_be_visible()
    accounts.check_login(db, "Rita", "another pass word", address="x")
    assert accounts.find_user(db, "Rita").role is Role.ADMIN
    assert not accounts.find_user(db, EVIL).enabled


def test_somebody_changes_the_password_and_makes_a_token(page: Page, address: str, db: Database) -> None:
    page.goto(f"{address}/account")
    log_in(page, "Rita")
    page.wait_for_url(f"{address}/account")
    page.get_by_label("Password now").fill(PASSWORD)
    page.get_by_label("New password", exact=True).fill("another pass word")
    page.get_by_label("New password again").fill("another")
    page.get_by_role("button", name="Change password").click()
    assert page.evaluate("document.getElementById('again').validity.valid") is False
    page.get_by_label("New password again").fill("another pass word")
    with page.expect_navigation():
        page.get_by_role("button", name="Change password").click()
    accounts.check_login(db, "Rita", "another pass word", address="x")
    page.get_by_label("What it is for").fill("cards")
    page.get_by_role("button", name="Make a token").click()
    secret = page.get_by_label("Your token")
    expect(secret).to_be_focused()
    user = accounts.token_user(db, secret.input_value())
    assert user is not None
    assert user.name == "Rita"
    page.reload()
    assert sound(page)
    page.get_by_role("button", name="Revoke token cards").click()
    expect(page.get_by_text("are refused from now on")).to_be_visible()
    assert accounts.list_tokens(db) == []
    page.locator("form[action='/logout'] button").click()
    page.wait_for_url(f"{address}/login")
