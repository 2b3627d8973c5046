"""``deertrack reid cleanup``: the end of the legacy embedding."""

from datetime import UTC, datetime
from getpass import getuser
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from deertrack import wiring
from deertrack.entry.cli.console import counted, err, out, print_json
from deertrack.entry.cli.options import Home, Json, settings_for
from deertrack.services.lifecycle.cleanup import CleanupPlan, CleanupRequest, clean_up, plan_cleanup


def cleanup_command(
    rename: Annotated[
        bool,
        typer.Option(
            "--rename", help="Also rename the other columns to feature_vector_primary, …_secondary."
        ),
    ] = False,
    backup: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where the last `db backup` is now, if it was moved."),
    ] = None,
    reason: Annotated[
        str, typer.Option(help="Why not to wait for 90 days without a change; kept in the history.")
    ] = "",
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only say what would be done; exits with 1 if it would be refused."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
    home: Home = None,
) -> None:
    """Drop the single-layer embedding, `deer.feature_vector`, once nothing needs it (specification, phase 5).

    Refuses within 90 days of the last cut-over, rollback or A/B test, without a backup since then that can be read,
    and while anything uses the column; says every reason at once. Only --reason shortens the 90 days; nothing
    replaces the backup. Vectors of detections stay, so old and new versions can still be compared. Workers go on.

    Example: deertrack db backup before.dump, then deertrack reid cleanup --dry-run
    """
    settings = settings_for(home)
    request = CleanupRequest(
        datetime.now(UTC),
        rename=rename,
        backup=backup.absolute() if backup else None,
        reason=reason.strip(),
        enhanced=settings.use_enhanced_reid,
    )
    with wiring.open_database(settings) as db:
        plan = plan_cleanup(db, request)
        if not (dry_run or plan.nothing_left or plan.reasons or yes or json):
            _show(plan, "Would ")
            typer.confirm("Only a backup brings the column back. Go on?", abort=True)
        if not dry_run:
            plan = clean_up(db, plan, actor=getuser())
    if json:
        print_json(plan)
    elif plan.nothing_left:
        when = f" on {plan.cleaned_on:%Y-%m-%d}" if plan.cleaned_on else ""
        out.print(f"Nothing to do: the column was dropped{when} already.")
    else:
        _show(plan, "Would " if dry_run else "")
    for why in plan.reasons:
        err.print(f"[bold red]Against it:[/] {escape(why)}", soft_wrap=True)
    raise typer.Exit(1 if plan.reasons else 0)


def _show(plan: CleanupPlan, would: str) -> None:
    """What is, was or would be done."""
    drop, rename = ("drop", "rename") if would else ("Dropped", "Renamed")
    if plan.dropped:
        out.print(f"{would}{drop} {escape(' and '.join(plan.dropped))}.")
        out.print(
            f"{plan.index_bytes / 1e6:,.1f} MB of the index are free at once, {plan.vector_bytes / 1e6:,.1f} MB of "
            "vectors as rows are written anew: deertrack db psql -- -c 'VACUUM FULL deer' when nobody works."
        )
    for before, after in plan.renamed.items():
        out.print(f"{would}{rename} deer.{before} to {after}.")
    if plan.retired:
        out.print(
            f"{counted(plan.retired, 'retired or merged individual')} "
            f"{'has' if plan.retired == 1 else 'have'} no other profile; the backup keeps it."
        )
    if plan.backup and plan.dropped:
        out.print(
            f"The backup of {plan.backup.at:%Y-%m-%d %H:%M} UTC holds the column: "
            f"{escape(str(plan.request.backup or plan.backup.file))}",
            soft_wrap=True,
        )
