"""Looking into the catalogue: the whole at a glance, individuals, and what people say of them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from deertrack.domain.errors import ConflictError, InputError
from deertrack.domain.records import Sex
from deertrack.services.editing import editing
from deertrack.storage import catalogue, edits, herd
from deertrack.storage.catalogue import LONGEST_NAME, Individual, Sighting
from deertrack.storage.db import Connection, Database
from deertrack.storage.edits import Thing
from deertrack.storage.herd import Companion, Listed, Met, Order, Place

AGE_CLASSES = ("adult", "yearling", "fawn", "unknown")
_LONGEST_NOTES = 20_000
_MOST_ALIASES = 20


@dataclass(frozen=True, slots=True)
class Dossier:
    """An individual and all its sightings, in time."""

    individual: Individual
    sightings: tuple[Sighting, ...]


@dataclass(frozen=True, slots=True)
class Overview:
    """The catalogue in numbers, its embedding version, and every (file, reason) that it could not use.

    ``drawn``: it holds photos of the drawn sample herd, which must be said wherever they are shown.
    """

    totals: dict[str, int]
    version: str | None
    problems: list[tuple[str, str]]
    drawn: bool


@dataclass(frozen=True, slots=True)
class Portrait:
    """An individual from all sides. ``best``: its best detection of each flank seen (left, right, unknown).

    ``hours`` (24) and ``months`` (12) count encounters by the stations' clocks; ``instants`` are station, zone and
    time of each encounter. ``revision`` is another one after each change that a person makes.
    """

    individual: Listed
    revision: str
    best: dict[str, int]
    companions: tuple[Companion, ...]
    hours: tuple[int, ...]
    months: tuple[int, ...]
    places: tuple[Place, ...]
    instants: tuple[tuple[str, str, datetime], ...]


@dataclass(frozen=True, slots=True)
class Page:
    """How many individuals there are of those asked for, and some of them."""

    total: int
    individuals: tuple[Listed, ...]


@dataclass(frozen=True, slots=True)
class Meetings:
    """How many sightings an individual has, and some of them, newest first."""

    total: int
    sightings: tuple[Met, ...]


def overview(db: Database, *, brief: bool = False) -> Overview:
    """The catalogue at a glance; ``brief`` leaves out some of the totals (:func:`storage.catalogue.totals`)."""
    with db.transaction() as connection:
        return Overview(
            catalogue.totals(connection, brief=brief),
            catalogue.get_setting(connection, catalogue.ACTIVE_VERSION),
            catalogue.list_problems(connection),
            catalogue.holds_drawn_photos(connection),
        )


def list_individuals(db: Database, *, status: str = "active") -> list[Individual]:
    """Individuals by number; ``status`` is active, retired, merged or all."""
    with db.transaction() as connection:
        return catalogue.list_individuals(connection, status=status)


def page_of_individuals(
    db: Database,
    *,
    status: str = "active",
    search: str | None = None,
    sex: Sex | None = None,
    station: str | None = None,
    order: Order = "sightings",
    limit: int = 50,
    offset: int = 0,
) -> Page:
    """Some individuals.

    Args:
        status: active, retired, merged or all.
        search: part of a name, an alias or the notes, or the number.
        station: the name of one where they were met.
    """
    with db.transaction() as connection:
        total, found = herd.page(
            connection,
            status=status,
            search=search,
            sex=sex,
            station=station,
            order=order,
            limit=limit,
            offset=offset,
        )
    return Page(total, tuple(found))


def show_individual(db: Database, name_or_number: str) -> Dossier:
    """One individual with its sightings.

    Raises:
        NotFoundError: nobody has that name or number.
    """
    with db.transaction() as connection:
        individual = catalogue.find_individual(connection, name_or_number)
        return Dossier(individual, tuple(catalogue.list_sightings(connection, deer_id=individual.id)))


def portray(db: Database, name_or_number: str) -> Portrait:
    """One individual from all sides.

    Raises:
        NotFoundError: nobody has that name or number.
    """
    with db.transaction() as connection:
        found = catalogue.find_individual(connection, name_or_number)
        _, (listed,) = herd.page(connection, status="all", only=found.id, limit=1)
        hours, months = herd.activity(connection, found.id)
        return Portrait(
            listed,
            _revision(connection, found.id),
            herd.best_photos(connection, found.id),
            tuple(herd.companions(connection, found.id)),
            tuple(hours),
            tuple(months),
            tuple(herd.places(connection, found.id)),
            tuple(herd.instants(connection, found.id)),
        )


def meetings(db: Database, name_or_number: str, *, limit: int = 50, offset: int = 0) -> Meetings:
    """Some of an individual's sightings, newest first.

    Raises:
        NotFoundError: nobody has that name or number.
    """
    with db.transaction() as connection:
        found = catalogue.find_individual(connection, name_or_number)
        total, sightings = herd.met(connection, found.id, limit=limit, offset=offset)
    return Meetings(total, tuple(sightings))


def rename(db: Database, name_or_number: str, new_name: str, *, actor: str) -> tuple[Individual, Individual]:
    """Give an individual another name; returns it before and after. The old name stays in the events.

    Raises:
        NotFoundError: nobody has that name or number.
        InputError: the new name is empty, too long, a number, or taken.
    """
    with db.transaction() as connection:
        before = catalogue.find_individual(connection, name_or_number)
    describe(db, str(before.number), {"name": new_name}, actor=actor)
    with db.transaction() as connection:
        return before, catalogue.find_individual(connection, str(before.number))


def describe(
    db: Database,
    name_or_number: str,
    given: Mapping[str, Any],
    *,
    actor: str,
    expected: str | None = None,
) -> int | None:
    """A person says something of an individual; returns the edit's number, None where that changes nothing.

    Args:
        given: what is to change of name, notes, sex (``""`` or None: as its sightings show), age_class, aliases,
            and status: retired (known to be dead or gone: the machine suggests it no more) or active.
        expected: its revision when the person looked at it; None for whatever it is.

    Raises:
        NotFoundError: nobody has that name or number.
        InputError: a value that cannot be.
        ConflictError: somebody else changed it meanwhile.
    """
    with editing(db, actor) as edit:
        connection = edit.connection
        before = catalogue.find_individual(connection, name_or_number)
        now = _revision(connection, before.id)
        if expected is not None and expected != now:
            _, (listed,) = herd.page(connection, status="all", only=before.id, limit=1)
            current = {"name": listed.name, "notes": listed.notes, "sex": listed.sex, "status": listed.status,
                       "age_class": listed.age_class, "aliases": list(listed.aliases), "revision": now}  # fmt: skip
            raise ConflictError(
                f"somebody else changed {before.name} meanwhile",
                current=current,
                hint="Look at it again first.",
            )
        fields = catalogue.described(connection, before.id)
        if fields["status"] == "merged":
            raise InputError(
                f"{before.name} was merged into another individual", hint="Undo that merge first."
            )
        edit.watch(deer=[before.id])
        wanted = fields | {name: value for name, value in _checked(given).items() if name != "name"}
        if wanted["status"] == "active" and not before.sighting_count:
            raise InputError(
                f"{before.name} has no sighting, so it stays retired", hint="Assign one to it first."
            )
        if given.get("name") is not None and " ".join(str(given["name"]).split()) != before.name:
            catalogue.rename_individual(connection, before, str(given["name"]), actor=actor)
        changed = {name: value for name, value in wanted.items() if fields[name] != value}
        if changed:
            catalogue.describe_individual(connection, before.id, wanted)
            edit.follow({before.id})
            told = {name: [fields[name], value] for name, value in changed.items()}
            edit.event("describe", f"deer:{before.id}", {"name": before.name, **told})
        names = ["name"] if given.get("name") not in (None, before.name) else []
        names += [n.replace("sex_said", "sex").replace("_", " ") for n in changed]
        detail = {"name": before.name, "number": before.number, "changed": list(dict.fromkeys(names))}
        return edit.record("describe", detail)


def _checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """What may be said, in the form in which it is kept."""
    wanted = dict(given)
    if unknown := set(wanted) - {"name", "notes", "sex", "age_class", "aliases", "status"}:
        raise InputError(f"expected name, notes, sex, age_class, aliases or status, got {sorted(unknown)}")
    if wanted.get("status") not in (None, "active", "retired"):
        raise InputError(f"expected the status active or retired, got {wanted['status']!r}")
    if wanted.get("age_class") not in (None, *AGE_CLASSES):
        raise InputError(f"expected an age class of {', '.join(AGE_CLASSES)}, got {wanted['age_class']!r}")
    if len(wanted.get("notes") or "") > _LONGEST_NOTES:
        raise InputError(
            f"expected notes of at most {_LONGEST_NOTES:,} characters, got {len(wanted['notes']):,}"
        )
    if "sex" in wanted:
        said = wanted.pop("sex")
        if said not in (None, "", *Sex):
            raise InputError(f"expected the sex male, female or unknown, got {said!r}")
        wanted["sex_said"] = bool(said)
        if said:
            wanted["sex"] = str(said)
    if wanted.get("aliases") is not None:
        names = dict.fromkeys(" ".join(str(alias).split()) for alias in wanted["aliases"])
        aliases = [alias for alias in names if alias]
        if len(aliases) > _MOST_ALIASES or any(len(alias) > LONGEST_NAME for alias in aliases):
            raise InputError(f"expected at most {_MOST_ALIASES} aliases of at most {LONGEST_NAME} characters")
        wanted["aliases"] = aliases
    return {name: value for name, value in wanted.items() if value is not None}


def _revision(connection: Connection, deer_id: int) -> str:
    fields = edits.snapshot(connection, Thing.DEER, [deer_id])[deer_id]
    return hashlib.sha256(repr(sorted(fields.items())).encode()).hexdigest()[:16]
