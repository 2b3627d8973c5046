"""What the animals of the sample herd look like: coats, flank patterns, scars and antlers from a seed."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np

from deertrack.vision.herd_drawing import (
    BLACK,
    PALE,
    Colour,
    Flank,
    Looks,
    Points,
    Rng,
    blob,
    limb,
    mix,
    smooth,
)

KINDS: tuple[Literal["buck", "doe", "fawn"], ...] = ("buck", "doe", "fawn")
COATS: Sequence[Colour] = (
    (158, 92, 50),  # russet
    (124, 116, 108),  # grey
    (206, 172, 124),  # sand
    (92, 66, 48),  # umber
    (188, 130, 76),  # tawny
    (84, 82, 88),  # slate
    (128, 64, 40),  # chestnut
)


def make_looks(kind: Literal["buck", "doe", "fawn"], number: int, rng: Rng) -> Looks:
    """Lasting looks. Neighbours in ``number`` differ in both coat and pattern, and no two of 42 share the pair."""
    coat = mix(COATS[number % len(COATS)], PALE if rng.uniform() < 0.5 else BLACK, rng.uniform(0, 0.10))
    pattern = _spots if kind == "fawn" else PATTERNS[number % len(PATTERNS)]
    size, leg, neck = {"buck": (1.10, 1.0, 1.14), "doe": (1.0, 1.0, 0.92), "fawn": (0.64, 1.12, 0.86)}[kind]
    flanks: tuple[Flank, Flank] = ("left", "right")
    rack = _antlers(rng) if kind == "buck" else {"left": [], "right": []}
    return Looks(
        kind=kind,
        coat=coat,
        size=size * rng.uniform(0.93, 1.07),
        girth=rng.uniform(0.92, 1.12),
        leg=leg * rng.uniform(0.95, 1.06),
        neck=neck,
        tail=rng.uniform(0.14, 0.24),
        face=("plain", "blaze", "mask")[int(rng.integers(3))],
        marks={flank: [*pattern(coat, rng), *_scars(rng)] for flank in flanks},
        antlers=rack,
        notches={flank: rng.uniform(0.35, 0.8) if rng.uniform() < 0.35 else None for flank in flanks},
    )


BEAM = np.array(
    [(0, 0, 0.02), (-0.06, 0.12, 0.023), (-0.08, 0.25, 0.02), (0, 0.37, 0.016), (0.1, 0.42, 0.005)]
)


def _antlers(rng: Rng) -> dict[Flank, list[Points]]:
    """Two antlers of one plan: a beam and its tines as limbs; now and then a tine is broken off on one side."""
    tall, sweep, points = rng.uniform(0.75, 1.25), rng.uniform(0.6, 1.3), int(rng.integers(2, 6))
    sides: dict[Flank, list[Points]] = {"left": [], "right": []}
    for spines in sides.values():
        beam = BEAM * tall * np.array([sweep, 1, 1]) * rng.uniform(0.95, 1.05, 3)
        spines.append(beam)
        curve = smooth(beam)
        for share in np.linspace(0.16, 0.78, points):
            x, y, radius = curve[int(share * (len(curve) - 1))]
            long = tall * rng.uniform(0.11, 0.20) * (0.4 if rng.uniform() < 0.15 else 1.0)
            tip = (x + 0.15 * long, y + long, 0.003)
            middle = (x + 0.22 * long, y + 0.5 * long, 0.6 * radius)
            spines.append(np.array([(x, y, 0.8 * radius), middle, tip]))
    return sides


Marks = list[tuple[Points, Colour]]


def _spots(coat: Colour, rng: Rng) -> Marks:
    """Pale spots in uneven rows along the body."""
    size, marks = rng.uniform(0.013, 0.022), []
    for y in np.arange(0.86, 0.60, -rng.uniform(0.055, 0.085)):
        for x in np.arange(-0.47 + rng.uniform(0, 0.06), 0.36, rng.uniform(0.07, 0.12)):
            at = (x, y) + rng.normal(size=2) * 0.013
            if rng.uniform() < 0.82:
                marks.append((blob(at[0], at[1], size * rng.uniform(0.7, 1.3), rng), mix(coat, PALE, 0.9)))
    return marks


def _blotches(_coat: Colour, rng: Rng) -> Marks:
    """A few large white patches of any shape."""
    spots = rng.uniform((-0.45, 0.58, 0.05), (0.36, 0.90, 0.16), (int(rng.integers(3, 7)), 3))
    return [(blob(x, y, size, rng, rough=0.45, squash=0.8), PALE) for x, y, size in spots]


def _stripes(_coat: Colour, rng: Rng) -> Marks:
    """Thin pale stripes down from the back."""
    marks = []
    for x in np.linspace(-0.40, 0.30, int(rng.integers(5, 11))) + rng.normal() * 0.03:
        low, lean = rng.uniform(0.54, 0.72), rng.normal() * 0.05
        middle = (x + lean, 0.5 * (0.95 + low), 0.013)
        line = [(x, 0.95, 0.012), middle, (x + rng.normal() * 0.04, low, 0.004)]
        marks.append((limb(line), PALE))
    return marks


def _dapples(coat: Colour, rng: Rng) -> Marks:
    """Dark dapples, or pale ones on a dark coat."""
    ink = _ink(coat)
    spots = rng.uniform((-0.46, 0.58, 0.025), (0.36, 0.90, 0.055), (int(rng.integers(10, 20)), 3))
    return [(blob(x, y, size, rng, rough=0.35), ink) for x, y, size in spots]


def _saddle(coat: Colour, rng: Rng) -> Marks:
    """One ragged cloth over the back, with flecks below it."""
    left, right = rng.uniform(-0.42, -0.2), rng.uniform(0.05, 0.34)
    x = np.linspace(right, left, 6)
    edge = np.column_stack([x, rng.uniform(0.60, 0.80, 6)])
    cloth = np.vstack([[(left, 0.98), (right, 0.98)], smooth(edge)])
    flecks = rng.uniform((-0.4, 0.56, 0.008), (0.34, 0.7, 0.018), (7, 3))
    return [(cloth, _ink(coat)), *((blob(a, b, size, rng), PALE) for a, b, size in flecks)]


def _rings(coat: Colour, rng: Rng) -> Marks:
    """Rosettes: dark rings about a paler middle."""
    marks: Marks = []
    for x in np.arange(-0.44, 0.34, rng.uniform(0.12, 0.17)):
        for y in (0.84, 0.70, 0.58)[: int(rng.integers(1, 4))]:
            a, b = (x, y) + rng.normal(size=2) * 0.02
            size = rng.uniform(0.035, 0.062)
            marks.append((blob(a, b, size, rng), _ink(coat)))
            marks.append((blob(a, b, 0.55 * size, rng), mix(coat, PALE, 0.45)))
    return marks


Pattern = Callable[[Colour, Rng], Marks]
PATTERNS: Sequence[Pattern] = (_blotches, _stripes, _dapples, _spots, _saddle, _rings)


def _ink(coat: Colour) -> Colour:
    """A colour that stands out on ``coat``: much darker, or much lighter where it is dark already."""
    return mix(coat, BLACK, 0.62) if sum(coat) > 300 else mix(coat, PALE, 0.55)


def _scars(rng: Rng) -> Iterator[tuple[Points, Colour]]:
    """None to two old scars on a flank."""
    for _ in range(int(rng.integers(3))):
        x, y, lean = rng.uniform(-0.4, 0.3), rng.uniform(0.6, 0.85), rng.uniform(-0.07, 0.07)
        line = [(x, y, 0.003), (x + lean, y - 0.04, 0.009), (x + 2 * lean, y - 0.09, 0.002)]
        yield limb(line), (214, 172, 160)
