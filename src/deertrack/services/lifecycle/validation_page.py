"""A validation as a page to look at, with the photos of its failure cases."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from deertrack.domain.errors import PhotoError
from deertrack.reporting.report import Picture
from deertrack.reporting.validation import SHOWN_CASES, render_validation
from deertrack.services.lifecycle.validate import ValidationReport, as_json
from deertrack.services.progress import SILENT, Progress
from deertrack.storage import catalogue, validations
from deertrack.storage.db import Database
from deertrack.storage.validations import DetectionPhoto
from deertrack.vision.thumbnails import thumbnail

_SIDE = 260  # pixels


def validation_page(db: Database, report: ValidationReport, *, progress: Progress = SILENT) -> str:
    """The report as one HTML file."""
    wanted: set[int] = set()
    if report.findings:
        failures = report.findings.failures
        wanted = {
            shown.detection_id
            for confusions in (failures.new_confusions, failures.gone_confusions)
            for confusion in confusions[:SHOWN_CASES]
            for shown in (confusion.asked, confusion.wrong, confusion.right)
        }
    with db.transaction() as connection:
        photos = validations.photos_of_detections(connection, sorted(wanted))
        drawn = catalogue.holds_drawn_photos(connection)
    progress.start("Drawing the report", len(photos))
    pictures = {}
    for detection_id, photo in photos.items():
        pictures[detection_id] = _picture(photo)
        progress.advance()
    return render_validation(as_json(report), pictures, made_at=datetime.now(UTC), drawn=drawn)


def _picture(photo: DetectionPhoto) -> Picture:
    path = next((path for path in photo.paths if path.exists()), None)
    when = photo.taken_at.astimezone(ZoneInfo(photo.timezone)) if photo.taken_at else None
    caption = f"{when:%Y-%m-%d %H:%M} · {photo.station}" if when else photo.station
    if path is None:
        return Picture(b"", f"{caption} · the photo's file is gone")
    try:
        return Picture(thumbnail(path, photo.box, side=_SIDE), caption)
    except (PhotoError, OSError):
        return Picture(b"", f"{caption} · the photo cannot be read")
