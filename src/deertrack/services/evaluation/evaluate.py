"""Any number of matchers on one labelled set, under honest protocols, with the leaky figure beside them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from deertrack.domain.decision import Policy
from deertrack.domain.errors import InputError
from deertrack.domain.evaluation import (
    ClosedSet,
    Matcher,
    Results,
    ask_all,
    closed_set,
    difference,
    draw_identities,
)
from deertrack.domain.open_set import OpenSet, open_set
from deertrack.domain.protocols import LabelledPhotos, Protocol, Sightings, make_sightings
from deertrack.domain.reliability import Reliability, reliability
from deertrack.domain.replay import Replay, replay
from deertrack.domain.separation import Estimate
from deertrack.domain.verdict import LEAST_ANIMALS
from deertrack.services.evaluation.labelled_set import LabelledSet
from deertrack.services.progress import SILENT, Progress


@dataclass(frozen=True, slots=True)
class Request:
    """How to measure. The first of ``protocols`` is the one whose figures come first; ``policy`` decides.

    Raises:
        InputError: no protocol, or too few bootstrap samples.
    """

    protocols: tuple[Protocol, ...] = (Protocol.ENCOUNTER,)
    bootstrap: int = 1000
    seed: int = 0
    policy: Policy = field(default_factory=Policy)

    def __post_init__(self) -> None:
        if not self.protocols or self.bootstrap < 100:
            raise InputError("expected a protocol and at least 100 bootstrap samples")


@dataclass(frozen=True, slots=True)
class Measured:
    """One matcher under one protocol. ``open`` and ``sure`` are None where the set or the matcher has no such."""

    protocol: Protocol
    closed: ClosedSet
    open: OpenSet | None
    sure: Reliability | None
    results: Results

    @property
    def figures(self) -> dict[str, Estimate]:
        """Every figure by its name in JSON."""
        opened = self.open.figures if self.open else {}
        sure = self.sure.figures if self.sure else {}
        return {**self.closed.figures, **opened, **sure}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One matcher: under each honest protocol, under the leaky one, and with the decisions of the whole pipeline.

    ``inflation`` is how many times the honest rank-1 the leaky one is; None where that is 0. ``gain``: by how much
    rank 1 and mAP under the first protocol are above the first matcher's; None for that one.
    """

    name: str
    measured: Mapping[Protocol, Measured]
    leaky: Measured
    inflation: float | None
    pipeline: Replay | None
    gain: Mapping[str, Estimate] | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured on what."""

    labelled: LabelledSet
    counts: Mapping[str, int]
    request: Request
    verdicts: tuple[Verdict, ...]

    @property
    def notes(self) -> list[str]:
        """What a reader should keep in mind."""
        few = self.counts["identities_seen_again"]
        if few >= LEAST_ANIMALS:
            return self.labelled.notes
        return [
            *self.labelled.notes,
            f"Only {few} animals were met in two or more encounters: these figures say little of others.",
        ]

    @property
    def primary(self) -> Protocol:
        """The protocol whose figures come first."""
        return self.request.protocols[0]


def evaluate(
    labelled: LabelledSet, matchers: Sequence[Matcher], request: Request, *, progress: Progress = SILENT
) -> Evaluation:
    """Measure all matchers on the same questions and the same resamples.

    Raises:
        InputError: nothing to compare under the first protocol.
    """
    photos = labelled.codes()
    # The leaky figure never stands alone.
    protocols = list(dict.fromkeys([*request.protocols, Protocol.RANDOM]))
    if all(protocol.leaky for protocol in protocols):
        protocols.append(Protocol.ENCOUNTER)
    cut = {protocol: make_sightings(photos, protocol) for protocol in protocols}
    draws = draw_identities(len(labelled.names), request.bootstrap, np.random.default_rng(request.seed))
    progress.start("Comparing", len(matchers) * (len(protocols) + 1))
    verdicts: list[Verdict] = []
    for matcher in matchers:
        measured = {}
        for protocol, sightings in cut.items():
            measured[protocol] = _measure(matcher, sightings, protocol, draws, request)
            progress.advance()
        leaky = measured[Protocol.RANDOM]
        honest = next(m for p, m in measured.items() if not p.leaky)
        first = verdicts[0].measured[request.protocols[0]].results if verdicts else None
        gain = difference(first, measured[request.protocols[0]].results, draws) if first else None
        verdicts.append(
            Verdict(
                matcher.name,
                {p: m for p, m in measured.items() if not p.leaky or p in request.protocols},
                leaky,
                _ratio(leaky, honest),
                replay(matcher, make_sightings(photos, Protocol.ENCOUNTER), photos, request.policy),
                gain,
            )
        )
        progress.advance()
    return Evaluation(labelled, _counts(labelled, photos, cut), request, tuple(verdicts))


def _measure(
    matcher: Matcher, sightings: Sightings, protocol: Protocol, draws: np.ndarray[Any, Any], request: Request
) -> Measured:
    rng = np.random.default_rng(request.seed)
    results = ask_all(matcher, sightings, protocol, identities=draws.shape[1], rng=rng)
    return Measured(
        protocol,
        closed_set(results, draws, ranks_only=protocol.leaky),
        None if protocol.leaky else open_set(results, draws, rng),
        None if protocol.leaky else reliability(results, draws, assign_at=request.policy.assign_at),
        results,
    )


def _ratio(leaky: Measured, honest: Measured) -> float | None:
    below = honest.closed.figures["rank1"].value
    return leaky.closed.figures["rank1"].value / below if below else None


def _counts(
    labelled: LabelledSet, photos: LabelledPhotos, cut: Mapping[Protocol, Sightings]
) -> dict[str, int]:
    sightings = cut.get(Protocol.ENCOUNTER) or make_sightings(photos, Protocol.ENCOUNTER)
    return {
        "photos": len(photos),
        "identities": len(labelled.names),
        "identities_seen_again": int((np.bincount(sightings.identity) > 1).sum()),
        "sightings": len(sightings),
        "photos_with_flank": int((photos.flank >= 0).sum()),
        "left_out": len(labelled.problems),
    }


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """The whole as one document; the only version's figures also at its top, for scripts."""
    request = evaluation.request
    versions = {verdict.name: _version_json(verdict, evaluation.primary) for verdict in evaluation.verdicts}
    for verdict in evaluation.verdicts[1:]:
        gain = {name: asdict(figure) for name, figure in (verdict.gain or {}).items()}
        versions[verdict.name]["difference"] = {"to": evaluation.verdicts[0].name, **gain}
    document: dict[str, Any] = {
        "set": {
            "source": evaluation.labelled.source,
            **evaluation.counts,
            "notes": evaluation.notes,
            "problems": [asdict(problem) for problem in evaluation.labelled.problems],
        },
        "bootstrap": request.bootstrap,
        "seed": request.seed,
        "policy": {"wrong_at_most": request.policy.wrong_at_most, "new_at": request.policy.new_at},
        "versions": versions,
    }
    if len(versions) == 1:
        document |= next(iter(versions.values()))
    finite = _finite(document)
    assert isinstance(finite, dict)
    return finite


