"""Assign, New or Review: the decision about one sighting, as numbered rules.

Thresholds are probabilities, never wished-for numbers of deer. The default leans towards two records for one
animal rather than one record for two: a merge can be suggested later, a wrong mixture is hard to take apart.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from deertrack.domain.calibration import Calibration
from deertrack.domain.errors import InputError

CANDIDATES = 10  # of a search


class Outcome(StrEnum):
    """What is decided about a sighting."""

    ASSIGN = "assign"
    NEW = "new"
    REVIEW = "review"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A known individual that a sighting might be.

    ``similarity`` is the raw weighted cosine in [-1, 1], ``probability`` the calibrated chance in [0, 1] that
    it is this animal.
    """

    deer_id: int
    similarity: float
    probability: float


@dataclass(frozen=True, slots=True)
class Policy:
    """When the machine decides alone.

    ``assign_at``: a candidate at least this probable is assigned ("at most 5 in 100 wrong" is 0.95).
    ``new_at``: where it is at least this probable that the animal is none of the known, it is new. Lower than
    ``assign_at``: two records for one animal are easier to mend than one record for two.
    ``unmet``: how many animals may be about that were never met; the more, the likelier a new one is new.
    ``min_similarity``: a candidate less similar than this is never assigned, however probable; None for no bar.
    """

    assign_at: float = 0.95
    new_at: float = 0.5
    unmet: float = 25.0
    min_similarity: float | None = None

    def __post_init__(self) -> None:
        if not (0 < self.assign_at <= 1 and 0 < self.new_at <= 1 and self.assign_at + self.new_at > 1):
            raise InputError(
                "expected assign_at and new_at in (0, 1] that cannot both be reached (their sum above 1), "
                f"got {self.assign_at} and {self.new_at}"
            )
        if not self.unmet > 0:
            raise InputError(f"expected a number of unmet animals above 0, got {self.unmet}")
        if self.min_similarity is not None and not -1 <= self.min_similarity <= 1:
            raise InputError(f"expected a threshold of similarity in [-1, 1], got {self.min_similarity}")

    @property
    def wrong_at_most(self) -> float:
        """What ``assign_at`` promises: of 100 automatic matches, at most so many are wrong."""
        return round(100 * (1 - self.assign_at), 6)

    @property
    def promise(self) -> str:
        """The same in words."""
        return f"at most {self.wrong_at_most:g} in 100 automatic matches wrong"


@dataclass(frozen=True, slots=True)
class Belief:
    """What a search makes probable: its candidates, best first, and that the animal is none of the known.

    ``others``: that it is a known individual further down, or one that could not be compared. All sum to 1.
    """

    candidates: tuple[Candidate, ...] = ()
    new: float = 1.0
    others: float = 0.0


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome and the belief behind it.

    ``deer_id`` is set for ASSIGN only; an individual is made for NEW when the decision is stored.
    """

    outcome: Outcome
    belief: Belief
    deer_id: int | None = None


def believe(
    matches: Sequence[tuple[int, float]],
    *,
    gallery_size: int,
    calibration: Calibration,
    unmet: float,
    unseen: int = 0,
) -> Belief:
    """Who it may be, given that it is at most one of all known animals.

    Bayes over the known animals and the unmet ones, each as likely as any other beforehand:
    ``P(i) = LR(i) / (unmet + unseen + sum of LR over the gallery)`` and ``P(new) = unmet / (the same)``.

    Args:
        matches: individual and similarity (in [-1, 1]) of the best candidates of a search, best first.
        gallery_size: all individuals that were compared. Those below the best candidates count with the ratio of
            the last one, at most 1: on average, different animals have a likelihood ratio of 1.
        calibration: what a similarity says.
        unmet: how many animals may be about that were never met.
        unseen: known individuals that could not be compared, for want of vectors: it may be any of them too.
    """
    if not matches:
        return Belief((), unmet / (unmet + unseen), unseen / (unmet + unseen))
    ratios = calibration.likelihood_ratios([similarity for _, similarity in matches])
    others = unseen + max(gallery_size - len(ratios), 0) * min(1.0, float(ratios[-1]))
    total = unmet + others + float(ratios.sum())
    candidates = tuple(
        Candidate(deer_id, similarity, float(ratio) / total)
        for (deer_id, similarity), ratio in zip(matches, ratios, strict=True)
    )
    return Belief(candidates, unmet / total, others / total)


def decide(belief: Belief, policy: Policy, *, vetoed: frozenset[int] = frozenset()) -> Decision:
    """Decide about one sighting.

    1. A vetoed individual (already in the same photo, say) is no candidate; its share goes to all others.
    2. The best candidate reaches ``assign_at``, and ``min_similarity`` where there is one: ASSIGN.
    3. That it is none of the known reaches ``new_at``: NEW.
    4. Anything else: REVIEW.
    """
    belief = without(belief, vetoed)
    best = belief.candidates[0] if belief.candidates else None
    bar = -1.0 if policy.min_similarity is None else policy.min_similarity
    if best and best.probability >= policy.assign_at and best.similarity >= bar:
        return Decision(Outcome.ASSIGN, belief, best.deer_id)
    if belief.new >= policy.new_at:
        return Decision(Outcome.NEW, belief)
    return Decision(Outcome.REVIEW, belief)


def without(belief: Belief, vetoed: frozenset[int]) -> Belief:
    """The belief once some individuals are ruled out: their share goes to everybody else."""
    kept = [c for c in belief.candidates if c.deer_id not in vetoed]
    left = belief.new + belief.others + sum(c.probability for c in kept)
    return Belief(
        tuple(Candidate(c.deer_id, c.similarity, c.probability / left) for c in kept),
        belief.new / left,
        belief.others / left,
    )


def worth_asking(belief: Belief) -> float:
    """What a person's answer would tell, in bits: the entropy of who it is (Shannon 1948).

    0 where the machine is sure. Known individuals further down (``others``) count as one possibility.
    """
    possible = [*(c.probability for c in belief.candidates), belief.new, belief.others]
    return -sum(p * math.log2(p) for p in possible if p > 0)
