"""Is a new embedding better on this herd? Old against new on labelled sightings of different encounters.

Source: spec, "Phase 3: Validation"; the statistics: deertrack.domain.separation, .retrieval and .verdict.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from deertrack.domain import verdict as rules
from deertrack.domain.errors import InputError
from deertrack.domain.fusion import Weights
from deertrack.domain.pairs import Pairs, pick_pairs
from deertrack.domain.separation import Compared, held_out_false_accepts
from deertrack.domain.verdict import Criterion, Outcome, Shift, Verdict
from deertrack.formats.truth import TruthRow
from deertrack.services.lifecycle.evidence import (
    MOST_SIGHTINGS,
    Evidence,
    catalogue_labels,
    choose_versions,
    gather,
    truth_labels,
)
from deertrack.services.lifecycle.failures import Failures, find_failures
from deertrack.services.lifecycle.measure import (
    Bench,
    Histograms,
    ThresholdRow,
    WeightSearch,
    histograms,
    measure,
    roc_points,
    search_weights,
    set_up,
    threshold_rows,
)
from deertrack.services.lifecycle.spec_steps import (
    DeerPair,
    KnownDeer,
    deer_pairs_of_one_sex,
    known_deer,
    rise_of,
)
from deertrack.services.progress import SILENT, Progress
from deertrack.storage import validations
from deertrack.storage.db import Database

_UNCOVERED = (
    "{:,} detections lack vectors of a version: `deertrack reid reembed --all-detections` brings them."
)
_LEAST_ACCEPTED = 10  # pairs beyond a threshold, for it to mean something


@dataclass(frozen=True, slots=True)
class ValidationRequest:
    """What to compare and how.

    ``new`` and ``old`` are names of versions (None: highest stage, active or lowest stage); ``truth`` replaces
    the catalogue's own names. ``known`` deer and ``pairs`` of deer are looked at for the specification's
    criteria, ``far`` is the share of false accepts that a threshold is proposed for, in (0, 1).

    Raises:
        InputError: a number out of range.
    """

    new: str | None = None
    old: str | None = None
    truth: Sequence[TruthRow] | None = None
    weights: Weights = field(default_factory=Weights)
    known: int = 20
    pairs: int = 20
    far: float = 0.01
    bootstrap: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.far < 1:
            raise InputError(f"expected a share of false accepts between 0 and 1, got {self.far}")
        if min(self.known, self.pairs) < 1 or self.bootstrap < 100:
            raise InputError("expected at least 1 known deer, 1 pair and 100 bootstrap samples")


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that was measured. ``measures`` by name: auc, d_prime, rank_1, rank_5, map, tar_1, tar_5."""

    measures: Mapping[str, Compared]
    shift: Shift
    known: tuple[KnownDeer, ...]
    deer_pairs: tuple[DeerPair, ...]
    thresholds: tuple[ThresholdRow, ...]
    held_out_false_accepts: float | None
    false_accepts_at_old_threshold: float
    weights: WeightSearch | None
    histograms: Histograms
    roc_old: tuple[tuple[float, float], ...]
    roc_new: tuple[tuple[float, float], ...]
    failures: Failures


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """Old against new: the verdict that matters, the specification's criteria, and all that is behind them.

    ``data`` counts what was compared; ``cautions`` say what to keep in mind. ``findings`` is None without
    enough data. ``id`` is the number under which it is kept as evidence.
    """

    id: int
    new: str
    old: str
    verdict: Verdict
    criteria: tuple[Criterion, ...]
    data: Mapping[str, int]
    cautions: tuple[str, ...]
    weights: Weights
    far: float
    bootstrap: int
    seed: int
    findings: Findings | None

    @property
    def outcome(self) -> Outcome:
        """What it comes to: that of the verdict."""
        return self.verdict.outcome


