"""Which of many sightings are one animal: all weighed at once, so that their order does not matter.

Average-link agglomeration (UPGMA: Sokal & Michener 1958, "A statistical method for evaluating systematic
relationships"): how alike two groups are is the mean similarity over all pairs with one member in each. The mean
keeps the scale on which similarities were calibrated, which the similarity of two means does not: averaging rids
vectors of what tells photos apart, so that even two animals look more alike the more photos they have.

Two groups are one animal with the odds ``LR / (other groups + known + unmet + rivals)``. Before looking, the group
could as well be any other group, known individual or animal never met, each with a ratio of about 1
(:func:`deertrack.domain.decision.believe`). Other groups are counted as they are left in the end, not as they are
when two join: n sightings are not n animals, and the first merge of ten thousand sightings would need ten thousand
times the evidence of the first of two. So it is the longest run of merges, surest first, the last of which still
holds among the groups that remain, as a step-up procedure chooses (Benjamini & Hochberg 1995). Rivals are groups
that are surely other animals than one of the two but look like the other: of two deer in one photo at most one is
the deer of last night. Sightings that may be of one animal are never each other's rivals.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from deertrack.domain.decision import Policy
from deertrack.domain.embedding import Vectors

Codes = NDArray[np.int64]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ratios = Callable[[Floats], Floats]  # similarities to likelihood ratios; never falling

UNKNOWN = -1
_BLOCK = 128  # groups that are compared with all others at a time: memory is about 50 bytes · 128 · n


class Likeness(Protocol):
    """How alike groups look. At first each sighting is a group of its own."""

    def __len__(self) -> int:
        """How many groups there are, g."""
        ...

    def sums(self, rows: Codes) -> NDArray[np.floating]:
        """For each of these groups and every group the sum of similarities over pairs of members: (b, g)."""
        ...

    def join(self, group_of: Codes) -> None:
        """Merge groups: (g,) the number of each one's new group, from 0 without gaps."""
        ...


class Looks:
    """Likeness of sightings by their vectors (n, d): inner products are similarities. Never holds n × n of them."""

    def __init__(self, vectors: Vectors) -> None:
        self._totals = vectors

    def __len__(self) -> int:
        return len(self._totals)

    def sums(self, rows: Codes) -> NDArray[np.floating]:
        return self._totals[rows] @ self._totals.T

    def join(self, group_of: Codes) -> None:
        self._totals = _add_up(self._totals, group_of)


class Table:
    """Likeness of sightings by a symmetric table of similarities (n, n), whose diagonal does not matter."""

    def __init__(self, similarities: NDArray[np.floating]) -> None:
        self._totals = np.asarray(similarities)

    def __len__(self) -> int:
        return len(self._totals)

    def sums(self, rows: Codes) -> NDArray[np.floating]:
        return self._totals[rows]

    def join(self, group_of: Codes) -> None:
        self._totals = _add_up(_add_up(self._totals, group_of).T, group_of).T


@dataclass(frozen=True, slots=True)
class Ties:
    """What is known of n sightings (or groups of them) besides their looks.

    ``individual`` (n,): which individual a person confirmed it to be; ``sex`` (n,): any number for each. −1 where
    unknown. ``apart`` (m, 2): pairs that are surely two animals.
    """

    individual: Codes
    sex: Codes
    apart: Codes

    def forbidden(self, rows: Codes) -> Flags:
        """Who is surely another animal than each of ``rows`` (b,): (b, n)."""
        place = np.full(len(self.sex), -1)
        place[rows] = np.arange(len(rows))
        found: Flags = _contradict(self.individual, rows) | _contradict(self.sex, rows)
        for first, second in (self.apart.T, self.apart.T[::-1]):
            here = place[first] >= 0
            found[place[first[here]], second[here]] = True
        return found

    def joined(self, group_of: Codes) -> "Ties":
        """The ties of groups (n,) of these. A group whose members contradict each other in a label has none."""
        pairs = np.sort(group_of[self.apart], axis=1)
        return Ties(
            _agreed(self.individual, group_of),
            _agreed(self.sex, group_of),
            np.unique(pairs[pairs[:, 0] < pairs[:, 1]], axis=0),
        )


