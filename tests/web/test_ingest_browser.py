"""Adding a card, following its job, stations and boxes in a real Chromium."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from deertrack.settings import Settings
from deertrack.storage.db import Database

expect.set_options(timeout=15_000)  # a busy machine is no failure
PHONE, LAPTOP = {"width": 360, "height": 740}, {"width": 1280, "height": 800}


@pytest.fixture
def page(new_page: Callable[..., Page]) -> Page:
    """A browser of somebody who wants no motion."""
    return new_page(reduced_motion="reduce")


@pytest.fixture
def site(db: Database, tmp_path: Path, serve: Callable[..., str]) -> str:
    """An empty catalogue."""
    return serve(Settings(home=tmp_path / "home"), db)


@pytest.fixture
def nyala_site(nyala: Database, tmp_path: Path, serve: Callable[..., str]) -> str:
    """One station of nyala."""
    return serve(Settings(home=tmp_path / "home"), nyala)


@pytest.fixture
def work(db: Database, tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Starts a worker that does what waits."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        command = [
            sys.executable,
            "-m",
            "deertrack",
            "worker",
            "--until-empty",
            "--home",
            str(tmp_path / "home"),
        ]
        started.append(subprocess.Popen(command, env={**os.environ, "DATABASE_URL": db.url}))

    yield start
    for process in started:
        process.wait(timeout=60)


@pytest.fixture
def card(tmp_path: Path, test_data: Path) -> Path:
    """A card with two stations and a detector's results."""
    card = tmp_path / "North card"
    for station in ("Camp", "Creek"):
        folder = card / station / "DCIM" / "100MEDIA"
        folder.mkdir(parents=True)
        for photo in sorted((test_data / "nyala" / "cards" / station).rglob("*.JPG"))[:3]:
            shutil.copy(photo, folder)
    (card / "Camp" / "DCIM" / "100MEDIA" / "<b>odd.JPG").write_bytes(b"no photo")
    (card / "Creek" / "clip.avi").write_bytes(b"no photo either")
    names = [path.relative_to(card).as_posix() for path in card.rglob("IMG*.JPG")]
    box = {"category": "1", "conf": 0.9, "bbox": [0.1, 0.1, 0.8, 0.8]}
    (card / "md.json").write_text(json.dumps({"images": [{"file": n, "detections": [box]} for n in names]}))
    return card


def test_a_card_is_chosen_sent_and_followed_to_its_end(
    page: Page, site: str, card: Path, work: Callable[[], None]
) -> None:
    page.goto(f"{site}/ingest")
    page.set_input_files("#folder", card)
    expect(page.locator("#counts")).to_contain_text("7photos")
    expect(page.locator("#left-out")).to_contain_text("1 other file left out")
    expect(page.locator("#stations")).to_have_text("Camp: 4Creek: 3")
    expect(page.locator("#name")).to_have_value("North card")
    expect(page.locator("#detections")).to_have_value("North card/md.json")
    page.fill("#zone", "Africa/Nairobi")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/*")
    expect(page.locator("#state")).to_have_text("waits")
    work()
    expect(page.locator("#state")).to_have_text("done", timeout=60_000)
    expect(page.locator("#numbers")).to_contain_text("6photos read now")
    expect(page.locator("#stages")).to_contain_text("Embedding")
    expect(page.locator("#rows")).to_contain_text("<b>odd.JPG")  # as text
    assert Axe().run(page).violations_count == 0
    page.goto(f"{site}/stations")
    expect(page.locator("#stations tbody tr")).to_have_count(2)
    expect(page.locator("#stations")).to_contain_text("Africa/Nairobi")


def test_an_upload_that_breaks_off_goes_on_with_what_is_missing(
    page: Page, site: str, card: Path, tmp_path: Path
) -> None:
    page.goto(f"{site}/ingest")
    sent: list[str] = []

    def some(route: object) -> None:  # the line breaks after three files
        sent.append(route.request.url)  # type: ignore[attr-defined]
        (route.continue_ if len(sent) <= 3 else route.abort)()  # type: ignore[attr-defined]

    page.route("**/api/v1/uploads/*/files/*", some)
    page.set_input_files("#folder", card)
    page.click("#send")
    expect(page.locator("#progress")).to_contain_text("trying again")
    page.on("dialog", lambda dialog: dialog.accept())  # the page would rather stay
    page.reload()
    page.unroute("**/api/v1/uploads/*/files/*")
    expect(page.get_by_role("heading", name="Not finished")).to_be_visible()
    again: list[str] = []
    page.on("request", lambda request: again.append(request.url) if "/files/" in request.url else None)
    page.set_input_files("#folder", card)
    page.click("#send")
    page.wait_for_url("**/jobs/*")
    assert len(again) == 8 - 3
    (upload,) = (tmp_path / "home" / "uploads").iterdir()
    arrived = {p.relative_to(upload / "North card" / "North card") for p in upload.rglob("*") if p.is_file()}
    assert arrived == {p.relative_to(card) for p in card.rglob("*") if p.is_file() and p.suffix != ".avi"}


def test_a_folder_that_the_server_sees_is_looked_at_first(page: Page, site: str, card: Path) -> None:
    page.goto(f"{site}/ingest")
    page.get_by_text("A folder that the server can see").click()
    page.fill("#run-photos", str(card))
    page.click("#look")
    expect(page.locator("#plan")).to_contain_text("7 photos")
    expect(page.locator("#plan")).to_contain_text("Creek: 3")
    page.check("#run-whole")
    page.get_by_role("button", name="Read these photos").click()
    page.wait_for_url("**/jobs/*")
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop").click()
    expect(page.locator("#state")).to_have_text("stopped")
    page.get_by_role("button", name="Do it again").click()
    page.wait_for_url("**/jobs/2")


