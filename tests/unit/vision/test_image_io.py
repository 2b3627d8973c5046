import io
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from deertrack.domain.errors import PhotoError
from deertrack.domain.records import PhotoFacts
from deertrack.vision.image_io import MAX_PIXELS, PHOTO_SUFFIXES, decode, read_facts

from .conftest import draw, encode

HERE = Path("cards/Ridge/IMG_0001.JPG")
JPEG = encode(draw())
ORIGINAL, DIGITIZED, CHANGED = 0x9003, 0x9004, 0x0132


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Mean absolute difference, in grey levels of 255."""
    assert a.shape == b.shape
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


def said(facts: PhotoFacts) -> str | None:
    """The photo's clock as text."""
    return facts.clock.isoformat() if facts.clock else None


def with_exif(tags: dict[int, object], inner: dict[int, object] | None = None, kind: str = "JPEG") -> bytes:
    exif = Image.Exif()
    exif.update({0x0112: 1} | tags)
    exif.get_ifd(0x8769).update(inner or {})
    return encode(draw(), kind, exif=exif)


# --- real photos -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "african_elephants",
        "african_elephants_bw",
        "african_elephants_cmyk",
        "african_elephants_with_exif_orientation",
    ],
)
def test_unusual_photos_look_like_the_plain_one(shared_data: Path, name: str) -> None:
    folder = shared_data / "bad_images"
    plain = folder / "african_elephants.jpg"
    path = folder / f"{name}.jpg"
    seen, expected = decode(path.read_bytes(), path), decode(plain.read_bytes(), plain)
    if name.endswith("bw"):
        assert (seen[..., 0] == seen[..., 1]).all()
        expected = np.asarray(Image.fromarray(expected).convert("L").convert("RGB"))
    assert difference(seen, expected) < 4
    facts = read_facts(path.read_bytes(), path)
    assert (facts.width, facts.height) == (2048, 1536)


def test_a_truncated_real_photo_is_refused_at_every_scale(shared_data: Path) -> None:
    path = shared_data / "bad_images" / "african_elephants_truncated_file.jpg"
    assert said(read_facts(path.read_bytes(), path)) == "2010-08-04T08:43:15"
    for shrink in (1, 2, 4, 8):
        with pytest.raises(PhotoError, match=r"african_elephants_truncated_file\.jpg: truncated photo"):
            decode(path.read_bytes(), path, shrink=shrink)


def test_every_other_bad_image_decodes(shared_data: Path) -> None:
    for path in sorted((shared_data / "bad_images").glob("*.jpg")):
        if "truncated" not in path.name:
            assert decode(path.read_bytes(), path, shrink=4).shape == (384, 512, 3)


def test_real_cameras_clocks_and_names(shared_data: Path) -> None:
    path = shared_data / "camtrapr" / "raw_images" / "StationA" / "IMG0001.JPG"
    facts = read_facts(path.read_bytes(), path)
    assert said(facts) == "2009-04-10T05:07:00"
    assert (facts.camera, facts.offset_minutes, facts.station_tag) == ("G4 CUDDEBACK", None, "")
    path = shared_data / "bad_images" / "blank.jpg"
    assert read_facts(path.read_bytes(), path).camera == "RECONYX HC550 HYPERFIRE"


# --- what is not a photo ---------------------------------------------------------------------------------


def png_claiming(width: int, height: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 99))
        + chunk(b"IEND", b"")
    )


def jpeg_claiming(width: int, height: int) -> bytes:
    at = JPEG.index(b"\xff\xc0") + 5  # start of frame: length, precision, then height and width
    return JPEG[:at] + struct.pack(">HH", height, width) + JPEG[at + 4 :]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"camera fell into the creek\n", "not a JPEG, PNG, WebP or HEIC photo"),
        (b"\xff\xd8\xff", "not a JPEG"),
        (b"GIF89a" + bytes(40), "not a JPEG"),
        (b"\0\0\0\x18ftypheic" + bytes(30), "IMG_0001"),
        (png_claiming(30_000, 30_000), "too large, 30000 × 30000 pixels"),
        (jpeg_claiming(30_000, 30_000), "too large, 30000 × 30000 pixels"),
    ],
)
def test_refused_before_any_pixel_is_decoded(data: bytes, reason: str) -> None:
    for read in (read_facts, decode):
        with pytest.raises(PhotoError, match=reason) as caught:
            read(data, HERE)
        assert str(HERE) in caught.value.message


def test_a_large_claim_within_the_limit_is_only_believed_when_the_pixels_are_there() -> None:
    assert MAX_PIXELS >= 16_000 * 15_000
    facts = read_facts(png_claiming(16_000, 15_000), HERE)
    assert (facts.width, facts.height) == (16_000, 15_000)
    with pytest.raises(PhotoError):
        decode(jpeg_claiming(1600, 1200), HERE)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@settings(max_examples=60, deadline=None)
