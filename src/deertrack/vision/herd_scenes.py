"""The views and photos of the sample herd: one scene for each station, and the photos its camera takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Final

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from deertrack.domain.records import Box
from deertrack.vision.herd_drawing import (
    BLACK,
    Colour,
    Looks,
    Points,
    Pose,
    Rng,
    Sprite,
    blob,
    draw_animal,
    limb,
    mix,
    smooth,
    table,
)

WIDTH, HEIGHT, STRIP = 1280, 960, 54
"""A photo's size, and the height of the information strip at its bottom, in pixels."""
DAWN, DUSK = 6.4, 18.9
"""Between these hours a camera takes colour photos, otherwise infrared ones."""
BARK: Colour = (84, 66, 50)
HORIZON = 0.50 * HEIGHT
AUTUMN: Final = ((176, 106, 44), (198, 142, 58), (150, 84, 44), (120, 104, 52), (206, 168, 92), (98, 78, 46))
GREEN: Final = ((104, 122, 62), (128, 140, 74), (84, 104, 58), (150, 156, 92), (168, 160, 98))
STRAW: Final = ((190, 170, 104), (168, 152, 88), (150, 148, 84), (206, 188, 126), (128, 130, 70))


@dataclass(frozen=True)
class Place:
    """The colours of a kind of place: sky above and at the horizon, ground far and near, what grows there."""

    sky: Colour
    low: Colour
    far: Colour
    near: Colour
    growth: Sequence[Colour]
    grass: Sequence[Colour]


PLACES: Mapping[str, Place] = {
    "Woods": Place(
        (214, 214, 190), (236, 226, 192), (172, 150, 104), (100, 78, 50), AUTUMN, STRAW[:3] + AUTUMN[:2]
    ),
    "Meadow": Place((152, 184, 204), (232, 228, 206), (184, 180, 116), (112, 116, 60), STRAW, STRAW),
    "Creek": Place((188, 206, 204), (226, 228, 208), (138, 148, 96), (92, 98, 60), GREEN, GREEN),
    "Feeder": Place(
        (196, 204, 204), (238, 224, 198), (178, 160, 112), (124, 104, 66), AUTUMN[:3] + STRAW, STRAW
    ),
}


@dataclass(frozen=True)
class Scene:
    """One station's view: by day (RGB), how brightly the infrared flash lights it (L), grass to stand behind."""

    day: Image.Image
    reach: Image.Image
    front: Image.Image
    tufts: Sequence[Image.Image]


