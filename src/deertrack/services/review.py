"""A person's decisions: what waits for one, who a sighting is, and names from a list of known animals.

Each call is one transaction under the lock that the machine decides under. Sightings change hands, individuals are
never deleted, and every answer is a line in the decision log beside what the machine thought.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from deertrack.domain.errors import InputError, NotFoundError
from deertrack.domain.names import friendly_name
from deertrack.domain.records import Sex
from deertrack.formats.truth import TruthRow
from deertrack.services.progress import SILENT, Progress
from deertrack.services.truth import label_detections
from deertrack.services.versions import choose
from deertrack.storage import catalogue, embeddings, gallery, profiles, reviews, sightings
from deertrack.storage.db import Connection, Database
from deertrack.storage.embeddings import RegisteredVersion
from deertrack.storage.reviews import Answer, Standing, WaitingSighting

_MACHINE = "machine"
_BATCH = 50  # individuals
_LONGEST_NAME = 80


@dataclass(frozen=True, slots=True)
class WaitingList:
    """How many sightings wait for a person, and the oldest of them."""

    total: int
    sightings: tuple[WaitingSighting, ...]


@dataclass(slots=True)
class Consequences:
    """What followed: the names of individuals left without any sighting, and of those who have one again.

    ``unseen`` individuals have no vectors of the version that decides, so it cannot meet them.
    """

    retired: list[str] = field(default_factory=list)
    revived: list[str] = field(default_factory=list)
    unseen: int = 0


@dataclass(frozen=True, slots=True)
class Answered:
    """Who a sighting is now, and who it was before (None: nobody yet).

    ``recorded`` is False where a person had said the same before: then nothing changed.
    """

    sighting_id: int
    number: int
    name: str
    before: str | None
    recorded: bool
    consequences: Consequences


@dataclass(frozen=True, slots=True)
class Rejected:
    """Who a sighting is not. ``recorded`` is False where a person had said so before; ``waits``: for a review."""

    sighting_id: int
    number: int
    name: str
    recorded: bool
    waits: bool
    consequences: Consequences


@dataclass(frozen=True, slots=True)
class Undecidable:
    """A sighting that a list of names leaves as it is, and the identities that it was given."""

    sighting_id: int
    identities: tuple[str, ...]


@dataclass(slots=True)
class ImportedNames:
    """What a list of names changed. Counts are of sightings, but for the rows of the list.

    ``rows`` of the list, of which ``unmatched`` name no detection here; ``moved`` changed hands, ``confirmed`` were
    what the machine had said, ``known`` were said by a person before. Left as they are: ``mixed`` ones that show
    several animals, and ``clashing`` ones, whose animal is in the same photo already. ``made`` individuals are new,
    ``renamed`` ones got their name from the list (before, after).
    """

    rows: int
    unmatched: int
    moved: int = 0
    confirmed: int = 0
    known: int = 0
    mixed: list[Undecidable] = field(default_factory=list)
    clashing: list[Undecidable] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    renamed: list[tuple[str, str]] = field(default_factory=list)
    consequences: Consequences = field(default_factory=Consequences)


def waiting(db: Database, *, limit: int | None = None) -> WaitingList:
    """The sightings that wait for a person, oldest first, with the machine's candidates; ``limit`` at most."""
    with db.transaction() as connection:
        total, found = reviews.list_waiting(connection, limit)
    return WaitingList(total, tuple(found))


def assign(db: Database, sighting_id: int, individual: str, *, actor: str) -> Answered:
    """A person says which known individual (by name or number) a sighting is. The same again changes nothing.

    Raises:
        NotFoundError: no such sighting or individual.
        InputError: the individual is in one of the sighting's photos already, or was merged into another.
    """
    with _reviewing(db, actor) as review:
        before = review.standing(sighting_id)
        chosen = catalogue.find_individual(review.connection, individual)
        if chosen.status == "merged":
            raise InputError(f"{chosen.name} was merged into another individual", hint="Name that one.")
        for rival in reviews.rivals(review.connection, [sighting_id]):
            if rival.deer_id == chosen.id:
                raise InputError(
                    f"sighting {rival.other} is {chosen.name} already, in a photo of sighting {sighting_id} "
                    f"({rival.path}); two animals in one photo are never one",
                    hint=f"If that is wrong, correct it first: deertrack review assign {rival.other} INDIVIDUAL",
                )
        return review.answer(before, Answer(sighting_id, chosen.id))


