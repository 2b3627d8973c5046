"""Where and when an individual was, as plain SVG. Colours come from the page's style sheet."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, floor, log10, pi, radians, sqrt

from markupsafe import Markup, escape

_WIDTH, _HEIGHT, _EDGE = 420, 280, 40
_EARTH = 6_371_000.0


@dataclass(frozen=True, slots=True)
class Spot:
    """A place on a map in degrees, and how often something was there."""

    name: str
    latitude: float
    longitude: float
    count: int


def bars(values: Sequence[int], labels: Sequence[str], title: str, *, every: int = 1) -> Markup:
    """One bar for each value; each ``every``-th is labelled, all have a tip."""
    width, height, ground, top = 360, 120, 98, 10
    step, most = width / len(values), max(*values, 1)
    marks = [f'<line class="grid" x1="0" x2="{width}" y1="{ground}" y2="{ground}"/>']
    for i, (value, label) in enumerate(zip(values, labels, strict=True)):
        tall = value / most * (ground - top)
        if value:
            marks.append(
                f'<rect class="bar" x="{i * step + step * 0.12:.2f}" width="{step * 0.76:.2f}" '
                f'y="{ground - tall:.2f}" height="{tall:.2f}" rx="2"><title>{escape(label)}: {value}</title></rect>'
            )
        if i % every == 0:
            marks.append(
                f'<text x="{(i + 0.5) * step:.2f}" y="{height - 6}" text-anchor="middle">{escape(label)}</text>'
            )
    return _svg(width, height, title, marks)


def dots(shares: Sequence[float], title: str) -> Markup:
    """Moments on a line that is as wide as the page lets it be; ``shares`` in [0, 1] say how far along."""
    # Ten thousand moments are a thousand places: what falls together is drawn once, and larger.
    places = Counter(round(share, 3) for share in shares)
    marks = ['<line x1="0" x2="100%" y1="12" y2="12"/>']
    marks += [
        f'<circle class="dot" cx="{100 * at:.1f}%" cy="12" r="{min(4 + sqrt(n - 1), 8):.1f}"/>'
        for at, n in places.items()
    ]
    return Markup(f'<svg role="img" aria-label="{escape(title)}">{"".join(marks)}</svg>')  # noqa: S704


def station_map(spots: Sequence[Spot], title: str) -> Markup:
    """Stations to scale, north up, each as large as its count, with a bar that tells the distance."""
    middle = sum(s.latitude for s in spots) / len(spots)
    # Stations on both sides of the date line are neighbours.
    turned = max(s.longitude for s in spots) - min(s.longitude for s in spots) > 180
    easts = [(s.longitude % 360 if turned else s.longitude) * cos(radians(middle)) for s in spots]
    norths = [s.latitude for s in spots]
    wide, high = max(easts) - min(easts), max(norths) - min(norths)
    # Degrees for each unit of the picture; a station alone has about a kilometre around it.
    unit = max(wide / (_WIDTH - 2 * _EDGE), high / (_HEIGHT - 2 * _EDGE)) or 0.01 / _WIDTH
    most = max(1, *(s.count for s in spots))
    marks = []
    for spot, east, north in sorted(zip(spots, easts, norths, strict=True), key=lambda s: -s[0].count):
        x = _WIDTH / 2 + (east - (max(easts) + min(easts)) / 2) / unit
        y = _HEIGHT / 2 - (north - (max(norths) + min(norths)) / 2) / unit
        radius = 5 + 17 * sqrt(spot.count / most) if spot.count else 3.5
        anchor, shift = ("end", -radius - 4) if x > _WIDTH * 0.7 else ("start", radius + 4)
        tip = f"{spot.name}: {spot.count}"
        marks.append(
            f'<circle class="{"place" if spot.count else "nowhere"}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}">'
            f"<title>{escape(tip)}</title></circle>"
        )
        if spot.count:
            at = f'x="{x + shift:.1f}" y="{y + 4:.1f}" text-anchor="{anchor}"'
            marks.append(f'<text class="note" {at}>{escape(tip)}</text>')
    metres = unit * pi / 180 * _EARTH
    length = _round_down(metres * 100)
    said = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    end = 12 + length / metres
    bottom, right = _HEIGHT - 18, _WIDTH - 16
    marks += [
        f'<path class="scale" d="M12 {bottom}v6h{end - 12:.1f}v-6"/>',
        f'<text x="{end + 6:.1f}" y="{bottom + 7}">{said}</text>',
        f'<path class="scale" d="M{right} 30v-20l-5 7m5-7l5 7"/>',
        f'<text x="{right}" y="44" text-anchor="middle">N</text>',
    ]
    return _svg(_WIDTH, _HEIGHT, title, marks)


def _round_down(value: float) -> float:
    """The largest 1, 2 or 5 times a power of ten that is no larger."""
    power = 10.0 ** floor(log10(value))
    return next(m * power for m in (5.0, 2.0, 1.0) if m * power <= value)


def _svg(width: int, height: int, title: str, marks: Sequence[str]) -> Markup:
    # Every number in the marks is ours and every word escaped.
    return Markup(  # noqa: S704
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">{"".join(marks)}</svg>'
    )
