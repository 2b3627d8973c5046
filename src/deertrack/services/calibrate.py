"""Fitting what similarities mean in this catalogue, from sightings whose animal is known."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deertrack.domain.calibration import Calibration
from deertrack.domain.decision import Policy
from deertrack.domain.errors import InputError
from deertrack.domain.meetings import Trial, try_calibration
from deertrack.formats.calibration import CalibrationFile, Curve
from deertrack.formats.truth import TruthRow
from deertrack.services.evaluation.catalogue_set import confirmed_sightings
from deertrack.services.policy import policy_of
from deertrack.services.progress import SILENT, Progress
from deertrack.services.truth import Labelled, label_detections, replay_meetings
from deertrack.services.versions import get_tuning, keep_curves
from deertrack.storage import embeddings, sightings, validations
from deertrack.storage.db import Database
from deertrack.storage.embeddings import RegisteredVersion


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What came of it, by version; ``skipped`` says why a version got no curve.

    ``file`` holds every curve; ``kept`` names the versions that decide by theirs from now on (in a dry run: would).
    """

    fitted_on: str
    trials: Mapping[str, Trial]
    skipped: Mapping[str, str]
    file: CalibrationFile
    kept: tuple[str, ...]
    policy: Policy


def calibrate(
    db: Database,
    curve_in_use: Callable[[RegisteredVersion], Calibration | None],
    *,
    truth: Sequence[TruthRow] | None = None,
    truth_name: str = "",
    version: str | None = None,
    actor: str,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> Calibrated:
    """Fit a curve for one version, or for all that have vectors of known animals; keep each that helps.

    Args:
        curve_in_use: what a version's similarities mean now; None where nobody measured it.
        truth: who is in which photo; None for the sightings that a person confirmed.
        dry_run: keep nothing.

    Raises:
        NotFoundError: the catalogue does not know the version.
        InputError: no animal is known, or too few pairs for every version.
    """
    labelled = _confirmed(db) if truth is None else label_detections(db, truth)
    source = "that a person confirmed" if truth is None else f"named by {truth_name}"
    if not labelled:
        raise InputError(
            "no sighting of this catalogue was confirmed by a person yet"
            if truth is None
            else f"{truth_name} names no photo of this catalogue",
            hint="Answer some with `deertrack review`, or name the animals that you know with --truth FILE.",
        )
    with db.transaction() as connection:
        known = validations.registered_versions(connection)
        wanted = [embeddings.find_version(connection, version)] if version else known
        weights = {r.version.name: get_tuning(connection, r.version.name).weights for r in wanted}
    policy = policy_of(db)
    trials, curves, skipped = {}, {}, {}
    progress.start("Fitting", len(wanted))
    for registered in wanted:
        name = registered.version.name
        try:
            meetings = replay_meetings(db, registered, labelled, weights[name])
            trial = try_calibration(meetings, curve_in_use(registered), policy, np.random.default_rng(0))
        except InputError as error:
            skipped[name] = error.message
        else:
            outputs = registered.version.search_outputs
            trials[name] = trial
            curves[name] = Curve(trial.curve, tuple(registered.version.fingerprints[o] for o in outputs))
        progress.advance()
    if not trials:
        raise InputError(
            "; ".join(f"{name}: {why}" for name, why in skipped.items()),
            hint="So many are needed even without a fifth of the animals. Confirm more sightings of animals that "
            "were met several times (`deertrack review`), or name them with --truth FILE.",
        )
    animals = len({item.identity for item in labelled})
    fitted_on = f"{len({i.detection.sighting_id for i in labelled})} sightings of {animals} animals {source}"
    kept = tuple(name for name, trial in trials.items() if trial.helps)
    if kept and not dry_run:
        news = CalibrationFile(fitted_on, {name: curves[name] for name in kept})
        figures = {
            name: {"brier": trials[name].after.brier, "ece": trials[name].after.error} for name in kept
        }
        keep_curves(db, news, "catalogue", {"held_out": figures}, actor=actor)
    return Calibrated(fitted_on, trials, skipped, CalibrationFile(fitted_on, curves), kept, policy)


def _confirmed(db: Database) -> list[Labelled]:
    with db.transaction() as connection:
        names = confirmed_sightings(connection)
        filed = sightings.detections_in_files(connection)
    return [Labelled(d, names[d.sighting_id]) for d in filed if d.sighting_id in names]
