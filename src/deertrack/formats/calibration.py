"""Calibration files: what a similarity means for an embedding version, and on what that was measured."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deertrack.domain.calibration import Calibration
from deertrack.domain.embedding import EmbeddingVersion
from deertrack.domain.errors import FingerprintMismatchError, InputError
from deertrack.formats.files import read_json

_HINT = "`deertrack reid calibrate --out FILE` writes such a file."


@dataclass(frozen=True, slots=True)
class Curve:
    """A calibration and the fingerprints of the models whose similarities it was fitted to."""

    calibration: Calibration
    fingerprints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CalibrationFile:
    """Curves by embedding version's name; ``fitted_on`` says on what, in words."""

    fitted_on: str
    curves: Mapping[str, Curve]

    def curve_for(self, version: EmbeddingVersion) -> Calibration:
        """The curve of a version.

        Raises:
            InputError: there is none.
            FingerprintMismatchError: it was fitted to similarities of other models.
        """
        curve = self.curves.get(version.name)
        if curve is None:
            known = ", ".join(self.curves) or "none"
            raise InputError(f"no calibration for embedding version {version.name!r} (there is: {known})")
        if curve.fingerprints != tuple(version.fingerprints[o] for o in version.search_outputs):
            raise FingerprintMismatchError(
                f"the calibration of {version.name!r} belongs to other models than the ones in use",
                hint=_HINT,
            )
        return curve.calibration


def read_calibration(path: Path) -> CalibrationFile:
    """Read a calibration file.

    Raises:
        InputError: no such file, not JSON, or a curve that is incomplete; names it.
    """
    return from_json(read_json(path, "a calibration file", hint=_HINT), str(path))


def from_json(document: object, source: str) -> CalibrationFile:
    """The content of a JSON document; ``source`` names it in errors.

    Raises:
        InputError: a curve is incomplete or does not rise.
    """
    try:
        assert isinstance(document, dict)
        curves = {
            name: Curve(
                Calibration(tuple(map(float, raw["similarities"])), tuple(map(float, raw["log_ratios"]))),
                tuple(raw["fingerprints"]),
            )
            for name, raw in document["curves"].items()
        }
        return CalibrationFile(str(document["fitted_on"]), curves)
    except InputError as error:
        raise InputError(f"{source}: {error.message}", hint=_HINT) from None
    except (AssertionError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f'{source}: expected "fitted_on", and "curves" with similarities, log_ratios and fingerprints; '
            f"got {error!r}",
            hint=_HINT,
        ) from None


def write_calibration(path: Path, content: CalibrationFile) -> None:
    """Write a calibration file.

    Raises:
        InputError: it cannot be written there.
    """
    try:
        path.write_text(json.dumps(as_json(content), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


def as_json(content: CalibrationFile) -> dict[str, Any]:
    """The content as a JSON document."""
    return {
        "fitted_on": content.fitted_on,
        "curves": {
            name: {
                "similarities": [round(x, 5) for x in curve.calibration.similarities],
                "log_ratios": [round(y, 4) for y in curve.calibration.log_ratios],
                "fingerprints": list(curve.fingerprints),
            }
            for name, curve in content.curves.items()
        },
    }
