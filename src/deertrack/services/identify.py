"""Who is it: encounters, tracks, the search in the gallery, and the decision.

All sightings are decided about together (:mod:`deertrack.services.joint`); in an A/B test, one encounter at a time.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby

from deertrack.domain.calibration import Calibration
from deertrack.domain.decision import Belief, Decision, Outcome, Policy, believe, decide, without
from deertrack.domain.embedding import Output, Vectors, pool
from deertrack.domain.encounters import Grouping, Shot, Track, associate, split_by_pause
from deertrack.domain.errors import VersionChangedError
from deertrack.domain.fusion import Weights, joint_vectors
from deertrack.domain.joint import reconcile
from deertrack.domain.records import Sex
from deertrack.domain.trial import Arm, arm_of
from deertrack.services.progress import SILENT, Progress
from deertrack.services.versions import Choice, choose
from deertrack.storage import embeddings, gallery, profiles, sightings
from deertrack.storage.db import Connection, Database
from deertrack.storage.embeddings import RegisteredVersion
from deertrack.storage.sightings import PlacedDetection, SightingDetection


@dataclass(frozen=True, slots=True)
class Matcher:
    """Everything that a decision depends on, besides the photos."""

    registered: RegisteredVersion
    calibration: Calibration
    weights: Weights = field(default_factory=Weights)
    policy: Policy = field(default_factory=Policy)
    grouping: Grouping = field(default_factory=Grouping)


@dataclass(frozen=True, slots=True)
class Deciders:
    """Who decides: one version's matcher, or two that share the encounters of an A/B test.

    ``enhanced`` is the environment's USE_ENHANCED_REID, by which ``choice`` was made.
    """

    choice: Choice
    matchers: tuple[Matcher, ...]
    enhanced: bool | None = None

    def of(self, encounter_id: int) -> tuple[Matcher, Arm | None]:
        """Who decides about an encounter, and its arm if there is an A/B test."""
        if self.choice.challenger is None:
            return self.matchers[0], None
        arm = arm_of(encounter_id, test=self.choice.since, share=self.choice.share)
        return self.matchers[arm is Arm.ENHANCED], arm

    @property
    def models(self) -> list[int]:
        """Every model whose vectors a detection needs before it is looked at."""
        return sorted({model for matcher in self.matchers for model in matcher.registered.models.values()})


def alone(matcher: Matcher) -> Deciders:
    """One matcher that decides about everything."""
    return Deciders(Choice(matcher.registered.version.name), (matcher,))


@dataclass(slots=True)
class Identified:
    """What was decided now, in numbers of tracks (sightings).

    ``unseen`` individuals could not be compared, because the version has no vectors of them.
    """

    encounters: int = 0
    tracks: int = 0
    matched: int = 0
    new: int = 0
    review: int = 0
    unseen: int = 0


def identify(db: Database, deciders: Deciders, *, progress: Progress = SILENT) -> Identified:
    """Group what is embedded and decide about every sighting that nobody decided about.

    Known individuals without vectors of the deciding version get them from what is stored. Those for whom
    nothing is stored are counted as ``unseen``, and every probability allows for them.

    Raises:
        VersionChangedError: the catalogue was cut over meanwhile; what was decided is kept.
    """
    outcome = Identified()
    _group(db, deciders, outcome, progress)
    with db.transaction() as connection:
        lock_choice(connection, deciders)
        unseen = {}
        for matcher in deciders.matchers:
            if gallery.count_incomparable(connection, matcher.registered):
                profiles.put_profiles(connection, matcher.registered)
            unseen[matcher.registered.version.name] = gallery.count_incomparable(
                connection, matcher.registered
            )
        todo = sightings.undecided_encounters(connection)
    outcome.unseen = max(unseen.values())
    if deciders.choice.challenger is None:
        from deertrack.services.joint import decide_together  # which builds on this module

        decide_together(db, deciders, unseen, outcome, progress=progress)
        return outcome
    progress.start("Identifying", len(todo))
    for encounter_id in todo:
        with db.transaction() as connection:
            lock_choice(connection, deciders)
            _decide_encounter(connection, deciders, encounter_id, unseen, outcome)
        progress.advance()
    return outcome


def decide_encounter(connection: Connection, deciders: Deciders, sighting_id: int) -> Identified:
    """Decide about what is undecided in a sighting's encounter, in a transaction that is under way.

    Raises:
        VersionChangedError: the catalogue was cut over since the deciders were made.
    """
    lock_choice(connection, deciders)
    outcome = Identified()
    unseen = {
        m.registered.version.name: gallery.count_incomparable(connection, m.registered)
        for m in deciders.matchers
    }
    encounter_id = sightings.encounter_of(connection, sighting_id)
    _decide_encounter(connection, deciders, encounter_id, unseen, outcome)
    return outcome


def lock_choice(connection: Connection, deciders: Deciders) -> None:
    """Take the lock that decisions and cut-overs share, and insist that nobody cut over since we began."""
    sightings.lock_deciding(connection)
    now = choose(connection, deciders.enhanced)
    if now not in (None, deciders.choice):
        raise VersionChangedError(
            f"the catalogue was cut over to embedding version {' and '.join(now.versions)!r} meanwhile",
            hint="What was decided is kept. Run the same command again: it goes on with that version.",
        )


def _group(db: Database, deciders: Deciders, outcome: Identified, progress: Progress) -> None:
    """Make encounters and tracks of detections that belong to none, station by station."""
    gap = deciders.matchers[0].grouping.encounter_gap
    with db.transaction() as connection:
        stations = sightings.stations_to_group(connection)
    progress.start("Grouping into encounters", len(stations))
    for station_id, _ in stations:
        with db.transaction() as connection:
            sightings.lock_deciding(connection)  # nobody decides about half an encounter
            placed = sightings.ungrouped(connection, station_id, deciders.models)
            timed = [d for d in placed if d.taken_at is not None]
            for part in split_by_pause([_instant(d) for d in timed], gap):
                new_encounters, new_tracks = _group_timed(connection, deciders, station_id, timed[part])
                outcome.encounters += new_encounters
                outcome.tracks += new_tracks
            # A photo without a time could belong to any encounter, so it is one of its own.
            untimed = (d for d in placed if d.taken_at is None)
            for _, photo in groupby(untimed, key=lambda d: d.image_id):
                encounter_id = sightings.add_encounter(connection, station_id, None, None)
                matcher, _arm = deciders.of(encounter_id)
                outcome.encounters += 1
                outcome.tracks += _put_tracks(connection, matcher, encounter_id, list(photo), [])
        progress.advance()


def _group_timed(
    connection: Connection, deciders: Deciders, station_id: int, placed: Sequence[PlacedDetection]
) -> tuple[int, int]:
    """One encounter's worth of detections; returns how many encounters and tracks are new."""
    first, last = _instant(placed[0]), _instant(placed[-1])
    gap = deciders.matchers[0].grouping.encounter_gap
    encounter_id = sightings.encounter_near(connection, station_id, first, last, gap)
    if new := encounter_id is None:
        encounter_id = sightings.add_encounter(connection, station_id, first, last)
    else:
        sightings.extend_encounter(connection, encounter_id, first, last)
    matcher, _ = deciders.of(encounter_id)
    known = [] if new else sightings.encounter_shots(connection, encounter_id, deciders.models)
    new_tracks = _put_tracks(connection, matcher, encounter_id, placed, known)
    if known:  # their individuals are known by these photos too
        rows = sightings.encounter_sightings(connection, encounter_id)
        profiles.refresh_profiles(connection, deer_ids=sorted({r.deer_id for r in rows if r.deer_id}))
    return int(new), new_tracks


