"""The pages about accounts in a real browser: logging in by keyboard, passwords, tokens, other people's roles."""

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from deertrack.entry.web.access import Role
from deertrack.services import accounts
from deertrack.settings import Settings
from deertrack.storage.db import Database

PASSWORD, EVIL = "four words nobody says", "<script>alert(1)</script>"


@pytest.fixture
def address(db: Database, serve: Callable[..., str]) -> str:
    """A server that asks for a login, with an admin, a reviewer and somebody with a name to be careful of."""
    for name, role in (("Ada", Role.ADMIN), ("Rita", Role.REVIEWER), (EVIL, Role.VIEWER)):
        accounts.add_user(db, name, role, PASSWORD, actor="test")
    return serve(Settings(login=True), db).replace("127.0.0.1", "localhost")


@pytest.fixture
def page(new_page: Callable[..., Page]) -> Page:
    """A small phone in the dark."""
    return new_page(viewport={"width": 360, "height": 700}, color_scheme="dark")


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
