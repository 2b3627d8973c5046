import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deertrack.domain.errors import InputError
from deertrack.domain.records import AgeClass, Box, DetectedAnimal, DetectorResult, Sex
from deertrack.formats.classes import ClassMap
from deertrack.formats.megadetector import DetectionsFile, read_detections

Write = Callable[..., Path]
BOX = [0.1, 0.2, 0.3, 0.4]
ANIMAL = {"category": "1", "conf": 0.9, "bbox": BOX}


@pytest.fixture(scope="module")
def write(tmp_path_factory: pytest.TempPathFactory) -> Write:
    path = tmp_path_factory.mktemp("megadetector") / "md.json"

    def write(document: object) -> Path:
        if isinstance(document, bytes):
            path.write_bytes(document)
        else:
            path.write_text(json.dumps(document), "utf-8")
        return path

    return write


def document(*images: object, **more: object) -> dict[str, Any]:
    return {
        "info": {"format_version": "1.4", "detector": "md_v5a.0.0.pt"},
        "detection_categories": {"1": "animal", "2": "person", "3": "vehicle"},
        "images": list(images),
        **more,
    }


def photo(*detections: object, **more: object) -> dict[str, object]:
    return {"file": "Creek/IMG_0001.JPG", "detections": list(detections), **more}


def only(read: DetectionsFile) -> DetectedAnimal:
    assert read.skipped == ()
    ((animal,),) = [result.animals for result in read.results]
    return animal


def test_reads_a_file_as_megadetector_5_writes_it(write: Write) -> None:
    info = {
        "format_version": "1.4",
        "detector": "md_v5a.0.0.pt",
        "detector_metadata": {"megadetector_version": "v5a.0.0", "typical_detection_threshold": 0.25},
    }
    read = read_detections(
        write(
            document(
                photo(ANIMAL, {**ANIMAL, "conf": 0.2}, {**ANIMAL, "category": "2"}),
                {"file": "Creek/IMG_0002.JPG", "detections": []},
                {"file": "Creek/IMG_0003.JPG", "detections": None, "failure": "Failure image access"},
                {"file": "Creek/IMG_0004.JPG", "failure": None, "detections": [ANIMAL]},
                info=info,
            )
        )
    )
    seen = DetectedAnimal(Box(0.1, 0.2, 0.3, 0.4), 0.9)
    assert read.results == (
        DetectorResult("Creek/IMG_0001.JPG", (seen,)),
        DetectorResult("Creek/IMG_0002.JPG"),
        DetectorResult("Creek/IMG_0003.JPG", failure="Failure image access"),
        DetectorResult("Creek/IMG_0004.JPG", (seen,)),
    )
    assert (read.detector, read.format_version, read.threshold) == ("md_v5a.0.0.pt (v5a.0.0)", "1.4", 0.25)
    assert read.skipped == ()


def test_reads_what_the_oldest_tools_wrote(write: Write) -> None:
    old = {
        "images": [{"file": "a.jpg", "max_detection_conf": 0.9, "detections": [ANIMAL]}, {"file": "b.jpg"}]
    }
    read = read_detections(write(old))
    assert [len(result.animals) for result in read.results] == [1, 0]
    assert read.results[1].failure == "the detector wrote neither detections nor a reason"
    assert (read.detector, read.format_version, read.threshold) == ("unknown detector", "", 0.2)


@pytest.mark.parametrize("info", [None, [], "MDv5", {"detector_metadata": None, "format_version": 1.3}])
def test_odd_metadata_falls_back_to_the_defaults(write: Write, info: object) -> None:
    read = read_detections(write(document(photo(ANIMAL), info=info)))
    assert len(only(read).label) == 0
    assert read.threshold == 0.2
    assert read.format_version == ("1.3" if isinstance(info, dict) else "")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "high", -1, 20, None, True])
def test_a_senseless_recommended_threshold_is_ignored(write: Write, value: object) -> None:
    info = {"detector_metadata": {"typical_detection_threshold": value}}
    assert read_detections(write(document(info=info))).threshold == 0.2


def test_the_callers_threshold_wins_and_is_inclusive(write: Write) -> None:
    path = write(document(photo({**ANIMAL, "conf": 0.5}, {**ANIMAL, "conf": 0.49})))
    assert only(read_detections(path, threshold=0.5)).confidence == 0.5
    assert read_detections(path, threshold=0.0).threshold == 0.0
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match="between 0 and 1"):
            read_detections(path, threshold=wrong)


@pytest.mark.parametrize("category", ["1", 1, 1.0, " 1 ", "animal"])
def test_categories_come_as_text_number_or_name(write: Write, category: object) -> None:
    assert only(read_detections(write(document(photo({**ANIMAL, "category": category})))))


