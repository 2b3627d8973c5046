"""``deertrack deer``: the known individuals."""

from enum import StrEnum
from getpass import getuser
from typing import Annotated

import typer
from rich.markup import escape

from deertrack import wiring
from deertrack.domain.records import Sex
from deertrack.entry.cli.console import counted, local_time, out, print_json, simple_table
from deertrack.entry.cli.options import Home, Json, settings_for
from deertrack.services import individuals, moves
from deertrack.services.moves import Moved

app = typer.Typer(
    help="The known individuals: list, show, describe; merge two that are one, move sightings that are another's.",
    no_args_is_help=True,
)
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what it would change.")]


class Status(StrEnum):
    """Which individuals to list."""

    ACTIVE = "active"
    RETIRED = "retired"
    MERGED = "merged"
    ALL = "all"


Which = Annotated[
    str, typer.Argument(metavar="NAME|NUMBER", help="An individual's name (any case) or number.")
]


@app.command("list")
def list_command(
    status: Annotated[Status, typer.Option(help="Which individuals.")] = Status.ACTIVE,
    json: Json = False,
    home: Home = None,
) -> None:
    """Show all known individuals: sightings, photos, when and where."""
    with wiring.open_database(settings_for(home)) as db:
        known = individuals.list_individuals(db, status=status)
    if json:
        print_json(known)
        return
    table = simple_table(
        "No.#", "Name", "Sex", "Sightings#", "Photos#", "First seen (UTC)", "Last seen (UTC)", "Stations"
    )
    for deer in known:
        first, last = local_time(deer.first_seen), local_time(deer.last_seen)
        stations = escape(", ".join(deer.stations))
        counts = (str(deer.sighting_count), str(deer.photos))
        table.add_row(str(deer.number), escape(deer.name), deer.sex, *counts, first, last, stations)
    out.print(table)
    if not known:
        out.print("Nobody yet. `deertrack run PHOTOS` finds individuals in photos.")


@app.command("show")
def show_command(which: Which, json: Json = False, home: Home = None) -> None:
    """Show one individual with all its sightings and photos."""
    with wiring.open_database(settings_for(home)) as db:
        dossier = individuals.show_individual(db, which)
    if json:
        print_json(dossier)
        return
    deer = dossier.individual
    out.print(f"[bold]{escape(deer.name)}[/] · No. {deer.number} · {deer.sex} · {deer.status}")
    counts = f"{counted(deer.sighting_count, 'sighting')}, {counted(deer.photos, 'photo')}"
    out.print(f"{counts}, embedding {deer.embedding_version}")
    if deer.notes:
        out.print(escape(deer.notes))
    table = simple_table("When (station's clock)", "Station", "Probability#", "Photos")
    for sighting in dossier.sightings:
        machine = f"{sighting.probability or 0:.0%}"
        chance = "a person" if sighting.by_person else "first" if sighting.outcome == "new" else machine
        files = "\n".join(escape(str(photo.paths[0])) for photo in sighting.photos if photo.paths)
        when = local_time(sighting.started_at, sighting.timezone)
        table.add_row(when, escape(sighting.station), chance, files)
    out.print(table)


@app.command("rename")
def rename_command(
    which: Which,
    name: Annotated[str, typer.Argument(metavar="NEW-NAME", help="1 to 80 characters; must be free.")],
    home: Home = None,
) -> None:
    """Give an individual another name. Its number stays, and the old name stays in the history."""
    with wiring.open_database(settings_for(home)) as db:
        before, after = individuals.rename(db, which, name, actor=getuser())
    out.print(f"No. {after.number}: {escape(before.name)} is now called [bold]{escape(after.name)}[/]")


class AgeClass(StrEnum):
    """How old an individual is."""

    ADULT = "adult"
    YEARLING = "yearling"
    FAWN = "fawn"
    UNKNOWN = "unknown"


@app.command("describe")
def describe_command(
    which: Which,
    sex: Annotated[Sex | None, typer.Option(help="Outranks what the photos show.")] = None,
    age_class: Annotated[AgeClass | None, typer.Option("--age", help="Age class.")] = None,
    notes: Annotated[str | None, typer.Option(help="Anything worth knowing. Replaces the notes.")] = None,
    alias: Annotated[
        list[str] | None, typer.Option(help="Another name; repeat it for several. Replaces all aliases.")
    ] = None,
    retired: Annotated[
        bool | None,
        typer.Option("--retired/--active", help="Dead or gone: the machine suggests it no more. Or back."),
    ] = None,
    json: Json = False,
    home: Home = None,
) -> None:
    """Say what you know of an individual. What you leave out stays.

    Example: deertrack deer describe Limpy --sex female --age adult --notes "torn left ear"
    """
    status = None if retired is None else "retired" if retired else "active"
    given = {"sex": sex, "age_class": age_class, "notes": notes, "aliases": alias, "status": status}
    with wiring.open_database(settings_for(home)) as db:
        said = {name: value for name, value in given.items() if value not in (None, [])}
        edit = individuals.describe(db, which, said, actor=getuser())
        portrait = individuals.portray(db, which)
    if json:
        print_json({"edit": edit, "individual": portrait.individual})
        return
    deer = portrait.individual
    out.print(
        f"[bold]{escape(deer.name)}[/] · No. {deer.number} · {deer.sex} · {deer.age_class} · {deer.status}"
    )
    _tell_undo(edit)


@app.command("merge")
def merge_command(
    loser: Annotated[
        str, typer.Argument(metavar="GONE", help="Who turned out to be another: name or number.")
    ],
    winner: Annotated[str, typer.Argument(metavar="KEPT", help="Who that is: name or number.")],
    dry_run: DryRun = False,
    json: Json = False,
    home: Home = None,
) -> None:
    """Two individuals are one: all sightings of the first become the second's. Nothing is deleted.

    Example: deertrack deer merge "Golden Haven" Limpy --dry-run
    """
    with wiring.open_database(settings_for(home)) as db:
        done = moves.merge(db, loser, winner, actor=getuser(), dry_run=dry_run)
    _tell_move(done, json=json, dry_run=dry_run)


@app.command("move")
def move_command(
    sightings: Annotated[list[int], typer.Argument(metavar="SIGHTING…", min=1, help="Their numbers.")],
    to: Annotated[
        str | None, typer.Option(metavar="NAME|NUMBER", help="Whose they are. Default: nobody known.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the new individual, without --to.")] = None,
    dry_run: DryRun = False,
    json: Json = False,
    home: Home = None,
) -> None:
    """Sightings are another individual's, or a new one's: so an individual that is two is split.

    Example: deertrack deer move 12 15 --name Lefty
    """
    with wiring.open_database(settings_for(home)) as db:
        done = moves.move(db, sightings, to, name=name, actor=getuser(), dry_run=dry_run)
    _tell_move(done, json=json, dry_run=dry_run)


def _tell_move(done: Moved, *, json: bool, dry_run: bool) -> None:
    if json:
        print_json(done)
        return
    to = f"No. {done.to[0]}, [bold]{escape(done.to[1])}[/]" if done.to else "a new individual"
    would = "Would move" if dry_run else "Moved"
    out.print(f"{would} {counted(done.sightings, 'sighting')} to {to}.")
    for left in done.left:
        out.print(f"{escape(left.name)} has {counted(left.remaining, 'sighting')} left.")
    for warning in done.warnings:
        out.print(f"[yellow]{escape(warning)}[/]")
    _tell_undo(done.edit)


def _tell_undo(edit: int | None) -> None:
    if edit is not None:
        out.print(f"To take it back: deertrack history undo {edit}")