def _put_tracks(
    connection: Connection,
    matcher: Matcher,
    encounter_id: int,
    placed: Sequence[PlacedDetection],
    known: Sequence[PlacedDetection],
) -> int:
    """Join detections into tracks, continuing the encounter's known ones; returns how many are new."""
    shots = _shots(connection, matcher, [*known, *placed])
    tracks = [
        Track([shots[d.detection_id] for d in seen], sighting_id)
        for sighting_id, seen in groupby(known, key=lambda d: d.sighting_id)
    ]
    of_animal = _by_individual(connection, encounter_id, tracks)
    animals = [Track([s for t in same for s in t.shots], same[0].sighting_id) for same in of_animal]
    counts = [len(animal.shots) for animal in animals]
    joined = associate([shots[d.detection_id] for d in placed], matcher.grouping, animals)
    for animal, count, same in zip(joined, counts, of_animal, strict=False):
        for shot in animal.shots[count:]:
            _nearest(same, shot).shots.append(shot)
    tracks += joined[len(of_animal) :]
    for track in tracks:
        sightings.put_sighting(
            connection,
            encounter_id,
            [shot.detection_id for shot in track.shots],
            track.sex,
            sighting_id=track.sighting_id,
        )
    return sum(track.sighting_id is None for track in tracks)


