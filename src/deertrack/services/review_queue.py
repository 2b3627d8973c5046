"""The queue of reviews: what helps most comes first, and each sighting beside the individuals that it may be.

Candidates are looked up when a sighting is looked at, not when the machine decided: people have answered since.
"""

from dataclasses import dataclass
from datetime import datetime

from deertrack.domain.decision import Candidate, without
from deertrack.domain.embedding import pool
from deertrack.domain.errors import NotFoundError
from deertrack.domain.records import Sex
from deertrack.services.identify import Deciders, look_up
from deertrack.storage import catalogue, embeddings, gallery, review_queue, reviews, sightings
from deertrack.storage.db import Connection, Database
from deertrack.storage.review_queue import Known, LookAlike, Looked, QueueOrder, Waiting
from deertrack.storage.reviews import Standing

_SHOWN = 9  # candidates: one key each
_PHOTOS_EACH = 6
_UNHURRIED = 12.0  # seconds an answer, until people have given some


@dataclass(frozen=True, slots=True)
class Queue:
    """How many sightings wait of those asked for, about how many minutes they take, and some of them."""

    total: int
    minutes: float
    sightings: tuple[Waiting, ...]


@dataclass(frozen=True, slots=True)
class Suggested:
    """An individual that a sighting may be, as things stand now. ``similarity`` is in [-1, 1].

    ``probability`` is in [0, 1]. ``photos`` are its own that look most like the sighting, best first.
    """

    known: Known
    probability: float
    similarity: float
    photos: tuple[LookAlike, ...]


@dataclass(frozen=True, slots=True)
class Looking:
    """A sighting before a person's eyes. ``revision`` is another one as soon as anybody decides about it.

    ``new_probability``: that it is none of the known; None where it has no vectors, so nobody is suggested.
    ``by_person``: the last decision was a person's (``actor``).
    """

    sighting: Looked
    revision: str
    by_person: bool
    actor: str | None
    new_probability: float | None
    candidates: tuple[Suggested, ...]


def list_queue(
    db: Database,
    *,
    order: QueueOrder = "value",
    station: str | None = None,
    sex: Sex | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    individual: str | None = None,
    limit: int = 50,
    offset: int = 0,
) -> Queue:
    """What waits for a person.

    Args:
        order: value (what an answer would tell, most first), oldest or newest.
        individual: only sightings that the machine thought may be this one (name or number).

    Raises:
        NotFoundError: no such individual.
    """
    with db.transaction() as connection:
        deer_id = None if individual is None else catalogue.find_individual(connection, individual).id
        total, found = review_queue.queue(
            connection,
            order=order,
            station=station,
            sex=sex,
            since=since,
            until=until,
            deer_id=deer_id,
            limit=limit,
            offset=offset,
        )
        seconds, answers = review_queue.pace(connection)
    # What people did lately counts as soon as there is enough of it to be a pace.
    each = seconds if seconds is not None and answers >= 5 else _UNHURRIED
    return Queue(total, total * each / 60, tuple(found))


def stands(db: Database, sighting_id: int) -> Standing:
    """Who a sighting is now, and who said so.

    Raises:
        NotFoundError: no such sighting.
    """
    with db.transaction() as connection:
        found = reviews.standings(connection, [sighting_id])
    if not found:
        raise NotFoundError(f"there is no sighting {sighting_id}")
    return found[0]


def look_at(db: Database, sighting_id: int, deciders: Deciders) -> Looking:
    """One sighting with the individuals that it may be.

    Raises:
        NotFoundError: no such sighting.
    """
    with db.transaction() as connection:
        return _look_at(connection, sighting_id, deciders)


def _look_at(connection: Connection, sighting_id: int, deciders: Deciders) -> Looking:
    seen = review_queue.look(connection, sighting_id)
    if seen is None:
        raise NotFoundError(f"there is no sighting {sighting_id}")
    standing = reviews.standings(connection, [sighting_id])[0]
    matcher, _ = deciders.of(seen.encounter_id)
    registered = matcher.registered
    shares = matcher.weights.of(registered.version)
    vectors = embeddings.load_vectors(connection, registered, [frame.detection_id for frame in seen.frames])
    embedded = set.intersection(*(set(vectors[output]) for output in shares))
    new_probability, candidates = None, []
    if embedded:
        looks = {output: pool(embeddings.stack(vectors[output], sorted(embedded))) for output in shares}
        unseen = gallery.count_incomparable(connection, registered)
        belief = look_up(connection, matcher, looks, Sex(seen.sex), unseen)
        impossible = {r.deer_id for r in reviews.rivals(connection, [sighting_id]) if r.deer_id is not None}
        impossible |= sightings.rejected(connection, [sighting_id]).get(sighting_id, set())
        belief = without(belief, frozenset(impossible))
        new_probability = belief.new
        weights = {registered.models[output]: share for output, share in shares.items()}
        candidates = _suggest(connection, sighting_id, belief.candidates[:_SHOWN], weights)
    return Looking(
        seen, standing.revision, standing.by_person, standing.actor, new_probability, tuple(candidates)
    )


def _suggest(
    connection: Connection, sighting_id: int, likely: tuple[Candidate, ...], weights: dict[int, float]
) -> list[Suggested]:
    ids = [candidate.deer_id for candidate in likely]
    known = review_queue.known(connection, ids)
    alike = review_queue.look_alikes(connection, sighting_id, ids, weights, each=_PHOTOS_EACH)
    return [
        Suggested(known[c.deer_id], c.probability, c.similarity, tuple(alike.get(c.deer_id, ())))
        for c in likely
    ]
