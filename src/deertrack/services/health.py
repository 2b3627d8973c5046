"""Whether this server can do its work: its database, its model, its queue."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from deertrack.domain.errors import DeertrackError
from deertrack.storage import health as store

_MODEL_EVERY = 60.0  # seconds: its files are read through to check them


@dataclass(frozen=True, slots=True)
class Health:
    """What every part says of itself, and which ones fail. A queue without workers waits; it does not fail."""

    parts: dict[str, dict[str, Any]]
    failing: tuple[str, ...]


@dataclass
class Doctor:
    """Examines the parts. ``find_model`` names the active version's pack, or raises what is wrong with it."""

    url: str
    find_model: Callable[[], str]
    _model: dict[str, Any] | None = None
    _model_at: float = field(default=0.0)

    def examine(self) -> Health:
        """How every part is now; the model, how it was up to a minute ago."""
        parts = {"database": _told(self._database)}
        if parts["database"]["ok"]:  # the others are in it, or ask it
            parts |= {"model": self._last_model(), "queue": _told(self._queue)}
        return Health(parts, tuple(name for name, part in parts.items() if not part["ok"]))

    def _database(self) -> dict[str, Any]:
        began = time.perf_counter()
        store.ping(self.url)
        return {"ms": round((time.perf_counter() - began) * 1000, 1)}

    def _queue(self) -> dict[str, Any]:
        return asdict(store.queue_state(self.url))

    def _last_model(self) -> dict[str, Any]:
        now = time.monotonic()
        if self._model is None or now - self._model_at > _MODEL_EVERY:
            self._model, self._model_at = _told(lambda: {"pack": self.find_model()}), now
        return self._model


def _told(examine: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return {"ok": True, **examine()}
    except DeertrackError as error:
        return {"ok": False, "problem": error.message, "hint": error.hint}
