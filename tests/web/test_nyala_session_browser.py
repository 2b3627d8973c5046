"""A review session on real photos in a real browser: assign, new, unidentifiable, undo, merge, split, undo it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from deertrack.services.checks import examine
from deertrack.settings import Settings
from deertrack.storage.db import Database

Ask = Callable[..., Any]
OWNER = "SELECT r.number FROM sightings g JOIN deer r ON r.id = g.deer_id WHERE g.id = %s"
STATE = "SELECT state FROM sightings WHERE id = %s"


@pytest.fixture
def site(nyala: Database, tmp_path: Path, serve: Callable[..., str]) -> str:
    """One station of nyala."""
    return serve(Settings(home=tmp_path / "home"), nyala)


@pytest.fixture
def one(nyala: Database) -> Ask:
    """The first column of the only row of a query."""

    def ask(query: str, *parameters: object) -> Any:
        with nyala.transaction() as connection:
            row = connection.execute(query, parameters).fetchone()
        return None if row is None else next(iter(row.values()))

    return ask


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 15
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.05)


def on_desk(page: Page) -> int:
    """Which sighting is asked about, once keys belong to it."""
    expect(page.locator("#unidentifiable")).to_be_enabled()
    page.wait_for_timeout(250)
    return int(page.locator("#title").inner_text().removeprefix("Sighting "))


def press(page: Page, key: str) -> int:
    """Press a key and wait for the next sighting."""
    before = page.locator("#title").inner_text()
    page.keyboard.press(key)
    expect(page.locator("#title")).not_to_have_text(before)
    return on_desk(page)


def press_button(page: Page, name: str) -> None:
    """Press a button of the dialog, once it shows what will come of it."""
    button = page.locator("dialog[open]").get_by_role("button", name=name)
    expect(button).to_be_enabled()
    button.click()


def test_a_review_session(open_page: Callable[..., Page], nyala: Database, one: Ask) -> None:
    page = open_page("/")
    page.get_by_role("link", name="Review").first.click()
    first = on_desk(page)
    second = press(page, "1")
    third = press(page, "n")
    fourth = press(page, "u")
    until(lambda: one(STATE, third) == "unidentifiable")
    number, made = one(OWNER, first), one(OWNER, second)
    assert number != made
    assert press(page, "z") == third
    until(lambda: one(STATE, third) == "review")
    press(page, "u")
    until(lambda: one(STATE, third) == "unidentifiable")
    press(page, "2")
    until(lambda: one(STATE, fourth) == "assigned")

    # The new one turns out to be the first one: merge.
    page.goto(f"/individuals/{made}")
    page.get_by_role("button", name="Is another").click()
    dialog = page.locator("dialog[open]")
    dialog.get_by_role("combobox").or_(dialog.get_by_role("textbox")).first.fill(str(number))
    press_button(page, "Compare")
    press_button(page, "One animal")
    until(lambda: one("SELECT status FROM deer WHERE number = %s", made) == "merged")
    assert one(OWNER, second) == one(OWNER, first) == number
    page.wait_for_url(f"**/individuals/{number}")

    # One of its sightings is somebody else: split.
    page.get_by_label(f"Select sighting {first}").check()
    page.get_by_role("button", name="Are a new individual").click()
    page.locator("dialog[open]").get_by_label("Name").fill("Half")
    press_button(page, "Move")
    expect(page.get_by_text("1 moved to Half")).to_be_visible()
    half = one("SELECT number FROM deer WHERE name = 'Half'")
    assert one(OWNER, first) == half

    # And the merge was wrong, although the split came after it.
    page.goto("/history")
    merge = page.locator("li", has_text="merged")
    merge.get_by_role("button", name="Undo").click()
    press_button(page, "Undo")
    expect(page.locator("li.undone", has_text="merged")).to_have_count(1)
    assert one("SELECT status FROM deer WHERE number = %s", made) == "active"
    assert (one(OWNER, second), one(OWNER, first)) == (made, half)
    assert [result.name for result in examine(nyala).results if not result.passed] == []
