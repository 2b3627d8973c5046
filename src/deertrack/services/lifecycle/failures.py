"""Which deer, which images: confusions that are new with a new embedding, and those that are gone."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deertrack.domain.pairs import Codes, PairSet
from deertrack.domain.retrieval import Answers
from deertrack.services.lifecycle.evidence import Evidence, Side
from deertrack.services.lifecycle.measure import Bench, Scored, fuse
from deertrack.storage import validations
from deertrack.storage.db import Database

_MOST = 50
_EACH_DEER = 2  # lest one animal fills the list
_DEER = 12


@dataclass(frozen=True, slots=True)
class Shown:
    """A sighting's best detection and the file of its photo ("" where none is known)."""

    deer: str
    detection_id: int
    photo: str


@dataclass(frozen=True, slots=True)
class Confusion:
    """A sighting, the other animal that one version puts first, and the right one as the other version finds it.

    The similarities are those of ``asked`` with ``wrong`` and ``right``, with both versions.
    """

    asked: Shown
    wrong: Shown
    right: Shown
    old_wrong: float
    old_right: float
    new_wrong: float
    new_right: float


@dataclass(frozen=True, slots=True)
class DeerChange:
    """Mean average precision over one animal's queries, with the old and the new version."""

    deer: str
    queries: int
    old: float
    new: float


@dataclass(frozen=True, slots=True)
class Failures:
    """Confusions at rank 1 that the new version makes and the old one did not, and the reverse; the worst first.

    ``now`` and ``gone`` count all of them, the lists hold some. ``lost`` and ``gained``: animals that are found
    worse or better than before, those that changed most first.
    """

    now: int
    gone: int
    still: int
    new_confusions: tuple[Confusion, ...]
    gone_confusions: tuple[Confusion, ...]
    lost: tuple[DeerChange, ...]
    gained: tuple[DeerChange, ...]


def find_failures(db: Database, evidence: Evidence, bench: Bench) -> Failures:
    """Compare both versions' answers query by query."""
    old, new = bench.old.answers, bench.new.answers
    now, gone = old.rank_1 & ~new.rank_1, new.rank_1 & ~old.rank_1
    worst_now, worst_gone = _worst(evidence, new, now), _worst(evidence, old, gone)
    best = evidence.best
    # The wrong animal as the version that fails sees it, the right one as the other version found it.
    cases_now = (new.query[worst_now], new.best_other[worst_now], old.best_same[worst_now])
    cases_gone = (new.query[worst_gone], old.best_other[worst_gone], new.best_same[worst_gone])
    wanted = {int(best[row]) for rows in (*cases_now, *cases_gone) for row in rows}
    with db.transaction() as connection:
        photos = validations.photos_of_detections(connection, sorted(wanted))

    def shown(row: int) -> Shown:
        detection_id = int(best[row])
        paths = photos[detection_id].paths
        return Shown(
            evidence.names[evidence.codes.identity[row]], detection_id, str(paths[0]) if paths else ""
        )

    sides = ((evidence.old, bench.old), (evidence.new, bench.new))

    def confusions(asked: Codes, wrong: Codes, right: Codes) -> tuple[Confusion, ...]:
        similar = [_similar(*side, asked, to) for side in sides for to in (wrong, right)]
        return tuple(
            Confusion(shown(q), shown(w), shown(r), *map(float, four))
            for q, w, r, *four in zip(asked, wrong, right, *similar, strict=True)
        )

    changes = _changes(evidence, old, new)
    return Failures(
        now=int(now.sum()),
        gone=int(gone.sum()),
        still=int((~old.rank_1 & ~new.rank_1).sum()),
        new_confusions=confusions(*cases_now),
        gone_confusions=confusions(*cases_gone),
        lost=tuple(c for c in changes[:_DEER] if c.new < c.old),
        gained=tuple(c for c in changes[::-1][:_DEER] if c.new > c.old),
    )


def _worst(evidence: Evidence, answers: Answers, failed: NDArray[np.bool_]) -> Codes:
    """The places of failed queries by how far the wrong animal lay ahead, a few of each animal."""
    lead = np.where(failed, answers.other_similarity - answers.same_similarity, -np.inf)
    seen: Counter[int] = Counter()
    kept: list[int] = []
    for place in np.argsort(-lead, kind="stable")[: int(failed.sum())]:
        deer = int(evidence.codes.identity[answers.query[place]])
        seen[deer] += 1
        if seen[deer] <= _EACH_DEER and len(kept) < _MOST:
            kept.append(int(place))
    return np.array(kept, np.int64)


def _similar(side: Side, scored: Scored, asked: Codes, answered: Codes) -> NDArray[np.float64]:
    pairs = PairSet(asked, answered, asked, answered, len(asked))
    return fuse(side.cosines(pairs), scored.shares)


def _changes(evidence: Evidence, old: Answers, new: Answers) -> list[DeerChange]:
    """Every animal that was asked for, the greatest loss first."""
    deer = evidence.codes.identity[old.query]
    counts = np.bincount(deer, minlength=len(evidence.names))
    sums = [np.bincount(deer, a.precision, len(evidence.names)) for a in (old, new)]
    asked_for = np.flatnonzero(counts)
    changes = [
        DeerChange(
            evidence.names[i], int(counts[i]), float(sums[0][i] / counts[i]), float(sums[1][i] / counts[i])
        )
        for i in asked_for.tolist()
    ]
    return sorted(changes, key=lambda change: change.new - change.old)
