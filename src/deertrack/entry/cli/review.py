"""``deertrack review``: a person's decisions."""

from getpass import getuser
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from deertrack import wiring
from deertrack.entry.cli.console import (
    counted,
    local_time,
    next_command,
    out,
    print_json,
    progress_bars,
    simple_table,
)
from deertrack.entry.cli.options import Home, Json, settings_for
from deertrack.formats.truth import read_truth
from deertrack.services import review
from deertrack.services.editing import Consequences
from deertrack.services.naming import ImportedNames, import_names
from deertrack.services.review import Answered
from deertrack.storage.reviews import WaitingSighting

app = typer.Typer(
    help="Your decisions: what waits for one, who a sighting is, names of known animals.",
    no_args_is_help=True,
)

_SHOWN_CANDIDATES = 3
_SHOWN_LEFT = 20

Number = Annotated[
    int, typer.Argument(metavar="SIGHTING", min=1, help="Its number, as `review list` shows it.")
]


@app.command("list")
def list_command(
    limit: Annotated[int | None, typer.Option(min=1, help="So many at most. Default: all.")] = None,
    json: Json = False,
    home: Home = None,
) -> None:
    """Show the sightings that wait for your decision, oldest first, with who they may be.

    Example: deertrack review list --limit 10
    """
    with wiring.open_database(settings_for(home)) as db:
        waiting = review.waiting(db, limit=limit)
    if json:
        print_json(waiting)
        return
    if not waiting.sightings:
        out.print("Nothing waits for you.")
        return
    table = simple_table("Sighting#", "When (station's clock)", "Station", "Sex", "Who it may be", "Photos")
    for sighting in waiting.sightings:
        when = local_time(sighting.started_at, sighting.timezone)
        files = "\n".join(escape(str(photo.paths[0])) for photo in sighting.photos if photo.paths)
        table.add_row(
            str(sighting.id), when, escape(sighting.station), sighting.sex, _candidates(sighting), files
        )
    out.print(table)
    out.print(f"\n{counted(waiting.total, 'sighting')} in all. Say who one is, or that it is nobody known:")
    next_command("review", "assign", waiting.sightings[0].id, "NAME", home=home)
    next_command("review", "new", waiting.sightings[0].id, home=home)


@app.command("assign")
def assign_command(
    sighting: Number,
    individual: Annotated[
        str,
        typer.Argument(metavar="NAME|NUMBER", help="Who it is: an individual's name (any case) or number."),
    ],
    json: Json = False,
    home: Home = None,
) -> None:
    """Say which known individual a sighting is, whether it waits or the machine decided otherwise.

    Your answer is kept beside what the machine thought. An individual that loses its last sighting is retired,
    never deleted.

    Example: deertrack review assign 412 "Golden Haven"
    """
    with wiring.open_database(settings_for(home)) as db:
        answered = review.assign(db, sighting, individual, actor=getuser())
    _show_answer(answered, json=json)


@app.command("not")
def not_command(
    sighting: Number,
    individual: Annotated[
        str,
        typer.Argument(
            metavar="NAME|NUMBER", help="Who it is not: an individual's name (any case) or number."
        ),
    ],
    json: Json = False,
    home: Home = None,
) -> None:
    """Say which individual a sighting is not. That is kept for good: it is never suggested or decided again.

    A sighting that was that individual waits for your review again.

    Example: deertrack review not 412 "Golden Haven"
    """
    with wiring.open_database(settings_for(home)) as db:
        rejected = review.reject(db, sighting, individual, actor=getuser())
    if json:
        print_json(rejected)
        return
    said = "" if rejected.recorded else ", as a person said before"
    waits = "; it waits for your review" if rejected.waits else ""
    name = escape(rejected.name)
    out.print(f"Sighting {sighting} is not No. {rejected.number}, [bold]{name}[/]{said}{waits}.")
    _show_consequences(rejected.consequences)


@app.command("new")
def new_command(
    sighting: Number,
    name: Annotated[
        str | None, typer.Option(help="Its name: 1 to 80 characters, free. Default: a friendly one.")
    ] = None,
    json: Json = False,
    home: Home = None,
) -> None:
    """Say that a sighting is nobody known: a new individual.

    Example: deertrack review new 412 --name Limpy
    """
    with wiring.open_database(settings_for(home)) as db:
        answered = review.assign_new(db, sighting, actor=getuser(), name=name)
    _show_answer(answered, json=json)


