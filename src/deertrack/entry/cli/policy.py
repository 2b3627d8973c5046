"""``deertrack reid policy``: how often the machine may be wrong where it decides alone."""

from getpass import getuser
from typing import Annotated, Any

import typer

from deertrack import wiring
from deertrack.domain.decision import Policy
from deertrack.entry.cli.console import out, print_json
from deertrack.entry.cli.options import Home, Json, settings_for
from deertrack.services.policy import change_policy


def policy_command(
    wrong_at_most: Annotated[
        float | None,
        typer.Option(
            metavar="N", help="Of 100 automatic matches, at most N may be wrong: above 0, below 50."
        ),
    ] = None,
    new_at: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            help="Advanced: call an animal new from this probability on. At first 0.5: two records of one animal "
            "are easier to mend than one record of two.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    json: Json = False,
    home: Home = None,
) -> None:
    """Show or set how often the machine may be wrong where it decides alone. The less often, the more you review.

    Counts for all decisions from now on, of every run and worker; what was decided stays. The promise holds as far
    as similarities mean what the calibration says (`reid calibrate`). `reid monitor` shows how many of the matches
    that you looked at were wrong.

    Example: deertrack reid policy --wrong-at-most 2
    """
    with wiring.open_database(settings_for(home)) as db:
        before, after = change_policy(
            db, wrong_at_most=wrong_at_most, new_at=new_at, actor=getuser(), dry_run=dry_run
        )
    if json:
        print_json({**said(after), "before": said(before), "changed": after != before and not dry_run})
        return
    asked = wrong_at_most is not None or new_at is not None
    if asked:
        change = "Nothing changes" if after == before else "Would be" if dry_run else "From now on"
        out.print(f"{change}: {after.promise}; was: {before.promise}.")
    else:
        out.print(f"{after.promise.capitalize()}.")
    out.print(
        f"A known individual is matched from a probability of {after.assign_at:g} on; an animal is new where that "
        f"has {after.new_at:g} or more. The rest waits for you."
    )


def said(policy: Policy) -> dict[str, Any]:
    """A policy as JSON."""
    return {
        "wrong_at_most": policy.wrong_at_most,
        "assign_at": policy.assign_at,
        "new_at": policy.new_at,
    }