def _version_json(verdict: Verdict, primary: Protocol) -> dict[str, Any]:
    others = {str(p): _measured_json(m) for p, m in verdict.measured.items() if p is not primary}
    return {
        **_measured_json(verdict.measured[primary]),
        "random": {
            "leaky": True,
            **{name: asdict(figure) for name, figure in verdict.leaky.figures.items()},
            "inflation": verdict.inflation,
        },
        "pipeline": _pipeline_json(verdict.pipeline),
        "other_protocols": others,
    }


def _measured_json(measured: Measured) -> dict[str, Any]:
    return {
        "protocol": str(measured.protocol),
        "leaky": measured.protocol.leaky,
        "queries": measured.closed.queries,
        "sightings": len(measured.results.sightings),
        "pairs": {"same": measured.results.same.shape[1], "different": measured.results.pairs_total},
        **{name: asdict(figure) for name, figure in measured.figures.items()},
        "cmc": [asdict(figure) for figure in measured.closed.cmc],
        "roc": measured.closed.roc,
        "open_set": _without_figures(measured.open),
        "calibration": _without_figures(measured.sure),
    }


def _without_figures(part: OpenSet | Reliability | None) -> dict[str, Any] | None:
    return None if part is None else {k: v for k, v in asdict(part).items() if k != "figures"}


def _pipeline_json(done: Replay | None) -> dict[str, Any] | None:
    if done is None:
        return None
    agreement = done.agreement
    return {
        "pairwise_f1": agreement.pairwise.f1,
        "pairwise": asdict(agreement.pairwise),
        "b_cubed_f1": agreement.b_cubed.f1,
        "b_cubed": asdict(agreement.b_cubed),
        "adjusted_rand": agreement.adjusted_rand,
        "individuals_estimated": done.individuals,
        "individuals_true": agreement.true_groups,
        "sightings": agreement.items,
        "waiting": done.waiting,
        "assigned": done.assigned,
        "assigned_rightly": done.rightly,
    }


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