class _Easel:
    """Paints a scene twice at once, twice too large: its colours, and how brightly the flash lights them."""

    def __init__(self, place: Place, rng: Rng) -> None:
        self.rng = rng
        row = np.arange(0, HEIGHT, 0.5)[:, None]
        up, down = np.clip(row / HORIZON, 0, 1), np.clip(row / HORIZON - 1, 0, 1) ** 0.8
        sky = np.array(place.sky) * (1 - up) + np.array(place.low) * up
        ground = np.array(place.far) * (1 - down) + np.array(place.near) * down
        day = np.where(row < HORIZON, sky, ground).astype(np.uint8)[:, None]
        reach = np.where(row < HORIZON, 10, 60 + 175 * down).astype(np.uint8)
        self.day = Image.fromarray(day.repeat(2 * WIDTH, axis=1))
        self.reach = Image.fromarray(reach.repeat(2 * WIDTH, axis=1))
        self._day_pen, self._reach_pen = ImageDraw.Draw(self.day), ImageDraw.Draw(self.reach)

    def fill(self, shape: Points, colour: Colour, reach: float) -> None:
        """A filled shape in photo pixels."""
        flat = (2 * shape).ravel().tolist()
        self._day_pen.polygon(flat, fill=colour)
        self._reach_pen.polygon(flat, fill=int(reach))

    def any_of(self, colours: Sequence[Colour]) -> Colour:
        """One of ``colours``."""
        return colours[int(self.rng.integers(len(colours)))]

    def ridge(self, height: float, colour: Colour, reach: int, *, bumps: int, rough: float) -> None:
        """A hill or a tree line that stands on the horizon."""
        x = np.linspace(-20, WIDTH + 20, bumps)
        edge = smooth(
            np.column_stack([x, HORIZON + 5 - height * (1 + rough * self.rng.uniform(-1, 1, bumps))])
        )
        self.fill(np.vstack([edge, [(WIDTH + 20, HORIZON + 5), (-20, HORIZON + 5)]]), colour, reach)

    def leaves(self, at: tuple[float, float], spread: float, colours: Sequence[Colour], reach: float) -> None:
        """A clump of foliage: dark leaves first, light ones on top and towards the light."""
        for share in np.linspace(0, 1, int(spread / 2.6)):
            dx, dy = np.clip(self.rng.normal(size=2), -1.5, 1.5) * (0.5, 0.33) - (0, 0.25 * share)
            lit = mix(mix(self.any_of(colours), (38, 40, 28), 0.5), (255, 236, 170), 0.5 * share)
            size = spread * self.rng.uniform(0.06, 0.13)
            leaf = blob(at[0] + spread * dx, at[1] + spread * dy, size, self.rng, rough=0.35)
            self.fill(leaf, mix(lit, self.any_of(colours), 0.5), reach)

    def trunk(self, x: float, foot: float, width: float, colour: Colour, reach: float) -> None:
        """A tree trunk from above the frame down to ``foot``, lit from the left, with some bark."""
        lean = self.rng.normal() * 0.4
        spine = np.array(
            [(lean, -40, 0.36), (0.3 * lean, 0.5 * foot, 0.42), (0, 0.93 * foot, 0.5), (0, foot, 0.72)]
        )
        for shift, share, tint, strength in (
            (0, 1, BLACK, 0),
            (-0.22, 0.3, (255, 236, 200), 0.16),
            (0.26, 0.28, BLACK, 0.22),
        ):
            side = limb(spine * (width, 1, share * width) + (x + shift * width, 0, 0))
            side[:, 1] = np.minimum(side[:, 1], foot + 0.2 * (side[:, 1] - foot))
            self.fill(side, mix(colour, tint, strength), reach * (0.8 if shift > 0 else 1))
        for _ in range(int(width) if width > 30 else 0):
            a, b = x + self.rng.uniform(-0.38, 0.38) * width, self.rng.uniform(0, 0.96 * foot)
            crack = [(a, b, 0.8), (a + self.rng.normal() * 3, b + self.rng.uniform(14, 46), 1.6)]
            self.fill(limb(crack), mix(colour, BLACK, 0.4), 0.7 * reach)

    def litter(self, colours: Sequence[Colour], *, blades: bool) -> None:
        """Leaves or grass blades on the ground, small far away and large near the camera."""
        for depth in np.sort(self.rng.uniform(0, 1, 5200) ** 1.3):
            x, y, size = self.rng.uniform(0, WIDTH), HORIZON + 4 + depth * (HEIGHT - HORIZON), 1.2 + 8 * depth
            tone = self.rng.uniform(-0.35, 0.25)
            colour = mix(self.any_of(colours), BLACK if tone < 0 else (255, 240, 200), abs(tone))
            if blades:
                tip = (2 * x + self.rng.normal() * size, 2 * y - 5.2 * size)
                self._day_pen.line([(2 * x, 2 * y), tip], fill=colour, width=1 + int(2.2 * depth))
            else:
                leaf = [2 * (x - size), 2 * y - 0.8 * size, 2 * x + 1.2 * size, 2 * y + 0.6 * size]
                self._day_pen.ellipse(leaf, fill=colour)

    def finish(self) -> tuple[Image.Image, Image.Image]:
        """Both pictures at photo size, with soft patches of light and shade over the colours."""
        coarse = Image.fromarray(self.rng.integers(104, 152, (9, 12), dtype=np.uint8))
        patches = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), dtype=np.float32)[
            ..., None
        ]
        day = np.asarray(self.day.reduce(2), dtype=np.float32) * (patches / 512 + 0.76)
        return Image.fromarray(np.clip(day, 0, 255).astype(np.uint8)), self.reach.reduce(2)