def _by_individual(connection: Connection, encounter_id: int, tracks: Sequence[Track]) -> list[list[Track]]:
    """An encounter's tracks, those of one individual together: it is never in two places of one photo."""
    rows = sightings.encounter_sightings(connection, encounter_id) if tracks else []
    individual = {row.sighting_id: row.deer_id for row in rows}
    of_animal: dict[tuple[int | None, int | None], list[Track]] = {}
    for track in tracks:
        deer_id = individual.get(track.sighting_id or 0)
        of_animal.setdefault((deer_id, None if deer_id else track.sighting_id), []).append(track)
    return list(of_animal.values())


def _nearest(tracks: Sequence[Track], shot: Shot) -> Track:
    """The track that was seen closest in time to a shot."""
    return min(tracks, key=lambda track: min(abs(_instant(s) - _instant(shot)) for s in track.shots))


def _shots(connection: Connection, matcher: Matcher, placed: Sequence[PlacedDetection]) -> dict[int, Shot]:
    ids = [d.detection_id for d in placed]
    vectors = embeddings.load_vectors(connection, matcher.registered, ids)
    shares = matcher.weights.of(matcher.registered.version)
    looks = joint_vectors({output: embeddings.stack(vectors[output], ids) for output in shares}, shares)
    return {
        d.detection_id: Shot(d.detection_id, d.image_id, d.taken_at, d.box, d.sex, row)
        for d, row in zip(placed, looks, strict=True)
    }


def _decide_encounter(
    connection: Connection,
    deciders: Deciders,
    encounter_id: int,
    unseen: Mapping[str, int],
    outcome: Identified,
) -> None:
    """Decide about an encounter's open sightings, taken together; two in one photo never get one deer.

    A sighting none of whose photos has vectors (they may be gone since) stays open for another time.
    """
    matcher, arm = deciders.of(encounter_id)
    rows = sightings.encounter_sightings(connection, encounter_id)
    by_sighting = {key: list(group) for key, group in groupby(rows, key=lambda r: r.sighting_id)}
    undecided = [key for key, seen in by_sighting.items() if seen[0].state == "undecided"]
    vectors = embeddings.load_vectors(
        connection, matcher.registered, [r.detection_id for key in undecided for r in by_sighting[key]]
    )
    taken = {key: seen[0].deer_id for key, seen in by_sighting.items() if seen[0].deer_id}
    photos = {key: {r.image_id for r in seen} for key, seen in by_sighting.items()}
    embedded = set.intersection(*(set(vectors[o]) for o in matcher.registered.version.search_outputs))
    visible = {key: [r for r in by_sighting[key] if r.detection_id in embedded] for key in undecided}
    undecided = [key for key in undecided if visible[key]]
    seen_with = {
        key: {other for other in by_sighting if other != key and photos[other] & photos[key]}
        for key in undecided
    }
    rejected = sightings.rejected(connection, undecided)
    beliefs, took = [], {}
    for key in undecided:
        start = time.perf_counter()
        missing = unseen[matcher.registered.version.name]
        belief = _search(connection, matcher, visible[key], vectors, missing)
        impossible = {taken[other] for other in seen_with[key] if other in taken} | rejected.get(key, set())
        candidates = [c.deer_id for c in belief.candidates]
        impossible |= sightings.out_of_reach(connection, encounter_id, candidates)
        beliefs.append(without(belief, frozenset(impossible)))
        took[key] = time.perf_counter() - start
    clashes = [{undecided.index(o) for o in seen_with[key] if o in undecided} for key in undecided]
    believed = dict(zip(undecided, reconcile(beliefs, clashes), strict=True))
    for key in sorted(undecided, key=lambda key: (-_surest(believed[key]), key)):
        start = time.perf_counter()
        vetoed = frozenset(taken[other] for other in seen_with[key] if other in taken)
        decision = decide(believed[key], matcher.policy, vetoed=vetoed)
        deer_id = _carry_out(connection, matcher, visible[key], vectors, decision)
        sightings.record_decision(
            connection,
            key,
            decision,
            deer_id=deer_id,
            policy=matcher.policy,
            registered=matcher.registered,
            arm=arm,
            milliseconds=1000 * (took[key] + time.perf_counter() - start),
        )
        if deer_id is not None:
            learn(connection, deciders, deer_id, known=decision.outcome is Outcome.ASSIGN)
            taken[key] = deer_id
            gallery.note_sighting(connection, deer_id, by_sighting[key][0].sex)
        outcome.matched += decision.outcome is Outcome.ASSIGN
        outcome.new += decision.outcome is Outcome.NEW
        outcome.review += decision.outcome is Outcome.REVIEW


