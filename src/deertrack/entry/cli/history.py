"""``deertrack history``: what people changed, and taking it back."""

from getpass import getuser
from typing import Annotated

import typer
from rich.markup import escape

from deertrack import wiring
from deertrack.entry.cli.console import counted, local_time, next_command, out, print_json, simple_table
from deertrack.entry.cli.options import Home, Json, settings_for
from deertrack.services import history

app = typer.Typer(help="What people changed, and taking it back.", no_args_is_help=True)


@app.command("list")
def list_command(
    individual: Annotated[
        str | None, typer.Option(metavar="NAME|NUMBER", help="Only changes of this one.")
    ] = None,
    actor: Annotated[str | None, typer.Option(help="Only changes by this person.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="So many at most.")] = 50,
    json: Json = False,
    home: Home = None,
) -> None:
    """Show what people changed, newest first.

    Example: deertrack history list --individual Limpy
    """
    with wiring.open_database(settings_for(home)) as db:
        found = history.list_edits(db, individual=individual, actor=actor, limit=limit)
    if json:
        print_json(found)
        return
    if not found.entries:
        out.print("Nobody changed anything.")
        return
    table = simple_table("No.#", "When (UTC)", "Who", "What", "")
    for entry in found.entries:
        edit = entry.edit
        undone = f"undone by {edit.undone_by}" if edit.undone_by else ""
        table.add_row(str(edit.id), local_time(edit.at), escape(edit.actor), escape(entry.text), undone)
    out.print(table)
    out.print(f"\n{counted(found.total, 'change')} in all. To take one back:")
    next_command("history", "undo", found.entries[0].edit.id, home=home)


@app.command("undo")
def undo_command(
    change: Annotated[int, typer.Argument(min=1, help="Its number, as `history list` shows it.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would put back.")] = False,
    json: Json = False,
    home: Home = None,
) -> None:
    """Take a change back, at any time, as far as nobody changed the same things since. An undo can be undone too.

    Example: deertrack history undo 12 --dry-run
    """
    with wiring.open_database(settings_for(home)) as db:
        undone = history.undo(db, change, actor=getuser(), dry_run=dry_run)
    if json:
        print_json(undone)
        return
    out.print(
        f"{'Would put back' if dry_run else 'Put back'} {counted(undone.reverted, 'thing')}: {escape(undone.text)}"
    )
    for kept in undone.kept:
        out.print(f"[yellow]Stays:[/] {escape(kept.text)}")
    if undone.edit is not None:
        next_command("history", "undo", undone.edit, home=home)