def _creek(easel: _Easel) -> None:
    """Running water across the view, with stones on its banks."""
    rng, water = easel.rng, (122, 146, 150)
    x = np.linspace(-40, WIDTH + 40, 9)
    bank = HORIZON + 62 + 0.03 * (x - 640) + rng.normal(size=9) * 5
    upper = smooth(np.column_stack([x, bank]))
    lower = smooth(np.column_stack([x, bank + 74 + 26 * np.sin(x / 260) + rng.normal(size=9) * 4]))
    easel.fill(np.vstack([upper - (0, 7), lower[::-1] - (0, -7)]), (96, 88, 60), 120)
    easel.fill(np.vstack([upper, lower[::-1]]), water, 60)
    for _ in range(150):
        share, at, length = rng.uniform(0.04, 0.96), int(rng.integers(len(upper))), rng.uniform(14, 70)
        a, b = upper[at] * (1 - share) + lower[at] * share
        tone = mix(water, (228, 236, 232) if rng.uniform() < 0.6 else (62, 84, 84), rng.uniform(0.2, 0.7))
        easel.fill(limb([(a - length, b, 0.5), (a, b + rng.normal(), 1.5), (a + length, b, 0.5)]), tone, 50)
    for _ in range(46):
        edge, size = (upper if rng.uniform() < 0.35 else lower), rng.uniform(5, 20)
        a, b = edge[int(rng.integers(len(edge)))] + rng.normal(size=2) * (6, 7)
        grey = mix((136, 132, 120), (86, 82, 74), rng.uniform())
        easel.fill(blob(a, b + 0.2 * size, size, rng, squash=0.6), mix(grey, BLACK, 0.4), 120)
        easel.fill(blob(a, b, size * 0.92, rng, squash=0.55), grey, 150)


def _feeder(easel: _Easel) -> None:
    """A barrel on three legs, with corn below it."""
    rng = easel.rng
    at = np.array([250.0 if rng.uniform() < 0.5 else WIDTH - 250.0, 668.0])
    for foot in (-78, 10, 84):
        leg = [(at[0] + 0.35 * foot, 400, 5), (at[0] + foot, at[1] - (18 if foot == 10 else 0), 6)]
        easel.fill(limb(leg), (92, 96, 92), 190)
    barrel = table("-58 -418, 58 -418, 58 -258, 26 -220, -26 -220, -58 -258")
    easel.fill(at + barrel, (74, 92, 74), 205)
    easel.fill(at + barrel * (0.28, 1) - (30, 0), (106, 124, 100), 220)
    for y in (-412, -368, -312, -260):
        easel.fill(at + table("-60 0, 60 0, 60 7, -60 7") + (0, y), (52, 66, 54), 170)
    easel.fill(at + limb(table("-70 -422 8, 0 -430 12, 70 -422 8")), (58, 72, 60), 180)
    easel.fill(at + table("-16 -220, 16 -220, 12 -194, -12 -194"), (60, 60, 58), 180)
    for x, y in at + (0, 14) + rng.normal(size=(150, 2)) * (120, 20):
        easel.fill(blob(x, y, 2.6, rng, squash=0.7), (226, 180, 74), 240)


