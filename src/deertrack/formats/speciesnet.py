"""SpeciesNet's predictions file, rewritten in MegaDetector's terms so that one reader serves both.

Format: ``predictions[]`` with ``filepath``, ``detections[]`` (``category``, ``label``, ``conf``, ``bbox`` as
MegaDetector writes them), ``failures[]``, ``prediction`` ("uuid;class;order;family;genus;species;common
name"), ``prediction_score``, ``model_version``.
"""

from collections.abc import Mapping


def as_megadetector(predictions: list[object]) -> dict[str, object]:
    """The MegaDetector batch document that says the same; entries of another shape are passed on unchanged.

    SpeciesNet names one class for the whole photo, so each detection in it carries that class. A photo that
    only its classifier or its geography step failed on still has its detections and is no failure.
    """
    given = [p.get("model_version") for p in predictions if isinstance(p, dict)]
    versions = sorted({version for version in given if isinstance(version, str)})
    return {
        "info": {"detector": " ".join(["SpeciesNet", *versions])},
        "images": [_image(p) if isinstance(p, dict) else p for p in predictions],
    }


def _image(prediction: Mapping[str, object]) -> dict[str, object]:
    detections = prediction.get("detections")
    failures = prediction.get("failures")
    image: dict[str, object] = {"file": prediction.get("filepath"), "detections": detections}
    if isinstance(detections, list):
        classifications = [[_common_name(prediction.get("prediction")), prediction.get("prediction_score")]]
        image["detections"] = [
            {**d, "classifications": classifications} if isinstance(d, dict) else d for d in detections
        ]
    elif isinstance(failures, list):
        image["failure"] = ", ".join(step for step in failures if isinstance(step, str))
    return image


def _common_name(prediction: object) -> str:
    """The last filled part of the taxonomy: the common name, or the closest rank that it is sure of."""
    parts = prediction.split(";") if isinstance(prediction, str) else []
    return next((part for part in reversed(parts) if part.strip()), "")
