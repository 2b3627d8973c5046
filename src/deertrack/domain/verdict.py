"""Is a new embedding better? The specification's own criteria, and the verdict that matters beside them.

The specification asks for higher similarities of true matches. They can rise because all similarities rise,
those of different animals too; nothing is gained then, and a threshold that was left alone lets more wrong matches
through. So the outcome follows from separation alone, and every sentence here says why.

Source: spec, "Phase 3: Validation"; docs/architecture.md.
"""

from dataclasses import dataclass
from enum import StrEnum

from deertrack.domain.separation import Compared, Estimate

EXPECTED_RISE = 0.10  # spec: "10-15% higher similarity for true matches"
NON_MATCH_CEILING = 0.40  # spec: "low similarity (<0.40) for non-matches"
MOST_FALSE_POSITIVES = 0.05  # spec: "False positive rate remains <5%"

# What is measured, in the words of a page.
MEASURES = {
    "auc": "AUC",
    "d_prime": "d′",
    "tar_1": "True accepts at 1 % false",
    "tar_5": "True accepts at 5 % false",
    "rank_1": "Right animal first",
    "rank_5": "Right animal in first five",
    "map": "Mean average precision",
}

# Fewer than these and a bootstrap over animals promises more than it knows.
LEAST_ANIMALS = 10
LEAST_SAME = 30
LEAST_DIFFERENT = 100

_NO_RISE = 0.01  # a smaller relative rise is not worth a word


class Outcome(StrEnum):
    """What a validation, or one criterion of it, comes to."""

    PASSED = "pass"
    FAILED = "fail"
    UNKNOWN = "not enough data"


@dataclass(frozen=True, slots=True)
class Criterion:
    """One thing that the specification expects, what was found, and a remark where the finding misleads."""

    name: str
    expected: str
    found: str
    outcome: Outcome
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """A criterion of the specification before anything was looked at."""

    name: str
    expected: str

    def found(self, outcome: Outcome, found: str = "–", remark: str = "") -> Criterion:
        """The criterion with what was found."""
        return Criterion(self.name, self.expected, found, outcome, remark)


RISE = Asked("Similarity of true matches rises", "by 10 to 15 %")
NON_MATCHES = Asked("Different deer of one sex stay below 0.40", "fewer than 5 % reach it")
FALSE_POSITIVES = Asked("False positive rate at the threshold", "below 5 %")
DISTRIBUTIONS = Asked("Matches and non-matches lie further apart", "clearly")
CRITERIA = (RISE, NON_MATCHES, FALSE_POSITIVES, DISTRIBUTIONS)


@dataclass(frozen=True, slots=True)
class Verdict:
    """``confidence`` is the share of resamples in which both AUC and d′ are better; None without enough data."""

    outcome: Outcome
    sentence: str
    confidence: float | None


@dataclass(frozen=True, slots=True)
class Shift:
    """By how much mean similarities moved, old to new: of one animal's pairs and of two animals' pairs."""

    same_old: float
    same_new: float
    different_old: float
    different_new: float

    @property
    def same_rise(self) -> float:
        """Rise of the mean similarity of one animal's pairs."""
        return self.same_new - self.same_old

    @property
    def different_rise(self) -> float:
        """Rise of the mean similarity of two animals' pairs."""
        return self.different_new - self.different_old

    @property
    def relative(self) -> float | None:
        """Rise of one animal's pairs as a share of what they were; None where that was not above 0."""
        return self.same_rise / self.same_old if self.same_old > 0 else None

    @property
    def mere_shift(self) -> float | None:
        """Which part of the rise different animals share, in [0, 1]; None where nothing rose."""
        if self.same_rise <= 0:
            return None
        return min(max(self.different_rise / self.same_rise, 0.0), 1.0)


def what_is_missing(animals: int, same: int, different: int) -> str:
    """What a verdict would need more of, as a sentence; empty when there is enough.

    Args:
        animals: individuals with pairs of different encounters.
        same: pairs of one animal.
        different: pairs of two animals.
    """
    needs = (
        (animals, LEAST_ANIMALS, "animals seen in two or more encounters"),
        (same, LEAST_SAME, "pairs of one animal from different encounters"),
        (different, LEAST_DIFFERENT, "pairs of different animals"),
    )
    short = [f"{least} {what} ({have:,} there are)" for have, least, what in needs if have < least]
    return f"A verdict needs {', '.join(short)}." if short else ""


