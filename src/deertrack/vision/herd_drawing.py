"""The animals of the sample herd: one drawn animal from its lasting looks and a pose.

Everything is drawn with smooth curves, too large, and reduced, so that edges are clean. An animal is described in
body units: x runs from the rump (-0.5) to the chest (0.5), y from the ground (0) up to the withers (about 0.95).
It is drawn facing right, which shows its right flank, and mirrored to show the left one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Points = NDArray[np.float64]
"""Shape (n, 2): x, y. A limb's spine has shape (n, 3): x, y, radius."""
Colour = tuple[int, int, int]
Flank = Literal["left", "right"]
OTHER: Mapping[Flank, Flank] = {"left": "right", "right": "left"}
Rng = np.random.Generator

FINE = 3
"""How many times too large an animal is drawn before it is reduced."""
PALE: Colour = (236, 226, 206)
HORN: Colour = (178, 148, 104)
BLACK: Colour = (24, 20, 18)


# -- curves ---------------------------------------------------------------------------------------------------


def smooth(points: Points, *, closed: bool = False, steps: int = 7) -> Points:
    """A Catmull-Rom curve through ``points`` (shape (n, k)), with ``steps`` samples for each of its pieces."""
    p = np.vstack([points[-1:], points, points[:2]] if closed else [points[:1], points, points[-1:]])
    t = np.linspace(0.0, 1.0, steps, endpoint=False)[None, :, None]
    a, b, c, d = p[:-3, None], p[1:-2, None], p[2:-1, None], p[3:, None]
    curve = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    flat: Points = curve.reshape(-1, p.shape[1])
    return flat if closed else np.vstack([flat, p[-1:]])


