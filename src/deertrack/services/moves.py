"""Sightings that change hands by the dozen: two individuals are one, or one is several. Previewed, and undoable."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from deertrack.domain.errors import ConflictError, InputError, NotFoundError
from deertrack.services.editing import Editing, editing
from deertrack.services.review import insist_on_no_rival
from deertrack.storage import catalogue, reviews, sightings
from deertrack.storage.catalogue import Individual
from deertrack.storage.db import Database
from deertrack.storage.reviews import Answer, Standing

_MOST = 5_000  # sightings at once; more is a mistake of a script


@dataclass(frozen=True, slots=True)
class Left:
    """An individual that sightings are taken from, and how many it has left."""

    number: int
    name: str
    remaining: int


@dataclass(frozen=True, slots=True)
class Moved:
    """What a merge or a move does. ``edit`` undoes it; None in a preview.

    ``expected`` stands for the state that was looked at: given back with the real thing, it makes sure that nothing
    changed in between. ``to`` is None in the preview of a move to a new individual.
    """

    edit: int | None
    expected: str
    sightings: int
    to: tuple[int, str] | None
    left: tuple[Left, ...]
    warnings: tuple[str, ...]


def merge(
    db: Database, loser: str, winner: str, *, actor: str, dry_run: bool = False, expected: str | None = None
) -> Moved:
    """Two individuals are one: all sightings of ``loser`` become those of ``winner`` (names or numbers).

    The loser's record is kept as merged, and its name as one that finds the winner. Who was said not to be one of
    the two is not the other either.

    Args:
        dry_run: take everything back at the end: a preview.
        expected: what the preview gave; None to go ahead whatever changed since.

    Raises:
        NotFoundError: no such individual.
        InputError: they are the same, one was merged before, or a photo shows both.
        ConflictError: something changed since the preview.
    """
    with editing(db, actor) as edit:
        connection = edit.connection
        gone = catalogue.find_individual(connection, loser)
        kept = catalogue.find_individual(connection, winner)
        if gone.id == kept.id:
            raise InputError(f"{gone.name} cannot be merged with itself", hint="Name another individual.")
        if gone.status == "merged":
            raise InputError(f"{gone.name} was merged into another individual before")
        standing = reviews.standings(connection, reviews.sightings_of(connection, gone.id))
        own = reviews.sightings_of(connection, kept.id)
        now = _insist_on(expected, [gone.id, kept.id], [*(s.revision for s in standing), *map(str, own)])
        ids = [s.sighting_id for s in standing]
        insist_on_no_rival(edit, ids, kept)
        edit.watch(sightings=ids, deer=[gone.id, kept.id])
        warnings = _warn(edit, ids, own, gone, kept)
        _share_rejections(edit, gone, kept, own)
        reviews.mark_merged(connection, gone.id, into=kept.id)
        edit.settle(standing, [Answer(s.sighting_id, kept.id) for s in standing])
        edit.follow({gone.id, kept.id})  # also where there was no sighting to move
        detail = {"from": gone.name, "to": kept.name, "number": kept.number, "sightings": len(ids)}
        edit.event("merge", f"deer:{gone.id}", {**detail, "into": kept.id})
        number = edit.record("merge", detail)
        if dry_run:
            connection.rollback()
        return Moved(
            None if dry_run else number,
            now,
            len(ids),
            (kept.number, kept.name),
            (Left(gone.number, gone.name, 0),),
            tuple(warnings),
        )


def move(
    db: Database,
    sighting_ids: Sequence[int],
    to: str | None,
    *,
    actor: str,
    name: str | None = None,
    dry_run: bool = False,
    expected: str | None = None,
) -> Moved:
    """Sightings become those of another individual (by name or number), or of a new one: a split.

    Args:
        to: None for a new individual, which is called ``name`` (None: a friendly name).
        dry_run: take everything back at the end: a preview.
        expected: what the preview gave; None to go ahead whatever changed since.

    Raises:
        NotFoundError: no such individual or sighting.
        InputError: nothing to move, a photo shows the individual twice then, or the name cannot be used.
        ConflictError: something changed since the preview.
    """
    ids = list(dict.fromkeys(sighting_ids))
    if not 0 < len(ids) <= _MOST:
        raise InputError(f"expected 1 to {_MOST:,} sightings to move, got {len(ids):,}")
    with editing(db, actor) as edit:
        connection = edit.connection
        standing = reviews.standings(connection, ids)
        if unknown := sorted(set(ids) - {s.sighting_id for s in standing}):
            raise NotFoundError(f"there is no sighting {', '.join(map(str, unknown[:10]))}")
        if empty := [s.sighting_id for s in standing if s.state == "no animal"]:
            raise InputError(f"sighting {empty[0]} shows no animal: all its boxes were rejected")
        target = None if to is None else catalogue.find_individual(connection, to)
        now = _insist_on(expected, [target.id] if target else [], [s.revision for s in standing])
        if target is None:
            _insist_on_one_animal(edit, ids)
            deer_id = edit.make(_best(standing))
            target = catalogue.list_individuals(connection, status="all", only=deer_id)[0]
            if name is not None:
                catalogue.rename_individual(connection, target, name, actor=actor)
            founder = _best(standing).sighting_id
        else:
            founder = None
            insist_on_no_rival(edit, ids, target)
            _insist_on_one_animal(edit, ids)
        moving = [s for s in standing if s.deer_id != target.id]
        answers = [Answer(s.sighting_id, target.id, s.sighting_id == founder) for s in moving]
        edit.settle(moving, answers)
        target = catalogue.list_individuals(connection, status="all", only=target.id)[0]
        left = _left(edit, standing, target)
        detail = {
            "from": [owner.name for owner in left] or ["nobody"],
            "to": target.name,
            "number": target.number,
            "sightings": len(moving),
        }
        edit.event("move", f"deer:{target.id}", detail)
        number = edit.record("move", detail)
        if dry_run:
            connection.rollback()
        warnings = [
            f"{owner.name} has no sighting left and is retired" for owner in left if not owner.remaining
        ]
        made = to is None and dry_run
        return Moved(
            None if dry_run else number,
            now,
            len(moving),
            None if made else (target.number, target.name),
            tuple(left),
            tuple(warnings),
        )


def keep_apart(db: Database, one: str, other: str, *, actor: str) -> int | None:
    """A person says that two individuals (names or numbers) are two; returns the edit's number, None if known.

    Every sighting of the one is said not to be the other, so that neither the machine nor a suggestion unites them.

    Raises:
        NotFoundError: no such individual.
        InputError: they are the same.
    """
    with editing(db, actor) as edit:
        first = catalogue.find_individual(edit.connection, one)
        second = catalogue.find_individual(edit.connection, other)
        if first.id == second.id:
            raise InputError(
                f"{first.name} cannot be kept apart from itself", hint="Name another individual."
            )
        smaller, larger = sorted((first, second), key=lambda deer: (deer.sighting_count, deer.number))
        ids = reviews.sightings_of(edit.connection, smaller.id)
        edit.watch(sightings=ids)
        reviews.share_rejections(edit.connection, ids, larger.id, actor=actor)
        detail = {"from": smaller.name, "to": larger.name, "sightings": len(ids)}
        edit.event("keep apart", f"deer:{smaller.id}", {**detail, "individual": larger.id})
        return edit.record("keep apart", detail)


def _insist_on(expected: str | None, deer_ids: Sequence[int], revisions: Sequence[str]) -> str:
    """What stands for the state now, if it is as expected."""
    text = "\n".join([*map(str, deer_ids), *sorted(revisions)])
    now = hashlib.sha256(text.encode()).hexdigest()[:16]
    if expected is not None and expected != now:
        raise ConflictError(
            "something changed since the preview",
            current={"expected": now},
            hint="Look at a new preview first.",
        )
    return now


def _insist_on_one_animal(edit: Editing, ids: list[int]) -> None:
    """Refuse to make one animal of sightings that share a photo."""
    for rival in reviews.rivals(edit.connection, ids):
        if rival.other in ids:
            raise InputError(
                f"sightings {rival.sighting_id} and {rival.other} are side by side in {rival.path}: two animals",
                hint="Leave one of them out.",
            )


def _warn(edit: Editing, ids: list[int], own: list[int], gone: Individual, kept: Individual) -> list[str]:
    """What speaks against a merge, without forbidding it."""
    warnings = []
    said = sightings.rejected(edit.connection, ids)
    if against := sum(kept.id in rejected for rejected in said.values()):
        warnings.append(f"of {gone.name}, somebody said of {against} sightings that they are not {kept.name}")
    said = sightings.rejected(edit.connection, own)
    if against := sum(gone.id in rejected for rejected in said.values()):
        warnings.append(f"of {kept.name}, somebody said of {against} sightings that they are not {gone.name}")
    if {gone.sex, kept.sex} == {"male", "female"}:
        warnings.append(f"{gone.name} is {gone.sex}, {kept.name} is {kept.sex}")
    apart = [e for e in reviews.encounters_of(edit.connection, ids)
             if kept.id in sightings.out_of_reach(edit.connection, e, [kept.id])]  # fmt: skip
    if apart:
        warnings.append(f"{len(apart)} encounters are too far away from where {kept.name} was at the time")
    return warnings


def _share_rejections(edit: Editing, gone: Individual, kept: Individual, own: list[int]) -> None:
    """Who was said not to be the one is not the other either, but for the animal's own sightings."""
    others = [s for s in reviews.rejected_by(edit.connection, gone.id) if s not in own]
    edit.watch(sightings=[*others, *own])
    reviews.share_rejections(edit.connection, others, kept.id, actor=edit.actor)
    reviews.drop_rejections(edit.connection, own, gone.id)


def _best(standing: Sequence[Standing]) -> Standing:
    return min(standing, key=lambda s: s.sighting_id)


def _left(edit: Editing, standing: Sequence[Standing], target: Individual) -> list[Left]:
    were = Counter(s.deer_id for s in standing if s.deer_id not in (None, target.id))
    found = (catalogue.list_individuals(edit.connection, status="all", only=deer_id)[0] for deer_id in were)
    return [Left(deer.number, deer.name, deer.sighting_count) for deer in found]