def reject(db: Database, sighting_id: int, individual: str, *, actor: str) -> Rejected:
    """A person says that a sighting is not this individual (by name or number). The machine never says so again.

    Raises:
        NotFoundError: no such sighting or individual.
    """
    with _reviewing(db, actor) as review:
        connection = review.connection
        before = review.standing(sighting_id)
        unwanted = catalogue.find_individual(connection, individual)
        news = reviews.record_rejection(connection, before, unwanted.id, actor=actor)
        consequences = Consequences()
        if before.deer_id == unwanted.id:
            review.follow([unwanted.id], consequences, SILENT)
        if news:
            detail = {"individual": unwanted.id, "name": unwanted.name, "was": before.state}
            catalogue.add_event(connection, actor, "reject", f"sighting:{sighting_id}", detail)
        waits = review.standing(sighting_id).state == "review"
        return Rejected(sighting_id, unwanted.number, unwanted.name, news, waits, consequences)


def assign_new(db: Database, sighting_id: int, *, actor: str, name: str | None = None) -> Answered:
    """A person says that a sighting is nobody known. The same again changes nothing but the name.

    An individual that was made for this very sighting is kept; else one is made.

    Args:
        name: its name; None for a friendly one.

    Raises:
        NotFoundError: no such sighting.
        InputError: the name is empty, too long, a number, or taken.
    """
    with _reviewing(db, actor) as review:
        before = review.standing(sighting_id)
        kept = before.deer_id if before.outcome == "new" else None
        deer_id = review.make(before) if kept is None else kept
        answered = review.answer(before, Answer(sighting_id, deer_id, founds=True))
        if name is None or name == answered.name:
            return answered
        individual = catalogue.find_individual(review.connection, str(answered.number))
        catalogue.rename_individual(review.connection, individual, name, actor=actor)
        return replace(answered, name=" ".join(name.split()))


