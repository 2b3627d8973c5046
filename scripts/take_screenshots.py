"""The pictures of the pages in README.md, from a drawn herd: no real animal, place or person is on them.

    .venv/bin/python scripts/take_screenshots.py [--chromium /usr/bin/chromium] [--out docs/images]

Draws a herd, looks for its individuals, takes pictures of the review, names half of the animals as a person would,
and takes the rest.
"""

import argparse
import csv
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.request import urlopen

from playwright.sync_api import Page, sync_playwright

QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="deertrack-pictures-") as folder:
        herd, home = Path(folder, "herd"), Path(folder, "home")
        deertrack("sample", herd, "--individuals", 16)
        files = ("--detections", herd / "detections.json", "--calibration", herd / "calibration.json")
        deertrack("run", herd / "cards", *files, "--home", home)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        serve = [sys.executable, "-m", "deertrack", "serve", "--port", str(port), "--home", str(home)]
        server = subprocess.Popen([*serve, "--no-worker"])
        try:
            wait_for(f"http://127.0.0.1:{port}/health")
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=args.chromium, args=QUIET)
                page = browser.new_page(viewport={"width": 1280, "height": 800})
                page.goto(f"http://127.0.0.1:{port}/review")
                take(page, args.out / "review.png")
                half = Path(folder, "half.csv")
                name_half(herd / "truth.csv", half)
                deertrack("review", "import", half, "--home", home)
                for path, name in (
                    ("/individuals", "individuals"),
                    ("/individuals/1", "individual"),
                    ("/dashboard", "dashboard"),
                ):
                    page.goto(f"http://127.0.0.1:{port}{path}")
                    take(page, args.out / f"{name}.png")
                phone = browser.new_page(viewport={"width": 360, "height": 740}, color_scheme="dark")
                phone.goto(f"http://127.0.0.1:{port}/review")
                take(phone, args.out / "phone.png")
                browser.close()
        finally:
            server.terminate()
            server.wait(30)


def deertrack(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "deertrack", *map(str, words)], check=True, env=os.environ)


def wait_for(address: str) -> None:
    for _ in range(100):
        try:
            urlopen(address).close()
        except OSError:
            time.sleep(0.3)
        else:
            return
    raise SystemExit(f"nobody answers at {address}")


def name_half(truth: Path, half: Path) -> None:
    """The rows of every other animal."""
    with truth.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    known = sorted({row["identity"] for row in rows})[::2]
    with half.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(row for row in rows if row["identity"] in known)


def take(page: Page, file: Path) -> None:
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(1500)
    page.screenshot(path=file)


if __name__ == "__main__":
    main()
