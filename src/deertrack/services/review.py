"""A person's decisions about one sighting: what waits for one, and who it is.

Each call is one transaction under the lock that the machine decides under. Sightings change hands, individuals are
never deleted, every answer is a line in the decision log beside what the machine thought, and every one can be
undone (:mod:`deertrack.services.history`).
"""

from dataclasses import dataclass

from deertrack.domain.errors import InputError
from deertrack.domain.records import Sex
from deertrack.services.editing import Consequences, Editing, editing
from deertrack.services.identify import Deciders, decide_encounter
from deertrack.storage import catalogue, reviews
from deertrack.storage.catalogue import Individual
from deertrack.storage.db import Database
from deertrack.storage.reviews import Answer, Standing, WaitingSighting


@dataclass(frozen=True, slots=True)
class WaitingList:
    """How many sightings wait for a person, and the oldest of them."""

    total: int
    sightings: tuple[WaitingSighting, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """Who a sighting is now, and who it was before (None: nobody yet).

    ``recorded`` is False where a person had said the same before. ``edit`` undoes what
    changed; None if nothing did.
    """

    sighting_id: int
    number: int
    name: str
    before: str | None
    recorded: bool
    edit: int | None
    consequences: Consequences


@dataclass(frozen=True, slots=True)
class Rejected:
    """Who a sighting is not. ``recorded`` is False where a person had said so before; ``waits``: for a review."""

    sighting_id: int
    number: int
    name: str
    recorded: bool
    edit: int | None
    waits: bool
    consequences: Consequences


def waiting(db: Database, *, limit: int | None = None) -> WaitingList:
    """The sightings that wait for a person, oldest first, with the machine's candidates; ``limit`` at most."""
    with db.transaction() as connection:
        total, found = reviews.list_waiting(connection, limit)
    return WaitingList(total, tuple(found))


def assign(
    db: Database, sighting_id: int, individual: str, *, actor: str, expected: str | None = None
) -> Answered:
    """A person says which known individual (by name or number) a sighting is. The same again changes nothing.

    Args:
        expected: the sighting's revision when the person looked at it; None for whatever it is.

    Raises:
        NotFoundError: no such sighting or individual.
        InputError: the individual is in one of the sighting's photos already, or was merged into another.
        ConflictError: somebody else decided meanwhile.
    """
    with editing(db, actor) as edit:
        before = edit.standing(sighting_id, expected=expected)
        chosen = catalogue.find_individual(edit.connection, individual)
        insist_on_no_rival(edit, [sighting_id], chosen)
        return _answer(edit, before, Answer(sighting_id, chosen.id), "assign")


def insist_on_no_rival(edit: Editing, sighting_ids: list[int], chosen: Individual) -> None:
    """Refuse to make one animal of two that were seen side by side.

    Raises:
        InputError: the individual was merged into another, or is in one of these sightings' photos already.
    """
    if chosen.status == "merged":
        raise InputError(f"{chosen.name} was merged into another individual", hint="Name that one.")
    for rival in reviews.rivals(edit.connection, sighting_ids):
        if rival.deer_id == chosen.id and rival.other not in sighting_ids:
            raise InputError(
                f"sighting {rival.other} is {chosen.name} already, in a photo of sighting {rival.sighting_id} "
                f"({rival.path}); two animals in one photo are never one",
                hint=f"If that is wrong, correct it first: deertrack review assign {rival.other} INDIVIDUAL",
            )


def reject(
    db: Database, sighting_id: int, individual: str, *, actor: str, expected: str | None = None
) -> Rejected:
    """A person says that a sighting is not this individual (by name or number). The machine never says so again.

    Raises:
        NotFoundError: no such sighting or individual.
        ConflictError: somebody else decided meanwhile.
    """
    with editing(db, actor) as edit:
        before = edit.standing(sighting_id, expected=expected)
        unwanted = catalogue.find_individual(edit.connection, individual)
        edit.watch(sightings=[sighting_id], deer=[unwanted.id])
        news = reviews.record_rejection(edit.connection, before, unwanted.id, actor=actor)
        if before.deer_id == unwanted.id:
            edit.follow({unwanted.id})
        number = None
        if news:
            detail = {"individual": unwanted.id, "name": unwanted.name, "was": before.state}
            edit.event("reject", f"sighting:{sighting_id}", detail)
            number = edit.record("reject", {"sighting": sighting_id, "name": unwanted.name})
        waits = edit.standing(sighting_id).state == "review"
        return Rejected(sighting_id, unwanted.number, unwanted.name, news, number, waits, edit.consequences)


def assign_new(
    db: Database, sighting_id: int, *, actor: str, name: str | None = None, expected: str | None = None
) -> Answered:
    """A person says that a sighting is nobody known. The same again changes nothing but the name.

    An individual that was made for this very sighting is kept; else one is made.

    Args:
        name: its name; None for a friendly one.
        expected: the sighting's revision when the person looked at it; None for whatever it is.

    Raises:
        NotFoundError: no such sighting.
        InputError: the name is empty, too long, a number, or taken.
        ConflictError: somebody else decided meanwhile.
    """
    with editing(db, actor) as edit:
        before = edit.standing(sighting_id, expected=expected)
        kept = before.deer_id if before.outcome == "new" else None
        deer_id = edit.make(before) if kept is None else kept
        edit.watch(deer=[deer_id])
        if name is not None:
            catalogue.rename_individual(edit.connection, _by_id(edit, deer_id), name, actor=actor)
        return _answer(edit, before, Answer(sighting_id, deer_id, founds=True), "new")


def unidentifiable(db: Database, sighting_id: int, *, actor: str, expected: str | None = None) -> int | None:
    """A person says that nobody can tell who a sighting is; returns the edit's number, None if that was known.

    Raises:
        NotFoundError: no such sighting.
        ConflictError: somebody else decided meanwhile.
    """
    with editing(db, actor) as edit:
        before = edit.standing(sighting_id, expected=expected)
        if before.state == "unidentifiable":
            return None
        _insist_on_an_animal(before)
        edit.watch(sightings=[sighting_id], deer=[before.deer_id])
        reviews.record_unidentifiable(edit.connection, sighting_id, actor=actor, registered=edit.versions[0])
        edit.follow({before.deer_id})
        detail = {"was": before.state, "from": before.deer_id, "from_name": before.name}
        edit.event("unidentifiable", f"sighting:{sighting_id}", detail)
        return edit.record("unidentifiable", {"sighting": sighting_id, "from": before.name})


def set_sex(
    db: Database,
    sighting_id: int,
    sex: Sex,
    *,
    actor: str,
    deciders: Deciders,
    expected: str | None = None,
) -> int | None:
    """A person says which sex a sighting shows; returns the edit's number, None if that was known.

    What the machine decided about it is decided anew, among individuals of that sex; a person's word stays.

    Raises:
        NotFoundError: no such sighting.
        ConflictError: somebody else decided meanwhile.
        VersionChangedError: the catalogue was cut over meanwhile.
    """
    with editing(db, actor) as edit:
        before = edit.standing(sighting_id, expected=expected)
        _insist_on_an_animal(before)
        edit.watch(sightings=[sighting_id], deer=[before.deer_id])
        reviews.set_sex(edit.connection, sighting_id, sex)
        touched = {before.deer_id}
        if sex != before.sex:
            if not before.by_person:
                reviews.make_undecided(edit.connection, sighting_id)
                edit.follow(touched)
                decide_encounter(edit.connection, deciders, sighting_id)
                touched.add(edit.standing(sighting_id).deer_id)
            edit.follow(touched)
            edit.event("sex", f"sighting:{sighting_id}", {"from": before.sex, "to": sex})
        return edit.record("sex", {"sighting": sighting_id, "from": before.sex, "to": sex})


def _answer(edit: Editing, before: Standing, answer: Answer, kind: str) -> Answered:
    """Settle one answer, unless a person gave the same before."""
    _insist_on_an_animal(before)
    if recorded := not (before.by_person and before.deer_id == answer.deer_id):
        edit.settle([before], [answer])
    after = edit.standing(answer.sighting_id)
    assert after.number is not None
    assert after.name is not None
    detail = {"sighting": after.sighting_id, "from": before.name, "to": after.name, "number": after.number}
    number = edit.record(kind, detail)
    return Answered(
        after.sighting_id, after.number, after.name, before.name, recorded, number, edit.consequences
    )


def _insist_on_an_animal(standing: Standing) -> None:
    if standing.state == "no animal":
        raise InputError(
            f"all boxes of sighting {standing.sighting_id} were rejected: it shows no animal",
            hint="Undo that first, or draw a box on its photo.",
        )


def _by_id(edit: Editing, deer_id: int) -> Individual:
    return catalogue.list_individuals(edit.connection, status="all", only=deer_id)[0]