@dataclass(frozen=True, slots=True)
class Clustering:
    """``group`` (n,): the group of each sighting, numbered by first members. ``probability`` (g,): that the least
    sure merge of each group was right; 1 where nothing had to be merged.
    """

    group: Codes
    probability: Floats


def cluster(
    likeness: Likeness, ties: Ties, ratios: Ratios, policy: Policy, *, known: float = 0.0
) -> Clustering:
    """Group n sightings: merge while two groups are one animal with a probability of ``policy.assign_at`` or more.

    Sightings of one confirmed individual are always together, sightings of two never, nor are those whose sexes
    contradict each other or that are ``apart`` (unless a person confirmed them to be one individual). The result
    does not depend on the order of the sightings, except where several pairs are equally similar to the last
    digit: then the earlier one comes first.

    Args:
        likeness: how alike they look; it is used up.
        known: individuals that a sighting could be besides, and that are not among these.
    """
    forest = _Forest(likeness, ties, ratios, policy, known)
    forest.grow()
    return forest.cut()


def order_to_decide(
    weights: Floats,
    best: Floats,
    look_up: Callable[[int], tuple[Floats, Flags]],
    ratios: Ratios,
    policy: Policy,
) -> tuple[list[int], list[int]]:
    """Which of g groups become individuals, surest first, and the others, those most like a known one first.

    Each time it is the one that is none of the known, nor of those founded so far, with the highest probability, as
    long as that reaches ``policy.new_at``; of several the earliest. Those that look least like each other come
    first, whatever came first in time.

    Args:
        weights: (g,) the denominator of :func:`deertrack.domain.decision.believe` before anybody is founded: unmet
            and unseen animals and the ratios of known individuals.
        best: (g,) the highest of these ratios; 0 where nobody is known.
        look_up: of one group the similarity of all groups to it, and which are surely other animals: (g,) each.
    """
    weights, best, left, found = weights.copy(), best.copy(), np.ones(len(weights), bool), []
    while left.any():
        new = np.where(left, np.round(policy.unmet / weights, 9), -np.inf)  # so that equal ones are equal
        surest = int(new.argmax())
        if new[surest] < policy.new_at:
            break
        similarities, others = look_up(surest)
        ratio = np.where(others, 0.0, ratios(similarities))
        weights += ratio
        best = np.maximum(best, ratio)
        left[surest] = False
        found.append(surest)
    rest = np.flatnonzero(left)
    return found, rest[np.argsort(-np.round(best[rest] / weights[rest], 9), kind="stable")].tolist()


@dataclass(frozen=True, slots=True)
class _Merge:
    """Two nodes that become one. ``room``: among how many other animals that holds; never more than below it."""

    first: int
    second: int
    ratio: float
    rivals: float
    room: float


