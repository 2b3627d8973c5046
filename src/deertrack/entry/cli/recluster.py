"""``deertrack reid recluster``: all that the machine decided, weighed together once more."""

from typing import Annotated

import typer
from rich.markup import escape

from deertrack import wiring
from deertrack.entry.cli.console import counted, next_command, out, print_json, progress_bars, simple_table
from deertrack.entry.cli.options import Home, Json, settings_for
from deertrack.services.recluster import Reclustered, recluster

_SHOWN = 20


def recluster_command(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    json: Json = False,
    home: Home = None,
) -> None:
    """Group anew what the machine decided and nobody confirmed: sightings move, individuals unite or fall apart.

    Worth it after a new calibration, policy or embedding version, or after many of your answers: the machine then
    judges all sightings together, not one by one. What a person said stays as it is; who was named by a person
    keeps record and name. Individuals that lose all sightings are kept as merged or retired. Every change is in the
    decision log and the history. The same again changes nothing.

    Example: deertrack reid recluster --dry-run
    """
    settings = settings_for(home)
    with wiring.open_database(settings) as db, progress_bars(quiet=json) as progress:
        deciders = wiring.make_deciders(settings, db)
        done = recluster(db, deciders, dry_run=dry_run, progress=progress)
    if json:
        print_json(done)
        return
    _show(done)
    if dry_run and done.moves:
        out.print("\nNothing was changed.")
        next_command("reid", "recluster", home=home)


def _show(done: Reclustered) -> None:
    out.print(
        f"{counted(done.sightings, 'sighting')} looked at; in {done.confirmed:,} of them people said who it is."
    )
    if not done.moves:
        out.print("Nothing to change.")
        return
    joined = sum(move.before is None for move in done.moves)
    waits = sum(move.after is None for move in done.moves)
    table = simple_table("", "#")
    for label, count in (
        ("Sightings that move to another individual", len(done.moves) - joined - waits),
        ("Waiting sightings that join an individual", joined),
        ("Sightings that wait for you again", waits),
        ("Individuals that are one with another", len(done.united)),
        ("Individuals that fall apart", len(done.split) + len(done.retired)),
        ("New individuals", len(done.made)),
    ):
        table.add_row(label, f"{count:,}")
    out.print(table)
    changes = [f"{before} is {after}" for before, after in done.united]
    changes += [f"{before} stays, parts of it are {', '.join(names)}" for before, names in done.split]
    changes += [f"{name} is nobody any more" for name in done.retired]
    if changes:
        out.print()
    for line in changes[:_SHOWN]:
        out.print(escape(line), soft_wrap=True)
    moves = simple_table("Sighting#", "Was", "Is")
    for move in done.moves[:_SHOWN]:
        moves.add_row(
            str(move.sighting_id), escape(move.before or "waiting"), escape(move.after or "waiting")
        )
    out.print()
    out.print(moves)
    left = max(len(changes) - _SHOWN, 0) + max(len(done.moves) - _SHOWN, 0)
    if left:
        out.print(f"… and {left:,} more lines: --json lists all.")
