"""MegaDetector's batch results (all versions in use), and through ``speciesnet`` those of SpeciesNet.

Format: https://lila.science/megadetector-output-format, versions 1.0 to 1.6, and what older tools wrote. One
odd entry never costs the others: it is left out and named in ``DetectionsFile.skipped``.
"""

import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from deertrack.domain.errors import InputError
from deertrack.domain.records import Box, DetectedAnimal, DetectorResult
from deertrack.formats.classes import DEFAULT_CLASSES, ClassMap
from deertrack.formats.files import read_json
from deertrack.formats.speciesnet import as_megadetector

DEFAULT_THRESHOLD = 0.2  # what MegaDetector 5 recommends; used when the file recommends nothing
CERTAIN_LABEL = 0.5  # below this a label says nothing of sex and age: a wrong sex costs a match
BOX_SLACK = 0.05  # boxes may stick out of the photo by this share; beyond it they are not fractions

_DEFAULT_CATEGORIES = {"1": "animal", "2": "person", "3": "vehicle"}  # MegaDetector 3, 4 and 5
_NOT_ANIMALS = {"person", "people", "human", "vehicle", "car", "empty", "blank", "none", "background"}
_VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".m4v", ".mpg", ".mpeg", ".wmv", ".webm", ".asf", ".3gp", ".mts")
_WHAT = "a MegaDetector or SpeciesNet results file"
_HINT = (
    "Give the JSON file that MegaDetector's batch run (or SpeciesNet, or AddaxAI) wrote. "
    "If it was copied, copy it again: it may have been cut off."
)


@dataclass(frozen=True)
class DetectionsFile:
    """What one detector run says of many photos.

    ``detector`` is its name and version as the file has them; ``threshold`` in [0, 1] is the confidence from
    which a detection counted as an animal. ``results`` holds one entry for each photo, empty and failed ones
    too, in the file's order. ``skipped`` has one line for each entry that could not be understood.
    """

    path: Path
    detector: str
    format_version: str
    threshold: float
    results: tuple[DetectorResult, ...]
    skipped: tuple[str, ...]


def read_detections(
    path: Path, *, threshold: float | None = None, classes: ClassMap = DEFAULT_CLASSES
) -> DetectionsFile:
    """Read a detector's results file.

    Animals are the detections of the category named "animal"; in a file without that category, all but people,
    vehicles and blanks, and then the category itself serves as the label. The most confident classification is
    the label; it says sex and age class only from the file's own ``typical_classification_threshold`` up (0.5
    if it has none). Malformed classifications are passed over; malformed detections are skipped alone.

    A photo that appears twice keeps its first entry (two runs over one photo would make one animal two),
    unless that was a failure. A photo without detections and without a reason counts as failed. Videos are
    skipped. Back-slashes in paths become slashes; absolute paths stay absolute.

    Args:
        path: the JSON file.
        threshold: least confidence of an animal, in [0, 1]; by default the ``typical_detection_threshold`` in
            the file's metadata, else 0.2.
        classes: what the classifier's labels mean.

    Raises:
        InputError: no such file, not JSON (names line and column), not such a file, or threshold outside 0…1.
    """
    if threshold is not None and not 0.0 <= threshold <= 1.0:
        raise InputError(f"expected a detection threshold between 0 and 1, got {threshold}")
    document = read_json(path, _WHAT, hint=_HINT)
    entries = "images"
    if isinstance(document, dict) and isinstance(document.get("predictions"), list):
        entries = "predictions"
        document = as_megadetector(document["predictions"])
    if not isinstance(document, dict) or not isinstance(document.get("images"), list):
        found = f"the keys {reprlib.repr(list(document))}" if isinstance(document, dict) else _show(document)
        raise InputError(f'{path}: expected {_WHAT} with a list "images", got {found}', hint=_HINT)
    images = document["images"]
    if images and not any(isinstance(entry, dict) and entry.get("file") for entry in images):
        raise InputError(f'{path}: expected {_WHAT}, but no entry of "{entries}" names a file', hint=_HINT)

    info = _table(document.get("info"))
    if threshold is None:
        threshold = _fraction(_table(info.get("detector_metadata")).get("typical_detection_threshold"))
    certain = _fraction(_table(info.get("classifier_metadata")).get("typical_classification_threshold"))
    reader = _Reader(
        categories=_names(document.get("detection_categories")) or _DEFAULT_CATEGORIES,
        labels=_names(document.get("classification_categories")),
        classes=classes,
        threshold=DEFAULT_THRESHOLD if threshold is None else threshold,
        certain=CERTAIN_LABEL if certain is None else certain,
    )
    results: dict[str, DetectorResult] = {}
    skipped: list[str] = []
    for index, entry in enumerate(images):
        images[index] = None  # a million detections need not be held twice
        place = f"{entries}[{index}]"
        try:
            result = reader.photo(entry, place, skipped)
        except InputError as error:
            skipped.append(f"{place}: {error.message}")
            continue
        if result.file not in results or (results[result.file].failure and not result.failure):
            results[result.file] = result
        else:
            skipped.append(f"{place}: {result.file} appears a second time; its first entry is used")
    return DetectionsFile(
        path=path,
        detector=_detector(info),
        format_version=_text(info.get("format_version", "")),
        threshold=reader.threshold,
        results=tuple(results.values()),
        skipped=tuple(skipped),
    )