def _fence(easel: _Easel) -> None:
    """A lone tree, and old posts with two wires."""
    rng = easel.rng
    x, y = rng.uniform(160, 1120), HORIZON + 26
    easel.fill(limb([(x, y - 120, 7), (x + 3, y - 50, 10), (x, y, 14)]), BARK, 40)
    for dx, dy in rng.normal(size=(9, 2)) * (60, 34):
        easel.leaves((x + dx, y - 150 + dy), 115, GREEN[:3], 34)
    posts = np.linspace(-30, WIDTH + 30, 9) + rng.normal(size=9) * 8
    tops = np.column_stack([posts, HORIZON + 8 + 0.012 * posts, np.full(9, 0.9)])
    for drop in (10, 30):
        easel.fill(limb(tops + np.array([0, drop, 0])), (94, 88, 76), 90)
    for a, b, _ in tops:
        post = limb([(a + rng.normal() * 3, b, 4.2), (a, b + 58, 5)])
        easel.fill(post, mix((112, 98, 78), (70, 60, 48), rng.uniform()), 120)


def _forest(easel: _Easel, place: Place) -> None:
    """Trunks in three depths of haze, each with its leaves."""
    rng, haze = easel.rng, mix(place.low, place.far, 0.3)
    for depth, count in ((0.12, 22), (0.35, 12), (0.62, 6)):
        for x in rng.uniform(-20, WIDTH + 20, count):
            foot = HORIZON + 4 + 130 * depth**1.6 + rng.uniform(0, 10)
            easel.trunk(x, foot, 12 + 52 * depth, mix(haze, BARK, 0.2 + depth), 30 + 150 * depth)
        tones = [mix(haze, colour, 0.35 + depth) for colour in place.growth]
        for x in rng.uniform(-40, WIDTH + 40, 12):
            easel.leaves((x, rng.uniform(-10, 170) * (1.2 - depth)), 110, tones, 14 + 40 * depth)


def _grass(
    size: tuple[int, int], tufts: Sequence[tuple[float, float]], place: Place, rng: Rng, *, foot: float
) -> Image.Image:
    """Grass on a clear sheet of ``size``: a tuft for each (x, height), growing from ``foot`` (pixels)."""
    sheet = Image.new("RGBA", (2 * size[0], 2 * size[1]), (*mix(place.grass[0], BLACK, 0.4), 0))
    pen = ImageDraw.Draw(sheet)
    for x, height in tufts:
        for _ in range(16):
            tall, bend, root = (
                height * rng.uniform(0.45, 1.0),
                rng.normal() * 0.35,
                rng.normal() * 0.3 * height,
            )
            y = foot - rng.uniform(0, 0.14) * height
            blade = np.array([(0, 0, 0.024), (0.3 * bend, -0.55, 0.021), (bend, -1, 0.003)]) * tall + (
                x + root,
                y,
                0.3,
            )
            tone = mix(place.grass[int(rng.integers(len(place.grass)))], BLACK, rng.uniform(0.05, 0.45))
            pen.polygon((2 * limb(blade, steps=4)).ravel().tolist(), fill=(*tone, 255))
    return sheet.reduce(2)


