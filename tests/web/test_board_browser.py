"""The dashboard and the versions in a real Chromium, over a real catalogue."""

from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from deertrack.settings import Settings
from deertrack.storage.db import Database

PAGES = ("/dashboard", "/dashboard?part=recognition&by=day", "/versions")
PHONE, LAPTOP = {"width": 360, "height": 740}, {"width": 1280, "height": 800}


@pytest.fixture
def site(nyala: Database, tmp_path: Path, serve: Callable[..., str]) -> str:
    """The address of a server of its own."""
    return serve(Settings(home=tmp_path / "home"), nyala)


@pytest.mark.parametrize(("scheme", "viewport"), [("light", LAPTOP), ("dark", PHONE)])
def test_everybody_can_read_the_pages(
    open_page: Callable[..., Page], scheme: str, viewport: dict[str, int]
) -> None:
    looked_at = open_page(PAGES[0], viewport=viewport, color_scheme=scheme)  # under the policy that is served
    examined = open_page(PAGES[0], viewport=viewport, color_scheme=scheme, bypass_csp=True)  # axe is a script
    for path in PAGES:
        for page in (looked_at, examined):
            page.goto(path)
            page.wait_for_load_state("networkidle")
        assert looked_at.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        found = Axe().run(examined).response["violations"]
        serious = [
            (v["id"], v["nodes"][0]["target"]) for v in found if v["impact"] in {"serious", "critical"}
        ]
        assert not serious, path


def test_the_dashboard_is_filtered_from_the_keyboard(open_page: Callable[..., Page]) -> None:
    page = open_page("/dashboard")
    page.get_by_label("Counted by").select_option("week")
    page.get_by_label("Photos from").fill("2025-10-01")
    page.keyboard.press("Enter")
    page.wait_for_url("**/dashboard?**since=2025-10-01**by=week**")
    expect(page.get_by_label("Counted by")).to_have_value("week")
    page.locator("#population summary").focus()
    page.keyboard.press("Enter")
    first = page.locator("#population tbody td").first
    expect(first).to_be_visible()
    assert first.inner_text() >= "2025-09-29"  # the Monday of that week


def test_a_version_is_typed_to_be_taken_and_taken_back(open_page: Callable[..., Page]) -> None:
    page = open_page("/versions")
    page.get_by_role("button", name="Use v1_lite …").click()
    dialog = page.locator("dialog[open]")
    expect(dialog).to_contain_text("It was never validated against v3_lite.")
    yes = dialog.get_by_role("button", name="Use v1_lite", exact=True)
    dialog.get_by_label("Type v1_lite to confirm").fill("v1_lite")
    expect(yes).to_be_disabled()  # for want of a reason
    dialog.get_by_label("Reason").fill("to see it")
    expect(yes).to_be_enabled()
    dialog.get_by_label("Type v1_lite to confirm").fill("v1_lit")
    expect(yes).to_be_disabled()
    dialog.get_by_label("Type v1_lite to confirm").fill("v1_lite")
    yes.click()
    expect(page.locator(".notice").first).to_have_text("Decides now: v1_lite")
    page.get_by_role("button", name="Roll back to v3_lite").click()
    dialog.get_by_label("Type v3_lite to confirm").fill("v3_lite")
    dialog.get_by_role("button", name="Roll back", exact=True).click()
    expect(page.locator(".notice").first).to_have_text("Decides now: v3_lite")


def test_who_looked_too_early_changes_nothing(open_page: Callable[..., Page]) -> None:
    late, early = open_page("/versions"), open_page("/versions")
    for page in (early, late):
        page.get_by_role("button", name="Use v1_lite …").click()
        dialog = page.locator("dialog[open]")
        dialog.get_by_label("Reason").fill("to see it")
        dialog.get_by_label("Type v1_lite to confirm").fill("v1_lite")
        dialog.get_by_role("button", name="Use v1_lite", exact=True).click()
        if page is early:
            expect(page.locator(".notice").first).to_have_text("Decides now: v1_lite")
    expect(late.locator(".toast.bad")).to_contain_text("somebody changed meanwhile which version decides")