@pytest.mark.parametrize("category", ["2", "3", 7, "dog"])
def test_people_vehicles_and_unlisted_categories_are_no_animals(write: Write, category: object) -> None:
    read = read_detections(write(document(photo({**ANIMAL, "category": category}))))
    assert read.results == (DetectorResult("Creek/IMG_0001.JPG"),)
    assert read.skipped == ()


def test_without_an_animal_category_all_but_people_and_vehicles_count(write: Write) -> None:
    own = {"0": "Buck", "1": "doe", "2": "Human", "3": "empty"}
    detections = [{**ANIMAL, "category": key} for key in own]
    (result,) = read_detections(write(document(photo(*detections), detection_categories=own))).results
    assert [(a.label, a.label_confidence, a.sex, a.age_class) for a in result.animals] == [
        ("Buck", 0.9, Sex.MALE, AgeClass.ADULT),
        ("doe", 0.9, Sex.FEMALE, AgeClass.ADULT),
    ]


@pytest.mark.parametrize("conf", ["0.9", 0.9, " 0.90 "])
def test_confidence_may_be_text(write: Write, conf: object) -> None:
    assert only(read_detections(write(document(photo({**ANIMAL, "conf": conf}))))).confidence == 0.9


@pytest.mark.parametrize(
    "odd",
    [
        {"conf": float("nan")},
        {"conf": float("inf")},
        {"conf": 93.5},
        {"conf": True},
        {"conf": None},
        {"conf": 10**400},
        {"bbox": None},
        {"bbox": [0.1, 0.2, 0.3]},
        {"bbox": [0.1, 0.2, float("nan"), 0.4]},
        {"bbox": [0.1, 0.2, 0.0, 0.4]},
        {"bbox": [0.1, 0.2, -0.3, 0.4]},
        {"bbox": [0, 0, 640, 480]},  # pixels: must not quietly become the whole photo
        {"bbox": [0.5, 0.5, 0.9, 0.9]},  # two corners
        {"category": None},
        {"category": ["1"]},
    ],
)
def test_an_odd_detection_is_skipped_alone_and_named(write: Write, odd: dict[str, object]) -> None:
    read = read_detections(write(document(photo(ANIMAL, {**ANIMAL, **odd}, ANIMAL))))
    assert [len(result.animals) for result in read.results] == [2]
    (line,) = read.skipped
    assert line.startswith("images[0]: Creek/IMG_0001.JPG, detections[1]: expected ")
    assert "got " in line
    assert len(line) < 250


def test_boxes_that_stick_out_by_rounding_are_clipped(write: Write) -> None:
    box = only(read_detections(write(document(photo({**ANIMAL, "bbox": [-0.004, 0, 1.01, "0.5"]}))))).box
    assert box == Box(0.0, 0.0, 1.0, 0.5)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("Creek/IMG_0001.JPG", 'expected an entry with "file"'),
        (None, "got nothing"),
        ({"detections": []}, "expected the name of a photo"),
        ({"file": 5, "detections": []}, "expected the name of a photo"),
        ({"file": "a\0.jpg", "detections": []}, "expected the name of a photo"),
        ({"file": "a\ud800.jpg", "detections": []}, "expected the name of a photo"),
        ({"file": "a.jpg", "detections": {"1": 2}}, "a.jpg: expected a list of detections"),
        ({"file": "a.MP4", "frame_rate": 20, "detections": [{**ANIMAL, "frame_number": 0}]}, "video a.MP4"),
        ({"file": "a.xyz", "frame_rate": 20, "detections": []}, "video a.xyz"),
    ],
)
def test_an_odd_entry_is_skipped_and_named(write: Write, entry: object, reason: str) -> None:
    read = read_detections(write(document(photo(ANIMAL), entry)))
    assert len(read.results) == 1
    (line,) = read.skipped
    assert line.startswith("images[1]: ")
    assert reason in line


def test_a_photo_listed_twice_keeps_its_first_entry(write: Write) -> None:
    """Merging two runs over one photo would make one animal two."""
    read = read_detections(write(document(photo(ANIMAL), photo(ANIMAL, ANIMAL))))
    assert [len(result.animals) for result in read.results] == [1]
    assert read.skipped == ("images[1]: Creek/IMG_0001.JPG appears a second time; its first entry is used",)


