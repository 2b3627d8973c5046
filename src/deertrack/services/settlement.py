"""Whose the groups of sightings are, once all are grouped anew: who keeps its record, who is new, who must wait."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from deertrack.domain.clustering import UNKNOWN
from deertrack.domain.decision import Belief, Candidate, Decision, Outcome, believe, decide, without
from deertrack.domain.embedding import normalise
from deertrack.domain.joint import reconcile
from deertrack.services.clusters import Groups, best_of
from deertrack.services.identify import Matcher
from deertrack.services.joint import MOST_CLASHES
from deertrack.storage.catalogue import Individual
from deertrack.storage.tracks import SeenTrack

_SHOWN = 10  # candidates that are weighed and kept with a decision, as of a search


class Settlement:
    """Whose the groups are, and the decision that makes them so.

    ``owner``: an individual's id, a number below 0 for one that is to be made, None where a person must look.
    """

    def __init__(
        self,
        matcher: Matcher,
        groups: Groups,
        spoken_for: Mapping[int, int],
        rejected: Mapping[int, set[int]],
        unseen: int,
    ) -> None:
        self.groups, self.owner = groups, list[int | None]([None] * len(groups))
        self.decisions: dict[int, Decision] = {}  # of groups that had no record
        self.matcher, self._spoken_for, self._unseen = matcher, spoken_for, unseen
        self._rejected = [
            set[int]().union(*(rejected.get(track.sighting_id, ()) for track in members))
            for members in groups.members
        ]
        self._beside: dict[int, set[int]] = {}
        for a, b in groups.ties.apart.tolist():
            self._beside.setdefault(a, set()).add(b)
            self._beside.setdefault(b, set()).add(a)

    def keep_records(self, founding: Mapping[int, int], known: Mapping[int, Individual]) -> None:
        """Let records go on: with people's word, else with the founding sighting, else with most of their own."""
        claims = []
        for place, members in enumerate(self.groups.members):
            ids = {track.sighting_id for track in members}
            said = {self._spoken_for[i] for i in ids if i in self._spoken_for}
            held = Counter(track.deer_id for track in members if track.deer_id is not None)
            for deer_id, count in held.items():
                if said == {deer_id} or (not said and deer_id not in self._rejected[place]):
                    rank = (not said, founding.get(deer_id) not in ids, -count, known[deer_id].number)
                    claims.append((*rank, place, deer_id))
        taken = set()
        for *_, place, deer_id in sorted(claims):
            if self.owner[place] is None and deer_id not in taken:
                self.owner[place] = deer_id
                taken.add(deer_id)

    def decide_rest(self) -> None:
        """Decide about the groups without a record as about new sightings, among all that have one."""
        among = np.array([place for place, owner in enumerate(self.owner) if owner is None], np.int64)
        weights = np.full(len(among), self.matcher.policy.unmet + self._unseen)
        best = np.zeros(len(among))
        for place in [place for place, owner in enumerate(self.owner) if owner is not None]:
            similarities, others = self.groups.look_up(place)
            ratios = self.matcher.calibration.likelihood_ratios(similarities[among])
            ratios = np.where(others[among], 0.0, ratios)
            weights, best = weights + ratios, np.maximum(best, ratios)
        new, rest = self.groups.order(weights, best, among)
        records = _Records(self.groups, self.owner)
        for place in new:
            belief = self._belief(records, place)
            if decide(belief, self.matcher.policy).outcome is Outcome.NEW:
                self._make(records, place, belief)
            else:
                rest.append(place)  # a search knows less of those who are little alike
        while (unlike := self._assign(rest)) is not None:
            records = _Records(self.groups, self.owner)
            self._make(records, unlike, self._belief(records, unlike))
            rest.remove(unlike)

    def decision(self, place: int, track: SeenTrack, made: Mapping[int, int]) -> Decision:
        """What to log for a sighting of a group: what was decided about the group, or that it is one with it.

        ``made``: the ids of new individuals, by owner.
        """
        decided = self.decisions.get(place)
        if decided and decided.outcome is not Outcome.NEW:
            known = tuple(
                replace(c, deer_id=made.get(c.deer_id, c.deer_id)) for c in decided.belief.candidates
            )
            deer_id = None if decided.deer_id is None else made.get(decided.deer_id, decided.deer_id)
            return Decision(decided.outcome, replace(decided.belief, candidates=known), deer_id)
        if decided and track is best_of(self.groups.members[place]):
            return decided
        owner = self.owner[place]
        assert owner is not None
        sure = float(self.groups.probability[place])
        own = Candidate(made.get(owner, owner), self.groups.similarity(track), sure)
        return Decision(Outcome.ASSIGN, Belief((own,), 0.0, 1 - sure), own.deer_id)

    def _make(self, records: "_Records", place: int, belief: Belief) -> None:
        self.decisions[place] = Decision(Outcome.NEW, belief)
        self.owner[place] = -1 - place
        records.add(place, -1 - place)

    def _assign(self, rest: Sequence[int]) -> int | None:
        """Decide about these groups, one after another; returns the first that is nobody known, and stops there."""
        for place in rest:
            self.owner[place] = None
        records = _Records(self.groups, self.owner)
        left = set(rest)
        for place in rest:
            beside = sorted(self._beside.get(place, set()) & left)
            asked = [place, *(beside if len(beside) <= MOST_CLASHES else ())]
            beliefs = [self._belief(records, one) for one in asked]
            clashes = [{i for i, b in enumerate(asked) if b in self._beside.get(a, ())} for a in asked]
            decision = decide(reconcile(beliefs, clashes)[0], self.matcher.policy)
            if decision.outcome is Outcome.NEW:
                return place
            left.discard(place)
            self.decisions[place] = decision
            if decision.deer_id is not None:
                self.owner[place] = decision.deer_id
                records.join(place, decision.deer_id)
        return None

    def _belief(self, records: "_Records", place: int) -> Belief:
        """Who a group may be, as a search would say."""
        matches, compared = records.most_like(place)
        belief = believe(
            matches,
            gallery_size=compared,
            calibration=self.matcher.calibration,
            unmet=self.matcher.policy.unmet,
            unseen=self._unseen,
        )
        forbidden = np.flatnonzero(self.groups.ties.forbidden(np.array([place]))[0])
        impossible = {owner for p in forbidden if (owner := self.owner[p]) is not None}
        return without(belief, frozenset(impossible | self._rejected[place]))


