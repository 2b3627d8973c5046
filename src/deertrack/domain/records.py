"""The nouns of the catalogue as plain values. Validated once, when they are made."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from deertrack.domain.errors import InputError


class Sex(StrEnum):
    """Sex as the field records it. ``UNKNOWN`` is compatible with both: a classifier may be wrong."""

    MALE = "male"
    FEMALE = "female"
    UNKNOWN = "unknown"

    def compatible(self, other: "Sex") -> bool:
        """Whether two sightings could be one animal as far as sex goes."""
        return self is other or Sex.UNKNOWN in (self, other)


class AgeClass(StrEnum):
    """Age class as the field records it."""

    ADULT = "adult"
    FAWN = "fawn"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in a photo as the viewer sees it (after EXIF rotation).

    ``x, y`` is the upper left corner, all four values are fractions of the photo's width and height in
    [0, 1] (MegaDetector's convention). Boxes that stick out of the photo by rounding are clipped.

    Raises:
        InputError: not numbers, or no area inside the photo.
    """

    x: float
    y: float
    width: float
    height: float

    def __post_init__(self) -> None:
        left, top = max(self.x, 0.0), max(self.y, 0.0)
        right, bottom = min(self.x + self.width, 1.0), min(self.y + self.height, 1.0)
        if not (right > left and bottom > top):
            given = (self.x, self.y, self.width, self.height)
            raise InputError(f"expected a box [x, y, width, height] inside 0…1, got {list(given)}")
        object.__setattr__(self, "x", left)
        object.__setattr__(self, "y", top)
        object.__setattr__(self, "width", right - left)
        object.__setattr__(self, "height", bottom - top)

    @property
    def area(self) -> float:
        """Share of the photo that the box covers, in (0, 1]."""
        return self.width * self.height

    def overlap(self, other: "Box") -> float:
        """Intersection over union with ``other``, in [0, 1]."""
        width = min(self.x + self.width, other.x + other.width) - max(self.x, other.x)
        height = min(self.y + self.height, other.y + other.height) - max(self.y, other.y)
        if width <= 0 or height <= 0:
            return 0.0
        shared = width * height
        return shared / (self.area + other.area - shared)


WHOLE_PHOTO = Box(0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class DetectedAnimal:
    """One animal that a detector saw in one photo, with what a classifier said of it, if anything."""

    box: Box
    confidence: float
    label: str = ""
    label_confidence: float | None = None
    sex: Sex = Sex.UNKNOWN
    age_class: AgeClass = AgeClass.UNKNOWN


@dataclass(frozen=True, slots=True)
class DetectorResult:
    """What a detector's file says of one photo.

    ``file`` is the path as written there (forward slashes). ``failure`` is the detector's own reason when it
    could not read the photo; then ``animals`` is empty and means nothing.
    """

    file: str
    animals: tuple[DetectedAnimal, ...] = ()
    failure: str = ""


@dataclass(frozen=True, slots=True)
class PhotoFacts:
    """What the file itself says: nothing here is guessed.

    ``width`` and ``height`` are in pixels as the viewer sees the photo (after EXIF rotation). ``clock`` is
    the camera's own clock without a zone, ``offset_minutes`` its offset from UTC if the camera wrote one.
    """

    sha256: bytes
    size: int
    width: int
    height: int
    clock: datetime | None = None
    offset_minutes: int | None = None
    station_tag: str = ""
    camera: str = ""
