"""The whole pipeline on paper: sightings come one after another, and each is assigned, new, or left to a person."""

from dataclasses import dataclass

import numpy as np

from deertrack.domain.decision import Belief, Outcome, Policy, decide
from deertrack.domain.evaluation import Matcher
from deertrack.domain.metrics import Agreement, compare_groupings
from deertrack.domain.protocols import LabelledPhotos, Sightings


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


def replay(
    matcher: Matcher, sightings: Sightings, photos: LabelledPhotos, policy: Policy
) -> Replay | None:
    """Decide about sightings in their order by the rules of ``identify``; None where the matcher says no
    probabilities.

    The sightings are those of the truth: how well photos are joined into tracks is not measured here. An individual
    is known by its first sighting, as in the catalogue.
    """
    scores = np.asarray(matcher.scores(sightings, sightings), np.float64)
    images = [set(photos.image[rows].tolist()) for rows in sightings.photos]
    founders: list[int] = []  # the first sighting of each individual
    members: list[list[int]] = []
    groups: list[tuple[str, int]] = []
    assigned = rightly = waiting = 0
    for row, seen in enumerate(images):
        belief = matcher.believe(scores[row, founders]) if founders else Belief()
        if belief is None:
            return None
        vetoed = frozenset(
            c.deer_id for c in belief.candidates if any(images[m] & seen for m in members[c.deer_id])
        )
        decision = decide(belief, policy, vetoed=vetoed)
        if decision.outcome is Outcome.ASSIGN:
            assert decision.deer_id is not None
            groups.append(("individual", decision.deer_id))
            members[decision.deer_id].append(row)
            assigned += 1
            rightly += int(sightings.identity[founders[decision.deer_id]] == sightings.identity[row])
        elif decision.outcome is Outcome.NEW:
            groups.append(("individual", len(founders)))
            founders.append(row)
            members.append([row])
        else:
            groups.append(("waiting", row))
            waiting += 1
    agreement = compare_groupings(sightings.identity.tolist(), groups)
    return Replay(agreement, len(founders), waiting, assigned, rightly)
