"""Clean up after a change that has held (spec, phase 5): drop the legacy column, and name the others anew.

It goes in one short transaction under the lock that decisions take, while workers go on: they ask for the columns
each time. What it takes away only a backup brings back, so it does nothing before every reason against it is gone.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from deertrack.domain.errors import InputError
from deertrack.services.backups import SavedBackup, newest_backup, problem_with
from deertrack.services.ingest import storable
from deertrack.storage import catalogue, cleanup, embeddings, gallery, sightings, trail
from deertrack.storage.db import Connection, Database
from deertrack.storage.embeddings import RegisteredVersion
from deertrack.storage.layout import LEGACY, LEGACY_INDEX, NEW_NAMES, last_drop, read_layout

STABLE = timedelta(days=90)  # spec, phase 5: "no rollbacks in 90 days"

_CUT_OVER = "cut over"
_CHANGES = (_CUT_OVER, "roll back", "ab begun", "ab ended")


@dataclass(frozen=True, slots=True)
class CleanupRequest:
    """What is asked for.

    ``rename``: also give the other columns their final names. ``backup``: where the newest backup is now; None
    where it was written. ``reason``: why to go on before 90 stable days; empty to insist on them. ``enhanced``:
    this process's USE_ENHANCED_REID, None if unset. ``now``: the instant that the days end with.
    """

    now: datetime
    rename: bool = False
    backup: Path | None = None
    reason: str = ""
    enhanced: bool | None = None


@dataclass(frozen=True, slots=True)
class CleanupPlan:
    """What a request comes to, and all the ``reasons`` against it.

    ``dropped``: the column and its index, and ``renamed``: old name to new; empty where that was done before.
    ``vector_bytes`` and ``index_bytes`` are what the two take on disk. ``retired``: individuals, retired or merged,
    that have no other profile vector. ``backup``: the newest one, which is to hold the column.
    ``cleaned_on``: when the column was dropped, if it was.
    """

    request: CleanupRequest
    dropped: tuple[str, ...]
    renamed: dict[str, str]
    vector_bytes: int
    index_bytes: int
    retired: int
    backup: SavedBackup | None
    cleaned_on: datetime | None
    reasons: tuple[str, ...]

    @property
    def nothing_left(self) -> bool:
        """Whether all of it was done before."""
        return not (self.dropped or self.renamed)


def plan_cleanup(db: Database, request: CleanupRequest) -> CleanupPlan:
    """Look at everything, the backup's file from end to end; change nothing."""
    saved, problem = None, ""
    with db.transaction() as connection:
        if read_layout(connection).column(LEGACY):
            saved = newest_backup(connection)
    if saved:
        problem = problem_with(db.url, saved, request.backup or saved.file)
    with db.transaction() as connection:
        return _plan(connection, request, saved, problem)


def clean_up(db: Database, plan: CleanupPlan, *, actor: str) -> CleanupPlan:
    """Carry a plan out, as far as nothing speaks against it at this moment either; returns what was done.

    Names, sightings, decisions, other profile vectors and all vectors of detections stay as they are.

    Raises:
        InputError: something speaks against it; names every reason.
        DatabaseError: somebody uses ``deer`` all the time; try again later. Nothing was changed.
    """
    _insist(plan)
    with db.transaction() as connection:
        sightings.lock_deciding(connection)
        plan = _plan(connection, plan.request, plan.backup, "")
        _insist(plan)
        if plan.nothing_left:
            return plan
        cleanup.lock_table(connection)
        if plan.dropped:
            _forget_single_layer(connection)
            cleanup.drop_legacy(connection)
        cleanup.rename_columns(connection, plan.renamed)
        catalogue.add_event(connection, actor, "clean up", "catalogue", _detail(plan))
    return plan


def _insist(plan: CleanupPlan) -> None:
    if plan.reasons:
        lines = "\n".join(f"- {reason}" for reason in plan.reasons)
        raise InputError(f"this is no moment to clean up:\n{lines}", hint="Nothing was changed.")