def validate(db: Database, request: ValidationRequest, *, progress: Progress = SILENT) -> ValidationReport:
    """Compare two registered versions and keep what was found. The same seed finds the same.

    Raises:
        NotFoundError: no such version, or nothing to compare it with.
    """
    rng = np.random.default_rng(request.seed)
    new, old = choose_versions(db, request.new, request.old)
    labels = (
        catalogue_labels(db, new.version.name) if request.truth is None else truth_labels(db, request.truth)
    )
    evidence = gather(db, labels, old, new, rng=rng, progress=progress)
    pairs = pick_pairs(evidence.codes, rng)
    animals = len(np.unique(pairs.same.first))
    missing = rules.what_is_missing(animals, len(pairs.same), len(pairs.different))
    findings = None
    if missing:
        why = _why_so_little(missing, evidence, new.version.name)
        verdict = Verdict(Outcome.UNKNOWN, why, None)
        criteria = tuple(asked.found(Outcome.UNKNOWN) for asked in rules.CRITERIA)
    else:
        bench = set_up(evidence, pairs, request.weights, rng=rng, progress=progress)
        findings, verdict, criteria = _examine(db, request, evidence, bench, rng=rng, progress=progress)
    data = {
        "deer": len(evidence.names),
        "deer_seen_again": animals,
        "sightings": len(evidence.best),
        "detections": evidence.detections,
        "detections_without_vectors": evidence.uncovered,
        "same_pairs": len(pairs.same),
        "same_pairs_in_all": pairs.same.total,
        "different_pairs": len(pairs.different),
        "different_pairs_in_all": pairs.different.total,
        "decided_by_a_person": evidence.labels.by_person,
        "left_out_as_its_own": evidence.labels.own,
    }
    report = ValidationReport(
        id=0,
        new=new.version.name,
        old=old.version.name,
        verdict=verdict,
        criteria=criteria,
        data=data,
        cautions=tuple(_cautions(evidence, pairs, findings, request.far)),
        weights=request.weights,
        far=request.far,
        bootstrap=request.bootstrap,
        seed=request.seed,
        findings=findings,
    )
    with db.transaction() as connection:
        number = validations.add_validation(
            connection,
            new=new.version,
            old=old.version,
            weights=asdict(request.weights),
            outcome=verdict.outcome,
            report=as_json(report),
        )
    return replace(report, id=number)


def as_json(report: ValidationReport) -> dict[str, Any]:
    """The report as JSON holds it: what is not finite becomes null."""
    plain = _finite(asdict(report))
    assert isinstance(plain, dict)
    if report.findings:
        shift = report.findings.shift
        plain["findings"]["shift"] |= {
            "same_rise": shift.same_rise,
            "different_rise": shift.different_rise,
            "mere_shift": shift.mere_shift,
        }
    return {"outcome": report.outcome.value, **plain}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _examine(
    db: Database,
    request: ValidationRequest,
    evidence: Evidence,
    bench: Bench,
    *,
    rng: np.random.Generator,
    progress: Progress,
) -> tuple[Findings, Verdict, tuple[Criterion, ...]]:
    """Measure everything, then judge."""
    far = request.far
    figures, confidence = measure(bench, far, request.bootstrap, rng, progress)
    threshold = figures.pop("threshold")
    overall = bench.old.scores.figures(far), bench.new.scores.figures(far)
    shift = Shift(
        same_old=overall[0].mean_same,
        same_new=overall[1].mean_same,
        different_old=overall[0].mean_different,
        different_new=overall[1].mean_different,
    )
    verdict = rules.judge(
        figures["auc"],
        figures["d_prime"],
        shift,
        old=evidence.old.registered.version.name,
        new=evidence.new.registered.version.name,
        confidence=confidence,
    )
    known = known_deer(evidence, bench, request.known, rng)
    deer_pairs = deer_pairs_of_one_sex(evidence, bench, request.pairs, rng)
    different = bench.new.scores.different
    held_out = held_out_false_accepts(different, bench.pairs.different, far, rng)
    left_alone = bench.new.scores.false_accepts(threshold.old.value)
    criteria = (
        rise_of(known, shift, request.known, rng),
        rules.judge_non_matches(
            sum(pair.new >= rules.NON_MATCH_CEILING for pair in deer_pairs),
            len(deer_pairs),
            request.pairs,
            bench.old.scores.false_accepts(rules.NON_MATCH_CEILING),
            bench.new.scores.false_accepts(rules.NON_MATCH_CEILING),
        ),
        rules.judge_false_positives(held_out, far, left_alone),
        rules.judge_distributions(verdict, figures["d_prime"]),
    )
    findings = Findings(
        measures=figures,
        shift=shift,
        known=known,
        deer_pairs=deer_pairs,
        thresholds=threshold_rows(bench, far, threshold.new),
        held_out_false_accepts=held_out,
        false_accepts_at_old_threshold=left_alone,
        weights=search_weights(bench, far, request.bootstrap, rng),
        histograms=histograms(bench),
        roc_old=roc_points(bench.old.scores),
        roc_new=roc_points(bench.new.scores),
        failures=find_failures(db, evidence, bench),
    )
    return findings, verdict, criteria