def draw_scene(kind: str, rng: Rng) -> Scene:
    """The view of one station; ``kind`` is one of ``PLACES``, ``rng`` makes two of a kind differ."""
    place = PLACES[kind]
    easel, low = _Easel(place, rng), place.low
    if kind == "Meadow":
        easel.ridge(120, mix(low, (110, 140, 150), 0.45), 12, bumps=9, rough=0.5)
        easel.ridge(64, mix(low, (96, 122, 104), 0.65), 16, bumps=14, rough=0.5)
        easel.ridge(34, (92, 108, 72), 26, bumps=70, rough=0.5)
    elif kind == "Feeder":
        easel.ridge(150, mix(low, (140, 130, 96), 0.45), 14, bumps=46, rough=0.16)
        easel.ridge(92, mix(low, (124, 100, 60), 0.85), 24, bumps=90, rough=0.2)
    else:
        easel.ridge(200, mix(low, place.far, 0.35), 12, bumps=44, rough=0.14)
        _forest(easel, place)
    easel.litter([mix(colour, place.far, 0.3) for colour in place.growth], blades=kind != "Woods")
    {"Creek": _creek, "Feeder": _feeder, "Meadow": _fence}.get(kind, lambda _: None)(easel)
    if kind in ("Woods", "Feeder"):  # a great tree close to the camera
        side = rng.choice([-1.0, 1.0])
        easel.trunk(WIDTH / 2 + side * 560, 800, 120, mix(BARK, BLACK, 0.4), 250)
        for x, y in zip(rng.uniform(330, 640, 5), rng.uniform(-20, 90, 5), strict=True):
            easel.leaves((WIDTH / 2 + side * x, y), 155, place.growth, 120)
    day, reach = easel.finish()
    low_grass = [(x, rng.uniform(34, 92)) for x in rng.uniform(0, WIDTH, 36)]
    corners = [
        (x + edge, rng.uniform(110, 210)) for edge in (0, WIDTH - 150) for x in rng.uniform(-20, 170, 6)
    ]
    front = _grass((WIDTH, 280), low_grass + corners, place, rng, foot=280 - STRIP + 20)
    tufts = [_grass((150, 80), [(75, rng.uniform(34, 66))], place, rng, foot=78) for _ in range(4)]
    return Scene(day, reach, front, tufts)


# -- photos ---------------------------------------------------------------------------------------------------


