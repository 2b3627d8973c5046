"""Several animals at once: what is probable of each sighting of an encounter, given that no animal is two.

Two sightings that share a photo are two animals. One by one, both may look most like the same individual; taken
together, the better likeness gets it and the other's chance of being somebody else rises. That is the posterior
over all ways to name the sightings that keep the rule, not a greedy order of them.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod

from deertrack.domain.decision import Belief, Candidate

# Ways to name a group of sightings that are tried: (candidates + nobody of these) to the power of the sightings.
_MOST_WAYS = 4096
_MOST_CANDIDATES = 3

# One sighting's choice: an individual and its probability, or None for anybody else.
_Option = tuple[int | None, float]


def reconcile(beliefs: Sequence[Belief], clashes: Sequence[set[int]]) -> list[Belief]:
    """Beliefs about n sightings, each given what the others are.

    Args:
        beliefs: what a search made probable of each sighting by itself.
        clashes: for each sighting, the places (0 … n - 1) of those that are surely other animals. Symmetric.

    Returns:
        n beliefs in the same order, candidates best first. Of more than a dozen sightings that clash with each
        other, those beliefs are returned as they are.
    """
    found = list(beliefs)
    for group in _groups(clashes):
        width = next((w for w in range(_MOST_CANDIDATES, 0, -1) if (w + 1) ** len(group) <= _MOST_WAYS), 0)
        if len(group) > 1 and width:
            for place, belief in zip(group, _together(beliefs, clashes, group, width), strict=True):
                found[place] = belief
    return found


def _groups(clashes: Sequence[set[int]]) -> Iterator[list[int]]:
    """Sightings that clash directly or through others."""
    left = set(range(len(clashes)))
    while left:
        group, edge = set(), {min(left)}
        while edge:
            group |= edge
            edge = set().union(*(clashes[place] for place in edge)) - group
        left -= group
        yield sorted(group)


def _together(
    beliefs: Sequence[Belief], clashes: Sequence[set[int]], group: Sequence[int], width: int
) -> list[Belief]:
    options = [_options(beliefs[place], width) for place in group]
    pairs = [(i, j) for i, a in enumerate(group) for j, b in enumerate(group) if i < j and b in clashes[a]]
    weights: list[dict[int | None, float]] = [{} for _ in group]
    total = 0.0
    for way in product(*options):
        if any(way[i][0] is not None and way[i][0] == way[j][0] for i, j in pairs):
            continue
        weight = prod(probability for _, probability in way)
        total += weight
        for shares, (deer_id, _) in zip(weights, way, strict=True):
            shares[deer_id] = shares.get(deer_id, 0.0) + weight
    if not total:
        return [beliefs[place] for place in group]  # everybody is surely the same: a person must look
    return [
        _reweighted(beliefs[place], {deer_id: weight / total for deer_id, weight in shares.items()}, width)
        for place, shares in zip(group, weights, strict=True)
    ]


def _options(belief: Belief, width: int) -> list[_Option]:
    likely = belief.candidates[:width]
    rest = belief.new + belief.others + sum(c.probability for c in belief.candidates[width:])
    return [*((c.deer_id, c.probability) for c in likely), (None, rest)]


def _reweighted(belief: Belief, shares: dict[int | None, float], width: int) -> Belief:
    """The belief with its likely candidates' new probabilities; whoever else keeps their proportions."""
    before = _options(belief, width)[-1][1]
    scale = shares.get(None, 0.0) / before if before else 0.0
    candidates = [
        Candidate(c.deer_id, c.similarity, shares.get(c.deer_id, 0.0) if i < width else c.probability * scale)
        for i, c in enumerate(belief.candidates)
    ]
    candidates.sort(key=lambda c: -c.probability)
    return Belief(tuple(candidates), belief.new * scale, belief.others * scale)
