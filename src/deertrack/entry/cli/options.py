"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from deertrack.settings import Settings, read_settings

Home = Annotated[
    Path | None,
    typer.Option(
        "--home",
        metavar="DIR",
        help="Where the data lives. Default: DEERTRACK_HOME, else a folder in your user data directory.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, for scripts.")]


def settings_for(home: Path | None) -> Settings:
    """Settings with the command's --home."""
    return read_settings(home)
