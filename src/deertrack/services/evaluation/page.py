"""An evaluation as a page to look at, with the photos of its worst errors."""

from collections import Counter
from datetime import UTC, datetime

import numpy as np

from deertrack.domain.errors import PhotoError
from deertrack.domain.evaluation import Results
from deertrack.reporting.evaluation import ShownSighting, WrongAnswer, render_evaluation
from deertrack.reporting.report import Picture
from deertrack.services.evaluation.evaluate import Evaluation, as_json
from deertrack.services.evaluation.labelled_set import SetPhoto
from deertrack.services.progress import SILENT, Progress
from deertrack.vision.thumbnails import thumbnail

_SIDE = 240  # pixels
_SHOWN = 12  # errors of each version
_EACH_ANIMAL = 2  # lest one animal fills the page


def evaluation_page(evaluation: Evaluation, *, progress: Progress = SILENT) -> str:
    """The evaluation as one HTML file."""
    worst = {v.name: worst_errors(v.measured[evaluation.primary].results) for v in evaluation.verdicts}
    progress.start("Drawing the report", sum(map(len, worst.values())))
    pictures: dict[SetPhoto, Picture] = {}
    errors: dict[str, list[WrongAnswer]] = {}
    for verdict in evaluation.verdicts:
        results = verdict.measured[evaluation.primary].results
        errors[verdict.name] = []
        for row in worst[verdict.name]:
            errors[verdict.name].append(_wrong_answer(evaluation, results, row, pictures))
            progress.advance()
    return render_evaluation(as_json(evaluation), errors, made_at=datetime.now(UTC))


def worst_errors(results: Results) -> list[int]:
    """The queries where a wrong animal lies furthest ahead of the right one, a few of each animal."""
    rows = np.arange(len(results.best))
    right = results.best[rows, results.asked_by]
    failed = rows[results.counted & (results.rank > 0)]
    lead = results.best[failed].max(axis=1) - right[failed]
    seen: Counter[int] = Counter()
    kept: list[int] = []
    for row in failed[np.argsort(-lead, kind="stable")].tolist():
        animal = int(results.asked_by[row])
        seen[animal] += 1
        if seen[animal] <= _EACH_ANIMAL and len(kept) < _SHOWN:
            kept.append(row)
    return kept


def _wrong_answer(
    evaluation: Evaluation, results: Results, row: int, pictures: dict[SetPhoto, Picture]
) -> WrongAnswer:
    def shown(sighting: int, *, score: bool = True) -> ShownSighting:
        photos = [evaluation.labelled.photos[i] for i in results.sightings.photos[sighting]]
        photo = max(photos, key=lambda p: (p.confidence, p.box.area))
        if photo not in pictures:
            pictures[photo] = _picture(photo)
        animal = int(results.asked_by[sighting])
        value = float(results.best[row, animal]) if score else None
        return ShownSighting(photo.identity, str(photo.path), pictures[photo], value)

    return WrongAnswer(
        shown(row, score=False), shown(int(results.other_row[row])), shown(int(results.same_row[row]))
    )


def _picture(photo: SetPhoto) -> Picture:
    when = f"{photo.taken_at:%Y-%m-%d %H:%M}" if photo.taken_at else ""
    caption = " · ".join(filter(None, (when, photo.station, photo.flank)))
    try:
        return Picture(thumbnail(photo.path, photo.box, side=_SIDE), caption)
    except (PhotoError, OSError):
        return Picture(b"", "the photo cannot be read")
