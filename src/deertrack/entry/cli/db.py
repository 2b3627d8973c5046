"""``deertrack db``: the database behind the catalogue; and ``deertrack status``."""

from dataclasses import asdict
from getpass import getuser
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from deertrack import wiring
from deertrack.domain.errors import InputError
from deertrack.entry.cli.console import out, print_json, simple_table
from deertrack.entry.cli.options import Home, Json, settings_for
from deertrack.services.backups import back_up
from deertrack.services.checks import examine, rebuild_indexes
from deertrack.storage import backup, lease, migrate
from deertrack.storage.programs import run_psql
from deertrack.storage.server import EmbeddedServer

app = typer.Typer(
    help="The database: PostgreSQL with pgvector, embedded by default, or any server by DATABASE_URL.",
    no_args_is_help=True,
)

_SHOWN = 10

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


@app.command()
def start(home: Home = None) -> None:
    """Start the embedded server and keep it running when commands end."""
    out.print(lease.keep_running(_embedded(home)), soft_wrap=True)


@app.command()
def stop(home: Home = None) -> None:
    """Stop the embedded server. Refuses while another command uses it."""
    out.print("Stopped." if lease.stop(_embedded(home)) else "It was not running.")


@app.command()
def url(home: Home = None) -> None:
    """Print a connection URL for psql and other programs; starts the embedded server and keeps it running."""
    settings = settings_for(home)
    typer.echo(settings.database_url or lease.keep_running(EmbeddedServer(settings.home)))


@app.command("migrate")
def migrate_command(dry_run: DryRun = False, home: Home = None) -> None:
    """Bring the schema up to date."""
    with wiring.database_url(settings_for(home)) as database:
        done = migrate.schema_state(database).pending if dry_run else migrate.migrate(database)
    verb = "Would apply" if dry_run else "Applied"
    out.print("\n".join(f"{verb} {name}" for name in done) or "The schema is up to date.")


@app.command("rollback")
def rollback_command(
    to: Annotated[str, typer.Option(help="Number of the last migration to keep, e.g. 010.")] = "010",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: DryRun = False,
    home: Home = None,
) -> None:
    """Undo the migrations after a number, newest first. Columns and tables that they made go, with their data.

    `--to 010` is the schema before the enhanced embeddings: names, photos, sightings and `feature_vector` stay.
    """
    with wiring.database_url(settings_for(home)) as database:
        migrate.check_rollback(database, to=to)
        doomed = [m for m in migrate.schema_state(database).applied if m.split("_")[0] > to]
        if dry_run or not doomed:
            out.print("\n".join(f"Would roll back {name}" for name in reversed(doomed)) or "Nothing to undo.")
            return
        if not yes:
            typer.confirm(f"Undo {', '.join(doomed)} and lose the data in what they made?", abort=True)
        for name in migrate.rollback(database, to=to):
            out.print(f"Rolled back {name}")


@app.command("status")
def db_status(json: Json = False, home: Home = None) -> None:
    """Show where the database is, whether it runs, and how its schema stands. Starts nothing."""
    settings = settings_for(home)
    facts: dict[str, object] = {"database_url": settings.database_url}
    running = settings.database_url
    if not settings.database_url:
        server = EmbeddedServer(settings.home).status()
        running = server.url
        facts = {
            "running": server.running,
            "version": server.version,
            "data": str(server.data_dir),
            "size_mb": round(server.size_bytes / 1e6, 1),
            "log": str(server.log_file),
            "url": server.url,
        }
    if running:
        schema = migrate.schema_state(running)
        facts |= {"schema": schema.applied[-1] if schema.applied else None, "pending": list(schema.pending)}
    if json:
        print_json(facts)
        return
    table = simple_table("", "")
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), escape(_shown(value)))
    out.print(table)


@app.command()
def check(json: Json = False, home: Home = None) -> None:
    """Check vectors, versions, counts and indexes. Changes nothing; exits with 1 if something is wrong."""
    with wiring.open_database(settings_for(home)) as db:
        found = examine(db)
    if json:
        checks = [{**asdict(result), "passed": result.passed} for result in found.results]
        print_json({"passed": found.passed, "versions": found.versions, "checks": checks})
    else:
        for result in found.results:
            sign = "[green]ok[/]  " if result.passed else "[bold red]FAIL[/]"
            out.print(f"{sign} {result.holds}")
            for subject, finding in result.findings[:_SHOWN]:
                out.print(f"       {escape(subject)} {escape(finding)}", soft_wrap=True)
            if len(result.findings) > _SHOWN:
                out.print(f"       … and {len(result.findings) - _SHOWN:,} more (--json lists all)")
            if not result.passed:
                out.print(f"       What to do: {escape(result.remedy)}")
        versions = ", ".join(f"{name}: {count:,}" for name, count in found.versions.items())
        out.print(f"Individuals by embedding version: {escape(versions) or 'none yet'}")
    raise typer.Exit(0 if found.passed else 1)


@app.command("reindex")
def reindex_command(home: Home = None) -> None:
    """Build the vector indexes anew, while other commands go on working."""
    with wiring.open_database(settings_for(home)) as db:
        names = rebuild_indexes(db)
    out.print("\n".join(f"Rebuilt {name}" for name in names))


@app.command()
def psql(
    arguments: Annotated[list[str] | None, typer.Argument(help="Passed to psql, after --.")] = None,
    home: Home = None,
) -> None:
    """Open psql on the database. Arguments after -- go to psql: deertrack db psql -- -c 'SELECT 1'"""
    with wiring.database_url(settings_for(home)) as database:
        code = run_psql(database, arguments or [])
    raise typer.Exit(code)


@app.command("backup")
def backup_command(
    file: Annotated[Path, typer.Argument(help="Where to write it (pg_dump's custom format).")],
    home: Home = None,
) -> None:
    """Write the whole database into one file, read it back once, and note that in the history."""
    with wiring.database_url(settings_for(home)) as database:
        size = back_up(database, file, actor=getuser())
    out.print(f"Saved to {escape(str(file))} ({size / 1e6:,.1f} MB)", soft_wrap=True)


@app.command("restore")
def restore_command(
    file: Annotated[Path, typer.Argument(help="A file that `db backup` wrote.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    home: Home = None,
) -> None:
    """Put a backup in the place of what the database holds now. All of it or, if it fails, nothing."""
    if not yes:
        typer.confirm(f"Replace everything in the database by {file}?", abort=True)
    with wiring.database_url(settings_for(home)) as database:
        backup.restore(database, file)
    out.print(f"Restored from {escape(str(file))}", soft_wrap=True)


def _shown(value: object) -> str:
    if value is None or value == []:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _embedded(home: Path | None) -> EmbeddedServer:
    settings = settings_for(home)
    if settings.database_url:
        raise InputError(
            "DATABASE_URL is set, so there is no embedded server to start or stop",
            hint="Unset DATABASE_URL to use the embedded server.",
        )
    return EmbeddedServer(settings.home)
