"""``deertrack reid calibrate``: what similarities mean in this catalogue."""

from getpass import getuser
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from deertrack import wiring
from deertrack.domain.meetings import Trial, Tried
from deertrack.domain.verdict import percent
from deertrack.entry.cli.console import counted, err, out, print_json, progress_bars, simple_table
from deertrack.entry.cli.options import Home, Json, settings_for
from deertrack.entry.cli.policy import said
from deertrack.formats.calibration import as_json, write_calibration
from deertrack.formats.truth import read_truth
from deertrack.services.calibrate import Calibrated, calibrate


def calibrate_command(
    version: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Embedding version. Default: all that have vectors of animals that are known.",
        ),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="CSV: file, identity. Default: the sightings that a person confirmed."
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="Also write the curves to a file for `--calibration`, kept or not."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Keep nothing in the catalogue; --out is still written.")
    ] = False,
    json: Json = False,
    home: Home = None,
) -> None:
    """Fit how likely a similarity makes it that two sightings show one animal, from sightings that you confirmed.

    Each sighting is compared with the individuals met before it, as a search does. The new curve and the one in use
    are tried on animals that the new one was not fitted to (five parts). It is kept only if it is truer there (a
    lower Brier score); if no version's is, the exit code is 1.

    Example: deertrack reid calibrate --dry-run
    """
    settings = settings_for(home)
    with wiring.open_database(settings) as db, progress_bars(quiet=json) as progress:
        done = calibrate(
            db,
            lambda registered: wiring.curve_in_use(settings, db, registered),
            truth=read_truth(truth) if truth else None,
            truth_name=truth.name if truth else "",
            version=version,
            actor=getuser(),
            dry_run=dry_run,
            progress=progress,
        )
    if file:
        write_calibration(file, done.file)
    if json:
        print_json(_document(done, dry_run=dry_run))
    else:
        _show(done, dry_run=dry_run)
        if file:
            out.print(f"Wrote {escape(str(file))}.", soft_wrap=True)
    raise typer.Exit(0 if done.kept else 1)


def _document(done: Calibrated, *, dry_run: bool) -> dict[str, Any]:
    return {
        "fitted_on": done.fitted_on,
        "policy": said(done.policy),
        "versions": done.trials,
        "helps": done.kept,
        "kept": () if dry_run else done.kept,
        "skipped": done.skipped,
        "calibration": as_json(done.file),
    }


def _show(done: Calibrated, *, dry_run: bool) -> None:
    out.print(f"{escape(done.fitted_on)}\n", soft_wrap=True)
    for name, trial in done.trials.items():
        out.print(_table(name, trial))
        if trial.gain:
            ends = [f"{end:+.4f}" for end in (trial.gain.low, trial.gain.high) if end is not None]
            out.print(f"Gain in the Brier score: {trial.gain.value:+.4f} ({' to '.join(ends) or 'unknown'}).")
        if not trial.helps:
            out.print(
                f"[yellow]No better on animals that it does not know: {escape(name)} keeps its old one.[/]"
            )
        elif dry_run:
            out.print("Would be kept.")
        else:
            out.print("[green]Kept.[/] Decisions go by it from now on.")
        out.print()
    out.print(f"Promised: {done.policy.promise}.")
    for name, why in done.skipped.items():
        err.print(f"[yellow]{escape(name)} is left out:[/] {escape(why)}", soft_wrap=True)


def _table(name: str, trial: Trial) -> Table:
    pairs = f"{counted(trial.same, 'pair')} of one animal, {trial.different:,} of two"
    table = simple_table(
        escape(name),
        "In use#",
        "New, on held-out animals#",
        title=f"{counted(trial.after.queries, 'sighting')} ask; {pairs}",
    )
    tried = (trial.before, trial.after)
    table.add_row("Calibration error (ECE)", *(percent(t.error) if t else "–" for t in tried))
    table.add_row("Brier score", *(f"{t.brier:.4f}" if t else "–" for t in tried))
    table.add_row(
        "Matched by itself, rightly", *(f"{t.automatic:,}, {t.rightly:,}" if t else "–" for t in tried)
    )
    for n in range(len(trial.after.curve)):
        label = (
            "Said and right, least sure" if n == 0 else "  surest" if n + 1 == len(trial.after.curve) else ""
        )
        table.add_row(label, *(_said_and_right(t, n) for t in tried))
    return table


def _said_and_right(tried: Tried | None, place: int) -> str:
    if tried is None:
        return "–"
    part = tried.curve[place]
    return f"{percent(part.probability)}, {percent(part.right)}"
