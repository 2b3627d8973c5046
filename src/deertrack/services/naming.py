"""Names from a list of animals that people know: who is who, for many sightings at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deertrack.domain.errors import InputError
from deertrack.domain.names import friendly_name
from deertrack.formats.truth import TruthRow
from deertrack.services.editing import Consequences, editing
from deertrack.services.progress import SILENT, Progress
from deertrack.services.truth import label_detections
from deertrack.storage import catalogue, reviews
from deertrack.storage.catalogue import LONGEST_NAME
from deertrack.storage.db import Connection, Database
from deertrack.storage.reviews import Answer, Standing


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
    with editing(db, actor) as edit:
        connection = edit.connection
        holders, wanted = _identities(connection, said, done)
        standing = reviews.standings(connection, list(wanted))
        adopted = _adoptable(connection, holders, wanted)
        holders |= {name: deer_id for deer_id, name in adopted.items()}
        _leave_clashing(connection, standing, holders, wanted, done)
        edit.watch(deer=list(adopted))
        done.renamed = _rename(connection, adopted, actor)
        answers = []
        for now in standing:
            if (name := wanted.get(now.sighting_id)) is None:
                continue
            if founds := name not in holders:
                holders[name] = edit.make(now)
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
        edit.settle(standing, answers, progress)
        done.consequences = edit.consequences
        if answers:
            counts = {"moved": done.moved, "confirmed": done.confirmed, "made": len(done.made)}
            edit.event("import names", "catalogue", counts)
            edit.record("import names", counts)
        if dry_run:
            connection.rollback()
    return done


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
        if who.status == "merged" or (who.deer_id is None and (name.isdigit() or len(name) > LONGEST_NAME)):
            refused.append(f"{name!r:.90}")
    if refused:
        raise InputError(
            f"these identities cannot be names: {', '.join(refused[:20])}",
            hint=f"A name has 1 to {LONGEST_NAME} characters, is no number, and of nobody who was merged. Write "
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
