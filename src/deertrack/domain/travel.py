"""How far an animal can have come: who was seen too far away a moment ago is not the one before this camera.

Deer and antelopes sprint at 13 to 18 m/s and keep it up for minutes at most. Cameras' clocks are set by hand and
run apart by minutes. Both limits are generous, because a veto is absolute: no likeness brings back whom they rule
out.
"""

from datetime import timedelta

TOP_SPEED = 15.0  # m/s between two stations, as the crow flies
CLOCK_ERROR = timedelta(minutes=10)  # that two cameras may disagree by
# At top speed for a day an animal could be anywhere, so earlier and later sightings rule nothing out.
HORIZON = timedelta(days=1)
