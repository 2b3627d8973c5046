"""``deertrack run``: the main job."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from deertrack import wiring
from deertrack.domain.decision import Policy
from deertrack.domain.errors import InputError
from deertrack.entry.cli.console import (
    counted,
    err,
    next_command,
    out,
    print_json,
    progress_bars,
    simple_table,
)
from deertrack.entry.cli.options import Home, Json, settings_for
from deertrack.entry.cli.policy import said
from deertrack.formats.stations import parse_timezone, read_stations
from deertrack.services.ingest import StationFrom, StationRules
from deertrack.services.policy import policy_of
from deertrack.services.run import RunPlan, RunReport, RunRequest, plan, run
from deertrack.services.stations import apply_stations

EXIT_PROBLEMS = 3
_SHOWN_PROBLEMS = 20


def run_command(
    photos: Annotated[
        list[Path], typer.Argument(metavar="PHOTOS…", help="Folders (or photos); subfolders too.")
    ],
    detections: Annotated[
        Path | None, typer.Option(metavar="FILE", help="MegaDetector or SpeciesNet results (JSON).")
    ] = None,
    whole_photo: Annotated[
        bool, typer.Option("--whole-photo", help="Every photo is cropped to one animal already.")
    ] = False,
    min_confidence: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Least detection confidence. Default: what the file recommends."),
    ] = None,
    class_map: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TOML or JSON: what the classifier's labels mean.")
    ] = None,
    timezone: Annotated[
        str,
        typer.Option(metavar="TZ", help="Zone of the cameras' clocks at new stations, e.g. America/Chicago."),
    ] = "UTC",
    stations: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="CSV: station, folder, latitude, longitude, timezone, clock_shift."
        ),
    ] = None,
    station_from: Annotated[
        StationFrom, typer.Option(help="Name stations by the folder, or by what the camera wrote (EXIF).")
    ] = StationFrom.FOLDER,
    calibration: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="What similarities mean in this herd; kept. Default: the model's own."
        ),
    ] = None,
    wrong_at_most: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            help="Match by itself as long as at most N of 100 such matches are wrong; kept. At first: 5.",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help=f"Exit with {EXIT_PROBLEMS} if anything could not be used.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say which photos and stations would be read.")
    ] = False,
    json: Json = False,
    home: Home = None,
) -> None:
    """Find the individual deer in folders of photos.

    Reads the photos, takes the animals that a detector found, groups them into encounters, and decides for
    each animal: known (matched), new, or for you to review. Run it again at any time: what is done is not
    done again, and an interrupted run goes on where it stopped.

    Example: deertrack run ~/cards --detections ~/cards/md.json --timezone America/Chicago
    """
    if detections and whole_photo:
        raise InputError("--detections and --whole-photo exclude each other", hint="Give one of them.")
    timezone = parse_timezone(timezone)
    settings = settings_for(home)
    rows = read_stations(stations) if stations else ()
    request = RunRequest(
        photos,
        detections=detections,
        whole_photo=whole_photo,
        min_confidence=min_confidence,
        class_map=class_map,
        stations=StationRules(station_from, timezone, [(row.folder, row.station) for row in rows]),
    )
    with wiring.open_database(settings) as db, progress_bars(quiet=json) as progress:
        if dry_run:
            return _show_plan(plan(db, request), json=json)
        apply_stations(db, rows, timezone=timezone)
        report = run(
            db,
            request,
            lambda version: wiring.make_embedder(settings, wiring.load_pack(settings, db, version)),
            lambda database: wiring.make_deciders(settings, database, calibration, wrong_at_most),
            progress=progress,
        )
        policy = policy_of(db)
    if json:
        facts = {"nothing_new": report.nothing_new, "policy": said(policy), "home": str(settings.home)}
        print_json({**asdict(report), **facts})
    else:
        _show(report, policy, wiring.place_of(settings), home)
    if strict and report.problems:
        raise typer.Exit(EXIT_PROBLEMS)
    return None


def _show_plan(planned: RunPlan, *, json: bool) -> None:
    if json:
        return print_json(planned)
    out.print(f"{planned.photos_found:,} photos, {planned.photos_known:,} of them read before. By station:")
    table = simple_table("Station", "Photos#")
    for station, count in planned.stations.items():
        table.add_row(escape(station), f"{count:,}")
    return out.print(table)


def _show(report: RunReport, policy: Policy, place: str, given_home: Path | None) -> None:
    _show_problems(report)
    table = simple_table("", "#")
    rows = [
        ("Photos found", report.photos_found),
        ("  read now", report.photos_new),
        ("  known already", report.photos_known),
        ("  duplicates", report.duplicates),
        ("  unreadable", report.unreadable),
        ("  no detector has looked at", report.without_detections),
        ("Detections", report.detections),
        ("Encounters", report.encounters),
        ("Tracks (one animal in one encounter)", report.tracks),
        ("  matched to a known individual", report.matched),
        ("  new individuals", report.new),
        ("  waiting for your review", report.review),
    ]
    for label, count in rows:
        table.add_row(label, f"{count:,}")
    out.print()
    out.print(table)
    times = " · ".join(f"{stage} {seconds:.1f} s" for stage, seconds in report.seconds.items())
    held = report.catalogue
    out.print(f"\nTime: {times}")
    sizes = [counted(held[k], noun) for k, noun in (("individuals", "individual"), ("tracks", "sighting"))]
    stations = counted(held["stations"], "station")
    out.print(
        f"The catalogue holds {' and '.join(sizes)} from {stations}; {held['waiting']:,} wait for review."
    )
    out.print(f"{policy.promise.capitalize()} (`reid policy` changes that).")
    if report.unseen:
        out.print(
            f"[bold yellow]{counted(report.unseen, 'known individual')} could not be compared:[/] none of their "
            "photos can be read with this embedding version. More sightings wait for review because of it."
        )
    if report.nothing_new:
        out.print("[bold]Nothing new:[/] every photo here was known already.")
    out.print(f"Data: {escape(place)}", soft_wrap=True)
    next_command("report", home=given_home)


def _show_problems(report: RunReport) -> None:
    if not report.problems:
        return
    err.print(f"\n[bold yellow]{counted(len(report.problems), 'thing')} could not be used:[/]")
    for problem in report.problems[:_SHOWN_PROBLEMS]:
        err.print(f"  {escape(problem.path)}: {escape(problem.reason)}", soft_wrap=True)
    if len(report.problems) > _SHOWN_PROBLEMS:
        more = len(report.problems) - _SHOWN_PROBLEMS
        err.print(f'  … and {more:,} more: `deertrack run … --json` lists all under "problems"')