class _Reader:
    """One file's tables, and how to read one of its entries with them."""

    def __init__(
        self,
        *,
        categories: Mapping[str, str],
        labels: Mapping[str, str],
        classes: ClassMap,
        threshold: float,
        certain: float,
    ) -> None:
        named = {*categories, *categories.values()}  # some writers put the name where the number belongs
        names = {key: categories.get(key, key) for key in named}
        generic = {key for key, name in names.items() if name.casefold() == "animal"}
        specific = {key: name for key, name in names.items() if name.casefold() not in _NOT_ANIMALS}
        # The categories that are animals, each with the label that it is itself.
        self.animals: Mapping[str, str] = dict.fromkeys(generic, "") or specific
        self.labels = labels
        self.look_up = cache(classes.look_up)
        self.threshold = threshold
        self.certain = certain

    def photo(self, entry: object, place: str, skipped: list[str]) -> DetectorResult:
        """One photo's result; detections that make no sense are left out and named in ``skipped``."""
        if not isinstance(entry, dict):
            raise InputError(f'expected an entry with "file" and "detections", got {_show(entry)}')
        file = _file(entry.get("file"))
        if file.lower().endswith(_VIDEOS) or entry.get("frame_rate") is not None:
            raise InputError(f"expected a photo, got the video {file}; extract its frames as photos first")
        detections = entry.get("detections")
        if failure := _text(entry.get("failure", "")):
            return DetectorResult(file, failure=failure)
        if detections is None:
            return DetectorResult(file, failure="the detector wrote neither detections nor a reason")
        if not isinstance(detections, list):
            raise InputError(f"{file}: expected a list of detections, got {_show(detections)}")
        animals = []
        for number, detection in enumerate(detections):
            try:
                animal = self.animal(detection)
            except InputError as error:
                skipped.append(f"{place}: {file}, detections[{number}]: {error.message}")
            else:
                if animal:
                    animals.append(animal)
        return DetectorResult(file, tuple(animals))

    def animal(self, detection: object) -> DetectedAnimal | None:
        """The animal that a detection shows; None for people, vehicles and what is below the threshold."""
        if not isinstance(detection, dict):
            raise InputError(f'expected "category", "conf" and "bbox", got {_show(detection)}')
        category = _key(detection.get("category"))
        if category is None:
            raise InputError(f"expected a category, got {_show(detection.get('category'))}")
        if category not in self.animals:
            return None
        confidence = _fraction(detection.get("conf"))
        if confidence is None:
            raise InputError(f"expected conf between 0 and 1, got {_show(detection.get('conf'))}")
        if confidence < self.threshold:
            return None
        box = _box(detection.get("bbox"))
        label, label_confidence = self.best_label(detection.get("classifications"))
        if not label and (label := self.animals[category]):
            label_confidence = confidence
        sure = label_confidence is not None and label_confidence >= self.certain
        sex, age_class = self.look_up(label if sure else "")
        return DetectedAnimal(box, confidence, label, label_confidence, sex, age_class)

    def best_label(self, classifications: object) -> tuple[str, float | None]:
        """The most confident label of ``[[id, confidence], …]``; ("", None) without one."""
        best: tuple[str, float | None] = ("", None)
        for pair in classifications if isinstance(classifications, list) else []:
            if not isinstance(pair, list) or len(pair) != 2:
                continue
            key, confidence = _key(pair[0]), _fraction(pair[1])
            label = self.labels.get(key, "" if key.isdigit() else _text(key)) if key else ""
            if label and confidence is not None and (best[1] is None or confidence > best[1]):
                best = (label, confidence)
        return best


def _box(value: object) -> Box:
    numbers = [_number(v) for v in value] if isinstance(value, list) else []
    match numbers:
        # Without the check a box in pixels would quietly become the whole photo.
        case [float(x), float(y), float(width), float(height)] if (
            min(x, y) >= -BOX_SLACK and max(x + width, y + height) <= 1.0 + BOX_SLACK
        ):
            return Box(x, y, width, height)
    raise InputError(f"expected bbox [x_min, y_min, width, height] as fractions 0…1, got {_show(value)}")


def _number(value: object) -> float | None:
    """A finite number, written as number or text; None for all else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _fraction(value: object) -> float | None:
    """A number in [0, 1], rounding errors clipped; None for all else."""
    number = _number(value)
    return None if number is None or not -1e-3 <= number <= 1.0 + 1e-3 else min(max(number, 0.0), 1.0)


def _key(value: object) -> str | None:
    """A category's number as the tables spell it: "1" for "1", 1 and 1.0; None for what is no category."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _names(table: object) -> dict[str, str]:
    """A category table, number to name; entries of another shape are left out."""
    return {key.strip(): _text(name) for key, name in _table(table).items() if isinstance(name, str)}


def _table(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _detector(info: Mapping[str, object]) -> str:
    name = _text(info.get("detector", "")) or "unknown detector"
    version = _text(_table(info.get("detector_metadata")).get("megadetector_version", ""))
    return f"{name} ({version})" if version else name


def _file(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or _storable(value) != value:
        raise InputError(f'expected the name of a photo in "file", got {_show(value)}')
    return value.replace("\\", "/").removeprefix("./")


def _text(value: object) -> str:
    """Any value as one stripped text; "" for null and false."""
    if value is None or value is False:
        return ""
    return _storable(value if isinstance(value, str) else reprlib.repr(value)).strip()


def _storable(text: str) -> str:
    """The text without what no file name and no database column can hold: NUL and half characters."""
    return text.encode("utf-8", "replace").decode().replace("\0", "?")


def _show(value: object) -> str:
    """A value for a message: short, however long it is."""
    return "nothing" if value is None else reprlib.repr(value)
