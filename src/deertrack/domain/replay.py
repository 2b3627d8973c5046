"""The whole pipeline on paper: sightings that come all at once are grouped, then each group is assigned, new, or
left to a person, as in a first import (docs/adr/0010).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from deertrack.domain.calibration import Calibration
from deertrack.domain.clustering import UNKNOWN, Flags, Table, Ties, cluster, order_to_decide
from deertrack.domain.decision import CANDIDATES, Belief, Decision, Outcome, Policy, believe, decide
from deertrack.domain.evaluation import Floats, Matcher
from deertrack.domain.joint import reconcile
from deertrack.domain.metrics import Agreement, compare_groupings
from deertrack.domain.pairs import Codes, blocks
from deertrack.domain.protocols import LabelledPhotos, Sightings

_BLOCK = 256


@dataclass(frozen=True, slots=True)
class Replay:
    """What came of it. ``individuals`` were made, ``waiting`` sightings are left to a person (each a group of its
    own in ``agreement``), ``assigned`` were matched, ``rightly`` of these to an individual founded by their animal.
    """

    agreement: Agreement
    individuals: int
    waiting: int
    assigned: int
    rightly: int


def replay(matcher: Matcher, sightings: Sightings, photos: LabelledPhotos, policy: Policy) -> Replay | None:
    """Decide about all sightings by the rules of a run; None where nobody measured what the matcher's scores mean.

    The sightings are those of the truth: how well photos are joined into tracks is not measured here. Memory grows
    with their square: 400 MB for 10,000.
    """
    if matcher.calibration is None:
        return None
    paper = _Paper(
        _similarities(matcher, sightings), _sharing_photos(sightings, photos), matcher.calibration, policy
    )
    individual, founder = paper.decide_all()
    n, who = len(sightings), sightings.identity
    matched = np.flatnonzero((individual != UNKNOWN) & (founder[individual] != np.arange(n)))
    return Replay(
        agreement=compare_groupings(
            who.tolist(), np.where(individual < 0, -1 - np.arange(n), individual).tolist()
        ),
        individuals=len(founder),
        waiting=int((individual == UNKNOWN).sum()),
        assigned=len(matched),
        rightly=int((who[founder[individual[matched]]] == who[matched]).sum()),
    )


class _Paper:
    """A catalogue on paper: groups of sightings, and the individuals that were made of them so far.

    ``similar`` (g, g): of the means of groups. ``totals`` (g, g): sums over pairs of their sightings, of which the
    similarity to the mean of several groups follows.
    """

    def __init__(self, table: Floats, apart: Codes, calibration: Calibration, policy: Policy) -> None:
        self._calibration, self._policy = calibration, policy
        nobody = np.full(len(table), UNKNOWN)
        ties = Ties(nobody, nobody, apart)
        self._group = cluster(Table(table), ties, calibration.likelihood_ratios, policy).group
        member = np.eye(int(self._group.max()) + 1)[self._group]
        self._totals = member.T @ table @ member
        lengths = np.sqrt(np.maximum(self._totals.diagonal(), 1e-12))
        self._similar = self._totals / np.outer(lengths, lengths)
        self._clash = ties.joined(self._group).forbidden(np.arange(len(lengths)))
        self._members: list[list[int]] = []  # the groups of each individual
        self._open = set(range(len(lengths)))

    def decide_all(self) -> tuple[Codes, Codes]:
        """Each sighting's individual (n,), -1 where a person decides; each individual's first sighting."""
        groups = len(self._similar)
        ratios = self._calibration.likelihood_ratios
        weights = np.full(groups, self._policy.unmet)
        new, rest = order_to_decide(weights, np.zeros(groups), self._look_up, ratios, self._policy)
        of_group = np.full(groups, UNKNOWN)
        for group in [*new, *rest]:
            decision = self._decide(group)
            self._open.discard(group)
            if decision.outcome is Outcome.NEW:
                of_group[group] = len(self._members)
                self._members.append([group])
            elif decision.deer_id is not None:
                of_group[group] = decision.deer_id
                self._members[decision.deer_id].append(group)
        first = [int(np.flatnonzero(self._group == own[0])[0]) for own in self._members]
        return of_group[self._group], np.array(first, np.int64)

    def _look_up(self, group: int) -> tuple[Floats, Flags]:
        return self._similar[group], self._clash[group]

    def _decide(self, group: int) -> Decision:
        beside = sorted(self._open.intersection(np.flatnonzero(self._clash[group]).tolist()))
        together = [group, *beside]
        clashes = [{j for j, b in enumerate(together) if self._clash[a, b]} for a in together]
        belief = reconcile([self._belief(each) for each in together], clashes)[0]
        vetoed = frozenset(i for i, own in enumerate(self._members) if self._clash[group, own].any())
        return decide(belief, self._policy, vetoed=vetoed)

    def _belief(self, group: int) -> Belief:
        known = np.array([self._to_mean(group, own) for own in self._members])
        order = np.argsort(-known, kind="stable")[:CANDIDATES]
        return believe(
            [(int(i), float(known[i])) for i in order],
            gallery_size=len(known),
            calibration=self._calibration,
            unmet=self._policy.unmet,
        )

    def _to_mean(self, group: int, own: list[int]) -> float:
        lengths = self._totals[group, group] * self._totals[np.ix_(own, own)].sum()
        return float(self._totals[group, own].sum() / np.sqrt(max(lengths, 1e-12)))


def _similarities(matcher: Matcher, sightings: Sightings) -> Floats:
    """The scores of all sightings with each other (n, n); nobody tells the matcher who is who."""
    alone = replace(sightings, identity=np.arange(len(sightings)))
    return np.concatenate(list(_rows(matcher, alone)))


def _rows(matcher: Matcher, sightings: Sightings) -> Iterator[Floats]:
    for rows in blocks(np.arange(len(sightings)), _BLOCK):
        apart = replace(sightings.take(rows), encounter=np.full(len(rows), -1))  # none is left out
        yield np.asarray(matcher.scores(apart, sightings), np.float64)


def _sharing_photos(sightings: Sightings, photos: LabelledPhotos) -> Codes:
    """Pairs of sightings that share a photo, and so are two animals: (m, 2)."""
    seen: dict[int, list[int]] = {}
    pairs: set[tuple[int, int]] = set()
    for row, own in enumerate(sightings.photos):
        for image in set(photos.image[own].tolist()):
            pairs.update((other, row) for other in seen.setdefault(image, []))
            seen[image].append(row)
    return np.array(sorted(pairs), np.int64).reshape(-1, 2)
