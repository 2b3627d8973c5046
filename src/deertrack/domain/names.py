"""Friendly, lasting names for new individuals: easy to say over a radio and hard to mix up.

Both lists are frozen: a catalogue's names must mean the same animal in ten years, so a word is never
changed, added, removed or moved. The words say nothing of sex, age or antlers, are not common given names,
and no two in a list look or begin alike.
"""

from deertrack.domain.errors import InputError

_FIRST = tuple(
    """
    Arctic Azure Bold Breezy Calm Cheerful Clever Coastal Cosmic Crimson Curious Daring Distant Dreamy Drifting
    Eager Electric Festive Fleet Foggy Frosty Gallant Gentle Golden Hardy Hidden Humble Indigo Ivory Jolly
    Keen Lively Lofty Lucky Lunar Magic Mellow Mighty Modest Noble Northern Patient Polar Purple Quiet Rapid
    Rising Royal Rustic Secret Silver Snowy Steady Sunny Swift Tidal Tranquil Verdant Vivid Wandering Western
    Winter Yonder Zesty
    """.split()
)
_SECOND = tuple(
    """
    Acorn Alder Anchor Aspen Barley Basalt Beacon Birch Bramble Bugle Cactus Chimney Canyon Cedar Comet Cotton
    Crater Cypress Dandelion Echo Feather Fern Fiddle Flint Gazebo Granite Haven Hickory Island Juniper Kelp
    Lagoon Lantern Lichen Maple Meteor Monsoon Moss Nimbus Nutmeg Oak Orchard Pewter Pebble Pine Plum Pumice
    Quartz Raindrop Saffron Sandbar Spruce Sumac Tamarack Thistle Timber Tulip Tundra Umbrella Walnut Waterfall
    Yarrow Yucca Zephyr
    """.split()
)

_SIZE = 64
_FIRST_STRIDE, _SECOND_STRIDE = 37, 23  # coprime to 64: each walk visits every word before repeating one


def friendly_name(number: int) -> str:
    """The name of the ``number``-th new individual: two words, from 4,097 on with a numeral (``… 2``).

    The same number gives the same name in every release, no two numbers share a name, and two animals whose
    numbers are less than 63 apart share no word.

    Raises:
        InputError: ``number`` is below 1.
    """
    if number < 1:
        raise InputError(f"expected an individual's number from 1 up, got {number}")
    lap, place = divmod(number - 1, _SIZE * _SIZE)
    turn, step = divmod(place, _SIZE)
    first = _FIRST[step * _FIRST_STRIDE % _SIZE]
    second = _SECOND[(step + turn) * _SECOND_STRIDE % _SIZE]
    return f"{first} {second}" if lap == 0 else f"{first} {second} {lap + 1}"