class _Forest:
    """Groups as they merge, and the trees of their merges."""

    def __init__(self, likeness: Likeness, ties: Ties, ratios: Ratios, policy: Policy, known: float) -> None:
        self._ratios, self._strangers = ratios, known + policy.unmet
        self._odds = policy.assign_at / (1 - policy.assign_at) if policy.assign_at < 1 else np.inf
        self._bar = -np.inf if policy.min_similarity is None else policy.min_similarity
        self._leaves = _numbered(_first_groups(ties.individual))
        self._merges: list[_Merge] = []
        likeness.join(self._leaves)
        self._likeness, self._ties = likeness, ties.joined(self._leaves)
        self._size = np.bincount(self._leaves).astype(np.float64)
        self._node = np.arange(len(likeness))
        self._room = np.full(len(likeness), np.inf)
        self._contested: set[tuple[int, int]] = set()  # pairs with too strong a rival: they wait for a change
        self._forget_nearest()

    def grow(self) -> None:
        """Merge all nearest pairs that could hold if no other group were left.

        Average link is reducible (Bruynooghe 1978): a merge elsewhere brings nobody closer than its nearest, so
        all pairs that are each other's nearest can merge at once.
        """
        merged = False
        while len(self._likeness) > 1:
            self._find_nearest()
            pairs = self._mutual()
            if len(pairs):
                sure = self._weigh(pairs)
                merged |= bool(sure)
                if sure:
                    self._join(sure)
            elif merged and self._contested:
                merged = False  # rivals may have gone elsewhere
                self._contested.clear()
                self._forget_nearest()
            else:
                return

    def cut(self) -> Clustering:
        """The longest run of merges, surest first, that holds among the groups that it leaves."""
        count = int(self._leaves.max(initial=-1)) + 1
        order = sorted(
            range(len(self._merges)), key=lambda i: -self._merges[i].room
        )  # stable: below comes first
        rooms = np.array([self._merges[i].room for i in order])
        others = count - 2 - np.arange(len(rooms)) + self._strangers
        taken = order[: int(np.flatnonzero(rooms >= others).max(initial=-1)) + 1]
        tree = np.arange(count + len(self._merges))
        sure = np.ones(len(tree))
        others_left = count - len(taken) - 1 + self._strangers
        for place in sorted(taken):
            merge, top = self._merges[place], count + place
            chance = merge.ratio / (merge.ratio + merge.rivals + others_left)
            sure[top] = min(chance, sure[merge.first], sure[merge.second])
            tree[[merge.first, merge.second]] = top
        for node in range(len(tree) - 1, -1, -1):
            tree[node] = tree[tree[node]]
        roots = tree[self._leaves]
        group = _numbered(roots)
        probability = np.ones(int(group.max(initial=-1)) + 1)
        probability[group] = sure[roots]
        return Clustering(group, probability)

    def _forget_nearest(self) -> None:
        self._nearest = np.full(len(self._likeness), UNKNOWN)
        self._similarity = np.full(len(self._likeness), -np.inf)

    def _find_nearest(self) -> None:
        """The most similar group that each one may be, for those of which it is not known."""
        stale = np.flatnonzero(self._nearest == UNKNOWN)
        waiting = np.array(sorted(self._contested), np.int64).reshape(-1, 2)
        masked = Ties(self._ties.individual, self._ties.sex, np.concatenate([self._ties.apart, waiting]))
        for rows in _blocks(stale):
            similarities = np.where(masked.forbidden(rows), -np.inf, self._means(rows))
            similarities[np.arange(len(rows)), rows] = -np.inf
            self._nearest[rows] = similarities.argmax(axis=1)
            self._similarity[rows] = similarities.max(axis=1)

    def _means(self, rows: Codes) -> Floats:
        return np.asarray(self._likeness.sums(rows), np.float64) / np.outer(self._size[rows], self._size)

    def _mutual(self) -> Codes:
        """Pairs of groups that are each other's nearest and could be one animal: (p, 2)."""
        could = (self._similarity >= self._bar) & np.isfinite(self._similarity)
        could[could] = self._ratios(self._similarity[could]) >= self._odds * self._strangers
        if not could.any():
            return np.empty((0, 2), np.int64)
        group = np.arange(len(could))
        first = np.flatnonzero(could & (self._nearest[self._nearest] == group) & (group < self._nearest))
        if not len(first):  # nearest in a circle, by rounding
            first = np.array([np.where(could, self._similarity, -np.inf).argmax()])
        return np.stack([first, self._nearest[first]], axis=1)

    def _weigh(self, pairs: Codes) -> list[_Merge]:
        """Those of the pairs that are sure in spite of all rivals; the others are contested from now on."""
        sure = []
        for block in (pairs[i : i + _BLOCK] for i in range(0, len(pairs), _BLOCK)):
            ratios = self._ratios(self._similarity[block[:, 0]])
            rivals = np.maximum(self._rivals(block), self._rivals(block[:, ::-1]))
            for (a, b), ratio, against in zip(block.tolist(), ratios.tolist(), rivals.tolist(), strict=True):
                room = min(ratio / self._odds - against, self._room[a], self._room[b])
                if room >= self._strangers:
                    sure.append(_Merge(a, b, ratio, against, room))
                else:
                    self._contested.add((a, b))
                    self._nearest[[a, b]] = UNKNOWN
        return sure

    def _rivals(self, pairs: Codes) -> Floats:
        """For each pair the ratios, with its first, of all groups that are surely other animals than its second."""
        first, second = pairs.T
        rival = self._ties.forbidden(second) & ~self._ties.forbidden(first)
        rival[np.arange(len(first)), first] = False
        ratios = self._ratios(np.where(rival, self._means(first), -1.0))
        total: Floats = np.where(rival, ratios, 0.0).sum(axis=1)
        return total

    def _join(self, merges: list[_Merge]) -> None:
        """Let pairs of groups, all disjoint, become one group each, in the place of their first."""
        count = len(self._likeness)
        into, room, node = np.arange(count), self._room, self._node
        changed = np.zeros(count, bool)
        for merge in merges:
            into[merge.second] = merge.first
            changed[[merge.first, merge.second]] = True
            top = int(self._leaves.max()) + 1 + len(self._merges)
            self._merges.append(
                _Merge(int(node[merge.first]), int(node[merge.second]), merge.ratio, merge.rivals, merge.room)
            )
            node[merge.first], room[merge.first] = top, merge.room
        kept = into == np.arange(count)
        group_of = (np.cumsum(kept) - 1)[into]
        stale = changed | changed[self._nearest] | (self._nearest == UNKNOWN)
        for a, b in self._contested:
            if changed[a] or changed[b]:
                stale[[a, b]] = True
        self._contested = {
            (int(group_of[a]), int(group_of[b])) for a, b in self._contested if not (changed[a] or changed[b])
        }
        self._nearest = np.where(stale, UNKNOWN, group_of[self._nearest])[kept]
        self._similarity, self._node, self._room = self._similarity[kept], node[kept], room[kept]
        self._likeness.join(group_of)
        self._ties = self._ties.joined(group_of)
        self._size = np.bincount(group_of, weights=self._size).astype(np.float64)