def test_a_clock_is_moved_after_a_look_at_what_comes_of_it(page: Page, nyala_site: str) -> None:
    page.goto(f"{nyala_site}/stations")
    before = page.locator("#stations tbody tr").inner_text()
    page.get_by_role("button", name="Clock of Camp").click()
    confirm = page.get_by_role("button", name="Move all times")
    expect(confirm).to_be_disabled()
    page.get_by_label("Move the clock by").fill("+1d")
    expect(page.get_by_role("dialog")).to_contain_text("then:")
    assert page.locator("#stations tbody tr").inner_text() == before
    confirm.click()
    expect(page.locator("#stations")).to_contain_text("+1 d 0:00:00")
    page.get_by_role("button", name="Zone and place of Camp").click()
    page.get_by_label("Latitude, degrees").fill("-24.5")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".toast.bad")).to_contain_text("expected latitude and longitude")
    page.get_by_role("button", name="Zone and place of Camp").click()
    page.get_by_label("Latitude, degrees").fill("-24.5")
    page.get_by_label("Longitude, degrees").fill("31.5")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#stations")).to_contain_text("-24.50000, 31.50000")


def test_boxes_are_moved_by_key_drawn_by_mouse_rejected_and_taken_back(page: Page, nyala_site: str) -> None:
    page.goto(f"{nyala_site}/photos/1")
    boxes = page.locator(".plate .box:not(.rejected)")
    expect(boxes).to_have_count(1)
    boxes.first.focus()
    before = boxes.first.bounding_box()
    for key in ("ArrowRight", "ArrowDown", "Shift+ArrowLeft", "Shift+ArrowUp"):
        page.keyboard.press(key)
    assert boxes.first.bounding_box() != before
    expect(page.locator("#hint")).to_contain_text("not saved")
    page.keyboard.press("Escape")
    assert boxes.first.bounding_box() == before
    boxes.first.focus()
    page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("Enter")
    expect(page.locator(".toast")).to_contain_text("The box is mended.")
    expect(page.locator(".plate .box.rejected")).to_have_count(1)
    expect(page.locator("#boxes")).to_contain_text("drawn by user")
    page.locator(".toast").get_by_role("button", name="Undo").click()
    expect(page.locator(".toast").last).to_contain_text("Undone")
    expect(page.locator("#boxes")).not_to_contain_text("drawn by user, sighting")

    page.get_by_role("button", name="Add a box").click()
    area = page.locator("#plate").bounding_box()
    assert area is not None
    page.mouse.move(area["x"] + 40, area["y"] + 50)
    page.mouse.down()
    page.mouse.move(area["x"] + 240, area["y"] + 200, steps=5)
    page.mouse.up()
    expect(page.locator("#save")).to_be_visible()
    drawn = page.locator(".box.changed").bounding_box()
    assert drawn is not None
    assert (round(drawn["width"]), round(drawn["height"])) == (200, 150)
    page.click("#save")
    expect(boxes).to_have_count(2)

    card = page.locator("#boxes .card").filter(has_text="not looked at yet")
    card.get_by_label("Flank seen").select_option("left")
    expect(page.locator(".toast").last).to_contain_text("The flank is left.")
    card.get_by_role("button", name="No animal").click()
    expect(boxes).to_have_count(1)
    page.keyboard.press("a")
    page.keyboard.press("a")
    expect(page.locator(".box.changed")).to_be_focused()
    page.keyboard.press("Enter")
    expect(boxes).to_have_count(2)
    assert [v["id"] for v in Axe().run(page).response["violations"]] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_a_phone_and_every_reader(page: Page, nyala_site: str, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    page.set_viewport_size(PHONE)
    for path in ("/ingest", "/stations", "/photos/1"):
        page.goto(f"{nyala_site}{path}")
        page.wait_for_load_state("networkidle")
        assert page.evaluate("() => document.documentElement.scrollWidth") <= PHONE["width"], path
        assert [v["id"] for v in Axe().run(page).response["violations"]] == [], path