@given(share=st.floats(0, 1))
def test_a_photo_cut_short_anywhere_is_whole_or_an_error(kind: str, share: float) -> None:
    data = encode(draw(64, 48), kind)
    whole = decode(data, HERE)
    try:
        seen = decode(data[: int(share * len(data))], HERE)
    except PhotoError:
        return
    np.testing.assert_array_equal(seen, whole)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "HEIF"])
@settings(max_examples=60, deadline=None)
@given(
    hits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8)
)
def test_damage_anywhere_gives_a_photo_or_a_photo_error(kind: str, hits: list[tuple[float, int]]) -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    data = bytearray(encode(draw(64, 48), kind, exif=Image.Exif()))
    for share, value in hits:
        data[int(share * len(data))] = value
    with suppress(PhotoError):
        facts = read_facts(bytes(data), HERE)
        if (
            facts.width * facts.height < 1_000_000
        ):  # a damaged size may be huge, and is not what is tested here
            assert decode(bytes(data), HERE).shape == (facts.height, facts.width, 3)


def test_a_damaged_heic_of_another_size_than_it_claims_is_told() -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    data = bytearray(encode(draw(64, 48), "HEIF", exif=Image.Exif()))
    data[int(0.45703125 * len(data))] = 0
    with pytest.raises(PhotoError, match="damaged"):
        decode(bytes(data), HERE)


def test_damage_in_the_middle_of_a_jpeg_is_told() -> None:
    data = bytearray(encode(draw(640, 480, seed=3)))
    start = data.index(b"\xff\xda") + 14
    data[start + 200 : start + 260] = b"\x00" * 20 + b"\xff\xd9" + b"\x55" * 38
    with pytest.raises(PhotoError, match=r"damaged|truncated"):
        decode(bytes(data), HERE)


def test_padding_before_the_end_of_a_jpeg_is_harmless() -> None:
    padded = JPEG[:-2] + bytes(64) + JPEG[-2:]
    assert difference(decode(padded, HERE), decode(JPEG, HERE)) < 1
    np.testing.assert_array_equal(decode(JPEG + b"maker's appendix" * 9, HERE), decode(JPEG, HERE))


