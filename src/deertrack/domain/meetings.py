"""Sightings replayed in time against a gallery without mistakes: what a calibration is fitted to and tried on.

Each sighting asks all individuals met before its encounter, then joins its own: a profile is the direction of the
mean of an individual's sightings, each the direction of the mean of its photos, as in a search. So no pair comes
from one encounter, and similarities rise with what is known of an animal as they do in a catalogue that grows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from deertrack.domain.calibration import Calibration, fit
from deertrack.domain.decision import CANDIDATES, Policy, believe
from deertrack.domain.embedding import Output, Vectors, normalise, pool
from deertrack.domain.evaluation import FOLDS, Floats, draw_identities, ratio
from deertrack.domain.pairs import Codes
from deertrack.domain.protocols import Sightings
from deertrack.domain.reliability import Bin
from deertrack.domain.separation import Estimate

_BINS = 5
_DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Meetings:
    """s sightings in time beside a individuals, in the order in which they were met first.

    ``similarities`` (s, a) in [-1, 1] to each profile as it was then; ``seen`` (s, a) of how many sightings it was
    made, 0 where the individual had not been met; ``identity`` (s,) which individual each sighting shows.
    """

    similarities: Vectors
    seen: NDArray[np.int32]
    identity: Codes

    @property
    def same(self) -> NDArray[np.bool_]:
        """(s, a): whether sighting and individual are one animal."""
        same: NDArray[np.bool_] = self.identity[:, None] == np.arange(self.seen.shape[1])
        return same

    def fit(self, held_out: Codes | None = None) -> Calibration:
        """The curve of all pairs, or of those without any of the individuals ``held_out``.

        Raises:
            InputError: fewer than 40 pairs of one animal, or of two.
        """
        known = self.seen > 0
        if held_out is not None:
            known[np.isin(self.identity, held_out)] = False
            known[:, held_out] = False
        return fit(self.similarities[known], self.same[known])


def meet(vectors: Mapping[Output, Vectors], sightings: Sightings, shares: Mapping[Output, float]) -> Meetings:
    """Replay sightings that come in time.

    Args:
        vectors: for each output (n, 512) unit rows of the photos that ``sightings`` speak of.
        shares: of each output in the similarity; they sum to 1.
    """
    encounters: dict[int, list[int]] = {}
    for row, encounter in enumerate(sightings.encounter.tolist()):
        encounters.setdefault(encounter, []).append(row)
    sightings = sightings.take(np.array(list(chain.from_iterable(encounters.values())), np.int64))
    numbers: dict[int, int] = {}
    identity = np.array([numbers.setdefault(i, len(numbers)) for i in sightings.identity.tolist()], np.int64)
    similarities = np.zeros((len(sightings), len(numbers)), np.float32)
    seen = np.zeros(similarities.shape, np.int32)
    asking = {o: np.stack([pool(vectors[o][photos]) for photos in sightings.photos]) for o in shares}
    sums = {o: np.zeros((len(numbers), rows.shape[1])) for o, rows in asking.items()}
    begin, met = 0, np.zeros(len(numbers), np.int32)
    for together in encounters.values():
        rows = slice(begin, begin := begin + len(together))
        known = np.count_nonzero(met)  # individuals are numbered as they were met
        for output, share in shares.items():
            profiles = normalise(sums[output][:known])
            similarities[rows, :known] += np.float32(share) * (asking[output][rows] @ profiles.T)
            np.add.at(sums[output], identity[rows], asking[output][rows])
        seen[rows] = met
        np.add.at(met, identity[rows], 1)
    return Meetings(similarities, seen, identity)


@dataclass(frozen=True, slots=True)
class Tried:
    """How true the probability of the best candidate is, over q sightings that met anybody.

    ``error``: expected calibration error over the bins of equal mass in ``curve``; ``brier``: Brier score.
    ``automatic`` would be matched by the machine alone, ``rightly`` of them to the right individual.
    """

    queries: int
    error: float
    brier: float
    automatic: int
    rightly: int
    curve: tuple[Bin, ...]


@dataclass(frozen=True, slots=True)
class Trial:
    """The curve of all pairs, of one animal (``same``) and of two (``different``), and what it is worth.

    ``before``: the curve in use, None where there is none. ``after``: five curves, each fitted without a fifth of
    the individuals and tried on these. ``gain``: by how much the Brier score falls, with its 95 % interval.
    """

    curve: Calibration
    same: int
    different: int
    before: Tried | None
    after: Tried
    gain: Estimate | None

    @property
    def helps(self) -> bool:
        """Whether probabilities of animals that the curve does not know are truer than before."""
        return self.gain is None or self.gain.value > 0


def try_calibration(
    meetings: Meetings, in_use: Calibration | None, policy: Policy, rng: np.random.Generator
) -> Trial:
    """Fit a curve, and hold it against the one in use on animals that it was not fitted to.

    Raises:
        InputError: fewer than 40 pairs of one animal or of two, in all or without a fifth of the individuals.
    """
    curve, individuals = meetings.fit(), meetings.seen.shape[1]
    asking = np.flatnonzero(meetings.seen.any(axis=1))
    who = meetings.identity[asking]
    shown = np.where(meetings.seen[asking] > 0, meetings.similarities[asking], -np.inf)
    right = shown.argmax(axis=1) == who
    sure = np.zeros(len(asking))
    for held_out in np.array_split(rng.permutation(individuals), FOLDS):
        rows = np.isin(who, held_out)
        sure[rows] = _sure_of_best(shown[rows], meetings.fit(held_out), policy)
    after, before, gain = _tried(sure, right, policy), None, None
    if in_use is not None:
        was_sure = _sure_of_best(shown, in_use, policy)
        before = _tried(was_sure, right, policy)
        falls: Floats = (was_sure - right) ** 2 - (sure - right) ** 2
        sums = [np.bincount(who, summed, individuals) for summed in (falls, np.ones_like(falls))]
        gain = ratio(np.stack(sums, axis=1).astype(np.float64), draw_identities(individuals, _DRAWS, rng))
    pairs = meetings.seen > 0
    same = int((pairs & meetings.same).sum())
    return Trial(curve, same, int(pairs.sum()) - same, before, after, gain)


def _sure_of_best(shown: Floats, calibration: Calibration, policy: Policy) -> Floats:
    """The probability of the best candidate by the rules of a search: (q, a), -inf for those not met → (q,)."""
    sure = []
    for similarities in shown:
        best = np.sort(similarities)[::-1][:CANDIDATES]
        belief = believe(
            list(enumerate(best[np.isfinite(best)].tolist())),
            gallery_size=int(np.isfinite(similarities).sum()),
            calibration=calibration,
            unmet=policy.unmet,
        )
        sure.append(belief.candidates[0].probability)
    return np.array(sure)


def _tried(sure: Floats, right: NDArray[np.bool_], policy: Policy) -> Tried:
    bins = [part for part in np.array_split(np.argsort(sure, kind="stable"), _BINS) if len(part)]
    automatic = sure >= policy.assign_at
    return Tried(
        queries=len(sure),
        error=sum(abs(float((sure - right)[part].sum())) for part in bins) / len(sure),
        brier=float(((sure - right) ** 2).mean()),
        automatic=int(automatic.sum()),
        rightly=int((automatic & right).sum()),
        curve=tuple(Bin(len(part), float(sure[part].mean()), float(right[part].mean())) for part in bins),
    )