def import_names(
    db: Database,
    truth: Sequence[TruthRow],
    *,
    actor: str,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> ImportedNames:
    """Give sightings the identities that people know, from a list of who is in which photo.

    A sighting whose listed detections all show one animal is assigned to the individual of that name. If there is
    none, it is the one that the machine made for a sighting of that animal, renamed; else it is made. Sightings
    that show several animals are left as they are, and so is all that the list does not speak of.

    Args:
        dry_run: take everything back at the end.

    Raises:
        InputError: the list names no photo of the catalogue, or an identity cannot be a name.
    """
    labelled = label_detections(db, truth)
    if not labelled:
        raise InputError(
            "the list names no photo of this catalogue", hint="Run `deertrack run` on its photos first."
        )
    said: dict[int, set[str]] = {}
    for item in labelled:
        said.setdefault(item.detection.sighting_id, set()).add(" ".join(item.identity.split()))
    done = ImportedNames(len(truth), len(truth) - len(labelled))
    # Read before the lock: a sighting may only have got more photos since.
    with _reviewing(db, actor) as review:
        connection = review.connection
        holders, wanted = _identities(connection, said, done)
        standing = reviews.standings(connection, list(wanted))
        adopted = _adoptable(connection, holders, wanted)
        holders |= {name: deer_id for deer_id, name in adopted.items()}
        _leave_clashing(connection, standing, holders, wanted, done)
        done.renamed = _rename(connection, adopted, actor)
        answers = []
        for now in standing:
            if (name := wanted.get(now.sighting_id)) is None:
                continue
            if founds := name not in holders:
                holders[name] = review.make(now)
                reviews.name_new(connection, holders[name], name)
                done.made.append(name)
            if now.deer_id != holders[name]:
                done.moved += 1
            elif now.by_person:
                done.known += 1
                continue
            else:
                done.confirmed += 1
            answers.append(Answer(now.sighting_id, holders[name], founds))
        done.consequences = review.settle(standing, answers, progress)
        if answers:
            counts = {"moved": done.moved, "confirmed": done.confirmed, "made": len(done.made)}
            catalogue.add_event(connection, actor, "import names", "catalogue", counts)
        if dry_run:
            connection.rollback()
    return done


@dataclass(frozen=True, slots=True)
class _Review:
    """One person's transaction. ``versions`` are those that decide, the one in use first."""

    connection: Connection
    actor: str
    versions: Sequence[RegisteredVersion]

    def standing(self, sighting_id: int) -> Standing:
        found = reviews.standings(self.connection, [sighting_id])
        if not found:
            raise NotFoundError(
                f"there is no sighting {sighting_id}", hint="`deertrack review list` shows those that wait."
            )
        return found[0]

    def make(self, standing: Standing) -> int:
        """A new individual for a sighting; its sex and vectors come when the answer is settled."""
        best = standing.best_detection
        return gallery.add_deer(
            self.connection, self.versions[0], sex=Sex.UNKNOWN, profile_detection_id=best, vectors={}
        )

    def answer(self, before: Standing, answer: Answer) -> Answered:
        """Settle one answer, unless a person gave the same before."""
        recorded = not (before.by_person and before.deer_id == answer.deer_id)
        consequences = self.settle([before], [answer], SILENT) if recorded else Consequences()
        after = self.standing(answer.sighting_id)
        assert after.number is not None
        assert after.name is not None
        return Answered(after.sighting_id, after.number, after.name, before.name, recorded, consequences)

    def settle(
        self, standing: Sequence[Standing], answers: Sequence[Answer], progress: Progress
    ) -> Consequences:
        """Record answers, and let everything follow that does: counts, sex, profiles, who is active."""
        connection, actor = self.connection, self.actor
        before = {now.sighting_id: now.deer_id for now in standing}
        reviews.record_answers(connection, answers, actor=actor, registered=self.versions[0])
        moved = [a for a in answers if before[a.sighting_id] != a.deer_id]
        touched = sorted({d for a in moved for d in (a.deer_id, before[a.sighting_id]) if d is not None})
        done = Consequences()
        self.follow(touched, done, progress)
        return done

    def follow(self, touched: Sequence[int], done: Consequences, progress: Progress) -> None:
        """What follows for individuals whose sightings changed is done, and added to ``done``."""
        connection, actor = self.connection, self.actor
        progress.start("Taking profiles", len(touched))
        for start in range(0, len(touched), _BATCH):
            batch = touched[start : start + _BATCH]
            for deer in reviews.refresh_individuals(connection, batch):
                if deer.before != deer.after:
                    (done.retired if deer.after == "retired" else done.revived).append(deer.name)
                    detail = {"from": deer.before, "to": deer.after}
                    catalogue.add_event(connection, actor, "status", f"deer:{deer.deer_id}", detail)
            # A column may be empty, or hold vectors of a version that decides no more.
            for registered in sorted(self.versions, key=lambda r: r.version.stage):
                profiles.put_profiles(connection, registered, deer_ids=batch)
            progress.advance(len(batch))
        done.unseen = max(gallery.count_incomparable(connection, registered) for registered in self.versions)


@contextmanager
def _reviewing(db: Database, actor: str) -> Iterator[_Review]:
    """A transaction under the deciding lock.

    Raises:
        InputError: ``actor`` is no person, or the catalogue never ran.
    """
    if actor == _MACHINE:
        raise InputError(f"a person's answer cannot be signed {_MACHINE!r}: so the machine signs its own")
    with db.transaction() as connection:
        sightings.lock_deciding(connection)
        choice = choose(connection, None)
        if choice is None:
            raise InputError("this catalogue never ran: there are no sightings", hint="deertrack run PHOTOS")
        yield _Review(connection, actor, [embeddings.find_version(connection, v) for v in choice.versions])


def _identities(
    connection: Connection, said: Mapping[int, set[str]], done: ImportedNames
) -> tuple[dict[str, int], dict[int, str]]:
    """Who is called so already (name → individual), and the one name of each sighting that has just one.

    Names that differ in case alone are one, written as the one that comes first in the alphabet.
    """
    spelling: dict[str, str] = {}
    meant, holders = {}, {}
    refused = []
    for who in reviews.called(connection, sorted(set().union(*said.values()))):
        name = meant[who.name] = spelling.setdefault(who.name_key, who.name)
        if who.deer_id is not None:
            holders[name] = who.deer_id
        # As for `deer rename`: a number would be another individual's.
        if who.status == "merged" or (who.deer_id is None and (name.isdigit() or len(name) > _LONGEST_NAME)):
            refused.append(f"{name!r:.90}")
    if refused:
        raise InputError(
            f"these identities cannot be names: {', '.join(refused[:20])}",
            hint=f"A name has 1 to {_LONGEST_NAME} characters, is no number, and of nobody who was merged. Write "
            "N12 for 12, say. Nothing was changed.",
        )
    wanted = {}
    for sighting_id, identities in said.items():
        names = sorted({meant[name] for name in identities})
        if len(names) == 1:
            wanted[sighting_id] = names[0]
        else:
            done.mixed.append(Undecidable(sighting_id, tuple(names)))
    return holders, wanted


def _adoptable(
    connection: Connection, holders: Mapping[str, int], wanted: Mapping[int, str]
) -> dict[int, str]:
    """Which of the machine's own individuals shall bear names that nobody has: individual → name.

    An individual is the animal of the sighting that it was made for: what was matched to it was matched to that.
    Only who still has the name that the machine gave; of several for one animal, the first.
    """
    adopted: dict[int, str] = {}
    for made in reviews.founded(connection, list(wanted)):
        name = wanted[made.sighting_id]
        free = name not in holders and name not in adopted.values() and made.deer_id not in holders.values()
        if free and made.name.rstrip("*") == friendly_name(made.number):
            adopted[made.deer_id] = name
    return adopted


def _leave_clashing(
    connection: Connection,
    standing: Sequence[Standing],
    holders: Mapping[str, int],
    wanted: dict[int, str],
    done: ImportedNames,
) -> None:
    """Take sightings out of ``wanted`` that would put one animal twice into a photo."""
    photos = reviews.rivals(connection, list(wanted))
    now = {rival.other: rival.deer_id for rival in photos} | {s.sighting_id: s.deer_id for s in standing}

    def then(sighting_id: int) -> int | str | None:
        name = wanted.get(sighting_id)
        return now[sighting_id] if name is None else holders.get(name, name)

    # Who stays where it was may clash in turn with another that was to come there.
    while clashing := {
        sighting_id
        for rival in photos
        if then(rival.sighting_id) is not None and then(rival.sighting_id) == then(rival.other)
        for sighting_id in (rival.sighting_id, rival.other)
        if then(sighting_id) != now[sighting_id]
    }:
        done.clashing += [Undecidable(s, (wanted.pop(s),)) for s in sorted(clashing)]


def _rename(connection: Connection, names: Mapping[int, str], actor: str) -> list[tuple[str, str]]:
    """Name individuals; returns their names before and after."""
    known = catalogue.list_individuals(connection, status="all") if names else []
    renamed = [(individual, names[individual.id]) for individual in known if individual.id in names]
    for individual, name in renamed:
        catalogue.rename_individual(connection, individual, name, actor=actor)
    return [(individual.name, name) for individual, name in renamed]