def _add_up(rows: NDArray[np.floating], group_of: Codes) -> NDArray[np.floating]:
    """The sums of rows by group: (n, d) to (g, d)."""
    if len(rows) == 0:
        return rows
    order = np.argsort(group_of, kind="stable")
    starts = np.flatnonzero(np.diff(group_of[order], prepend=-1))
    total: NDArray[np.floating] = np.add.reduceat(rows[order], starts, axis=0)
    return total


def _contradict(labels: Codes, rows: Codes) -> Flags:
    """Who has another label than each of ``rows``, both known: (b, n)."""
    own = labels[rows, None]
    found: Flags = (own != labels) & (own != UNKNOWN) & (labels != UNKNOWN)
    return found


def _agreed(labels: Codes, group_of: Codes) -> Codes:
    """The one label that is known in each group, or −1 where none or several are."""
    count, none = int(group_of.max(initial=-1)) + 1, np.iinfo(np.int64).max
    least, most = np.full(count, none), np.full(count, UNKNOWN)
    np.minimum.at(least, group_of, np.where(labels == UNKNOWN, none, labels))
    np.maximum.at(most, group_of, labels)
    return np.where(least == most, most, UNKNOWN)


def _first_groups(individual: Codes) -> Codes:
    """Any number for each group of sightings that a person confirmed to be one; one of its own for all others."""
    alone = individual.max(initial=UNKNOWN) + 1 + np.arange(len(individual))
    return np.where(individual == UNKNOWN, alone, individual)


def _numbered(keys: Codes) -> Codes:
    """Numbers from 0 for equal keys, by where each is met first."""
    _, first, place = np.unique(keys, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    numbers: Codes = rank[place]
    return numbers


def _blocks(rows: Codes) -> list[Codes]:
    return [rows[i : i + _BLOCK] for i in range(0, len(rows), _BLOCK)]
