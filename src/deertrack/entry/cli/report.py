"""``deertrack report``: one page to look at."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from deertrack import wiring
from deertrack.domain.errors import InputError
from deertrack.entry.cli.console import out, progress_bars
from deertrack.entry.cli.options import Home, settings_for
from deertrack.services.report import make_report


def report_command(
    file: Annotated[Path, typer.Argument(help="The HTML file to write.")] = Path("deertrack-report.html"),
    photos_each: Annotated[int, typer.Option(min=1, help="Photos at most for each individual.")] = 24,
    waiting: Annotated[
        int, typer.Option(min=0, help="Sightings at most of those that wait for review.")
    ] = 200,
    home: Home = None,
) -> None:
    """Write a page with every individual, its photos and time line, and what waits for review.

    The page is one file and needs no network: it can be sent by mail or opened years later.
    """
    with wiring.open_database(settings_for(home)) as db, progress_bars() as progress:
        html = make_report(db, photos_each=photos_each, waiting=waiting, progress=progress)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(html, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error.strerror}") from None
    out.print(f"Wrote {escape(str(file))} ({len(html) / 1e6:.1f} MB). Open it in a browser.", soft_wrap=True)