# --- pixels ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(kind: str, orientation: int) -> None:
    data = with_exif({0x0112: orientation}, kind=kind)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    seen = decode(data, HERE)
    assert difference(seen, expected) < 1
    facts = read_facts(data, HERE)
    assert (facts.height, facts.width) == seen.shape[:2]
    assert decode(data, HERE, shrink=2).shape == (facts.height / 2, facts.width / 2, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("size", [(320, 240), (321, 243), (1, 7), (9, 8)])
@pytest.mark.parametrize("shrink", [2, 4, 8])
def test_shrunken_decoding(kind: str, size: tuple[int, int], shrink: int) -> None:
    data = encode(draw(*size), kind)
    seen = decode(data, HERE, shrink=shrink)
    wide, high = -(-size[0] // shrink), -(-size[1] // shrink)
    assert seen.shape == (high, wide, 3)
    if size == (320, 240):
        assert difference(seen, np.asarray(Image.fromarray(draw(*size)).resize((wide, high)))) < 3


def test_cmyk_is_shrunken_too() -> None:
    cmyk = encode(Image.fromarray(draw(321, 243)).convert("CMYK"))
    seen = decode(cmyk, HERE, shrink=4)
    assert difference(seen, decode(encode(draw(321, 243)), HERE, shrink=4)) < 4


def test_other_shrinks_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="shrink"):
        decode(JPEG, HERE, shrink=3)


def test_every_mode_becomes_rgb() -> None:
    rgb = Image.fromarray(draw(40, 30))
    grey = np.asarray(rgb.convert("L"))
    deep = grey.astype(np.uint16) * 257
    as_grey = np.repeat(grey[..., None], 3, axis=2)
    np.testing.assert_array_equal(decode(encode(rgb.convert("L"), "PNG"), HERE), as_grey)
    np.testing.assert_array_equal(decode(encode(Image.fromarray(deep), "PNG"), HERE), as_grey)
    palette = rgb.quantize(64)
    np.testing.assert_array_equal(decode(encode(palette, "PNG"), HERE), np.asarray(palette.convert("RGB")))
    assert set(np.unique(decode(encode(rgb.convert("1"), "PNG"), HERE))) <= {0, 255}


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_becomes_white(mode: str) -> None:
    image = Image.new("RGBA", (8, 8), (200, 10, 10, 255))
    image.paste((1, 2, 3, 0), (0, 0, 4, 8))
    seen = decode(encode(image.convert(mode), "PNG"), HERE)
    assert (seen[:, :4] == 255).all()
    assert (seen[:, 4:] != 255).all()


def test_heic_round_trip() -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    image = Image.fromarray(draw())
    image.getexif()[0x0112] = 6  # written as HEIC's own rotation
    image.getexif().get_ifd(0x8769)[ORIGINAL] = "2024:10:31 06:45:10"
    data = encode(image, "HEIF", quality=95)
    facts = read_facts(data, Path("IMG_1.HEIC"))
    assert (facts.width, facts.height, said(facts)) == (240, 320, "2024-10-31T06:45:10")
    assert difference(decode(data, HERE), np.rot90(draw(), -1)) < 4
    with pytest.raises(PhotoError):
        decode(data[: len(data) // 2], HERE)
    assert {".heic", ".heif"} <= PHOTO_SUFFIXES


# --- what the header says --------------------------------------------------------------------------------


def test_without_exif_nothing_is_made_up(tmp_path: Path) -> None:
    path = tmp_path / "2024-10-31 06.45.10.jpg"
    path.write_bytes(JPEG)
    facts = read_facts(path.read_bytes(), path)
    assert (facts.clock, facts.offset_minutes, facts.station_tag, facts.camera) == (None, None, "", "")
    assert (facts.size, len(facts.sha256)) == (len(JPEG), 32)


@pytest.mark.parametrize(
    ("tags", "inner", "clock", "offset"),
    [
        ({}, {ORIGINAL: "2024:10:31 06:45:10"}, "2024-10-31T06:45:10", None),
        ({}, {ORIGINAL: "2024-10-31T06:45:10"}, "2024-10-31T06:45:10", None),
        (
            {},
            {ORIGINAL: "2024:10:31 06:45:10", 0x9291: "25"},
            "2024-10-31T06:45:10.250000",
            None,
        ),
        ({}, {ORIGINAL: "2024:10:31 06:45:10", 0x9291: "junk"}, "2024-10-31T06:45:10", None),
        ({}, {ORIGINAL: "2024:10:31 06:45:10", 0x9011: "-05:30"}, "2024-10-31T06:45:10", -330),
        ({}, {ORIGINAL: "2024:10:31 06:45:10", 0x9011: "+99:00"}, "2024-10-31T06:45:10", None),
        ({}, {ORIGINAL: "2024:10:31 06:45:10", 0x9012: "+02:00"}, "2024-10-31T06:45:10", None),
        ({}, {ORIGINAL: "0000:00:00 00:00:00"}, None, None),
        ({}, {ORIGINAL: "2024:13:45 99:00:00"}, None, None),
        ({}, {ORIGINAL: "    :  :     :  :  "}, None, None),
        (
            {},
            {ORIGINAL: "0000:00:00 00:00:00", DIGITIZED: "2024:01:02 03:04:05"},
            "2024-01-02T03:04:05",
            None,
        ),
        ({CHANGED: "2023:05:06 07:08:09"}, {}, "2023-05-06T07:08:09", None),
        ({CHANGED: "2023:05:06 07:08:09"}, {0x9010: "+01:00"}, "2023-05-06T07:08:09", 60),
        (
            {CHANGED: "2023:05:06 07:08:09"},
            {ORIGINAL: "2022:05:06 07:08:09"},
            "2022-05-06T07:08:09",
            None,
        ),
    ],
)
def test_clocks(tags: dict, inner: dict, clock: str | None, offset: int | None) -> None:
    for kind in ("JPEG", "PNG", "WEBP"):
        facts = read_facts(with_exif(tags, inner, kind), HERE)
        assert (said(facts), facts.offset_minutes) == (clock, offset)


def test_camera_and_station_tag() -> None:
    described = {0x010F: "BUSHNELL\0\0", 0x0110: "Trophy Cam ", 0x010E: "OLYMPUS DIGITAL CAMERA"}
    facts = read_facts(with_exif(described, {0xA431: "SN 0042"}), HERE)
    assert (facts.camera, facts.station_tag) == ("BUSHNELL Trophy Cam", "SN 0042")
    facts = read_facts(with_exif({0x010F: "RECONYX", 0x0110: "RECONYX HP2X"}, {0xA430: "East gate"}), HERE)
    assert (facts.camera, facts.station_tag) == ("RECONYX HP2X", "East gate")


def test_damaged_exif_costs_the_clock_not_the_photo() -> None:
    data = bytearray(with_exif({CHANGED: "2023:05:06 07:08:09"}))
    at = data.index(b"Exif\0\0") + 6
    data[at : at + 8] = b"\xff" * 8
    facts = read_facts(bytes(data), HERE)
    assert (facts.clock, facts.width) == (None, 320)
    assert decode(bytes(data), HERE).shape == (240, 320, 3)
