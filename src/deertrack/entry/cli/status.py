"""``deertrack status``: the catalogue at a glance."""

from rich.markup import escape

from deertrack import wiring
from deertrack.entry.cli.console import out, print_json, simple_table
from deertrack.entry.cli.monitor import show_alerts
from deertrack.entry.cli.options import Home, Json, settings_for
from deertrack.entry.cli.policy import said
from deertrack.services.individuals import overview
from deertrack.services.lifecycle.alerts import alerts
from deertrack.services.policy import policy_of
from deertrack.services.versions import describe


def status_command(json: Json = False, home: Home = None) -> None:
    """Show what the catalogue holds, which embedding version decides, and what calls for attention."""
    settings = settings_for(home)
    with wiring.open_database(settings) as db:
        seen = overview(db)
        deciding = describe(db, settings.use_enhanced_reid)
        policy = policy_of(db)
        found = alerts(db)
    if json:
        facts = {
            "problems": seen.problems,
            "version": seen.version,
            "deciding": deciding,
            "policy": said(policy),
            "alerts": found,
            "drawn": seen.drawn,
        }
        print_json({**seen.totals, **facts, "home": str(settings.home)})
        return
    table = simple_table("", "#")
    for name, count in seen.totals.items():
        table.add_row(name.capitalize(), f"{count:,}")
    out.print(table)
    if seen.drawn:
        out.print(
            "\nHolds photos of the drawn sample herd: nothing here says how well real deer are recognised."
        )
    out.print(f"\nEmbedding version: {escape(deciding)}", soft_wrap=True)
    out.print(f"Policy: {policy.promise}")
    if found:
        show_alerts(found)
    for path, reason in seen.problems[:20]:
        out.print(f"  [yellow]{escape(path)}[/]: {escape(reason)}", soft_wrap=True)
    if len(seen.problems) > 20:
        out.print(f"  … and {len(seen.problems) - 20:,} more (--json lists all)")
    out.print(f"Data: {escape(wiring.place_of(settings))}", soft_wrap=True)