def judge(
    auc: Compared, d_prime: Compared, shift: Shift, *, old: str, new: str, confidence: float
) -> Verdict:
    """The verdict that matters: does separation improve?

    It does if the 95 % intervals of both differences, of AUC and of d′, lie above 0.

    Args:
        confidence: share of resamples in which both are better.
    """
    gains = f"{_change('AUC', auc)}, {_change('d′', d_prime)}"
    sure = f"Both are better in {percent(confidence)} of the resamples."
    rise = shift.relative or 0.0
    if _above_zero(auc) and _above_zero(d_prime):
        sentence = f"{new} tells animals apart better than {old}: {gains}. {sure}"
        if rise < EXPECTED_RISE:
            sentence += (
                f" Mean similarity of true matches goes from {shift.same_old:.3f} to {shift.same_new:.3f}, "
                "not up as the specification expects; but that is the scale of similarities, not what they "
                "separate, and a threshold of the version's own follows the scale."
            )
        return Verdict(Outcome.PASSED, sentence, confidence)
    worse = _below_zero(auc) or _below_zero(d_prime)
    manner = "worse" if worse else "no better, as far as these data tell,"
    compared = f"{new} tells animals apart {manner} than {old}: {gains}. {sure}"
    if rise < _NO_RISE:
        return Verdict(Outcome.FAILED, compared, confidence)
    shared = (
        f" Different animals became more alike by {shift.different_rise:+.3f}, true matches by "
        f"{shift.same_rise:+.3f}: {percent(shift.mere_shift or 0)} of the rise is mere shift."
    )
    sentence = f"Mean similarity of true matches rose by {percent(rise)}, but {compared}{shared}"
    return Verdict(Outcome.FAILED, sentence + " Higher similarity is not better recognition.", confidence)


def judge_rise(shift: Shift, interval: Estimate, deer: int, wanted: int) -> Criterion:
    """Spec, step 1: the mean similarity of true matches among deer with five or more sightings.

    Args:
        interval: of the relative rise.
    """
    if deer < wanted or shift.relative is None:
        return RISE.found(Outcome.UNKNOWN, f"{deer} of the {wanted} deer with 5 or more sightings")
    low, high = interval.low, interval.high
    sure = (
        "" if low is None or high is None else f" (95 % interval {percent(low, '+')} to {percent(high, '+')})"
    )
    return RISE.found(
        Outcome.PASSED if shift.relative >= EXPECTED_RISE else Outcome.FAILED,
        f"{percent(shift.relative, '+')}{sure}: {shift.same_old:.3f} to {shift.same_new:.3f}, {deer} deer",
        f"Different deer changed by {shift.different_rise:+.3f}, true matches by {shift.same_rise:+.3f}.",
    )


def judge_non_matches(high: int, pairs: int, wanted: int, share_before: float, share_now: float) -> Criterion:
    """Spec, step 2: chosen pairs of different deer of one sex stay below 0.40.

    Args:
        high: how many of the ``pairs`` reach it with the new version.
        share_before, share_now: share of all pairs of different deer that reach it, old and new version.
    """
    if pairs < wanted:
        return NON_MATCHES.found(Outcome.UNKNOWN, f"{pairs} of the {wanted} pairs of deer")
    return NON_MATCHES.found(
        Outcome.PASSED if high < MOST_FALSE_POSITIVES * pairs else Outcome.FAILED,
        f"{high} of {pairs} pairs of deer reach it; of all pairs {percent(share_now)} "
        f"({percent(share_before)} with the old version)",
        "Each network has its own scale, so a fixed number says little about matches.",
    )


def judge_false_positives(held_out: float | None, far: float, at_old_threshold: float) -> Criterion:
    """Spec, success criteria: false positives at a threshold that was set on other animals.

    Args:
        held_out: their share on animals that the threshold was not set on.
        far: what the threshold was set for.
        at_old_threshold: their share if the old version's threshold were left where it is.
    """
    if held_out is None:
        return FALSE_POSITIVES.found(Outcome.UNKNOWN, "no animals to set aside")
    return FALSE_POSITIVES.found(
        Outcome.PASSED if held_out < MOST_FALSE_POSITIVES else Outcome.FAILED,
        f"{percent(held_out)} among animals that the threshold (set for {percent(far)}) had not seen",
        f"With the old version's threshold left where it is: {percent(at_old_threshold)}.",
    )


def judge_distributions(verdict: Verdict, d_prime: Compared) -> Criterion:
    """Spec, step 3: matches and non-matches lie further apart."""
    return DISTRIBUTIONS.found(verdict.outcome, _change("d′", d_prime))


def percent(share: float, sign: str = "") -> str:
    """A share for people, e.g. 4.2 %; ``sign`` "+" shows the plus of a rise."""
    return f"{100 * share:{sign}.1f} %".replace(".0 %", " %")


def _above_zero(figure: Compared) -> bool:
    return figure.difference.low is not None and figure.difference.low > 0


def _below_zero(figure: Compared) -> bool:
    return figure.difference.high is not None and figure.difference.high < 0


def _change(name: str, figure: Compared) -> str:
    gap = figure.difference
    interval = "" if gap.low is None else f", 95 % interval {gap.low:+.3f} to {gap.high:+.3f}"
    return f"{name} {figure.old.value:.3f} to {figure.new.value:.3f} (difference {gap.value:+.3f}{interval})"