def test_a_photo_that_failed_first_and_was_read_later_counts_as_read(write: Write) -> None:
    failed = {"file": "Creek/IMG_0001.JPG", "failure": "Failure inference", "detections": None}
    for images in ([failed, photo(ANIMAL)], [photo(ANIMAL), failed]):
        (result,) = read_detections(write(document(*images))).results
        assert (len(result.animals), result.failure) == (1, "")


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("Creek\\100MEDIA\\IMG_0001.JPG", "Creek/100MEDIA/IMG_0001.JPG"),
        ("D:\\cards\\a.jpg", "D:/cards/a.jpg"),
        ("/mnt/cards/a.jpg", "/mnt/cards/a.jpg"),
        ("./a.jpg", "a.jpg"),
        ("Größe & 'Rest'/ü \U0001f98c.jpg", "Größe & 'Rest'/ü \U0001f98c.jpg"),
    ],
)
def test_paths_of_every_system(write: Write, written: str, read_as: str) -> None:
    assert read_detections(write(document(photo(file=written)))).results[0].file == read_as


LABELS = {"0": "White-tailed buck", "1": "doe", "2": "fawn", "3": "raccoon"}


@pytest.mark.parametrize(
    ("classifications", "expected"),
    [
        ([["0", 0.8], ["1", 0.1]], ("White-tailed buck", 0.8, Sex.MALE, AgeClass.ADULT)),
        ([["1", 0.1], [2, "0.8"]], ("fawn", 0.8, Sex.UNKNOWN, AgeClass.FAWN)),
        ([["3", 0.9], ["0", 0.05]], ("raccoon", 0.9, Sex.UNKNOWN, AgeClass.UNKNOWN)),
        ([["0", 0.45], ["1", 0.4]], ("White-tailed buck", 0.45, Sex.UNKNOWN, AgeClass.UNKNOWN)),
        ([["doe", 0.9]], ("doe", 0.9, Sex.FEMALE, AgeClass.ADULT)),
        ([["99", 0.9]], ("", None, Sex.UNKNOWN, AgeClass.UNKNOWN)),
        ([["0", None], "x", ["1"], ["1", 0.7]], ("doe", 0.7, Sex.FEMALE, AgeClass.ADULT)),
        (None, ("", None, Sex.UNKNOWN, AgeClass.UNKNOWN)),
    ],
)
def test_the_most_confident_classification_is_the_label(
    write: Write, classifications: object, expected: tuple[object, ...]
) -> None:
    entry = photo({**ANIMAL, "classifications": classifications})
    animal = only(read_detections(write(document(entry, classification_categories=LABELS))))
    assert (animal.label, animal.label_confidence, animal.sex, animal.age_class) == expected


def test_sex_is_taken_from_the_confidence_that_the_file_recommends(write: Write) -> None:
    info = {"classifier_metadata": {"typical_classification_threshold": 0.75}}
    sexes = []
    for confidence in (0.74, 0.75):
        entry = photo({**ANIMAL, "classifications": [["0", confidence]]})
        path = write(document(entry, classification_categories=LABELS, info=info))
        sexes.append(only(read_detections(path)).sex)
    assert sexes == [Sex.UNKNOWN, Sex.MALE]


def test_labels_mean_what_the_callers_map_says(write: Write) -> None:
    entry = photo({**ANIMAL, "classifications": [["0", 0.9]]})
    path = write(document(entry, classification_categories={"0": "HIRSCH"}))
    own = ClassMap({"hirsch": (Sex.MALE, AgeClass.ADULT)})
    assert only(read_detections(path)).sex is Sex.UNKNOWN
    assert only(read_detections(path, classes=own)).sex is Sex.MALE


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks_are_understood(write: Write, encoding: str) -> None:
    content = json.dumps(document(photo(ANIMAL, file="Öd/ä.jpg")), ensure_ascii=False).encode(encoding)
    assert read_detections(write(content)).results[0].file == "Öd/ä.jpg"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got an empty file"),
        (b" \n", "got an empty file"),
        (b'{"images": [\n  {"file": "a.jpg",', "line 2, column 20: .*broken JSON"),
        (b"file,detections\n", "line 1, column 1: .*broken JSON"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "in JSON, got: "),
        (b"[" * 100_000, "nested too deep"),
        (b'{"images": ' + b"9" * 5000 + b"}", "in JSON, got: "),
        (b"[]", r'with a list "images", got \[\]'),
        (b"[1]", r'with a list "images", got \[1\]'),
        (b"null", "got nothing"),
        (b'{"images": {}}', r"got the keys \['images'\]"),
        (b'{"type": "FeatureCollection"}', r"got the keys \['type'\]"),
        (b'{"images": [{"file_name": "coco.jpg"}], "annotations": []}', 'no entry of "images" names a file'),
    ],
)
def test_a_wrong_file_says_where_and_what_to_do(write: Write, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        read_detections(write(content))
    assert "md.json" in error.value.message
    assert "MegaDetector" in error.value.message
    assert "Give the JSON file" in error.value.hint


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json: expected .*no such file"):
        read_detections(tmp_path / "none.json")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_detections(tmp_path)


numbers = st.integers() | st.floats() | st.sampled_from(["1", "0.5", 0.9, 1, -1, 1e308])
words = st.text(max_size=8) | st.sampled_from(["animal", "a.jpg", "a.mp4", "1", "\ud800", "\0"])
any_json = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=8,
)