def draw_photo(
    scene: Scene,
    animals: Sequence[tuple[Looks, Pose]],
    *,
    when: datetime,
    station: str,
    celsius: int,
    rng: Rng,
) -> tuple[Image.Image, list[Box]]:
    """One photo (RGB, ``WIDTH`` × ``HEIGHT``) and the exact box of each animal, in the order given.

    An animal must be at least partly inside the frame. Those that stand farther away are drawn first.
    """
    night = is_night(when)
    frame, reach = scene.day.copy(), scene.reach.copy()
    boxes: dict[int, Box] = {}
    eyes = []
    for index in sorted(range(len(animals)), key=lambda i: animals[i][1].y):
        who, pose = animals[index]
        unit = pose.scale * who.size
        shadow = _shadow().resize((int(1.75 * unit), int(0.34 * unit)))
        frame.paste((34, 28, 20), (int(pose.x - 0.875 * unit), int(pose.y - 0.20 * unit)), shadow)
        sprite = draw_animal(who, pose, night=night)
        frame.paste(sprite.picture, sprite.corner, sprite.mask)
        reach.paste(int(np.clip(120 + 0.38 * pose.scale, 150, 250)), sprite.corner, sprite.mask)
        for dx in (-0.42, 0.36, rng.uniform(-0.3, 0.3)):
            wide = int(0.34 * pose.scale * rng.uniform(0.7, 1.2))
            tuft = scene.tufts[int(rng.integers(len(scene.tufts)))].resize((wide, wide * 8 // 15))
            at = (int(pose.x + dx * unit - wide / 2), int(pose.y + 0.045 * pose.scale) - tuft.height)
            frame.paste(tuft, at, tuft)
        boxes[index] = _box(sprite)
        eyes.append((sprite.eye, unit))
    frame.paste(scene.front, (0, HEIGHT - scene.front.height), scene.front)
    frame = _infrared(frame, reach, eyes, rng) if night else _daylight(frame, when)
    _strip(frame, when, station, celsius)
    return frame, [boxes[index] for index in range(len(animals))]


def is_night(when: datetime) -> bool:
    """Whether the camera uses its infrared flash."""
    return not DAWN <= when.hour + when.minute / 60 < DUSK


def _box(sprite: Sprite) -> Box:
    """The part of the frame that an animal covers, above the information strip."""
    view = Image.new("L", (WIDTH, HEIGHT - STRIP))
    view.paste(sprite.mask.point([0] * 96 + [255] * 160), sprite.corner)
    x0, y0, x1, y1 = view.getbbox() or (0, 0, 0, 0)
    return Box(*(round(v, 4) for v in (x0 / WIDTH, y0 / HEIGHT, (x1 - x0) / WIDTH, (y1 - y0) / HEIGHT)))


def _daylight(frame: Image.Image, when: datetime) -> Image.Image:
    """The light of the hour: warm and low at both ends of the day."""
    hour = when.hour + when.minute / 60
    low = float(np.clip(1 - min(hour - DAWN, DUSK - hour) / 2.6, 0, 1))
    gains = (1.03 - 0.10 * low, 1.02 - 0.21 * low, 1.0 - 0.33 * low)
    return frame.point([min(255, int(value * gain)) for gain in gains for value in range(256)])


def _infrared(
    frame: Image.Image, reach: Image.Image, eyes: Sequence[tuple[tuple[float, float], float]], rng: Rng
) -> Image.Image:
    """The same view by infrared flash: grey, lit from the camera, grainy, with shining eyes."""
    grey = ImageChops.multiply(ImageChops.multiply(frame.convert("L"), reach), _vignette())
    grey = grey.point([min(255, int(285 * (value / 255) ** 0.80)) for value in range(256)])
    left, top = (int(v) for v in rng.integers(0, 256, 2))
    grey = ImageChops.add(grey, _grain().crop((left, top, left + WIDTH, top + HEIGHT)), offset=-128)
    for (x, y), unit in eyes:
        size = max(24, int(0.22 * unit))
        grey.paste(255, (int(x - size / 2), int(y - size / 2)), _shine().resize((size, size)))
    return grey.convert("RGB")


def _strip(frame: Image.Image, when: datetime, station: str, celsius: int) -> None:
    """The information strip that trail cameras print; this one says first that the picture is drawn."""
    pen, middle, white = ImageDraw.Draw(frame), HEIGHT - STRIP // 2, (240, 240, 236)
    pen.rectangle([0, HEIGHT - STRIP, WIDTH, HEIGHT], fill=(14, 14, 14))
    pen.rounded_rectangle([16, HEIGHT - STRIP + 10, 222, HEIGHT - 10], 7, fill=(232, 172, 48))
    pen.text((119, middle), "DRAWN SAMPLE", font=_font(24), fill=(20, 18, 14), anchor="mm")
    pen.text((250, middle), station, font=_font(26), fill=white, anchor="lm")
    degrees = f"{celsius}°C  {round(celsius * 1.8 + 32)}°F"
    pen.text((800, middle), degrees, font=_font(26), fill=white, anchor="mm")
    pen.text((WIDTH - 22, middle), f"{when:%Y-%m-%d   %H:%M:%S}", font=_font(26), fill=white, anchor="rm")


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


@cache
def _shadow() -> Image.Image:
    """A soft patch of shade on the ground (L)."""
    soft = Image.new("L", (320, 96))
    ImageDraw.Draw(soft).ellipse([40, 24, 280, 72], fill=150)
    return soft.filter(ImageFilter.GaussianBlur(14))


@cache
def _vignette() -> Image.Image:
    """How the flash falls off from the middle of the view to its corners (L)."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    away = np.hypot((x - WIDTH / 2) / (0.62 * WIDTH), (y - 0.60 * HEIGHT) / (0.72 * HEIGHT))
    return Image.fromarray((255 * np.clip(1.12 - 0.62 * away**1.8, 0.12, 1.0)).astype(np.uint8))


@cache
def _grain() -> Image.Image:
    """Sensor noise around 128 (L), larger than a photo, so that each photo cuts its own piece."""
    noise = np.random.default_rng(3).normal(128, 9, (HEIGHT + 256, WIDTH + 256))
    return Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8))


@cache
def _shine() -> Image.Image:
    """The glow of an eye in the flash (L)."""
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    glow = np.exp(-(x**2 + y**2) / 0.026) + 0.35 * np.exp(-(x**2 + y**2) / 0.18)
    return Image.fromarray((255 * np.clip(glow - 0.003, 0, 1)).astype(np.uint8))
