"""Cut over to another embedding version, and back (spec, phase 4 and rollback scenario 1).

Both are one transaction under the lock that decisions take: no decision is half old and half new. A run that is
under way stops at its next decision and goes on with the new version when it is called again.
"""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from deertrack.domain.errors import ConflictError, InputError
from deertrack.services.lifecycle.reembed import overlaps
from deertrack.services.versions import Tuning, get_tuning, put_tuning
from deertrack.storage import catalogue, embeddings, gallery, profiles, sightings, validations
from deertrack.storage import monitor as log
from deertrack.storage.db import Connection, Database
from deertrack.storage.embeddings import RegisteredVersion


@dataclass(frozen=True, slots=True)
class CutOver:
    """What changed: the versions, the individuals whose profile was filled now, and those left invisible.

    ``before`` is None in a catalogue that never ran. ``share`` of the encounters use ``version``: below 1 in an
    A/B test.
    """

    version: str
    before: str | None
    profiles: int
    invisible: int = 0
    share: float = 1.0


def cut_over(
    db: Database,
    target: RegisteredVersion,
    *,
    tuning: Tuning,
    reason: str,
    actor: str,
    share: float = 1.0,
    expected: str | None = None,
) -> CutOver:
    """Let searches use ``target`` from now on: all of them, or those of a share of the encounters (A/B).

    Args:
        tuning: ensemble weights and threshold that its searches take. For the active version: change these only.
        reason: why to go on without full coverage or a passing validation; empty to insist on both. It is kept
            with the event.
        share: of the encounters, in (0, 1]; below 1 it is an A/B test against the active version.
        expected: what decided when the person looked (:func:`revision`); None for whatever it is now.

    Raises:
        ConflictError: another version decides meanwhile than was expected.
        InputError: it is in use so already; individuals lack its vectors, or no stored validation of it against
            the active version passed, and no reason is given; or an A/B test of another version is under way.
    """
    if not 0 < share <= 1:
        raise InputError(f"expected a share of the encounters above 0 and at most 1, got {share}")
    name = target.version.name
    with db.transaction() as connection:
        sightings.lock_deciding(connection)
        _insist_on_revision(connection, expected)
        active = _active(connection)
        if active is None and share < 1:
            raise InputError("a catalogue that never ran has nothing to compare with", hint="Leave --ab out.")
        if active is None:
            return _begin_with(connection, target, tuning, actor)
        before = active.version.name
        test = catalogue.get_setting(connection, catalogue.AB)
        _insist_on_news(connection, target, active, tuning, share)
        if test and test["version"] != name:
            raise InputError(
                f"an A/B test of {test['version']!r} is under way",
                hint="End it first: deertrack reid rollback, or cut over to it.",
            )
        _insist_on_coverage(connection, target, reason)
        evidence = _evidence(connection, target, active, tuning, reason)
        changed = profiles.put_profiles(connection, target)
        put_tuning(connection, name, tuning)
        detail = {"from": before, "reason": reason, "validation": evidence, **asdict(tuning), "share": share}
        if test:
            _end_test(connection, test, actor)
        if share < 1:
            since = datetime.now(UTC).isoformat(timespec="seconds")
            catalogue.put_setting(connection, catalogue.AB, {"version": name, "share": share, "since": since})
            catalogue.add_event(connection, actor, "ab begun", f"version:{name}", {**detail, "since": since})
        else:
            if name != before:
                _activate(connection, name, previous=before)
            catalogue.add_event(connection, actor, "cut over", f"version:{name}", detail)
        invisible = gallery.count_incomparable(connection, target)
    return CutOver(name, before, len(changed), invisible, share)


def roll_back(db: Database, *, actor: str, expected: str | None = None) -> CutOver:
    """Back to the version that the last cut-over left; during an A/B test, back to the active version alone.

    Its vectors were never touched, so nothing is lost. Individuals that were met since may lack the older
    version's vectors; they are counted, and re-embedding with that version brings them back.

    Args:
        expected: as for :func:`cut_over`; without it, asking twice goes back twice.

    Raises:
        ConflictError: another version decides meanwhile than was expected.
        InputError: there was no cut-over.
    """
    with db.transaction() as connection:
        sightings.lock_deciding(connection)
        _insist_on_revision(connection, expected)
        test = catalogue.get_setting(connection, catalogue.AB)
        previous = catalogue.get_setting(connection, catalogue.PREVIOUS_VERSION)
        if not (test or previous):
            raise InputError(
                "there is nothing to roll back: no cut-over is left to take back",
                hint="A version that the clean-up (`reid cleanup`) took leave of comes back with a backup only.",
            )
        active = _active(connection)
        assert active is not None
        if test:
            _end_test(connection, test, actor)
            target, before = active, test["version"]
        else:
            target, before = embeddings.find_version(connection, previous), active.version.name
            _activate(connection, previous, previous=None)
        changed = profiles.put_profiles(connection, target)
        invisible = gallery.count_incomparable(connection, target)
        detail = {"from": before, "invisible": invisible}
        catalogue.add_event(connection, actor, "roll back", f"version:{target.version.name}", detail)
    return CutOver(target.version.name, before, len(changed), invisible)


