"""The pages in a real Chromium, on a drawn herd that was embedded and decided about for real."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from psycopg import sql
from psycopg.conninfo import make_conninfo

from deertrack.entry.web.access import Role
from deertrack.entry.web.sessions import COOKIE
from deertrack.services import accounts
from deertrack.settings import Settings
from deertrack.storage.db import Database
from deertrack.vision.sample_herd import HerdPlan, draw_herd

PAGES = ("/", "/review", "/individuals", "/individuals/1", "/history")
PHONE, LAPTOP = {"width": 360, "height": 740}, {"width": 1280, "height": 800}

PATIENCE = 30_000  # ms; nothing waits that long unless the machine has much else to do

Ask = Callable[..., Any]


@pytest.fixture(scope="session")
def drawn_catalogue(
    server_url: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """A database with a small drawn herd, that others are copied from, and where its photos lie."""
    folder = tmp_path_factory.mktemp("herd") / "drawn"
    plan = HerdPlan(seed=3, individuals=4, stations=2, days=6, visits=14)
    drawn = draw_herd(folder, plan, lambda *_: None)
    name = "template_drawn_herd"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )
    environment = {**os.environ, "DATABASE_URL": make_conninfo(server_url, dbname=name)}

    def deertrack(*arguments: str | Path) -> None:
        order = [sys.executable, "-m", "deertrack", *map(str, arguments)]
        subprocess.run(order, env=environment, check=True, capture_output=True)

    # So that some individuals are known and all else waits.
    deertrack("reid", "policy", "--new-at", "0.97")
    deertrack("run", drawn.cards, "--detections", drawn.detections)
    return name, folder


@pytest.fixture
def url(server_url: str, drawn_catalogue: tuple[str, Path]) -> Iterator[str]:
    """A copy of that catalogue for one test."""
    name = f"browser_{time.monotonic_ns()}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        make = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        connection.execute(make.format(sql.Identifier(name), sql.Identifier(drawn_catalogue[0])))
        yield make_conninfo(server_url, dbname=name)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def login() -> bool:
    """Whether the server asks who one is; a test may say so."""
    return False


@pytest.fixture
def site(db: Database, tmp_path: Path, login: bool, serve: Callable[..., str]) -> str:
    """The address of this test's server."""
    return serve(Settings(home=tmp_path / "home", login=login), db)


@pytest.fixture
def session(db: Database) -> Callable[[str], dict[str, Any]]:
    """Begin a session of an account, which is made if need be; a browser's options."""

    def begin(name: str, role: Role = Role.REVIEWER) -> dict[str, Any]:
        known = {user.name: user for user in accounts.list_users(db)}
        user = known.get(name) or accounts.add_user(db, name, role, "correct horse battery", actor="test")
        cookie = {
            "name": COOKIE,
            "value": accounts.begin_session(db, user.id),
            "domain": "127.0.0.1",
            "path": "/",
        }
        return {"storage_state": {"cookies": [cookie | {"expires": -1, "httpOnly": True, "secure": False,
                                                        "sameSite": "Lax"}], "origins": []}}  # fmt: skip

    return begin


@pytest.fixture
def one(db: Database) -> Ask:
    """The first column of the only row of a query."""

    def ask(query: str, *parameters: object) -> Any:
        with db.transaction() as connection:
            row = connection.execute(query, parameters).fetchone()
        return None if row is None else next(iter(row.values()))

    return ask


