"""The sample herd: drawn animals at drawn stations, for trying the software without a single real photo.

One seed decides who lives in the herd, when they visit which station, and how every photo looks: the same plan
gives the same bytes. Nothing here is a photograph, and no accuracy claim may be made from it.
"""

import csv
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from deertrack.domain.errors import InputError
from deertrack.domain.records import Box
from deertrack.vision.herd_drawing import OTHER, Flank, Looks, Pose, Rng
from deertrack.vision.herd_looks import KINDS, make_looks
from deertrack.vision.herd_scenes import PLACES, WIDTH, draw_photo, draw_scene

FIRST_DAY = datetime(2025, 9, 22)  # noqa: DTZ001 - a camera's own clock has no zone
DESCRIPTION = "drawn sample, not a photograph"
EDITION = 1
"""Raised whenever the same plan would give other photos, so that two editions never mix in one folder."""
TRUTH_COLUMNS = (
    "file",
    "identity",
    "encounter",
    "flank",
    "station",
    "timestamp",
    "detection",
    "x",
    "y",
    "width",
    "height",
)
APART = timedelta(minutes=40)
"""The least time between two visits to one station, and between two visits of one animal (a walk of 2 km)."""

CALIBRATION = Path(__file__).with_name("sample_herd_calibration.json")
"""Real animals differ less from each other than drawn ones, so the model's own calibration would mislead here."""

README = """\
DRAWN SAMPLE HERD - nothing in this folder is a photograph
==========================================================

Everything here was drawn by a program (deertrack's sample herd), for trying the software and testing it.
The animals, their markings, the places, the dates and the temperatures are invented. The drawn animals differ
from each other far more than real deer do, so NO ACCURACY CLAIM may be made from this folder.

cards/           photos, one folder for each station, as a trail camera's card would hold them
detections.json  where the animals are, in MegaDetector's batch format 1.4 (exact boxes, invented confidences)
truth.csv        which animal each box really shows: one row for each animal in each photo
calibration.json what a similarity says of drawn animals (fitted on other drawn herds)

Edition {edition}; plan: seed {seed}, {individuals} individuals, {stations} stations, {days} days, {visits} visits.
"""


@dataclass(frozen=True)
class HerdPlan:
    """What to draw. The same plan gives the same bytes on the same machine.

    ``visits`` counts encounters; each gives two to four photos of one to three animals.

    Raises:
        InputError: a number is outside its range.
    """

    seed: int = 7
    individuals: int = 14
    stations: int = 4
    days: int = 21
    visits: int = 70

    def __post_init__(self) -> None:
        limits = {
            "seed": (0, 2**31),
            "individuals": (1, 99),
            "stations": (1, 12),
            "days": (1, 365),
            "visits": (1, 2000),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"sample herd: expected {name} from {low} to {high}, got {value}")


@dataclass(frozen=True)
class HerdSummary:
    """What was drawn, and where it lies. ``animals`` counts boxes; ``empty`` counts photos without an animal."""

    cards: Path
    detections: Path
    truth: Path
    calibration: Path
    photos: int
    animals: int
    empty: int
    individuals: int
    encounters: int


# -- who ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Member:
    """One individual: its name in the truth, its looks, how it likes each station, and whom it follows."""

    identity: str
    looks: Looks
    homes: tuple[float, ...]
    mother: int | None


def _cast(plan: HerdPlan) -> list[_Member]:
    """The herd: about a third bucks, a fifth fawns, each fawn with a doe for a mother."""
    bucks, fawns = round(0.36 * plan.individuals), round(0.2 * plan.individuals)
    does = plan.individuals - bucks - fawns
    kinds = [KINDS[0]] * bucks + [KINDS[1]] * does + [KINDS[2]] * fawns
    members: list[_Member] = []
    shift = int(np.random.default_rng([plan.seed, 0]).integers(42))
    for index, kind in enumerate(kinds):
        rng = np.random.default_rng([plan.seed, 1, index])
        mother = bucks + (index - bucks - does) % does if kind == "fawn" else None
        homes = rng.dirichlet(np.full(plan.stations, 1.5)) if mother is None else members[mother].homes
        looks = make_looks(kind, index + shift, rng)
        members.append(_Member(f"D{index + 1:02d}", looks, tuple(float(share) for share in homes), mother))
    return members


