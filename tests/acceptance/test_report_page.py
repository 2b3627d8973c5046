"""The report of a whole catalogue: complete, self-contained, and shown by a real browser without a complaint."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture
def page(cli: Callable[..., Any], herd_url: str, tmp_path: Path) -> Path:
    file = tmp_path / "report.html"
    assert cli("deer", "rename", "1", "<img src=x onerror=alert(1)>", url=herd_url).code == 0
    assert cli("report", file, url=herd_url).code == 0
    return file


def test_every_individual_is_on_it_and_nothing_is_outside_it(
    page: Path, cli: Callable[..., Any], herd_url: str
) -> None:
    html = page.read_text(encoding="utf-8")
    known = json.loads(cli("deer", "list", "--json", url=herd_url).out)
    assert html.count('data-name="') == len(known)
    for deer in known[1:]:
        assert f"<h3>{deer['name']}</h3>" in html
    assert "<img src=x" not in html
    assert set(re.findall(r'\bsrc="(.{22})', html)) == {"data:image/jpeg;base64"}
    assert not re.search(r"https?://|<link|@import|url\(", html)
    assert "Drawn sample." in html  # the herd is drawn, and says so


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (Debian: apt install chromium)")
def test_a_browser_opens_it(page: Path, tmp_path: Path) -> None:
    shot = tmp_path / "report.png"
    done = subprocess.run(
        [
            *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}"),
            *("--window-size=1200,2000", f"--screenshot={shot}", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    with Image.open(shot) as image:
        colours = image.convert("RGB").getcolors(maxcolors=1 << 24)
    assert colours is not None
    assert len(colours) > 1000  # photos, not only text