class _Records:
    """The individuals as a search would find them: each the direction of the mean of its sightings.

    Each has the row of a group of its own.
    """

    def __init__(self, groups: Groups, owner: Sequence[int | None]) -> None:
        self._groups = groups
        self._totals = {output: rows.copy() for output, rows in groups.totals.items()}
        self._joint = groups.joint.copy()
        self._row: dict[int, int] = {}
        self._owner: dict[int, int] = {}
        for place, deer_id in enumerate(owner):
            if deer_id is not None:
                self.add(place, deer_id)

    def add(self, place: int, deer_id: int) -> None:
        """One more individual, who looks like a group."""
        self._row[deer_id], self._owner[place] = place, deer_id

    def join(self, place: int, deer_id: int) -> None:
        """Let an individual look like one more group."""
        row = self._row[deer_id]
        for output, rows in self._totals.items():
            rows[row] += self._groups.totals[output][place]
        looks = {output: normalise(rows[[row]]) for output, rows in self._totals.items()}
        self._joint[row] = self._groups.compared(looks)[0]

    def most_like(self, place: int) -> tuple[list[tuple[int, float]], int]:
        """The individuals most like a group and their similarities, best first; and how many were compared."""
        rows = np.fromiter(self._owner, np.int64, len(self._owner))
        sex = self._groups.ties.sex
        rows = rows[(sex[rows] == sex[place]) | (sex[rows] == UNKNOWN) | (sex[place] == UNKNOWN)]
        similarities = np.asarray(self._joint @ self._groups.joint[place], np.float64)[rows]
        best = np.argsort(-similarities, kind="stable")[:_SHOWN]
        return [(self._owner[int(rows[i])], float(similarities[i])) for i in best], len(rows)
