"""Grouping anew what the machine decided and nobody confirmed.

With another calibration, another model or a person's new word, what was decided one by one need not be what all
sightings together say. They are grouped as in a first import (:mod:`deertrack.services.joint`), around what people
said. An individual's record goes on with the sighting that it was made for; who loses all sightings is kept, as
retired or merged. What has no record then is decided about as a new sighting would be.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from deertrack.domain.clustering import UNKNOWN
from deertrack.domain.decision import Outcome
from deertrack.domain.errors import InputError
from deertrack.domain.names import friendly_name
from deertrack.services.clusters import best_of, gather, make_individual
from deertrack.services.identify import Deciders, Matcher, lock_choice
from deertrack.services.progress import SILENT, Progress
from deertrack.services.settlement import Settlement
from deertrack.storage import catalogue, profiles, reviews, sightings, tracks
from deertrack.storage.catalogue import Individual
from deertrack.storage.db import Connection, Database
from deertrack.storage.tracks import Pair, SeenTrack

REASON = "recluster"
_MACHINE = "machine"
_BATCH = 50  # individuals


@dataclass(frozen=True, slots=True)
class Move:
    """A sighting that changes hands: the names of who it was and is; None where it waits for a person."""

    sighting_id: int
    before: str | None
    after: str | None


@dataclass(slots=True)
class Reclustered:
    """What changes. ``sightings`` were looked at, people's word holds for ``confirmed`` of them.

    ``united`` individuals lose all sightings to another one (name, name of the other), ``retired`` ones to several
    or to nobody. ``split`` individuals stay, but lose sightings to others (name, names of the others). ``made`` are
    new.
    """

    sightings: int = 0
    confirmed: int = 0
    moves: list[Move] = field(default_factory=list)
    united: list[tuple[str, str]] = field(default_factory=list)
    split: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    retired: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)


def recluster(
    db: Database, deciders: Deciders, *, dry_run: bool = False, progress: Progress = SILENT
) -> Reclustered:
    """Group all sightings anew that were decided about, but not by a person. The same again changes nothing.

    What a person confirmed stays: those sightings, who they are, and that individuals whom a person named or
    confirmed are different animals. One transaction, under the lock that decisions share.

    Args:
        dry_run: take everything back at the end.

    Raises:
        InputError: an A/B test is under way.
        VersionChangedError: the catalogue was cut over meanwhile.
    """
    if deciders.choice.challenger is not None:
        raise InputError(
            "an A/B test is under way: its two versions would group differently",
            hint="End it first: deertrack reid cutover VERSION, or deertrack reid rollback.",
        )
    (matcher,) = deciders.matchers
    with db.transaction() as connection:
        lock_choice(connection, deciders)
        known = {i.id: i for i in catalogue.list_individuals(connection, status="all")}
        found = tracks.seen_tracks(connection, matcher.registered, ["assigned", "review"])
        done = Reclustered(len(found), sum(_confirmed(track) for track in found))
        if found:
            progress.start("Comparing sightings", None)
            settled = _settle(connection, matcher, found, known)
            _carry_out(connection, settled, known, done, progress)
        if dry_run:
            connection.rollback()
    return done


def _confirmed(track: SeenTrack) -> bool:
    return track.deer_id is not None and track.person is not None


def _settle(
    connection: Connection, matcher: Matcher, found: Sequence[SeenTrack], known: Mapping[int, Individual]
) -> Settlement:
    """Who every sighting is to be."""
    founding = tracks.founding_sightings(connection)
    spoken_for = _spoken_for(found, known.values(), founding)
    ruled_out = tracks.all_rejections(connection) + _seen_beside(connection, found)
    together = gather(
        connection,
        matcher,
        found,
        individuals=spoken_for,
        apart=_apart_by_word(found, spoken_for, founding, ruled_out),
    )
    met = {track.deer_id for track in found}
    elsewhere = sum(i.status == "active" and i.id not in met for i in known.values())
    groups = together.groups(matcher, elsewhere)
    rejected: dict[int, set[int]] = {}
    for sighting_id, deer_id in ruled_out:
        rejected.setdefault(sighting_id, set()).add(deer_id)
    settled = Settlement(matcher, groups, spoken_for, rejected, elsewhere)
    settled.keep_records(founding, known)
    settled.decide_rest()
    return settled


def _spoken_for(
    found: Sequence[SeenTrack], known: Iterable[Individual], founding: Mapping[int, int]
) -> dict[int, int]:
    """Sightings whose individual is a person's word: those confirmed, and the founding sighting of everybody whom a
    person named or confirmed another sighting of. Where that is gone, all sightings of who was named.
    """
    said = {track.sighting_id: track.deer_id for track in found if track.deer_id and _confirmed(track)}
    named = {i.id for i in known if i.name.rstrip("*") != friendly_name(i.number)}
    confirmed = set(said.values())
    now = {track.sighting_id: track.deer_id for track in found}
    for deer_id in sorted(named | confirmed):
        founder = founding.get(deer_id, UNKNOWN)
        if now.get(founder) == deer_id:
            said[founder] = deer_id
        elif deer_id not in confirmed:
            said |= {track.sighting_id: deer_id for track in found if track.deer_id == deer_id}
    return said


def _seen_beside(connection: Connection, found: Sequence[SeenTrack]) -> list[Pair]:
    """Sightings, and individuals in their photos whose own sightings have no vectors and stay who they are."""
    ids = {track.sighting_id for track in found}
    rivals = reviews.rivals(connection, sorted(ids))
    return [(r.sighting_id, r.deer_id) for r in rivals if r.deer_id is not None and r.other not in ids]


def _apart_by_word(
    found: Sequence[SeenTrack],
    spoken_for: Mapping[int, int],
    founding: Mapping[int, int],
    ruled_out: Sequence[Pair],
) -> list[Pair]:
    """Pairs of sightings: one that is ruled out to be an individual, and one that shows that individual."""
    there = {track.sighting_id for track in found}
    shown: dict[int, set[int]] = {deer_id: {founder} for deer_id, founder in founding.items()}
    for sighting_id, deer_id in spoken_for.items():
        shown.setdefault(deer_id, set()).add(sighting_id)
    return [
        (sighting_id, other)
        for sighting_id, deer_id in ruled_out
        if sighting_id in there
        for other in sorted(shown.get(deer_id, set()) & there - {sighting_id})
    ]


def _carry_out(
    connection: Connection,
    settled: Settlement,
    known: Mapping[int, Individual],
    done: Reclustered,
    progress: Progress,
) -> None:
    """Let all that changes take effect, and tell it in ``done``."""
    groups, matcher = settled.groups, settled.matcher
    made = {
        owner: make_individual(connection, matcher, groups.members[place], best_of(groups.members[place]))
        for place, owner in enumerate(settled.owner)
        if owner is not None and owner < 0 and settled.decisions[place].outcome is Outcome.NEW
    }
    individuals = catalogue.list_individuals(connection, status="all") if made else known.values()
    name: dict[int | None, str] = {i.id: i.name for i in individuals}
    done.made = [name[deer_id] for deer_id in made.values()]
    progress.start("Recording changes", len(groups))
    went: dict[int, Counter[int | None]] = {}
    touched = set(made.values())
    for place, members in enumerate(groups.members):
        owner = settled.owner[place]
        deer_id = made.get(owner, owner) if owner is not None else None
        founder = best_of(
            members
        )  # whose decision makes an individual, if one is made: it comes first in the log
        for track in [founder, *(track for track in members if track is not founder)]:
            if track.deer_id is not None:
                went.setdefault(track.deer_id, Counter())[deer_id] += 1
            if track.deer_id == deer_id:
                continue
            decision = settled.decision(place, track, made)
            sightings.record_decision(
                connection,
                track.sighting_id,
                decision,
                deer_id=deer_id,
                policy=matcher.policy,
                registered=matcher.registered,
                reason=REASON,
            )
            before, after = name.get(track.deer_id), name.get(deer_id)
            detail = {"from": track.deer_id, "from_name": before, "to": deer_id, "to_name": after}
            catalogue.add_event(connection, _MACHINE, REASON, f"sighting:{track.sighting_id}", detail)
            done.moves.append(Move(track.sighting_id, before, after))
            touched |= {deer for deer in (track.deer_id, deer_id) if deer is not None}
        progress.advance()
    _follow(connection, matcher, sorted(touched), went, done)
    done.moves.sort(key=lambda move: move.sighting_id)
    if done.moves:
        counts = {"moves": len(done.moves), "united": len(done.united), "made": len(done.made)}
        catalogue.add_event(connection, _MACHINE, REASON, "catalogue", counts)


def _follow(
    connection: Connection,
    matcher: Matcher,
    touched: Sequence[int],
    went: Mapping[int, Counter[int | None]],
    done: Reclustered,
) -> None:
    """What follows for individuals whose sightings changed: counts, sex, profile and status."""
    name = {i.id: i.name for i in catalogue.list_individuals(connection, status="all")} if touched else {}
    for start in range(0, len(touched), _BATCH):
        batch = touched[start : start + _BATCH]
        for deer in reviews.refresh_individuals(connection, batch):
            after = deer.after
            detail: dict[str, object] = {"from": deer.before, "to": deer.after, "reason": REASON}
            others = [other for other in went.get(deer.deer_id, ()) if other != deer.deer_id]
            names = tuple(sorted(name[other] for other in others if other is not None))
            if after == "retired" and len(others) == len(names) == 1 and others[0] is not None:
                tracks.merge_away(connection, deer.deer_id, into=others[0])
                after, detail = "merged", detail | {"to": "merged", "into": others[0]}
                done.united.append((deer.name, names[0]))
            elif after == "retired":
                done.retired.append(deer.name)
            elif names:
                done.split.append((deer.name, names))
            if after != deer.before:
                catalogue.add_event(connection, _MACHINE, "status", f"deer:{deer.deer_id}", detail)
        profiles.put_profiles(connection, matcher.registered, deer_ids=batch)