def _plan(
    connection: Connection, request: CleanupRequest, saved: SavedBackup | None, problem: str
) -> CleanupPlan:
    layout = read_layout(connection)
    legacy = layout.column(LEGACY)
    renamed = {
        c.name: NEW_NAMES[c.output]
        for c in layout.columns
        if request.rename and c.output in NEW_NAMES and c.name != NEW_NAMES[c.output]
    }
    vectors, index, retired = 0, 0, 0
    reasons: list[str] = []
    if legacy:
        vectors, index = cleanup.weigh(connection, legacy)
        retired = cleanup.count_only_here(connection, layout, legacy)
        reasons += _too_early(connection, request)
        reasons += _not_backed_up(connection, saved, problem)
        reasons += _in_use(connection, request)
    named = [*([legacy.name] if legacy else []), *renamed]
    needed_by = cleanup.dependents(connection, dropped=legacy is not None, named=named)
    reasons += [f"{what} in this database needs {' or '.join(named)}" for what in needed_by]
    done = None if legacy else last_drop(connection)
    return CleanupPlan(
        request,
        dropped=(f"deer.{legacy.name}", LEGACY_INDEX) if legacy else (),
        renamed=renamed,
        vector_bytes=vectors,
        index_bytes=index,
        retired=retired,
        backup=saved,
        cleaned_on=done["at"] if done else None,
        reasons=tuple(reasons),
    )


def _too_early(connection: Connection, request: CleanupRequest) -> list[str]:
    """What the specification asks for, 90 days without a change, unless somebody says why not."""
    if request.reason:
        return []
    if trail.last_of_kinds(connection, [_CUT_OVER]) is None:
        return [
            "the embedding was never cut over, so no time has shown that the newer one holds (or --reason)"
        ]
    change = trail.last_of_kinds(connection, _CHANGES)
    assert change is not None
    passed = request.now - change["at"]
    if passed >= STABLE:
        return []
    version = change["subject"].removeprefix("version:")
    return [
        f"{STABLE.days} days without a change are asked for, and {passed.days} have passed since "
        f"{change['kind']!r} of {version} on {change['at']:%Y-%m-%d} (or --reason)"
    ]


def _not_backed_up(connection: Connection, saved: SavedBackup | None, problem: str) -> list[str]:
    if saved is None:
        return ["there is no backup: deertrack db backup FILE"]
    change = trail.last_of_kinds(connection, _CHANGES)
    reasons = []
    if change is not None and saved.at <= change["at"]:
        reasons.append(
            f"the last backup, of {saved.at:%Y-%m-%d %H:%M} UTC, is older than {change['kind']!r} on "
            f"{change['at']:%Y-%m-%d %H:%M} UTC: deertrack db backup FILE"
        )
    if problem:
        reasons.append(
            f"{problem}. Say where it is with --backup FILE, or make another: deertrack db backup FILE"
        )
    return reasons


def _in_use(connection: Connection, request: CleanupRequest) -> list[str]:
    """Who would search the column, and who would be lost with it."""
    reasons = []
    active = _active(connection)
    if active is None:
        reasons.append("the catalogue never ran, so no other embedding version is in use")
    elif active.version.stage == 1:
        reasons.append(f"searches use it: the active embedding version is {active.version.name}")
    elif missing := gallery.count_incomparable(connection, active):
        name = active.version.name
        reasons.append(
            f"{missing:,} of the individuals have no vectors of {name}, so it may be all there is to know them by: "
            f"deertrack reid reembed {name}"
        )
    if test := catalogue.get_setting(connection, catalogue.AB):
        reasons.append(
            f"an A/B test of {test['version']} is under way: end it with reid cutover or reid rollback"
        )
    if request.enhanced is False:
        reasons.append("USE_ENHANCED_REID=false is set here, which lets searches use it")
    return reasons


def _active(connection: Connection) -> RegisteredVersion | None:
    name = catalogue.get_setting(connection, catalogue.ACTIVE_VERSION)
    return embeddings.find_version(connection, name) if name else None


def _forget_single_layer(connection: Connection) -> None:
    """Let nothing point to a version that searched the column: no way back to it, no individual's label."""
    previous = catalogue.get_setting(connection, catalogue.PREVIOUS_VERSION)
    if previous and embeddings.find_version(connection, previous).version.stage == 1:
        catalogue.put_setting(connection, catalogue.PREVIOUS_VERSION, None)
    if active := _active(connection):
        cleanup.relabel(connection, read_layout(connection), active)


def _detail(plan: CleanupPlan) -> dict[str, object]:
    held_by = plan.request.backup or (plan.backup.file if plan.backup else None)
    return {
        "dropped": list(plan.dropped),
        "renamed": plan.renamed,
        "reason": plan.request.reason,
        "backup": storable(held_by) if held_by else None,
        "vector_bytes": plan.vector_bytes,
        "index_bytes": plan.index_bytes,
        "retired": plan.retired,
    }