def _surest(belief: Belief) -> float:
    return belief.candidates[0].probability if belief.candidates else 0.0


def _search(
    connection: Connection,
    matcher: Matcher,
    seen: Sequence[SightingDetection],
    vectors: Mapping[Output, Mapping[int, Vectors]],
    unseen: int,
) -> Belief:
    ids = [row.detection_id for row in seen]
    outputs = matcher.registered.version.search_outputs
    query = {output: pool(embeddings.stack(vectors[output], ids)) for output in outputs}
    return look_up(connection, matcher, query, seen[0].sex, unseen)


def look_up(
    connection: Connection, matcher: Matcher, query: Mapping[Output, Vectors], sex: Sex, unseen: int
) -> Belief:
    """Who an animal of these looks ((512,) unit vectors) may be; ``unseen`` individuals cannot be compared."""
    matches = gallery.search(connection, matcher.registered, query, sex=sex, weights=matcher.weights)
    return believe(
        [(m.deer_id, m.similarity) for m in matches],
        gallery_size=gallery.gallery_size(connection, sex) - unseen,
        calibration=matcher.calibration,
        unmet=matcher.policy.unmet,
        unseen=unseen,
    )


def _carry_out(
    connection: Connection,
    matcher: Matcher,
    seen: Sequence[SightingDetection],
    vectors: Mapping[Output, Mapping[int, Vectors]],
    decision: Decision,
) -> int | None:
    """The individual that the sighting belongs to from now on, made if it is new; None for a review."""
    if decision.outcome is not Outcome.NEW:
        return decision.deer_id
    # Spec, phase 2: the best-quality detection has the highest confidence, then the largest box.
    best = max(seen, key=lambda r: (r.confidence, r.area, -r.detection_id)).detection_id
    pooled = {
        output: pool(embeddings.stack(by_id, ids))
        for output, by_id in vectors.items()
        if (ids := [r.detection_id for r in seen if r.detection_id in by_id])
    }
    return gallery.add_deer(
        connection, matcher.registered, sex=seen[0].sex, profile_detection_id=best, vectors=pooled
    )


def learn(connection: Connection, deciders: Deciders, deer_id: int, *, known: bool) -> None:
    """Let an individual's profiles tell of a sighting that is its own now.

    In an A/B test those of both arms do: it must be met again in either.
    """
    if known:
        profiles.refresh_profiles(connection, deer_ids=[deer_id])
    elif len(deciders.matchers) > 1:  # the decider's own profile it has already
        for matcher in sorted(deciders.matchers, key=lambda m: m.registered.version.stage):
            profiles.put_profiles(connection, matcher.registered, deer_ids=[deer_id])


def _instant(placed: PlacedDetection | Shot) -> datetime:
    assert placed.taken_at is not None
    return placed.taken_at
