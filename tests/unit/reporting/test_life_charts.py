"""Charts of one individual: to scale, and safe with any name."""

import re
from math import dist

import pytest

from deertrack.reporting.life_charts import Spot, bars, dots, station_map


def circles(svg: str) -> dict[str, tuple[float, float, float]]:
    """Centre and radius by the tip's name."""
    found = re.findall(r'cx="([\d.]+)" cy="([\d.]+)" r="([\d.]+)"><title>(.*?): \d+</title>', svg)
    return {name: (float(x), float(y), float(r)) for x, y, r, name in found}


def test_bars_are_as_tall_as_their_values() -> None:
    drawn = bars([0, 5, 10], ["a", "b", "c"], "How many")
    heights = [float(h) for h in re.findall(r'class="bar"[^>]* height="([\d.]+)"', drawn)]
    assert heights[1] == pytest.approx(2 * heights[0], rel=0.001)
    assert re.findall(r"<title>(.*?)</title>", drawn) == ["b: 5", "c: 10"]


def test_nothing_happened_is_no_bar() -> None:
    assert "<rect" not in bars([0] * 12, [str(n) for n in range(12)], "By month")


def test_moments_that_fall_together_are_drawn_once_and_larger() -> None:
    drawn = dots([0.0, 0.5, 0.5, 0.5, 1.0], "When")
    radii = {at: float(r) for at, r in re.findall(r'cx="([\d.]+)%" cy="12" r="([\d.]+)"', drawn)}
    assert list(radii) == ["0.0", "50.0", "100.0"]
    assert radii["50.0"] > radii["0.0"]


def test_the_map_is_to_scale_and_north_is_up() -> None:
    # At 60° a degree of longitude is half as long as one of latitude.
    spots = [Spot("south", 60.0, 20.0, 4), Spot("north", 60.01, 20.0, 1), Spot("east", 60.0, 20.02, 1)]
    at = circles(station_map(spots, "Stations"))
    up, right = at["south"][1] - at["north"][1], at["east"][0] - at["south"][0]
    assert up > 0
    assert right == pytest.approx(up, rel=0.01)
    assert at["south"][2] > at["north"][2]


def test_neighbours_across_the_date_line_are_near() -> None:
    spots = [Spot("west", 0.0, 179.99, 1), Spot("east", 0.0, -179.99, 1), Spot("far", 0.0, 179.0, 1)]
    at = circles(station_map(spots, "Stations"))
    assert dist(at["west"][:2], at["east"][:2]) < dist(at["west"][:2], at["far"][:2]) / 10


def test_the_bar_below_the_map_tells_the_distance() -> None:
    spots = [Spot("a", 0.0, 0.0, 1), Spot("b", 0.0, 0.1, 1)]  # 11.12 km
    drawn = station_map(spots, "Stations")
    at = circles(drawn)
    end = float(re.search(r'd="M12 \d+v6h([\d.]+)v-6"', drawn)[1])  # type: ignore[index]
    kilometres = float(re.search(r">([\d.]+) km<", drawn)[1])  # type: ignore[index]
    assert dist(at["a"][:2], at["b"][:2]) * kilometres / end == pytest.approx(11.12, rel=0.01)


def test_a_station_alone_and_one_never_visited_can_be_drawn() -> None:
    assert circles(station_map([Spot("alone", 51.0, 9.0, 3)], "Stations"))["alone"][:2] == (210.0, 140.0)
    assert circles(station_map([Spot("empty", 51.0, 9.0, 0)], "Stations"))["empty"][2] < 5


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a & b"])
def test_names_are_text(name: str) -> None:
    for drawn in (station_map([Spot(name, 1, 1, 1)], name), bars([1], [name], name), dots([0.5], name)):
        assert "<script" not in drawn
        assert "<img" not in drawn
