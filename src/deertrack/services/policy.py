"""How sure the machine must be to decide alone: the catalogue's policy, said in error rates."""

from dataclasses import replace

from deertrack.domain.decision import Policy
from deertrack.domain.errors import InputError
from deertrack.storage import catalogue
from deertrack.storage.db import Connection, Database


def get_policy(connection: Connection) -> Policy:
    """The catalogue's policy; the default, where nobody set another."""
    return Policy(**(catalogue.get_setting(connection, catalogue.POLICY) or {}))


def policy_of(db: Database) -> Policy:
    """The same, in a transaction of its own."""
    with db.transaction() as connection:
        return get_policy(connection)


def change_policy(
    db: Database,
    *,
    wrong_at_most: float | None = None,
    new_at: float | None = None,
    actor: str,
    dry_run: bool = False,
) -> tuple[Policy, Policy]:
    """Set what is not None, for all decisions from now on; returns the policy before and after.

    Sightings that were decided about stay as they are. The same again is no news.

    Args:
        wrong_at_most: of 100 automatic matches, so many may be wrong at most; in (0, 50).
        new_at: from which probability on an animal is called new, in (0, 1].

    Raises:
        InputError: a number out of its range, or two that can both be reached.
    """
    if wrong_at_most is not None and not 0 < wrong_at_most < 50:
        raise InputError(
            f"expected a number of wrong matches in 100 above 0 and below 50, got {wrong_at_most:g}",
            hint="5 is usual; 1 leaves more to you, 10 less.",
        )
    with db.transaction() as connection:
        before = get_policy(connection)
        assign_at = before.assign_at if wrong_at_most is None else round(1 - wrong_at_most / 100, 8)
        after = replace(before, assign_at=assign_at, new_at=before.new_at if new_at is None else new_at)
        if after != before and not dry_run:
            kept = {"assign_at": after.assign_at, "new_at": after.new_at}
            catalogue.put_setting(connection, catalogue.POLICY, kept)
            was = {"assign_at": before.assign_at, "new_at": before.new_at}
            catalogue.add_event(connection, actor, "policy", "catalogue", {**kept, "was": was})
        return before, after
