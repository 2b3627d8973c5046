"""How a long job tells a person how far it is."""

from typing import Protocol


class Progress(Protocol):
    """Where a service reports. ``total`` is None while it is not known."""

    def start(self, stage: str, total: int | None) -> None:
        """A stage begins; the one before has ended."""

    def advance(self, steps: int = 1) -> None:
        """So many more of the stage's steps are done."""


class Silent:
    """Reports to nobody."""

    def start(self, stage: str, total: int | None) -> None:
        """Nothing."""

    def advance(self, steps: int = 1) -> None:
        """Nothing."""


SILENT = Silent()
