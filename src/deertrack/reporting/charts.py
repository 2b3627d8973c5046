"""Small charts as plain SVG. Colours come from the page's style sheet; a script of the page shows ``data-tip``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 22, 12, 40


@dataclass(frozen=True, slots=True)
class Axis:
    """A range of values, its ticks, and what it says. ``scale`` bends values (e.g. a logarithm) before placing."""

    low: float
    high: float
    ticks: Sequence[float]
    title: str
    label: Callable[[float], str] = "{:g}".format
    scale: Callable[[float], float] = float

    def place(self, value: float) -> float:
        """Where a value lies between low and high, in [0, 1]."""
        low, high = self.scale(self.low), self.scale(self.high)
        return min(max((self.scale(value) - low) / ((high - low) or 1.0), 0.0), 1.0)


@dataclass(frozen=True, slots=True)
class Chart:
    """A frame of ``width`` × ``height`` units with two axes, to be filled with marks."""

    x: Axis
    y: Axis
    width: int = 560
    height: int = 300

    def px(self, value: float) -> float:
        """Horizontal place of a value."""
        return round(_LEFT + self.x.place(value) * (self.width - _LEFT - _RIGHT), 2)

    def py(self, value: float) -> float:
        """Vertical place of a value."""
        return round(self.height - _BOTTOM - self.y.place(value) * (self.height - _TOP - _BOTTOM), 2)

    def steps(self, edges: Sequence[float], values: Sequence[float], css: str) -> str:
        """A histogram's outline, filled down to the axis."""
        points = [f"{self.px(edges[0])},{self.py(0)}"]
        for left, right, value in zip(edges[:-1], edges[1:], values, strict=True):
            points += [f"{self.px(left)},{self.py(value)}", f"{self.px(right)},{self.py(value)}"]
        points.append(f"{self.px(edges[-1])},{self.py(0)}")
        return f'<polygon class="{css}" points="{" ".join(points)}"/>'

    def line(self, points: Sequence[tuple[float, float]], css: str) -> str:
        """A line through points (x, y)."""
        path = " ".join(f"{self.px(x)},{self.py(y)}" for x, y in points)
        return f'<polyline class="{css}" points="{path}"/>'

    def dot(self, x: float, y: float, css: str, *, radius: float = 4) -> str:
        """A dot at (x, y)."""
        return f'<circle class="{css}" cx="{self.px(x)}" cy="{self.py(y)}" r="{radius}"/>'

    def bar(self, left: float, right: float, low: float, high: float, *, fill: str, tip: str) -> str:
        """A bar from ``low`` up to ``high``; browsers show ``tip`` to whoever points at it."""
        start, end, top = self.px(left), self.px(right), self.py(high)
        return (
            f'<rect fill="{fill}" x="{start}" y="{top}" width="{max(end - start, 1):.2f}" '
            f'height="{self.py(low) - top:.2f}"><title>{escape(tip)}</title></rect>'
        )

    def whisker(self, x: float, low: float, high: float, stroke: str, tip: str) -> str:
        """An interval at x."""
        at, bottom, top = self.px(x), self.py(low), self.py(high)
        return (
            f'<line stroke="{stroke}" stroke-width="2" x1="{at}" x2="{at}" y1="{bottom}" y2="{top}">'
            f"<title>{escape(tip)}</title></line>"
        )

    def upright(self, x: float, text: str) -> str:
        """A dashed line up from x, with a word at its top."""
        at, left = self.px(x), self.x.place(x) > 0.8
        anchor, shift = ("end", -5) if left else ("start", 5)
        return (
            f'<line class="mark" x1="{at}" x2="{at}" y1="{_TOP}" y2="{self.py(self.y.low)}"/>'
            f'<text class="note" x="{at + shift}" y="{_TOP + 9}" text-anchor="{anchor}">{escape(text)}</text>'
        )

    def strip(self, left: float, right: float, tip: str) -> str:
        """An unseen strip that tells something to whoever points at it."""
        start, end = sorted((self.px(left), self.px(right)))
        height = self.height - _TOP - _BOTTOM
        return (
            f'<rect class="tip" x="{start}" y="{_TOP}" width="{max(end - start, 0.5):.2f}" height="{height}" '
            f'data-tip="{escape(tip)}"/>'
        )

    def draw(self, *marks: str, title: str) -> Markup:
        """The finished picture; ``title`` says to those who cannot see it what it shows."""
        ground = self.py(self.y.low)
        frame = []
        for tick in self.x.ticks:
            at = self.px(tick)
            frame.append(f'<line class="grid" x1="{at}" x2="{at}" y1="{_TOP}" y2="{ground}"/>')
            frame.append(f'<text x="{at}" y="{ground + 16}" text-anchor="middle">{self.x.label(tick)}</text>')
        for tick in self.y.ticks:
            at = self.py(tick)
            frame.append(
                f'<line class="grid" x1="{_LEFT}" x2="{self.width - _RIGHT}" y1="{at}" y2="{at}"/>'
                f'<text x="{_LEFT - 7}" y="{at + 4}" text-anchor="end">{self.y.label(tick)}</text>'
            )
        middle, half_up = (_LEFT + self.width - _RIGHT) / 2, (_TOP + ground) / 2
        frame.append(
            f'<g class="axis" text-anchor="middle"><text x="{middle}" y="{self.height - 5}">{escape(self.x.title)}'
            f'</text><text transform="translate(12 {half_up}) rotate(-90)">{escape(self.y.title)}</text></g>'
        )
        # Every number above is ours and every word escaped.
        return Markup(  # noqa: S704
            f'<svg viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{escape(title)}">'
            f"{''.join(frame)}{''.join(marks)}</svg>"
        )