def revision(connection: Connection) -> str:
    """Names what decides now: it changes with every cut-over, A/B test and roll-back."""
    changes = log.changes(connection)
    return f"{len(changes)}-{changes[-1].at:%Y%m%dT%H%M%S.%f}" if changes else "0"


def _insist_on_revision(connection: Connection, expected: str | None) -> None:
    if expected is not None and expected != revision(connection):
        active = catalogue.get_setting(connection, catalogue.ACTIVE_VERSION)
        raise ConflictError(
            f"somebody changed meanwhile which version decides: it is {active!r} now",
            current={"active": active, "ab_test": catalogue.get_setting(connection, catalogue.AB)},
            hint="Look at it again.",
        )


def _active(connection: Connection) -> RegisteredVersion | None:
    name = catalogue.get_setting(connection, catalogue.ACTIVE_VERSION)
    return None if name is None else embeddings.find_version(connection, name)


def _begin_with(connection: Connection, target: RegisteredVersion, tuning: Tuning, actor: str) -> CutOver:
    """A catalogue that never ran begins with this version: there is nothing to compare or to lose."""
    name = target.version.name
    put_tuning(connection, name, tuning)
    _activate(connection, name, previous=None)
    catalogue.add_event(connection, actor, "cut over", f"version:{name}", {"from": None, **asdict(tuning)})
    return CutOver(name, None, 0)


def _insist_on_news(
    connection: Connection, target: RegisteredVersion, active: RegisteredVersion, tuning: Tuning, share: float
) -> None:
    name = target.version.name
    if name == active.version.name and (share < 1 or tuning == get_tuning(connection, name)):
        raise InputError(f"the catalogue works with {name!r} already")
    if share < 1 and overlaps(target, active):
        raise InputError(
            f"{name!r} and {active.version.name!r} need the same columns of `deer` for different models",
            hint="An A/B test needs both at once. Cut over whole; `deertrack reid rollback` goes back.",
        )


def _insist_on_coverage(connection: Connection, target: RegisteredVersion, reason: str) -> None:
    covered = profiles.coverage(connection, target)
    if not covered.complete and not reason:
        missing = covered.deer - covered.embedded
        raise InputError(
            f"{missing} of {covered.deer} individuals have no vectors of {target.version.name!r}; "
            "they would be invisible",
            hint=f"deertrack reid reembed {target.version.name}; if their photos are lost, give --reason.",
        )


def _evidence(
    connection: Connection,
    target: RegisteredVersion,
    active: RegisteredVersion,
    tuning: Tuning,
    reason: str,
) -> int | None:
    """The number of the validation that this cut-over rests on; None where a reason stands for it."""
    new, old = target.version.name, active.version.name
    stored = validations.latest_validation(connection, new, None if new == old else old)
    as_tuned = target.version.stage < 3 or (stored and stored.weights == asdict(tuning.weights))
    if stored is not None and stored.outcome == "pass" and as_tuned:
        return stored.id
    if not reason:
        shares = f"{tuning.weights.multiscale:g},{tuning.weights.partner:g}"
        if stored is None:
            found = "was never validated"
        elif stored.outcome != "pass":
            found = f"was validated with the outcome {stored.outcome!r}"
        else:
            found = f"was not validated with the weights {shares}"
        raise InputError(
            f"{new!r} {found} against {old!r}",
            hint=f"deertrack reid validate {new} --old {old} --weights {shares}; or give --reason to go on all "
            "the same.",
        )
    return None


def _end_test(connection: Connection, test: dict[str, Any], actor: str) -> None:
    catalogue.put_setting(connection, catalogue.AB, None)
    catalogue.add_event(connection, actor, "ab ended", f"version:{test['version']}", test)


def _activate(connection: Connection, name: str, *, previous: str | None) -> None:
    catalogue.put_setting(connection, catalogue.ACTIVE_VERSION, name)
    catalogue.put_setting(connection, catalogue.PREVIOUS_VERSION, previous)
