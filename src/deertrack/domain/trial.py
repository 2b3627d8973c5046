"""A/B tests: which arm an encounter falls into (spec, phase 4)."""

from enum import StrEnum
from hashlib import sha256


class Arm(StrEnum):
    """The version in use (control), or the one on trial (enhanced)."""

    CONTROL = "control"
    ENHANCED = "enhanced"


def arm_of(encounter_id: int, *, test: str, share: float) -> Arm:
    """The arm of a whole encounter, the same for ever and on every machine.

    Args:
        test: names the A/B test, so that another test deals the same encounters anew.
        share: of the encounters that the enhanced arm gets, in [0, 1].
    """
    digest = sha256(f"{test}/{encounter_id}".encode()).digest()
    return Arm.ENHANCED if int.from_bytes(digest[:8]) < share * 2**64 else Arm.CONTROL
