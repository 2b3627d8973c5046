"""Many sightings at once: which of them are one animal, and who that is, whatever order the photos came in.

One encounter after another, the first sightings would become individuals only because nobody is known yet. Here
all that nobody decided about are grouped first (:mod:`deertrack.domain.clustering`); then each group is decided
about as one sighting would be, in an order that goes by looks. The plan of that is kept in the catalogue until it
is carried out, so that an interrupted run goes on with it and ends as it would have.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np

from deertrack.domain.decision import Belief, Candidate, Decision, Outcome, decide, without
from deertrack.domain.embedding import Output, Vectors, pool
from deertrack.domain.encounters import agreed_sex
from deertrack.domain.joint import reconcile
from deertrack.domain.records import Sex
from deertrack.services.clusters import best_of, gather, make_individual
from deertrack.services.identify import Deciders, Identified, Matcher, learn, lock_choice, look_up
from deertrack.services.progress import Progress
from deertrack.storage import catalogue, gallery, reviews, sightings, tracks
from deertrack.storage.db import Connection, Database
from deertrack.storage.tracks import SeenTrack

MOST_CLASHES = 11  # groups beside one that are weighed with it: more, `reconcile` leaves as they are


def decide_together(
    db: Database,
    deciders: Deciders,
    unseen: Mapping[str, int],
    outcome: Identified,
    *,
    progress: Progress,
) -> None:
    """Decide about all sightings that nobody decided about; ``outcome`` counts them. Not for A/B tests.

    A sighting none of whose photos has vectors (they may be gone since) stays open for another time.
    """
    (matcher,) = deciders.matchers
    missing = unseen[matcher.registered.version.name]
    while plan := _plan(db, matcher, missing, progress):
        progress.start("Identifying", sum(len(group.sighting_ids) for group in plan))
        group_of = {s: place for place, group in enumerate(plan) for s in group.sighting_ids}
        decided = 0
        for group in plan:
            with db.transaction() as connection:
                lock_choice(connection, deciders)
                decision = _Deciding(connection, deciders, missing, plan, group_of)
                decided += decision.about(group, outcome)
            progress.advance(len(group.sighting_ids))
        with db.transaction() as connection:
            catalogue.put_setting(connection, catalogue.JOINT_PLAN, None)
        if not decided:
            return  # another worker was quicker


@dataclass(frozen=True, slots=True)
class _Planned:
    """Sightings that are one animal with this probability."""

    sighting_ids: Sequence[int]
    probability: float


def _plan(db: Database, matcher: Matcher, unseen: int, progress: Progress) -> list[_Planned]:
    """The groups to decide about, in their order: those of an interrupted run, unless photos came since."""
    key = sha256(repr(matcher).encode()).hexdigest()
    with db.transaction() as connection:
        found = tracks.seen_tracks(connection, matcher.registered, ["undecided"])
        kept = catalogue.get_setting(connection, catalogue.JOINT_PLAN)
        if not found:
            if kept:
                catalogue.put_setting(connection, catalogue.JOINT_PLAN, None)
            return []
        if kept and kept["matcher"] == key and _covers(kept, found):
            left = {track.sighting_id for track in found}
            return [_Planned(ids, sure) for ids, sure in kept["groups"] if not left.isdisjoint(ids)]
        progress.start("Comparing sightings", None)
        known = gallery.gallery_size(connection, Sex.UNKNOWN)
        groups = gather(connection, matcher, found).groups(matcher, known)
        weights = np.full(len(groups), matcher.policy.unmet + unseen)
        best = np.zeros(len(groups))
        if known:
            for place, members in enumerate(groups.members):
                looks = {output: rows[place] for output, rows in groups.looks.items()}
                belief = look_up(connection, matcher, looks, agreed_sex([t.sex for t in members]), unseen)
                weights[place] = matcher.policy.unmet / belief.new
                best[place] = weights[place] * max((c.probability for c in belief.candidates), default=0.0)
    founders, rest = groups.order(weights, best, np.arange(len(groups)))
    plan = [
        _Planned([t.sighting_id for t in groups.members[g]], float(groups.probability[g]))
        for g in [*founders, *rest]
    ]
    value = {
        "matcher": key,
        "photos": {str(track.sighting_id): track.photos for track in found},
        "groups": [[group.sighting_ids, group.probability] for group in plan],
    }
    with db.transaction() as connection:
        catalogue.put_setting(connection, catalogue.JOINT_PLAN, value)
    return plan


def _covers(kept: Mapping[str, Any], found: Sequence[SeenTrack]) -> bool:
    """Whether all that is undecided was planned with just these photos."""
    return all(kept["photos"].get(str(track.sighting_id)) == track.photos for track in found)


@dataclass(frozen=True, slots=True)
class _Deciding:
    """A transaction in which one group of a plan is decided about."""

    connection: Connection
    deciders: Deciders
    unseen: int
    plan: Sequence[_Planned]
    group_of: Mapping[int, int]

    @property
    def matcher(self) -> Matcher:
        return self.deciders.matchers[0]

    def about(self, group: _Planned, outcome: Identified) -> int:
        """Decide; returns about how many sightings. None, if photos came that show two of them side by side."""
        start = time.perf_counter()
        connection, matcher = self.connection, self.matcher
        members = self._undecided(group)
        ids = [track.sighting_id for track in members]
        if not members or tracks.side_by_side(connection, ids):
            return 0
        belief = self._belief(members)
        decision = decide(belief, matcher.policy)
        founder = best_of(members)
        deer_id = (
            make_individual(connection, matcher, members, founder)
            if decision.outcome is Outcome.NEW
            else decision.deer_id
        )
        similar = self._similarities(members) if decision.outcome is Outcome.NEW and members[1:] else {}
        took = 1000 * (time.perf_counter() - start) / len(members)
        for track in [founder, *(track for track in members if track is not founder)]:
            own = decision
            if similar and deer_id is not None and track is not founder:
                own = _follows(decision.belief, Candidate(deer_id, similar[track], group.probability))
            sightings.record_decision(
                connection,
                track.sighting_id,
                own,
                deer_id=deer_id,
                policy=matcher.policy,
                registered=matcher.registered,
                milliseconds=took,
            )
            outcome.matched += own.outcome is Outcome.ASSIGN
            outcome.new += own.outcome is Outcome.NEW
            outcome.review += own.outcome is Outcome.REVIEW
        if deer_id is not None:
            learn(connection, self.deciders, deer_id, known=decision.outcome is Outcome.ASSIGN)
            gallery.note_sighting(connection, deer_id, agreed_sex([t.sex for t in members]))
        return len(members)

    def _undecided(self, group: _Planned) -> list[SeenTrack]:
        """Those of its sightings that are still open: another worker may have been here."""
        return tracks.seen_tracks(self.connection, self.matcher.registered, ["undecided"], group.sighting_ids)

    def _belief(self, members: Sequence[SeenTrack]) -> Belief:
        """Who the group is, given what is probable of the groups that were seen beside it."""
        rivals = reviews.rivals(self.connection, [track.sighting_id for track in members])
        beside = sorted(
            {self.group_of[r.other] for r in rivals if not r.deer_id and r.other in self.group_of}
        )
        groups = [list(members)]
        if len(beside) <= MOST_CLASHES:
            groups += [seen for place in beside if (seen := self._undecided(self.plan[place]))]
        beliefs = [self._alone(group) for group in groups]
        if len(groups) == 1:
            return beliefs[0]
        place = {track.sighting_id: i for i, group in enumerate(groups) for track in group}
        clashes: list[set[int]] = [set() for _ in groups]
        for a, b in tracks.side_by_side(self.connection, list(place)):
            if place[a] != place[b]:
                clashes[place[a]].add(place[b])
                clashes[place[b]].add(place[a])
        return reconcile(beliefs, clashes)[0]

    def _alone(self, members: Sequence[SeenTrack]) -> Belief:
        """Who the group may be by its looks, less those who cannot be."""
        connection, matcher = self.connection, self.matcher
        ids = [track.sighting_id for track in members]
        looks = {output: pool(rows) for output, rows in self._looks(members).items()}
        belief = look_up(connection, matcher, looks, agreed_sex([t.sex for t in members]), self.unseen)
        candidates = [candidate.deer_id for candidate in belief.candidates]
        impossible = {r.deer_id for r in reviews.rivals(connection, ids) if r.deer_id is not None}
        impossible = impossible.union(*sightings.rejected(connection, ids).values())
        for encounter_id in sorted({track.encounter_id for track in members}):
            impossible |= sightings.out_of_reach(connection, encounter_id, candidates)
        return without(belief, frozenset(impossible))

    def _looks(self, members: Sequence[SeenTrack]) -> dict[Output, Vectors]:
        """What a search compares of each: (n, 512) for each output."""
        registered = self.matcher.registered
        ids = [track.sighting_id for track in members]
        return tracks.pooled_vectors(self.connection, registered, ids, registered.version.search_outputs)

    def _similarities(self, members: Sequence[SeenTrack]) -> dict[SeenTrack, float]:
        """How alike each is to all of them together, as a search would say."""
        shares = self.matcher.weights.of(self.matcher.registered.version)
        looks = self._looks(members)
        similar = [share * (looks[o] @ pool(looks[o])) for o, share in shares.items()]
        return dict(zip(members, np.sum(similar, axis=0).tolist(), strict=True))


def _follows(belief: Belief, own: Candidate) -> Decision:
    """The decision about a sighting whose group became an individual (``own``) by another of its sightings.

    As probable as the group is one animal; what was believed of the group is what is left.
    """
    left = 1 - own.probability
    rest = [Candidate(c.deer_id, c.similarity, c.probability * left) for c in belief.candidates]
    return Decision(
        Outcome.ASSIGN, Belief((own, *rest), belief.new * left, belief.others * left), own.deer_id
    )