def _why_so_little(missing: str, evidence: Evidence, new: str) -> str:
    """The sentence for a verdict that cannot be given."""
    if evidence.labels.own:
        return (
            f"{missing} {evidence.labels.own:,} sightings were named by {new} itself, without a person; whether it "
            "agrees with itself says nothing, so they are left out. Review some, or give a truth file (--truth)."
        )
    if evidence.uncovered:
        return f"{missing} {_UNCOVERED.format(evidence.uncovered)}"
    return f"{missing} More reviewed sightings, or a truth file (--truth), would bring them."


def _cautions(evidence: Evidence, pairs: Pairs, findings: Findings | None, far: float) -> Iterator[str]:
    """What a reader should keep in mind."""
    yield from _about_names(evidence)
    if evidence.uncovered:
        yield _UNCOVERED.format(evidence.uncovered)
    if not evidence.codes.sex.any():
        yield "No sex is known here, so different deer of any sex are compared."
    if evidence.left_out:
        yield f"{evidence.left_out:,} animals were left out by the seed: {MOST_SIGHTINGS:,} sightings are enough."
    for what, chosen in (("one animal", pairs.same), ("two animals", pairs.different)):
        if len(chosen) < chosen.total:
            yield f"{len(chosen):,} of {chosen.total:,} pairs of {what} were drawn by the seed."
    if findings:
        yield from _about_findings(findings, evidence.new.registered.version.name)
        if far * len(pairs.different) < _LEAST_ACCEPTED:
            yield (
                f"{len(pairs.different):,} pairs of different deer are few for a threshold at "
                f"{rules.percent(far)} false accepts."
            )


def _about_names(evidence: Evidence) -> Iterator[str]:
    labels, new = evidence.labels, evidence.new.registered.version.name
    named = sum(map(len, labels.sightings.values()))
    machine = named - labels.by_person
    if machine > 0 and not labels.from_file:
        yield (
            f"{machine:,} of {named:,} sightings were named by the machine with another version than "
            "the new one, which favours that version: animals that it confused count as known."
        )
    if labels.own:
        yield f"{labels.own:,} sightings that {new} named by itself are left out: they would favour it."


def _about_findings(findings: Findings, new: str) -> Iterator[str]:
    for name, figure in findings.measures.items():
        high = figure.difference.high
        if high is not None and high < 0:
            yield f"{rules.MEASURES[name]}: clearly lower with {new}."
    search = findings.weights
    if search and search.gain.low is not None and search.gain.low > 0:
        yield (
            f"Weights {search.best:.1f}/{1 - search.best:.1f} separate better than those in use here "
            f"(AUC {search.gain.value:+.3f}), chosen on these same animals."
        )
