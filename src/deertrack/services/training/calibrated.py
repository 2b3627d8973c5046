"""What the similarities of a version just trained mean, measured on animals that it did not learn from."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from deertrack.domain.calibration import Calibration, fit
from deertrack.domain.errors import InputError
from deertrack.domain.meetings import Meetings
from deertrack.formats.calibration import CalibrationFile, Curve, write_calibration
from deertrack.vision.model_packs import load_pack
from deertrack.vision.pack_building import CALIBRATION


def curve_of(replays: Sequence[Meetings]) -> Calibration | None:
    """The curve of all pairs in some replays; None where there are too few."""
    known = [meetings.seen > 0 for meetings in replays]
    similarities = [m.similarities[k] for m, k in zip(replays, known, strict=True)]
    same = [m.same[k] for m, k in zip(replays, known, strict=True)]
    try:
        return fit(np.concatenate(similarities), np.concatenate(same))
    except InputError:
        return None


def write_curves(directory: Path, curves: Mapping[str, Calibration], fitted_on: str) -> None:
    """Put the curves of a pack's versions beside its card, for these models only."""
    fingerprints = {
        v.name: tuple(v.fingerprints[output] for output in v.search_outputs)
        for v in load_pack(directory).versions
    }
    if curves:
        named = {name: Curve(curve, fingerprints[name]) for name, curve in curves.items()}
        write_calibration(directory / CALIBRATION, CalibrationFile(fitted_on, named))