def interval_bar(value: float, low: float | None, high: float | None) -> Markup:
    """A difference and its interval about nought, to scale within its own row."""
    if low is None or high is None:
        return Markup("")
    reach = max(abs(low), abs(high), abs(value)) * 1.1 or 1.0

    def place(number: float) -> float:
        return round(80 + 76 * number / reach, 2)

    css = "up" if low > 0 else "down" if high < 0 else "unsure"
    return Markup(  # noqa: S704 (numbers only)
        '<svg class="interval" viewBox="0 0 160 18" aria-hidden="true">'
        '<line class="mark" x1="80" x2="80" y1="0" y2="18"/>'
        f'<line class="{css}" x1="{place(low)}" x2="{place(high)}" y1="9" y2="9"/>'
        f'<circle class="{css}" cx="{place(value)}" cy="9" r="4"/></svg>'
    )


def heat_map(
    rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]], title: str
) -> Markup:
    """Numbers as shades of one colour.

    Args:
        rows, columns: names; those of columns may be empty where a name would be too much.
        values: (rows, columns), not negative; the largest gets the full colour, nought none.
    """
    width, cell, left = 420, 18, 108
    step = (width - left) / (len(columns) or 1)
    most = max((value for row in values for value in row), default=0) or 1
    marks = [
        f'<text x="{left + (i + 0.5) * step:.1f}" y="11" text-anchor="middle">{escape(name)}</text>'
        for i, name in enumerate(columns)
        if name
    ]
    for j, (name, row) in enumerate(zip(rows, values, strict=True)):
        y = 17 + j * cell
        short = name if len(name) <= 15 else f"{name[:14]}…"
        marks.append(f'<text x="{left - 7}" y="{y + 13}" text-anchor="end">{escape(short)}</text>')
        marks += [
            f'<rect class="cell" x="{left + i * step:.1f}" y="{y}" width="{max(step - 1, 0.5):.1f}" '
            f'height="{cell - 1}" fill="var(--leaf)" fill-opacity="{0.12 + 0.88 * value / most:.2f}">'
            f"<title>{escape(name)}: {value:g}</title></rect>"
            for i, value in enumerate(row)
            if value
        ]
        marks.append(
            f'<line class="grid" x1="{left}" x2="{width}" y1="{y + cell - 0.5}" y2="{y + cell - 0.5}"/>'
        )
    # Every number above is ours and every word escaped.
    return Markup(  # noqa: S704
        f'<svg viewBox="0 0 {width} {20 + len(rows) * cell}" role="img" aria-label="{escape(title)}">'
        f"{''.join(marks)}</svg>"
    )


def legend(entries: Sequence[tuple[str, str]]) -> Markup:
    """What the colours of a chart mean: (colour, word) each."""
    marks, x = [], _LEFT
    for fill, word in entries:
        marks.append(
            f'<rect fill="{fill}" x="{x}" y="3" width="11" height="11" rx="2"/>'
            f'<text x="{x + 16}" y="13">{escape(word)}</text>'
        )
        x += 30 + 7 * len(word)
    return Markup(f'<svg viewBox="0 0 420 17" aria-hidden="true">{"".join(marks)}</svg>')  # noqa: S704 (as above)


def nice_ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Round numbers between low and high, about so many."""
    raw = (high - low) / about or 1.0
    power = 10.0 ** _floor_log10(raw)
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first = int(-(-low // step))
    return [round(i * step, 10) for i in range(first, int(high // step + 1e-9) + 1)]


def _floor_log10(value: float) -> int:
    return int(f"{value:e}".split("e")[1])
