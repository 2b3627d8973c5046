"""Cut over to another embedding version, and back (spec, phase 4 and rollback scenario 1).

Both are one transaction under the lock that decisions take: no decision is half old and half new. A run that is
under way stops at its next decision and goes on with the new version when it is called again.
"""

from dataclasses import asdict, dataclass

from deertrack.domain.errors import InputError
from deertrack.domain.fusion import Weights
from deertrack.storage import catalogue, embeddings, gallery, profiles, sightings, validations
from deertrack.storage.db import Connection, Database
from deertrack.storage.embeddings import RegisteredVersion


@dataclass(frozen=True, slots=True)
class CutOver:
    """What changed: the versions, the individuals whose profile was filled now, and those left invisible."""

    version: str
    before: str
    profiles: int
    invisible: int = 0


def cut_over(
    db: Database,
    target: RegisteredVersion,
    active: RegisteredVersion,
    *,
    weights: Weights,
    reason: str,
    actor: str,
) -> CutOver:
    """Let searches use ``target`` from now on.

    Args:
        reason: why to go on without a passing validation; empty to insist on one. It is kept with the event.

    Raises:
        InputError: it is active already, individuals lack its vectors, or no stored validation of it against
            the active version passed and no reason is given.
    """
    if target.version.name == active.version.name:
        raise InputError(f"the catalogue works with {target.version.name!r} already")
    with db.transaction() as connection:
        sightings.lock_deciding(connection)
        _insist_on_coverage(connection, target)
        evidence = _evidence(connection, target, active, reason)
        changed = profiles.put_profiles(connection, target)
        _activate(connection, target.version.name, previous=active.version.name, weights=weights)
        detail = {
            "from": active.version.name,
            "reason": reason,
            "validation": evidence,
            "weights": asdict(weights),
        }
        catalogue.add_event(connection, actor, "cut over", f"version:{target.version.name}", detail)
    return CutOver(target.version.name, active.version.name, len(changed))


def roll_back(db: Database, *, actor: str) -> CutOver:
    """Back to the version that the last cut-over left. Its vectors were never touched, so nothing is lost.

    Individuals that were met since may lack the older version's vectors; they are counted, and re-embedding
    with that version brings them back.

    Raises:
        InputError: there was no cut-over.
    """
    with db.transaction() as connection:
        sightings.lock_deciding(connection)
        name = catalogue.get_setting(connection, catalogue.ACTIVE_VERSION)
        previous = catalogue.get_setting(connection, catalogue.PREVIOUS_VERSION)
        if previous is None:
            raise InputError("there is nothing to roll back: the embedding was never cut over")
        target = embeddings.find_version(connection, previous)
        changed = profiles.put_profiles(connection, target)
        _activate(connection, previous, previous=None, weights=Weights())
        invisible = gallery.count_incomparable(connection, target)
        detail = {"from": name, "invisible": invisible}
        catalogue.add_event(connection, actor, "roll back", f"version:{previous}", detail)
    return CutOver(previous, name, len(changed), invisible)


def _insist_on_coverage(connection: Connection, target: RegisteredVersion) -> None:
    covered = profiles.coverage(connection, target)
    if not covered.complete:
        missing = covered.deer - covered.embedded
        raise InputError(
            f"{missing} of {covered.deer} individuals have no vectors of {target.version.name!r}; "
            "they would be invisible",
            hint=f"deertrack reid reembed {target.version.name}",
        )


def _evidence(
    connection: Connection, target: RegisteredVersion, active: RegisteredVersion, reason: str
) -> int | None:
    """The number of the validation that this cut-over rests on; None where a reason stands for it."""
    new, old = target.version.name, active.version.name
    stored = validations.latest_validation(connection, new, old)
    if stored is not None and stored.outcome == "pass":
        return stored.id
    if not reason:
        found = (
            "was never validated" if stored is None else f"was validated with the outcome {stored.outcome!r}"
        )
        raise InputError(
            f"{new!r} {found} against {old!r}",
            hint=f"deertrack reid validate {new} --old {old}; or give --reason to go on all the same.",
        )
    return None


def _activate(connection: Connection, name: str, *, previous: str | None, weights: Weights) -> None:
    catalogue.put_setting(connection, catalogue.ACTIVE_VERSION, name)
    catalogue.put_setting(connection, catalogue.PREVIOUS_VERSION, previous)
    catalogue.put_setting(connection, catalogue.WEIGHTS, asdict(weights))