def limb(spine: Points | Sequence[tuple[float, float, float]], *, steps: int = 6) -> Points:
    """The outline of a tapering limb along ``spine`` (shape (n, 3)); its far end is rounded."""
    s = smooth(np.asarray(spine, dtype=np.float64), steps=steps)
    centre, radius = s[:, :2], s[:, 2:]
    along = np.gradient(centre, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    side = along[:, ::-1] * (-1.0, 1.0)
    angle = np.linspace(np.pi / 2, -np.pi / 2, 7)[1:-1, None]
    cap = centre[-1] + radius[-1] * (np.cos(angle) * along[-1] + np.sin(angle) * side[-1])
    return np.vstack([centre + side * radius, cap, (centre - side * radius)[::-1]])


def blob(x: float, y: float, radius: float, rng: Rng, *, rough: float = 0.2, squash: float = 1.0) -> Points:
    """A closed irregular round shape about (x, y)."""
    angle = np.linspace(0.0, 2 * np.pi, 9, endpoint=False)
    reach = radius * (1.0 + rough * rng.uniform(-1.0, 1.0, len(angle)))
    corners = np.column_stack([x + reach * np.cos(angle), y + squash * reach * np.sin(angle)])
    return smooth(corners, closed=True)


def turn(points: Points, angle: float) -> Points:
    """``points`` turned counter-clockwise about the origin by ``angle`` radians."""
    c, s = np.cos(angle), np.sin(angle)
    turned: Points = points @ np.array([[c, s], [-s, c]])
    return turned


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """The colour ``share`` of the way from ``a`` to ``b``."""
    red, green, blue = (round(p + (q - p) * share) for p, q in zip(a, b, strict=True))
    return red, green, blue


def table(text: str) -> Points:
    """``x y, x y, …`` (or ``x y radius, …``) as an array."""
    return np.array([[float(number) for number in row.split()] for row in text.split(",")])


# -- animals --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Looks:
    """What never changes about an individual; shapes are in body units, the head's own in head units.

    ``size`` is its body unit against an adult doe's; ``girth``, ``leg`` and ``neck`` are proportions about 1,
    ``tail`` is a length. ``marks`` gives shapes and colours for each flank, ``antlers`` the spines of beam and
    tines for each side, ``notches`` where along each ear a piece is missing (0 at the root, 1 at the tip).
    """

    kind: Literal["buck", "doe", "fawn"]
    coat: Colour
    size: float
    girth: float
    leg: float
    neck: float
    tail: float
    face: Literal["plain", "blaze", "mask"]
    marks: Mapping[Flank, Sequence[tuple[Points, Colour]]]
    antlers: Mapping[Flank, Sequence[Points]]
    notches: Mapping[Flank, float | None]


@dataclass(frozen=True)
class Pose:
    """How an animal stands in one photo.

    ``x, y`` is the point on the ground below its middle and ``scale`` an adult doe's body unit there, in pixels;
    ``head`` runs from 0 (grazing) to 1 (alert); ``stride`` is the phase of its walk in radians, None when it
    stands; ``tilt`` and ``shear`` are small angles in radians.
    """

    flank: Flank
    x: float
    y: float
    scale: float
    head: float
    stride: float | None
    tilt: float = 0.0
    shear: float = 0.0


TORSO = table(
    "-0.53 0.76, -0.50 0.86, -0.40 0.925, -0.22 0.925, 0 0.90, 0.18 0.915, 0.30 0.945, 0.42 0.91, 0.49 0.80, "
    "0.505 0.69, 0.45 0.58, 0.32 0.52, 0.12 0.505, -0.10 0.525, -0.27 0.58, -0.40 0.60, -0.50 0.66"
)
BELLY = table("0.42 0.55, 0.3 0.56, 0.1 0.555, -0.1 0.57, -0.3 0.62, -0.3 0.5, 0.1 0.46, 0.4 0.48")
RUMP = table("-0.62 0.84, -0.52 0.87, -0.455 0.80, -0.45 0.70, -0.50 0.62, -0.60 0.62")
FRONT_LEG = table(
    "0.33 0.70 0.13, 0.345 0.54 0.085, 0.352 0.42 0.052, 0.355 0.28 0.037, 0.35 0.2 0.026, 0.347 0.09 0.023, "
    "0.365 0.03 0.026"
)
HIND_LEG = table(
    "-0.35 0.76 0.17, -0.31 0.58 0.12, -0.375 0.43 0.062, -0.45 0.335 0.041, -0.44 0.22 0.027, -0.425 0.09 0.024, "
    "-0.405 0.03 0.027"
)
HOOF = table("-0.03 0.015, 0.022 0.02, 0.062 -0.03, -0.03 -0.03")
HEAD = table(
    "-0.07 0.02, -0.03 0.075, 0.05 0.092, 0.12 0.082, 0.20 0.05, 0.29 0.03, 0.345 0.022, 0.368 -0.005, "
    "0.36 -0.036, 0.33 -0.056, 0.26 -0.064, 0.17 -0.082, 0.08 -0.108, 0 -0.105, -0.06 -0.06"
)
MUZZLE = table("0.368 0.008, 0.33 0.027, 0.285 0.02, 0.275 -0.02, 0.265 -0.06, 0.33 -0.056, 0.364 -0.03")
NOSE = table("0.33 0.026, 0.358 0.017, 0.37 -0.006, 0.362 -0.024, 0.345 -0.014, 0.335 0.006")
CHIN = table("0.33 -0.05, 0.24 -0.052, 0.12 -0.085, 0.06 -0.108, 0.17 -0.082, 0.26 -0.066")
MASK = table("-0.04 0.05, 0.05 0.088, 0.14 0.072, 0.24 0.038, 0.22 0.02, 0.1 0")
BLAZE = table("0.04 0.09, 0.12 0.08, 0.25 0.038, 0.25 0.02, 0.13 0.05")
EAR = table("0 -0.022, 0.05 -0.05, 0.12 -0.052, 0.19 -0.026, 0.235 0.012, 0.18 0.034, 0.1 0.042, 0.03 0.026")
EAR_INSIDE = table("0.04 -0.02, 0.1 -0.034, 0.17 -0.018, 0.205 0.008, 0.15 0.016, 0.08 0.016")
ALMOND = table("-1 0, 0 1, 1 0, 0 -0.9")
EYE = (0.105, 0.03)
# Soft light (above 128) and shade: behind the shoulder, before the thigh, the belly's edge, the back, the muscles.
SHADES = (
    (92, table("0.20 0.86 0.01, 0.235 0.70 0.018, 0.24 0.56 0.014")),
    (92, table("-0.22 0.84 0.008, -0.175 0.68 0.018, -0.22 0.54 0.016")),
    (88, table("0.45 0.64 0.02, 0.1 0.515 0.03, -0.28 0.565 0.02")),
    (150, table("-0.40 0.905 0.014, -0.1 0.885 0.016, 0.26 0.91 0.014")),
    (143, table("-0.33 0.80 0.05, -0.31 0.66 0.04")),
    (143, table("0.34 0.80 0.035, 0.345 0.62 0.03")),
)
# Where the poll (top of the neck) is and how the head hangs, from grazing to alert.
HEAD_AT, POLL_X, POLL_Y, NOD = (
    (0, 0.25, 0.6, 1),
    (0.86, 0.93, 0.86, 0.72),
    (0.40, 0.72, 1.14, 1.34),
    (-1.12, -0.75, -0.42, -0.16),
)

Layer = Literal["coat", "mark", "head", "flank", "pale", "shade"]
Shapes = list[tuple[Points, Colour | int]]


class _Figure:
    """The strokes of one animal facing right, by layer, back to front, in body units.

    ``coat``, ``mark`` and ``head`` are painted in this order, each stroke in its colour; marks show only inside
    ``flank``. ``pale`` (soft light fur) and ``shade`` carry a strength from 0 to 255.
    """

    def __init__(self, who: Looks, pose: Pose, *, night: bool) -> None:
        self.strokes: dict[Layer, Shapes] = {layer: [] for layer in get_args(Layer)}
        self._who = who
        near, far = pose.flank, OTHER[pose.flank]
        self._poll = np.array(
            [[np.interp(pose.head, HEAD_AT, POLL_X), np.interp(pose.head, HEAD_AT, POLL_Y)]]
        )
        self._nod = float(np.interp(pose.head, HEAD_AT, NOD))
        self.eye: Points = self._head(np.array([EYE]))
        far_coat = mix(who.coat, BLACK, 0.30)
        swing = [
            None if pose.stride is None else pose.stride + np.pi * share for share in (0.0, 1.0, 0.5, 1.5)
        ]

        self._antler("coat", far, (0.045, 0.07), mix(HORN, BLACK, 0.3))
        self._add("coat", self._ear(EAR, far, 1.75, (0.01, 0.05)), far_coat)
        self._legs(swing[2:], far_coat, forward=0.075, raised=0.035)
        near_legs = self._trunk(swing[:2])
        for shape in (self._body(smooth(TORSO, closed=True)), *near_legs):
            self._add("flank", shape, 255)
        for shape, colour in who.marks[near]:
            self._add("mark", self._body(shape), colour)
        for strength, spine in SHADES:
            self._add("shade", self._body(limb(spine)), strength)
        self._face(night=night)
        self._antler("head", near, (-0.005, 0.075), HORN)
        self._add("head", self._ear(EAR, near, 2.45, (-0.03, 0.05)), mix(who.coat, BLACK, 0.12))
        self._add(
            "head", self._ear(EAR_INSIDE, near, 2.45, (-0.03, 0.05)), mix(who.coat, (240, 214, 196), 0.55)
        )

    def _add(self, layer: Layer, shape: Points, colour: Colour | int) -> None:
        self.strokes[layer].append((shape, colour))

    def _body(self, points: Points) -> Points:
        """This individual's proportions: the legs below y = 0.5, the trunk above."""
        x, y = points[:, 0], points[:, 1]
        high = 0.5 * self._who.leg + (y - 0.5) * self._who.girth
        return np.column_stack([x, np.where(y < 0.5, y * self._who.leg, high)])

    def _head(self, points: Points) -> Points:
        """From head units (the poll at the origin, the muzzle to the right) to body units."""
        grown = {"fawn": 1.2, "buck": 1.04, "doe": 1.0}[self._who.kind]
        return turn(points * grown, self._nod) + self._body(self._poll)

    def _legs(
        self, swing: Sequence[float | None], coat: Colour, *, forward: float = 0.0, raised: float = 0.0
    ) -> list[Points]:
        """A hind and a front leg with their hooves; returns the outlines of the legs."""
        shapes = []
        for spine, bend, phase in zip((HIND_LEG, FRONT_LEG), (-0.36, 0.36), swing, strict=True):
            s = spine + np.array([forward, 0.0, 0.0])
            down = np.clip((0.62 - s[:, 1]) / 0.6, 0.0, 1.0)
            s[:, 1] += down * raised
            if phase is not None:
                lift = max(0.0, float(np.sin(phase)))
                s[:, 0] += down * 0.15 * np.cos(phase) + bend * lift * down * (1 - down)
                s[:, 1] += 0.10 * lift * down**2
            shapes.append(self._body(limb(s)))
            self._add("coat", shapes[-1], coat)
            self._add("coat", self._body(HOOF + s[-1, :2]), (38, 32, 30))
        return shapes

    def _trunk(self, swing: Sequence[float | None]) -> list[Points]:
        """Tail, trunk, neck and the near legs, with their pale fur; returns the outlines of the legs."""
        who, (x, y) = self._who, self._poll[0]
        tip = 0.82 - who.tail
        tail = table("-0.45 0.90 0.005, -0.495 0.88 0.03, -0.53 0.82 0.04, -0.54 0 0.038, -0.53 0 0.008")
        tail[3:, 1] = 0.5 * (tip + 0.82), tip
        fringe = self._body(limb(tail + np.array([-0.014, -0.016, 0.008])))
        neck = [(0.20, 0.76, 0.15), (0.36, 0.775, 0.175 * who.neck)]
        neck += [(0.23 + 0.5 * x, 0.41 + 0.48 * y, 0.118 * who.neck), (x - 0.02, y - 0.04, 0.082)]
        throat = [(x + 0.03, y - 0.11, 0.05), (0.5 * x + 0.275, 0.5 * y + 0.33, 0.035)]
        self._add("coat", self._body(smooth(TORSO, closed=True)), who.coat)
        self._add("coat", self._body(limb(neck)), who.coat)
        self._add("pale", self._body(smooth(BELLY, closed=True)), 200)
        self._add("pale", self._body(smooth(RUMP, closed=True)), 225)
        self._add("pale", self._body(limb(throat)), 150)
        legs = self._legs(swing, who.coat)
        self._add("coat", fringe, PALE)
        self._add("coat", self._body(limb(tail)), mix(who.coat, BLACK, 0.45))
        for shape in (*legs, fringe):
            self._add("pale", shape, 0)
        return legs

    def _face(self, *, night: bool) -> None:
        """The head without its ears: muzzle, nose, chin, this individual's face, and the eye."""
        coat = self._who.coat
        patches = [
            (HEAD, coat),
            (MUZZLE, mix(coat, PALE, 0.75)),
            (CHIN, mix(coat, PALE, 0.85)),
            (NOSE, BLACK),
        ]
        if self._who.face == "mask":
            patches.insert(1, (MASK, mix(coat, BLACK, 0.5)))
        elif self._who.face == "blaze":
            patches.insert(1, (BLAZE, PALE))
        for outline, colour in patches:
            self._add("head", self._head(smooth(outline, closed=True, steps=5)), colour)
        almond = smooth(ALMOND, closed=True)
        self._add("head", self.eye + almond * (0.034, 0.024), mix(coat, PALE, 0.5))
        self._add("head", self.eye + almond * (0.020, 0.020), (20, 14, 12))
        if not night:
            self._add("head", self.eye + almond * 0.006 + (0.004, 0.007), (250, 250, 245))

    def _ear(self, outline: Points, side: Flank, angle: float, root: tuple[float, float]) -> Points:
        """An ear, or its inside, held at ``angle``; a notch bites into its upper edge."""
        shape = smooth(outline, closed=True, steps=6)
        notch = self._who.notches[side]
        if notch is not None and outline is EAR:
            away = np.hypot((shape[:, 0] - 0.235 * notch) / 0.030, (shape[:, 1] - 0.04) / 0.045)
            shape[:, 1] -= 0.075 * np.clip(1.0 - away, 0.0, 1.0)
        return self._head(turn(shape, angle) + root)

    def _antler(self, layer: Layer, side: Flank, root: tuple[float, float], colour: Colour) -> None:
        for spine in self._who.antlers[side]:
            self._add(layer, self._head(limb(spine + np.array([*root, 0.0]))), colour)


@dataclass(frozen=True)
class Sprite:
    """One drawn animal: picture (RGB) and silhouette (L) of one size, and where in the photo their upper left
    corner and the eye are (pixels; both may be outside the frame).
    """

    picture: Image.Image
    mask: Image.Image
    corner: tuple[int, int]
    eye: tuple[float, float]


def draw_animal(who: Looks, pose: Pose, *, night: bool = False) -> Sprite:
    """One animal in one pose, by even light; ``night`` leaves out the glint in its eye."""
    figure = _Figure(who, pose, night=night)
    unit = pose.scale * who.size
    mirror = unit if pose.flank == "right" else -unit
    matrix = turn(np.array([[mirror, 0.0], [mirror * pose.shear, -unit]]), pose.tilt)
    place = np.array([pose.x, pose.y])
    drawn = [shape for layer in ("coat", "head") for shape, _ in figure.strokes[layer]]
    corners = np.vstack(drawn) @ matrix + place
    left, top = (int(v) for v in np.floor(corners.min(axis=0)) - 2)
    width, height = (int(v) + 4 for v in corners.max(axis=0) - (left, top))
    half = (width // 2, height // 2)

    def paint(layer: Layer, scale: float, *sheets: Image.Image) -> None:
        pens = [ImageDraw.Draw(sheet) for sheet in sheets]
        for shape, colour in figure.strokes[layer]:
            flat = ((shape @ matrix + place - (left, top)) * scale).ravel().tolist()
            for pen, ink in zip(pens, (colour, 255), strict=False):
                pen.polygon(flat, fill=ink)

    large = (width * FINE, height * FINE)
    skin, outline, flank = Image.new("RGB", large, who.coat), Image.new("L", large), Image.new("L", large)
    pale, shade = Image.new("L", half), Image.new("L", half, 128)
    paint("coat", FINE, skin, outline)
    paint("flank", FINE, flank)
    trunk = flank.getbbox()
    marked = skin.copy()
    paint("mark", FINE, marked)
    skin.paste(marked.crop(trunk), trunk, mask=flank.crop(trunk))
    paint("head", FINE, skin, outline)
    paint("pale", 0.5, pale)
    paint("shade", 0.5, shade)

    mask, picture = outline.reduce(FINE), skin.reduce(FINE)
    soft = pale.filter(ImageFilter.GaussianBlur(0.009 * unit)).resize(picture.size)
    picture.paste(mix(who.coat, PALE, 0.8), mask=soft)
    light = np.asarray(_roundness(mask.resize(half), shade, 0.5 * unit).resize(picture.size), dtype=np.uint16)
    lit = np.asarray(picture, dtype=np.uint16) * (light * _fur(picture.size) >> 7)[..., None] >> 7
    shaded = Image.fromarray(np.minimum(lit, 255).astype(np.uint8))
    eye_x, eye_y = (figure.eye[0] @ matrix + place).tolist()
    return Sprite(shaded, mask, (left, top), (eye_x, eye_y))


def _roundness(mask: Image.Image, shade: Image.Image, unit: float) -> Image.Image:
    """How much light falls on a body, 128 being 1: its edges turn away, its upper side is lit from the sky."""
    body = np.asarray(mask.filter(ImageFilter.GaussianBlur(0.045 * unit)), dtype=np.float32) / 255
    step = max(1, round(0.05 * unit))
    facing_up = np.zeros_like(body)
    facing_up[step:-step] = body[2 * step :] - body[: -2 * step]
    strokes = np.asarray(shade.filter(ImageFilter.GaussianBlur(0.025 * unit)), dtype=np.float32)
    light = 1.0 + 0.20 * facing_up + 0.10 * (body - 0.8) + (strokes - 128) / 200
    return Image.fromarray(np.clip(128 * light, 0, 255).astype(np.uint8))


@cache
def _fur_tile() -> NDArray[np.uint16]:
    """Short streaks of light and dark, about 128 on average, shape (1024, 1024)."""
    grain = np.random.default_rng(5).normal(size=(1024, 1024))
    streaks = np.add.reduce([np.roll(grain, shift, axis=1) for shift in range(5)]) / 5**0.5
    tile: NDArray[np.uint16] = np.clip(128 * (1.0 + 0.035 * streaks), 90, 170).astype(np.uint16)
    return tile


def _fur(size: tuple[int, int]) -> NDArray[np.uint16]:
    """The fur's streaks for a picture of ``size`` (width, height)."""
    width, height = size
    return np.tile(_fur_tile(), (-(-height // 1024), -(-width // 1024)))[:height, :width]
