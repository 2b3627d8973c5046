"""The whole pipeline on paper: sightings come one after another, and each is assigned, new, or left to a person."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np

from deertrack.domain.decision import Belief, Decision, Outcome, Policy, decide
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


@dataclass(slots=True)
class _Paper:
    """The catalogue so far: the first sighting of each individual, all of its photos, and who each sighting is.

    ``lengths``: of the sum of each individual's sightings, squared, as unit vectors whose inner products the
    scores are. So a score with the mean of sightings needs nothing but scores with each of them.
    """

    founders: list[int] = field(default_factory=list)
    images: list[set[int]] = field(default_factory=list)
    lengths: list[float] = field(default_factory=list)
    individual_of: dict[int, int] = field(default_factory=dict)

    def to_means(self, scores: Floats) -> Floats:
        """A sighting's scores with all sightings (s,) → those with the mean of each individual's."""
        rows, individuals = list(self.individual_of), list(self.individual_of.values())
        sums = np.bincount(individuals, scores[rows], len(self.founders))
        means: Floats = sums / np.sqrt(np.maximum(self.lengths, 1e-12))
        return means

    def note(self, row: int, seen: set[int], scores: Floats, decision: Decision) -> None:
        if decision.outcome is Outcome.NEW:
            self.founders.append(row)
            self.images.append(set(seen))
            self.lengths.append(float(scores[row]))
            self.individual_of[row] = len(self.founders) - 1
        elif (known := decision.deer_id) is not None:
            own = [other for other, individual in self.individual_of.items() if individual == known]
            self.lengths[known] += float(2 * scores[own].sum() + scores[row])
            self.images[known] |= seen
            self.individual_of[row] = known


def replay(matcher: Matcher, sightings: Sightings, photos: LabelledPhotos, policy: Policy) -> Replay | None:
    """Decide about sightings in their order by the rules of ``identify``; None where the matcher says no
    probabilities.

    The sightings are those of the truth: how well photos are joined into tracks is not measured here. An individual
    is known by the mean of the sightings assigned to it, as in the catalogue. Sightings that share a photo are
    decided together.
    """
    # Nobody tells the matcher who is who: each sighting is somebody else, and no encounter is left out.
    sightings, named = replace(sightings, identity=np.arange(len(sightings))), sightings
    images = [set(photos.image[rows].tolist()) for rows in sightings.photos]
    together = _sharing_photos(images)
    scores = _scores(matcher, sightings, np.array(list(chain.from_iterable(together)), np.int64))
    paper = _Paper()
    for group in together:
        beliefs = []
        seen = {row: next(scores) for row in group}
        for row in group:
            belief = matcher.believe(paper.to_means(seen[row])) if paper.founders else Belief()
            if belief is None:
                return None
            beliefs.append(belief)
        clashes = [{j for j, b in enumerate(group) if b != a and images[a] & images[b]} for a in group]
        settled = dict(zip(group, reconcile(beliefs, clashes), strict=True))
        for row in sorted(group, key=lambda row: (-_surest(settled[row]), row)):
            vetoed = frozenset(i for i, taken in enumerate(paper.images) if taken & images[row])
            paper.note(row, images[row], seen[row], decide(settled[row], policy, vetoed=vetoed))
    return _summary(paper, named)


def _sharing_photos(images: Sequence[set[int]]) -> list[list[int]]:
    """Sightings that share photos, directly or through others, by their first one."""
    group_of: dict[int, list[int]] = {}
    groups: dict[int, list[int]] = {}
    for row, seen in enumerate(images):
        met = {id(group_of[image]): group_of[image] for image in seen if image in group_of}
        merged = sorted([row, *chain.from_iterable(met.values())])
        for key in met:
            del groups[key]
        groups[id(merged)] = merged
        group_of |= dict.fromkeys(chain.from_iterable(images[member] for member in merged), merged)
    return sorted(groups.values())


def _scores(matcher: Matcher, sightings: Sightings, order: Codes) -> Iterator[Floats]:
    """The scores (s,) of each sighting with all, in this order; in memory are those of one block."""
    for rows in blocks(order, _BLOCK):
        apart = replace(sightings.take(rows), encounter=np.full(len(rows), -1))
        yield from np.asarray(matcher.scores(apart, sightings), np.float64)


def _surest(belief: Belief) -> float:
    return belief.candidates[0].probability if belief.candidates else 0.0


def _summary(paper: _Paper, sightings: Sightings) -> Replay:
    n, known, who = len(sightings), paper.individual_of, sightings.identity
    matched = [row for row, individual in known.items() if paper.founders[individual] != row]
    return Replay(
        agreement=compare_groupings(who.tolist(), [known.get(row, -1 - row) for row in range(n)]),
        individuals=len(paper.founders),
        waiting=n - len(known),
        assigned=len(matched),
        rightly=sum(int(who[paper.founders[known[row]]] == who[row]) for row in matched),
    )
