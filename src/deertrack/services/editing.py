"""One person's change: a transaction under the deciding lock, all that follows, and a record to undo it by."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from deertrack.domain.errors import ConflictError, InputError, NotFoundError
from deertrack.domain.records import Sex
from deertrack.services.progress import SILENT, Progress
from deertrack.services.versions import choose
from deertrack.storage import catalogue, edits, embeddings, gallery, profiles, reviews, sightings
from deertrack.storage.db import Connection, Database
from deertrack.storage.edits import Fields, Item, Thing
from deertrack.storage.embeddings import RegisteredVersion
from deertrack.storage.reviews import Answer, Standing

MACHINE = "machine"
NUMBER = "decision"  # of a sighting: what is said again by an undo gets another number, and is the same
_BATCH = 50  # individuals
# Seconds that a person waits for the machine. A group is decided about in a moment, a recluster takes minutes: who
# waited for that would hold all connections, and nobody could even look.
_PATIENCE = 5


@dataclass(slots=True)
class Consequences:
    """What followed: the names of individuals left without any sighting, and of those who have one again.

    ``unseen`` individuals have no vectors of the version that decides, so it cannot meet them.
    """

    retired: list[str] = field(default_factory=list)
    revived: list[str] = field(default_factory=list)
    unseen: int = 0


@dataclass(slots=True)
class Editing:
    """A person's transaction. ``versions`` are those that decide, the one in use first.

    What is going to change is watched first (:meth:`watch`); :meth:`record` keeps the difference.
    """

    connection: Connection
    actor: str
    versions: Sequence[RegisteredVersion]
    consequences: Consequences = field(default_factory=Consequences)
    _before: dict[tuple[Thing, int], Fields] = field(default_factory=dict)

    def watch(
        self,
        *,
        sightings: Sequence[int] = (),
        deer: Sequence[int | None] = (),
        detections: Sequence[int] = (),
    ) -> None:
        """Remember how these are now, unless they are watched already."""
        individuals = [deer_id for deer_id in deer if deer_id is not None]
        for thing, ids in (
            (Thing.SIGHTING, sightings),
            (Thing.DEER, individuals),
            (Thing.DETECTION, detections),
        ):
            new = [i for i in ids if (thing, i) not in self._before]
            for i, fields in edits.snapshot(self.connection, thing, new).items() if new else ():
                self._before[thing, i] = fields

    def made_detections(self, detections: Sequence[int]) -> None:
        """Watch boxes that are new: to undo them is to reject them."""
        for i, fields in edits.snapshot(self.connection, Thing.DETECTION, detections).items():
            self._before[Thing.DETECTION, i] = fields | {"rejected": True, "sighting": None}

    def record(self, kind: str, detail: Mapping[str, object], *, undoes: int | None = None) -> int | None:
        """Keep what changed of all that was watched; returns the edit's number, or None if nothing did."""
        items = []
        for thing in Thing:
            ids = [i for of, i in self._before if of is thing]
            for i, after in edits.snapshot(self.connection, thing, ids).items() if ids else ():
                before = self._before[thing, i]
                changed = [name for name in before if before[name] != after[name]]
                if changed not in ([], [NUMBER]):
                    items.append(Item(thing, i, _only(before, changed), _only(after, changed)))
        if not items:
            return None
        return edits.add_edit(
            self.connection, items, actor=self.actor, kind=kind, detail=detail, undoes=undoes
        )

    def event(self, kind: str, subject: str, detail: Mapping[str, object]) -> None:
        """Write a line of the audit trail."""
        catalogue.add_event(self.connection, self.actor, kind, subject, detail)

    def standing(self, sighting_id: int, *, expected: str | None = None) -> Standing:
        """Who a sighting is now.

        Args:
            expected: its revision when the person looked at it; None for whatever it is.

        Raises:
            NotFoundError: no such sighting.
            ConflictError: it is not as expected any more.
        """
        found = reviews.standings(self.connection, [sighting_id])
        if not found:
            raise NotFoundError(
                f"there is no sighting {sighting_id}", hint="`deertrack review list` shows those that wait."
            )
        now = found[0]
        if expected is not None and expected != now.revision:
            is_now = f"is {now.name}" if now.name else f"has the state {now.state!r}"
            raise ConflictError(
                f"{now.actor or 'somebody'} decided about sighting {sighting_id} meanwhile: it {is_now} now",
                current={"sighting_id": sighting_id, "state": now.state, "number": now.number, "name": now.name,
                         "by": now.actor, "revision": now.revision},
                hint="Look at it again before you answer.",
            )  # fmt: skip
        return now

    def make(self, standing: Standing) -> int:
        """A new individual for a sighting; its sex and vectors come when the answer is settled."""
        best = standing.best_detection
        return gallery.add_deer(
            self.connection, self.versions[0], sex=Sex.UNKNOWN, profile_detection_id=best, vectors={}
        )

    def settle(
        self, standing: Sequence[Standing], answers: Sequence[Answer], progress: Progress = SILENT
    ) -> None:
        """Record answers, and let everything follow that does: counts, sex, profiles, who is active."""
        before = {now.sighting_id: now.deer_id for now in standing}
        involved = sorted({d for a in answers for d in (a.deer_id, before[a.sighting_id]) if d is not None})
        self.watch(sightings=[a.sighting_id for a in answers], deer=involved)
        reviews.record_answers(self.connection, answers, actor=self.actor, registered=self.versions[0])
        moved = [a for a in answers if before[a.sighting_id] != a.deer_id]
        self.follow({d for a in moved for d in (a.deer_id, before[a.sighting_id])}, progress)

    def follow(self, touched: set[int | None], progress: Progress = SILENT) -> None:
        """What follows for individuals whose sightings changed is done, and added to ``consequences``."""
        connection, done = self.connection, self.consequences
        individuals = sorted(deer_id for deer_id in touched if deer_id is not None)
        progress.start("Taking profiles", len(individuals))
        for start in range(0, len(individuals), _BATCH):
            batch = individuals[start : start + _BATCH]
            for deer in reviews.refresh_individuals(connection, batch):
                if deer.before != deer.after:
                    if deer.after != "merged":
                        (done.retired if deer.after == "retired" else done.revived).append(deer.name)
                    self.event("status", f"deer:{deer.deer_id}", {"from": deer.before, "to": deer.after})
            # A column may be empty, or hold vectors of a version that decides no more.
            for registered in sorted(self.versions, key=lambda r: r.version.stage):
                profiles.put_profiles(connection, registered, deer_ids=batch)
            progress.advance(len(batch))
        done.unseen = max(gallery.count_incomparable(connection, registered) for registered in self.versions)

    def mark_empty(self, sighting_ids: Sequence[int]) -> None:
        """Sightings that lost boxes: those without any show no animal, and all profiles are taken anew."""
        self.watch(sightings=sighting_ids)
        were = {now.deer_id for now in reviews.standings(self.connection, list(sighting_ids))}
        self.watch(deer=list(were))
        edits.mark_empty(self.connection, sighting_ids)
        self.follow(were)


@contextmanager
def editing(db: Database, actor: str) -> Iterator[Editing]:
    """A person's transaction under the deciding lock.

    Raises:
        InputError: ``actor`` is no person, or the catalogue never ran.
        DatabaseError: the machine decides about so much at once that it takes too long.
    """
    if actor == MACHINE:
        raise InputError(f"a person's answer cannot be signed {MACHINE!r}: so the machine signs its own")
    with db.transaction() as connection:
        sightings.lock_deciding(connection, patience=_PATIENCE)
        choice = choose(connection, None)
        if choice is None:
            raise InputError("this catalogue never ran: there are no sightings", hint="deertrack run PHOTOS")
        versions = [embeddings.find_version(connection, name) for name in choice.versions]
        yield Editing(connection, actor, versions)


def _only(fields: Fields, names: Sequence[str]) -> Fields:
    return {name: fields[name] for name in names}
