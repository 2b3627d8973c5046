"""Speaking to a person: tables and progress on a terminal, JSON for scripts."""

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

# What a script may read goes to stdout; everything for eyes while it runs goes to stderr.
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


class TerminalProgress:
    """A bar for each stage, with rate and time left."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._task: TaskID | None = None

    def start(self, stage: str, total: int | None) -> None:
        self._task = self._bars.add_task(stage, total=total, rate="")

    def advance(self, steps: int = 1) -> None:
        assert self._task is not None, "start a stage first"
        task = self._bars.tasks[self._task]
        self._bars.update(self._task, advance=steps)
        speed = task.finished_speed or task.speed
        self._bars.update(self._task, rate=f"{speed:,.0f}/s" if speed else "")


class LineProgress:
    """A line on stderr every so many steps, for logs."""

    def __init__(self, every: int) -> None:
        self._every, self._stage, self._total, self._done = every, "", 0, 0

    def start(self, stage: str, total: int | None) -> None:
        self._stage, self._total, self._done = stage, total or 0, 0

    def advance(self, steps: int = 1) -> None:
        before, self._done = self._done, self._done + steps
        if self._done // self._every > before // self._every or self._done == self._total:
            err.print(f"{self._stage}: {self._done:,} of {self._total:,}")


@contextmanager
def progress_bars(
    *, quiet: bool = False, lines_every: int | None = None
) -> Iterator[TerminalProgress | LineProgress]:
    """Progress bars on stderr. Where that is no terminal: nothing, or a line every so many steps."""
    if lines_every and not quiet and not err.is_terminal:
        yield LineProgress(lines_every)
        return
    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, disable=quiet or not err.is_terminal) as bars:
        yield TerminalProgress(bars)


def print_json(value: object) -> None:
    """One JSON document on stdout."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False, default=_plain)
    sys.stdout.write("\n")


def _plain(value: object) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    return str(value)


def simple_table(*columns: str, title: str | None = None) -> Table:
    """A table in the house style; columns whose name ends in "#" hold numbers."""
    table = Table(
        title=title, title_justify="left", title_style="bold", header_style="bold", box=None, pad_edge=False
    )
    for name in columns:
        table.add_column(name.rstrip("#"), justify="right" if name.endswith("#") else "left", overflow="fold")
    return table


def counted(number: int, noun: str) -> str:
    """A number with its noun: "1 station", "2,000 stations"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def next_command(*words: object, home: Path | None = None) -> None:
    """Print the next command to type, as this one was called and for the same home."""
    program = sys.argv[0] if Path(sys.argv[0]).name == "deertrack" else "deertrack"
    options = ["--home", home] if home else []
    out.print(f"Next: [bold]{escape(shlex.join(map(str, [program, *words, *options])))}[/]", soft_wrap=True)


def signed_time(shift: timedelta) -> str:
    """A shift of a clock: "+1:00:00", "-0:07:30"."""
    return f"{'-' if shift < timedelta(0) else '+'}{abs(shift)}"


def local_time(instant: datetime | None, zone: str = "UTC") -> str:
    """An instant as the station's clock shows it, or a dash."""
    return instant.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S") if instant else "–"