# -- when and where -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Visit:
    """One encounter, or a false trigger when no one is there."""

    station: int
    times: tuple[datetime, ...]
    members: tuple[int, ...]


def _diary(plan: HerdPlan, cast: Sequence[_Member]) -> list[_Visit]:
    """All visits in the order of time, apart enough at each station and for each animal."""
    rng = np.random.default_rng([plan.seed, 2])
    visits: list[_Visit] = []
    leaders = np.concatenate(
        [rng.permutation(plan.individuals) for _ in range(plan.visits // plan.individuals + 1)]
    )
    blanks = 1 + plan.visits // 16
    groups = [_company(int(leader), cast, rng) for leader in leaders[: plan.visits]] + [()] * blanks
    for members in groups:
        for _ in range(400):
            likes = cast[members[0]].homes if members else [1 / plan.stations] * plan.stations
            station = int(rng.choice(plan.stations, p=likes))
            start = FIRST_DAY + timedelta(days=int(rng.integers(plan.days)), seconds=_clock(rng))
            if all(
                abs(start - other.times[0]) >= APART
                for other in visits
                if other.station == station or set(members) & set(other.members)
            ):
                break
        else:
            raise InputError(
                f"sample herd: {plan.visits} visits do not fit into {plan.days} days at {plan.stations} stations",
                hint="Plan more days or stations, or fewer visits.",
            )
        gaps = rng.integers(2, 10, int(rng.integers(1, 4)) if members else 0)
        seconds = np.concatenate([[0], np.cumsum(gaps)])
        visits.append(_Visit(station, tuple(start + timedelta(seconds=int(s)) for s in seconds), members))
    return sorted(visits, key=lambda visit: (visit.times[0], visit.station))


def _clock(rng: Rng) -> int:
    """A second of the day: deer move at dawn, at dusk and in the night."""
    hour = rng.choice(
        [rng.normal(7.6, 1.4), rng.normal(17.4, 1.6), rng.uniform(20, 29), rng.uniform(9, 16)],
        p=[0.3, 0.28, 0.27, 0.15],
    )
    return int(hour % 24 * 3600)


def _company(leader: int, cast: Sequence[_Member], rng: Rng) -> tuple[int, ...]:
    """Who comes along: fawns with their mother, at times a second grown animal of the same sex."""
    head = cast[leader]
    if head.mother is not None:
        return head.mother, leader
    fawns = [index for index, member in enumerate(cast) if member.mother == leader and rng.uniform() < 0.8]
    peers = [
        index for index, member in enumerate(cast) if member.looks.kind == head.looks.kind and index != leader
    ]
    friend = [int(rng.choice(peers))] if peers and rng.uniform() < 0.16 else []
    return tuple([leader, *fawns, *friend][:3])


def _poses(members: Sequence[int], photos: int, rng: Rng) -> list[list[Pose]]:
    """The poses of a group through one burst: [photo][animal]."""
    count = len(members)
    scale = rng.uniform(*((0, 0), (250, 410), (215, 275), (185, 225))[count])
    shared: Flank = "left" if rng.uniform() < 0.5 else "right"
    burst: list[list[Pose]] = [[] for _ in range(photos)]
    for slot in range(count):
        own = scale * rng.uniform(0.94, 1.06)
        facing = shared if count == 3 or rng.uniform() < 0.6 else OTHER[shared]
        x = WIDTH * ((slot + 0.5) / count + rng.uniform(-0.25, 0.25) / count**2)
        x -= (0.2 if facing == "right" else -0.2) * own  # the head reaches far forward
        turns_at = int(rng.integers(1, photos)) if count < 3 and rng.uniform() < 0.4 else photos
        walks, phase = rng.uniform() < 0.5, rng.uniform(0, 2 * np.pi)
        mood, tilt, shear = rng.uniform(), rng.normal() * 0.025, rng.normal() * 0.04
        for index, poses in enumerate(burst):
            flank = facing if index < turns_at else OTHER[facing]
            if index and walks:
                x += (1 if flank == "right" else -1) * rng.uniform(40, 190) / count**2
            if rng.uniform() < 0.4:
                mood = rng.uniform()
            head = 0.12 * mood if mood < 0.34 else 0.45 + 0.3 * mood if mood < 0.7 else mood
            poses.append(
                Pose(
                    flank=flank,
                    x=float(np.clip(x, 0.10 * WIDTH, 0.90 * WIDTH)),
                    y=float(np.interp(own, (180, 410), (640, 872))),
                    scale=own,
                    head=head,
                    stride=phase + 1.7 * index if walks else None,
                    tilt=tilt,
                    shear=shear,
                )
            )
    return burst


# -- files ----------------------------------------------------------------------------------------------------


def draw_herd(
    folder: Path, plan: HerdPlan = HerdPlan(), progress: Callable[[int, int], None] | None = None
) -> HerdSummary:
    """Draw a herd into ``folder``: ``cards/``, ``detections.json``, ``truth.csv`` and what README.txt names.

    Drawing the same plan into the same folder again writes the same bytes; a drawing that was interrupted is
    completed that way. ``progress`` is called with (photos done, photos in all) after each photo.

    Raises:
        InputError: the plan does not fit its days, the folder holds something else, or it cannot be written.
    """
    cast = _cast(plan)
    visits = _diary(plan, cast)
    try:
        _claim(folder, plan)
        return _write(folder, plan, cast, visits, progress)
    except OSError as error:
        raise InputError(f"cannot write the sample herd to {folder}: {error.strerror or error}") from error


def _claim(folder: Path, plan: HerdPlan) -> None:
    """Make ``folder`` this herd's own, by its README; refuse one that holds anything else."""
    text = README.format(edition=EDITION, **asdict(plan))
    readme = folder / "README.txt"
    if folder.is_dir() and any(folder.iterdir()):
        found = readme.read_text("utf-8", errors="replace") if readme.is_file() else ""
        if found != text:
            what = "a herd drawn by another plan" if found.startswith(README[:20]) else "other files"
            raise InputError(
                f"expected an empty folder or this same sample herd in {folder}, found {what}",
                hint="Name another folder, or remove this one if nothing in it is needed.",
            )
    folder.mkdir(parents=True, exist_ok=True)
    readme.write_text(text, "utf-8", newline="\n")


def _write(
    folder: Path,
    plan: HerdPlan,
    cast: Sequence[_Member],
    visits: Sequence[_Visit],
    progress: Callable[[int, int], None] | None,
) -> HerdSummary:
    """Draw every photo, in the order of time, and write the two lists."""
    kinds = [list(PLACES)[index % len(PLACES)] for index in range(plan.stations)]
    names = [
        kind if kind not in kinds[:at] else f"{kind}{1 + at // len(PLACES)}" for at, kind in enumerate(kinds)
    ]
    scenes = [draw_scene(kind, np.random.default_rng([plan.seed, 3, at])) for at, kind in enumerate(kinds)]
    taken = [0] * plan.stations
    total = sum(len(visit.times) for visit in visits)
    images: list[dict[str, object]] = []
    truth: list[tuple[object, ...]] = []
    for number, visit in enumerate(visits):
        station = names[visit.station]
        burst = _poses(visit.members, len(visit.times), np.random.default_rng([plan.seed, 4, number]))
        for when, poses in zip(visit.times, burst, strict=True):
            taken[visit.station] += 1
            file = f"{station}/100MEDIA/IMG_{taken[visit.station]:04d}.JPG"
            rng = np.random.default_rng([plan.seed, 5, len(images)])
            animals = [(cast[index].looks, pose) for index, pose in zip(visit.members, poses, strict=True)]
            celsius = round(11 + 6 * np.sin((when.hour - 9) * np.pi / 12) + 3 * np.sin(when.day))
            photo, boxes = draw_photo(
                scenes[visit.station], animals, when=when, station=station, celsius=celsius, rng=rng
            )
            _save(photo, folder / "cards" / file, when)
            found = [_detection(looks, box, rng) for (looks, _), box in zip(animals, boxes, strict=True)]
            images.append({"file": file, "detections": found})
            for index, (member, pose, box) in enumerate(zip(visit.members, poses, boxes, strict=True)):
                place = [round(v, 4) for v in (box.x, box.y, box.width, box.height)]
                seen = (cast[member].identity, f"E{number + 1:04d}", pose.flank, station, when.isoformat())
                truth.append((file, *seen, index, *place))
            if progress is not None:
                progress(len(images), total)
    truth.sort(key=lambda row: (str(row[0]), str(row[6])))
    detections = {
        "info": {
            "format_version": "1.4",
            "detector": "deertrack sample herd (drawn, exact boxes, invented confidences)",
            "detector_metadata": {"typical_detection_threshold": 0.2},
        },
        "detection_categories": {"1": "animal", "2": "person", "3": "vehicle"},
        "classification_categories": {str(KINDS.index(kind) + 1): kind for kind in KINDS},
        "images": sorted(images, key=lambda image: str(image["file"])),
    }
    (folder / "detections.json").write_text(json.dumps(detections, indent=1) + "\n", "utf-8", newline="\n")
    shutil.copyfile(CALIBRATION, folder / "calibration.json")
    with (folder / "truth.csv").open("w", encoding="utf-8", newline="") as file_out:
        table = csv.writer(file_out, lineterminator="\n")
        table.writerow(TRUTH_COLUMNS)
        table.writerows(truth)
    return HerdSummary(
        cards=folder / "cards",
        detections=folder / "detections.json",
        truth=folder / "truth.csv",
        calibration=folder / "calibration.json",
        photos=total,
        animals=len(truth),
        empty=sum(len(visit.times) for visit in visits if not visit.members),
        individuals=len({row[1] for row in truth}),
        encounters=sum(1 for visit in visits if visit.members),
    )


def _detection(looks: Looks, box: Box, rng: Rng) -> dict[str, object]:
    """One box as MegaDetector writes it; an animal cut by the frame is detected with less confidence."""
    cut = box.x <= 0 or box.y <= 0 or box.x + box.width >= 0.9999
    return {
        "category": "1",
        "conf": round(rng.uniform(0.62, 0.84) if cut else rng.uniform(0.82, 0.98), 3),
        "bbox": [round(v, 4) for v in (box.x, box.y, box.width, box.height)],
        "classifications": [[str(KINDS.index(looks.kind) + 1), round(rng.uniform(0.66, 0.97), 3)]],
    }


def _save(photo: Image.Image, path: Path, when: datetime) -> None:
    """Write one photo as JPEG, with the time that its strip shows and with a label that it is drawn."""
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = DESCRIPTION
    exif[ExifTags.Base.Make] = "deertrack"
    exif[ExifTags.Base.Model] = "drawn sample, not a camera"
    taken = f"{when:%Y:%m:%d %H:%M:%S}"
    exif.get_ifd(ExifTags.IFD.Exif).update(
        {ExifTags.Base.DateTimeOriginal: taken, ExifTags.Base.DateTimeDigitized: taken}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    photo.save(path, "JPEG", quality=85, exif=exif)
