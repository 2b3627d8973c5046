"""A matcher before and after training, on the same questions."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from deertrack.domain.errors import InputError
from deertrack.domain.evaluation import (
    FOLDS,
    Matcher,
    Results,
    ask_all,
    closed_set,
    difference,
    draw_identities,
)
from deertrack.domain.protocols import Protocol, Sightings
from deertrack.domain.separation import Estimate

FIGURES = ("rank1", "rank20", "mAP")
DECIDES = "mAP"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Figures by name (``FIGURES``) before and after, and by how much they rose."""

    before: Mapping[str, Estimate]
    after: Mapping[str, Estimate]
    gain: Mapping[str, Estimate]

    @property
    def helps(self) -> bool:
        """Whether the gain in mAP is above what chance would make of it."""
        return (self.gain[DECIDES].low or 0.0) > 0

    def __str__(self) -> str:
        """In words, for a pack's card."""
        gain = self.gain[DECIDES]
        return (
            f"{DECIDES} {self.before[DECIDES].value:.3f} became {self.after[DECIDES].value:.3f} (gain "
            f"{gain.value:+.3f}, 95 % interval {gain.low or 0:+.3f} to {gain.high or 0:+.3f})"
        )


def insist_on_animals(count: int) -> None:
    """Insist on two animals in each of five folds: fewer are too few to learn from, and to measure by.

    Raises:
        InputError: fewer than ten.
    """
    if count < 2 * FOLDS:
        raise InputError(
            f"expected {2 * FOLDS} or more animals to learn from and to measure by, got {count}",
            hint="Name or confirm more of them (`deertrack review`), or add a labelled set of the same kind.",
        )


def compare(
    before: Matcher, after: Matcher, sightings: Sightings, protocol: Protocol, *, bootstrap: int, seed: int
) -> Comparison:
    """Ask both the same. Folds are cut by the seed, as ``identity_folds`` does.

    Raises:
        InputError: no animal was met again, or there is only one.
    """
    identities = int(sightings.identity.max(initial=-1)) + 1
    draws = draw_identities(identities, bootstrap, np.random.default_rng(seed))

    def ask(matcher: Matcher) -> Results:
        rng = np.random.default_rng(seed)
        return ask_all(matcher, sightings, protocol, identities=identities, rng=rng)

    def figures(results: Results) -> dict[str, Estimate]:
        found = closed_set(results, draws, ranks_only=True).figures
        return {name: found[name] for name in FIGURES}

    old, new = ask(before), ask(after)
    return Comparison(figures(old), figures(new), difference(old, new, draws))