def until(true: Callable[[], object], seconds: float = PATIENCE / 1000) -> None:
    """Wait for what happens in the background."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.05)


def on_desk(page: Page) -> int:
    """Which sighting is asked about, once it is there and keys belong to it."""
    expect(page.locator("#unidentifiable")).to_be_enabled()
    page.wait_for_timeout(250)
    return int(page.locator("#title").inner_text().removeprefix("Sighting "))


def press(page: Page, key: str) -> int:
    """Press a key and wait for the next sighting."""
    before = page.locator("#title").inner_text()
    page.keyboard.press(key)
    expect(page.locator("#title")).not_to_have_text(before)
    return on_desk(page)


def candidate(page: Page, place: int) -> str:
    return page.locator(".cand b span:nth-child(2)").nth(place).inner_text()


STATE = "SELECT state FROM sightings WHERE id = %s"
NAME = "SELECT d.name FROM sightings s JOIN deer d ON d.id = s.deer_id WHERE s.id = %s"


def test_a_review_by_keys_alone(open_page: Callable[..., Page], one: Ask) -> None:
    page = open_page("/review")
    first = on_desk(page)
    name = candidate(page, 0)
    second = press(page, "1")
    until(lambda: one(STATE, first) == "assigned")
    assert one(NAME, first) == name
    known = one("SELECT count(*) FROM deer")
    third = press(page, "n")
    until(lambda: one(STATE, second) == "assigned")
    assert one("SELECT count(*) FROM deer") == known + 1
    fourth = press(page, "u")
    until(lambda: one(STATE, third) == "unidentifiable")
    assert len({first, second, third, fourth}) == 4
    assert press(page, "z") == third
    until(lambda: one(STATE, third) == "review")
    assert press(page, "Control+z") == second
    until(lambda: one(STATE, second) == "review")
    assert one(STATE, first) == "assigned"


def test_not_this_one_and_back(open_page: Callable[..., Page], one: Ask) -> None:
    page = open_page("/review")
    sighting = on_desk(page)
    unwanted, kept = candidate(page, 0), candidate(page, 1)
    page.keyboard.press("x")
    expect(page.locator("#arming")).to_be_visible()
    page.keyboard.press("1")
    until(lambda: one("SELECT count(*) FROM rejections WHERE sighting_id = %s", sighting) == 1)
    assert candidate(page, 0) == kept
    page.wait_for_timeout(250)
    page.keyboard.press("1")  # with the revision that the first answer made
    until(lambda: one(NAME, sighting) == kept)
    assert unwanted != kept


def test_two_candidates_that_are_one_animal_are_united_on_the_spot(
    open_page: Callable[..., Page], one: Ask
) -> None:
    page = open_page("/review")
    sighting = on_desk(page)
    names = {candidate(page, 0), candidate(page, 1)}
    page.keyboard.press("t")
    expect(page.locator("#uniting")).to_contain_text(candidate(page, 0))
    page.keyboard.press("2")
    button = page.locator("dialog[open]").get_by_role("button", name="One animal")
    expect(button).to_be_enabled()
    button.click()
    until(lambda: one("SELECT count(*) FROM deer WHERE status = 'merged'") == 1)
    gone = one("SELECT name FROM deer WHERE status = 'merged'")
    assert gone in names
    expect(page.locator(".cand", has_text=gone)).to_have_count(0)
    assert on_desk(page) == sighting  # it is still asked about
    page.locator(".toast").get_by_role("button", name="Undo").click()
    until(lambda: one("SELECT count(*) FROM deer WHERE status = 'merged'") == 0)
    expect(page.locator(".cand", has_text=gone)).to_have_count(1)
    assert one(STATE, sighting) == "review"


def test_skipped_ones_come_back_at_the_end(open_page: Callable[..., Page], one: Ask) -> None:
    keep = one("SELECT min(id) FROM sightings WHERE state = 'review'")
    page = open_page(f"/review/{keep}")
    assert on_desk(page) == keep
    assert press(page, "s") != keep
    page.keyboard.press("k")
    expect(page.locator("#title")).to_have_text(f"Sighting {keep}")
    assert one(STATE, keep) == "review"


def test_keys_do_nothing_while_somebody_types(open_page: Callable[..., Page], one: Ask) -> None:
    page = open_page("/review")
    sighting = on_desk(page)
    waiting = one("SELECT count(*) FROM sightings WHERE state = 'review'")
    page.keyboard.press("/")
    page.keyboard.type("1unsz")
    page.wait_for_timeout(400)
    assert page.input_value("#find") == "1unsz"
    assert page.locator("#title").inner_text() == f"Sighting {sighting}"
    assert one("SELECT count(*) FROM sightings WHERE state = 'review'") == waiting


def test_somebody_else_by_name_is_compared_before_it_is_said(
    open_page: Callable[..., Page], one: Ask
) -> None:
    page = open_page("/review")
    sighting = on_desk(page)
    shown = page.locator(".cand b span:nth-child(2)").all_inner_texts()
    other = one("SELECT name FROM deer WHERE status = 'active' AND name <> ALL(%s) LIMIT 1", shown)
    page.keyboard.press("/")
    page.keyboard.type(other)
    page.locator("#found [role=option]", has_text=other).wait_for()
    page.keyboard.press("Enter")
    expect(page.locator("#same")).to_contain_text(other)
    assert one(STATE, sighting) == "review"
    press(page, "Enter")
    until(lambda: one(NAME, sighting) == other)


def test_what_could_not_be_sent_survives_a_reload(open_page: Callable[..., Page], one: Ask) -> None:
    page = open_page("/review")
    page.route("**/answer", lambda route: route.abort())
    sighting = on_desk(page)
    name = candidate(page, 0)
    second = press(page, "1")
    press(page, "u")
    expect(page.locator("#unsaved")).to_contain_text("2 unsaved")
    assert one(STATE, sighting) == "review"
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    page.unroute("**/answer")
    page.reload()
    assert asked == ["beforeunload"]
    until(lambda: one(NAME, sighting) == name and one(STATE, second) == "unidentifiable")
    expect(page.locator("#unsaved")).to_be_hidden()
    assert on_desk(page) not in {sighting, second}


def test_an_answer_whose_receipt_was_lost_counts_once(open_page: Callable[..., Page], one: Ask) -> None:
    page = open_page("/review")
    lost: list[int] = []

    def lose(route: Any) -> None:
        answer = route.fetch()  # the server has it …
        lost.append(answer.status)
        route.abort() if len(lost) == 1 else route.fulfill(response=answer)  # … and the line breaks

    page.route("**/answer", lose)
    sighting = on_desk(page)
    press(page, "n")
    expect(page.locator("#unsaved")).to_contain_text("no connection")
    expect(page.locator("#unsaved")).to_be_hidden()
    assert lost == [200, 200]
    assert one("SELECT count(*) FROM edits WHERE items @> %s", f'[{{"sighting": {sighting}}}]') == 1
    expect(page.locator("dialog[open]")).to_have_count(0)


@pytest.mark.parametrize("login", [True])
def test_the_second_of_two_reviewers_sees_what_the_first_said(
    open_page: Callable[..., Page], session: Callable[..., dict[str, Any]], one: Ask
) -> None:
    mine = open_page("/review", **session("ana"))
    sighting = on_desk(mine)
    theirs = open_page(f"/review/{sighting}", **session("ben"))
    assert on_desk(theirs) == sighting
    name = candidate(mine, 0)
    press(mine, "1")
    until(lambda: one(NAME, sighting) == name)
    press(theirs, "2")
    dialog = theirs.locator("dialog[open]")
    expect(dialog).to_contain_text("Somebody else changed this meanwhile")
    expect(dialog).to_contain_text(f"ana: Sighting {sighting} is {name}")
    dialog.get_by_role("button", name="Look again").click()
    expect(theirs.locator("#title")).to_have_text(f"Sighting {sighting}")
    expect(theirs.locator("#standing")).to_contain_text(name)
    assert one(NAME, sighting) == name


@pytest.mark.parametrize("login", [True])
def test_answers_outlive_a_session_that_ended(
    open_page: Callable[..., Page], session: Callable[..., dict[str, Any]], db: Database, one: Ask
) -> None:
    began = session("ana")
    page = open_page("/review", **began)
    sighting = on_desk(page)
    accounts.log_out(db, began["storage_state"]["cookies"][0]["value"])
    press(page, "u")
    expect(page.locator("#unsaved")).to_contain_text("log in again")
    assert one(STATE, sighting) == "review"
    page.context.add_cookies(session("ana")["storage_state"]["cookies"])  # as another tab would
    page.evaluate("dispatchEvent(new Event('focus'))")
    expect(page.locator("#unsaved")).to_be_hidden()
    assert one(STATE, sighting) == "unidentifiable"
    assert one("SELECT actor FROM edits ORDER BY id DESC LIMIT 1") == "ana"


@pytest.mark.parametrize("login", [True])
def test_a_viewer_looks_and_cannot_answer(
    open_page: Callable[..., Page], session: Callable[..., dict[str, Any]], one: Ask
) -> None:
    page = open_page("/review", **session("vera", Role.VIEWER))
    expect(page.locator(".cand").first).to_be_visible()
    for button in ("#same", "#new", "#unidentifiable", "#not"):
        expect(page.locator(button)).to_be_disabled()
    page.wait_for_timeout(250)
    page.keyboard.press("1")
    page.keyboard.press("n")
    page.wait_for_timeout(400)
    assert one("SELECT count(*) FROM edits") == 0
    page.goto("/individuals/1")
    expect(page.locator("#describe")).to_have_count(0)


def test_two_individuals_are_merged_and_parted_again(open_page: Callable[..., Page], one: Ask) -> None:
    page = open_page("/individuals?sort=number")
    names = page.locator(".deer h2").all_inner_texts()[:2]
    for name in names:
        page.get_by_label(f"Select {name}").check()
    page.locator("#compare").click()
    dialog = page.locator("dialog[open]")
    expect(dialog).to_contain_text("will be")
    assert one("SELECT count(*) FROM deer WHERE status = 'merged'") == 0
    dialog.get_by_role("button", name="One animal").click()
    page.wait_for_url("**/individuals/*")
    assert one("SELECT count(*) FROM deer WHERE status = 'merged'") == 1
    page.goto("/history")
    page.get_by_role("button", name="Undo").first.click()
    page.locator("dialog[open]").get_by_role("button", name="Undo").click()
    until(lambda: one("SELECT count(*) FROM deer WHERE status = 'merged'") == 0)
    expect(page.locator(".events li").first).to_contain_text("undone")


def test_a_sighting_is_split_off_after_a_preview(open_page: Callable[..., Page], one: Ask) -> None:
    desk = open_page("/review")
    sighting = on_desk(desk)
    press(desk, "1")  # so that somebody was seen twice
    until(lambda: one(STATE, sighting) == "assigned")
    number = one("SELECT number FROM deer WHERE sighting_count > 1")
    page = open_page(f"/individuals/{number}")
    page.locator("#list input[type=checkbox]").first.check()
    page.locator("#split").click()
    dialog = page.locator("dialog[open]")
    expect(dialog).to_contain_text("a new individual")
    dialog.get_by_label("Name").fill("Split <b>off</b>")
    dialog.get_by_role("button", name="Move").click()
    expect(page.locator("h1")).to_have_text("Split <b>off</b>")
    assert one("SELECT sighting_count FROM deer WHERE name = %s", "Split <b>off</b>") == 1


def test_describing_and_a_collision(open_page: Callable[..., Page], one: Ask) -> None:
    page, other = open_page("/individuals/1"), open_page("/individuals/1")
    for who, notes in ((page, "limps"), (other, "one antler")):
        who.locator("#describe").click()
        who.get_by_label("Notes").fill(notes)
        who.locator("dialog[open]").get_by_role("button", name="Save").click()
        if who is page:
            expect(page.locator(".notes")).to_have_text("limps")
    expect(other.locator("dialog[open]")).to_contain_text("Somebody else changed this meanwhile")
    expect(other.locator("dialog[open]")).to_contain_text("limps")
    assert one("SELECT notes FROM deer WHERE number = 1") == "limps"


@pytest.mark.parametrize("path", PAGES)
def test_a_phone_never_scrolls_sideways(open_page: Callable[..., Page], path: str) -> None:
    page = open_page(path, viewport=PHONE)
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


@pytest.mark.parametrize(("scheme", "viewport"), [("light", LAPTOP), ("dark", PHONE)])
def test_axe_finds_nothing_serious(
    open_page: Callable[..., Page], scheme: str, viewport: dict[str, int]
) -> None:
    page = open_page("/", viewport=viewport, color_scheme=scheme, bypass_csp=True)
    for path in PAGES:
        page.goto(path)
        page.wait_for_load_state("networkidle")
        found = Axe().run(page).response["violations"]
        serious = [
            (v["id"], v["nodes"][0]["target"]) for v in found if v["impact"] in {"serious", "critical"}
        ]
        assert not serious, path


def test_names_that_hold_markup_stay_text(open_page: Callable[..., Page], one: Ask) -> None:
    evil = '<img src=x onerror="hacked=1"><script>hacked=1</script>'
    page = open_page("/individuals/1")
    page.locator("#describe").click()
    page.locator("dialog[open]").get_by_label("Name", exact=True).fill(evil)
    page.locator("dialog[open]").get_by_role("button", name="Save").click()
    expect(page.locator("h1")).to_have_text(evil)
    for path in (*PAGES, "/review?individual=1"):
        page.goto(path)
        page.wait_for_load_state("networkidle")
        assert page.evaluate("window.hacked") is None
        assert page.locator("img[src=x]").count() == 0
    page.goto("/review")
    on_desk(page)
    page.keyboard.press("/")
    page.keyboard.type("<img")
    page.locator("#found [role=option]", has_text="<img").wait_for()
    assert page.evaluate("window.hacked") is None