def like(**shapes: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Nearly the real thing: mostly as it should be, but any key may be missing, any value anything."""
    whole = st.fixed_dictionaries(shapes)
    return (
        whole
        | whole
        | st.fixed_dictionaries({}, optional={k: v | any_json for k, v in shapes.items()})
        | any_json
    )


fractions = st.floats(0.0, 1.0)
keys = st.sampled_from(["1", 1, "0", "animal"]) | words
tables = st.none() | st.dictionaries(
    st.sampled_from(["0", "1", "2"]), st.sampled_from(["animal", "buck", "\ud800"]) | words
)
detections = like(
    category=st.just("1") | keys,
    label=st.just("animal") | keys,
    conf=fractions,
    bbox=st.lists(st.floats(0.01, 0.5), min_size=4, max_size=4) | st.lists(st.floats(-0.1, 1.1) | numbers),
    classifications=st.lists(st.tuples(keys, fractions | numbers) | st.lists(any_json), max_size=3),
)
entries = like(
    file=words,
    filepath=words,
    detections=st.lists(detections, max_size=3),
    failure=st.none(),
    failures=st.lists(words, max_size=2),
    prediction=words,
    prediction_score=fractions | numbers,
    model_version=words,
)
metadata = like(typical_detection_threshold=st.floats(0.0, 0.3) | numbers, megadetector_version=words)
info = like(format_version=words, detector=words, detector_metadata=metadata)
images = st.lists(entries, max_size=4)
documents = like(
    info=info, detection_categories=tables, classification_categories=tables, images=images
) | like(predictions=images)


@given(documents)
@example({"predictions": [{"model_version": []}]})
@example({"images": [{"file": "a.jpg", "failure": [[[[[[[[]]]]]]]]}]})
def test_any_json_is_read_or_refused(write: Write, value: object) -> None:
    try:
        read = read_detections(write(value))
    except InputError:
        return
    assert 0.0 <= read.threshold <= 1.0
    texts = [read.detector, read.format_version]
    for result in read.results:
        texts += [result.file, result.failure]
        assert not (result.failure and result.animals)
        for animal in result.animals:
            texts.append(animal.label)
            assert read.threshold <= animal.confidence <= 1.0
            assert 0.0 < animal.box.area <= 1.0
    for text in texts:  # what is read can be stored and printed
        assert "\0" not in text
        text.encode("utf-8")


sides = st.floats(0.001, 0.5)
animals = st.builds(
    DetectedAnimal,
    st.builds(Box, st.floats(0.0, 0.5), st.floats(0.0, 0.5), sides, sides),
    st.floats(0.2, 1.0),
)
names = st.text(st.characters(codec="utf-8", exclude_characters="\0\\"), min_size=1, max_size=20)
results = st.lists(
    st.builds(
        lambda name, seen: DetectorResult(f"Creek/{name}.JPG", tuple(seen)),
        names,
        st.lists(animals, max_size=3),
    ),
    unique_by=lambda result: result.file,
    max_size=5,
)


@given(results)
def test_valid_files_come_back_as_they_were_written(write: Write, expected: list[DetectorResult]) -> None:
    images = [
        {
            "file": result.file,
            "detections": [
                {
                    "category": "1",
                    "conf": animal.confidence,
                    "bbox": [animal.box.x, animal.box.y, animal.box.width, animal.box.height],
                }
                for animal in result.animals
            ],
        }
        for result in expected
    ]
    read = read_detections(write(document(*images)))
    assert read.skipped == ()
    assert [result.file for result in read.results] == [result.file for result in expected]
    for got, wanted in zip(read.results, expected, strict=True):
        assert len(got.animals) == len(wanted.animals)
        for animal, other in zip(got.animals, wanted.animals, strict=True):
            assert animal.confidence == other.confidence
            assert animal.box.overlap(other.box) == pytest.approx(1.0)


def test_reads_the_real_nyala_file() -> None:
    data = Path(os.environ.get("DEERTRACK_TEST_DATA", Path(__file__).parents[4] / "shared" / "data"))
    path = data / "nyala" / "detections.json"
    if not path.exists():
        pytest.skip(f"no test photos: {path} is missing (set DEERTRACK_TEST_DATA)")
    read = read_detections(path)
    assert len(read.results) == 1213
    assert read.skipped == ()
    assert all((path.parent / "cards" / result.file).is_file() for result in read.results)
    assert {len(result.animals) for result in read.results} == {1}