@app.command("unidentifiable")
def unidentifiable_command(sighting: Number, json: Json = False, home: Home = None) -> None:
    """Say that nobody can tell who a sighting is. It waits no more, and counts for nobody.

    Example: deertrack review unidentifiable 412
    """
    with wiring.open_database(settings_for(home)) as db:
        edit = review.unidentifiable(db, sighting, actor=getuser())
    if json:
        print_json({"sighting_id": sighting, "edit": edit})
        return
    said = "" if edit else ", as a person said before"
    out.print(f"Sighting {sighting} cannot be told{said}.")


@app.command("import")
def import_command(
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", help="CSV: file, identity.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would change.")] = False,
    json: Json = False,
    home: Home = None,
) -> None:
    """Name the animals that you know already, from a list of who is in which photo.

    The list is a CSV file with a header and one row for each animal in each photo: `file` is the end of the photo's
    path, with the folder, `identity` its name. Where a photo shows several animals, the columns x, y, width and
    height tell which one is meant, in fractions of the photo. Other columns are passed over (docs/data.md, "Truth
    file").

        file,identity

        Creek/IMG_0001.JPG,N086

    A sighting whose listed photos all show one animal becomes that individual; who was made by the machine for it
    gets the name. Sightings that show several animals, and photos that are not listed, stay as they are.

    Example: deertrack review import known.csv --dry-run
    """
    truth = read_truth(file)
    with wiring.open_database(settings_for(home)) as db, progress_bars(quiet=json) as progress:
        done = import_names(db, truth, actor=getuser(), dry_run=dry_run, progress=progress)
    if json:
        print_json(done)
    else:
        _show_import(done, dry_run=dry_run)


def _candidates(sighting: WaitingSighting) -> str:
    likely = [f"{escape(c.name)} {c.probability:.0%}" for c in sighting.candidates[:_SHOWN_CANDIDATES]]
    if sighting.new_probability is not None:
        likely.append(f"new {sighting.new_probability:.0%}")
    return "\n".join(likely)


def _show_answer(answered: Answered, *, json: bool) -> None:
    if json:
        print_json(answered)
        return
    name, before = escape(answered.name), escape(answered.before or "nobody yet")
    what = f"Sighting {answered.sighting_id} is No. {answered.number}, [bold]{name}[/]"
    if answered.recorded:
        out.print(f"{what} (before: {before}).")
    else:
        out.print(f"{what}, as a person said before.")
    _show_consequences(answered.consequences)


def _show_import(done: ImportedNames, *, dry_run: bool) -> None:
    if dry_run:
        out.print("[bold]A dry run: nothing was changed.[/] This is what the list would do:\n")
    table = simple_table("", "#")
    for label, count in (
        ("Rows", done.rows),
        ("  that name no single detection here", done.unmatched),
        ("Sightings that get another individual", done.moved),
        ("Sightings confirmed as the machine had them", done.confirmed),
        ("Sightings known from a person already", done.known),
        ("Sightings left: several animals", len(done.mixed)),
        ("Sightings left: the animal is in the photo twice", len(done.clashing)),
        ("Individuals made", len(done.made)),
        ("Individuals renamed", len(done.renamed)),
        ("Individuals retired", len(done.consequences.retired)),
    ):
        table.add_row(label, f"{count:,}")
    out.print(table)
    for why, left in (("shows", done.mixed), ("would be twice in a photo as", done.clashing)):
        for sighting in left[:_SHOWN_LEFT]:
            who = escape(", ".join(sighting.identities))
            out.print(f"  Left: sighting {sighting.sighting_id} {why} {who}", soft_wrap=True)
        if len(left) > _SHOWN_LEFT:
            out.print(f"  … and {len(left) - _SHOWN_LEFT:,} more: --json lists all")
    _show_consequences(done.consequences)


def _show_consequences(done: Consequences) -> None:
    for names, what in ((done.retired, "Retired, for want of a sighting"), (done.revived, "Active again")):
        if names:
            more = f" and {len(names) - _SHOWN_LEFT:,} more" if len(names) > _SHOWN_LEFT else ""
            out.print(f"{what}: {escape(', '.join(names[:_SHOWN_LEFT]))}{more}.", soft_wrap=True)
    if done.unseen:
        out.print(
            f"[bold red]{counted(done.unseen, 'individual')} cannot be met again:[/] no photo of theirs has "
            "vectors of the version in use. `deertrack reid reembed` with it brings them back."
        )
