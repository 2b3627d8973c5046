import json
from pathlib import Path

from deertrack.domain.records import Box, DetectedAnimal, DetectorResult
from deertrack.formats.megadetector import read_detections

DEER = "b3e5ae4c;mammalia;cetartiodactyla;cervidae;odocoileus;virginianus;white-tailed deer"


def test_reads_predictions(tmp_path: Path) -> None:
    animal = {"category": "1", "label": "animal", "conf": 0.95, "bbox": [0.1, 0.2, 0.3, 0.4]}
    predictions = [
        {
            "filepath": "Creek\\a.jpg",
            "classifications": {"classes": [DEER], "scores": [0.9]},
            "detections": [
                animal,
                {**animal, "conf": 0.05},
                {**animal, "category": "2", "label": "human"},
                {**animal, "category": "3", "label": "vehicle"},
            ],
            "prediction": DEER,
            "prediction_score": 0.9,
            "prediction_source": "classifier",
            "model_version": "4.0.1a",
        },
        {"filepath": "b.jpg", "failures": ["CLASSIFIER"], "detections": [animal], "model_version": "4.0.1a"},
        {"filepath": "c.jpg", "failures": ["DETECTOR", "CLASSIFIER"], "model_version": "4.0.1a"},
        {"filepath": "d.jpg", "detections": [], "prediction": "f1856211;;;;;;blank", "prediction_score": 1.0},
        {
            "filepath": "e.jpg",
            "detections": [animal],
            "prediction": "cb;mammalia;;;;;",
            "prediction_score": 0.8,
        },
        {"filepath": "f.jpg", "detections": [{**animal, "bbox": [0, 0, 640, 480]}]},
        "g.jpg",
    ]
    path = tmp_path / "predictions.json"
    path.write_text(json.dumps({"predictions": predictions}), "utf-8")
    read = read_detections(path)
    box = Box(0.1, 0.2, 0.3, 0.4)
    assert read.results == (
        DetectorResult("Creek/a.jpg", (DetectedAnimal(box, 0.95, "white-tailed deer", 0.9),)),
        DetectorResult("b.jpg", (DetectedAnimal(box, 0.95),)),
        DetectorResult("c.jpg", failure="DETECTOR, CLASSIFIER"),
        DetectorResult("d.jpg"),
        DetectorResult("e.jpg", (DetectedAnimal(box, 0.95, "mammalia", 0.8),)),
        DetectorResult("f.jpg"),
    )
    assert (read.detector, read.threshold) == ("SpeciesNet 4.0.1a", 0.2)
    assert [line.split(":")[0] for line in read.skipped] == ["predictions[5]", "predictions[6]"]
