"""``deertrack deer``: the known individuals."""

from enum import StrEnum
from getpass import getuser
from typing import Annotated

import typer
from rich.markup import escape

from deertrack import wiring
from deertrack.entry.cli.console import counted, local_time, out, print_json, simple_table
from deertrack.entry.cli.options import Home, Json, settings_for
from deertrack.services import individuals

app = typer.Typer(help="The known individuals: list, show, rename.", no_args_is_help=True)


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
        chance = "first" if sighting.outcome == "new" else f"{sighting.probability or 0:.0%}"
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
