"""Changes by people: merge, move, keep apart, and undo them."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from deertrack.entry.web.access import Reviewer, Viewer
from deertrack.entry.web.once import Once
from deertrack.entry.web.parameters import Id, Limit, Offset
from deertrack.entry.web.site import Site
from deertrack.services import history, moves
from deertrack.services.moves import Moved
from deertrack.services.suggestions import SuggestedMerge, Suggesting, SuspectedMixture
from deertrack.storage.suggestions import Doubtful, Record

_Number = Annotated[int, Field(ge=1, le=2**31 - 1)]
_Expected = Annotated[
    str | None, Field(max_length=64, description="What the preview gave: 412 if anything changed since.")
]
_DRY = Field(default=False, description="Only show what would come of it.")


class MergeOrder(BaseModel):
    """Two individuals, by number, are one."""

    model_config = {"populate_by_name": True}

    from_: _Number = Field(alias="from")
    into: _Number
    dry_run: bool = _DRY
    expected: _Expected = None


class MoveOrder(BaseModel):
    """Sightings become those of another individual (its number), or of a new one (null)."""

    sightings: list[Annotated[int, Field(ge=1, le=2**63 - 1)]] = Field(min_length=1, max_length=5_000)
    to: _Number | None = None
    name: str | None = Field(default=None, max_length=200, description="Of a new individual.")
    dry_run: bool = _DRY
    expected: _Expected = None


class Apart(BaseModel):
    """Two individuals, by number, are two."""

    one: _Number
    other: _Number


class UndoOrder(BaseModel):
    """Take a change back."""

    dry_run: bool = _DRY


def routes(site: Site) -> APIRouter:
    """Routes of edits and their history."""
    router = APIRouter()
    suggesting = Suggesting(site.db)

    @router.post("/api/v1/merges", dependencies=[Once])
    def merge(order: MergeOrder, who: Reviewer) -> dict[str, Any]:
        """Two individuals are one: its record goes on under the second one's name."""
        done = moves.merge(
            site.db,
            str(order.from_),
            str(order.into),
            actor=who.name,
            dry_run=order.dry_run,
            expected=order.expected,
        )
        gone = done.left[0]
        return _moved(done) | {"from": {"number": gone.number, "name": gone.name}, "into": _to(done)}

    @router.post("/api/v1/moves", dependencies=[Once])
    def move(order: MoveOrder, who: Reviewer) -> dict[str, Any]:
        """Sightings change hands: to another individual, or to a new one."""
        done = moves.move(
            site.db,
            order.sightings,
            None if order.to is None else str(order.to),
            name=order.name,
            actor=who.name,
            dry_run=order.dry_run,
            expected=order.expected,
        )
        return _moved(done) | {"to": _to(done), "left": [asdict(owner) for owner in done.left]}

    @router.post("/api/v1/apart", dependencies=[Once])
    def keep_apart(order: Apart, who: Reviewer) -> dict[str, Any]:
        """Two individuals are two: neither the machine nor a suggestion unites them again."""
        return {"edit": moves.keep_apart(site.db, str(order.one), str(order.other), actor=who.name)}

    @router.get("/api/v1/suggestions")
    def list_suggestions(_: Viewer) -> dict[str, Any]:
        """Records that may be one animal, and records that may be two: to look at, likeliest first."""
        found = suggesting.now(site.deciding.now(), last_edit=history.last_edit(site.db))
        return {
            "merges": [_merge(m) for m in found.merges],
            "mixtures": [_mixture(m) for m in found.mixtures],
        }

    @router.get("/api/v1/edits")
    def list_edits(
        _: Viewer,
        individual: Annotated[str | None, Query(max_length=200)] = None,
        sighting: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
        actor: Annotated[str | None, Query(max_length=200)] = None,
        limit: Limit = 50,
        offset: Offset = 0,
    ) -> dict[str, Any]:
        """What people changed, newest first; all of it can be undone."""
        found = history.list_edits(
            site.db,
            individual=individual or None,
            sighting=sighting,
            actor=actor or None,
            limit=limit,
            offset=offset,
        )
        return {"total": found.total, "items": [_entry(entry) for entry in found.entries]}

    @router.post("/api/v1/edits/{edit}/undo", dependencies=[Once])
    def undo(edit: Id, order: UndoOrder, who: Reviewer) -> dict[str, Any]:
        """Take a change back, as far as nobody changed the same things since. The undo can be undone too."""
        done = history.undo(site.db, edit, actor=who.name, dry_run=order.dry_run)
        return asdict(done)

    return router


def _entry(entry: history.Entry) -> dict[str, Any]:
    edit = entry.edit
    return {
        "id": edit.id,
        "at": edit.at,
        "actor": edit.actor,
        "kind": edit.kind,
        "text": entry.text,
        "things": len(edit.items),
        "undone_by": edit.undone_by,
        "undoes": edit.undoes,
        "undoable": entry.undoable,
    }


def _moved(done: Moved) -> dict[str, Any]:
    return {
        "edit": done.edit,
        "expected": done.expected,
        "sightings": done.sightings,
        "warnings": list(done.warnings),
    }


def _to(done: Moved) -> dict[str, Any] | None:
    return None if done.to is None else {"number": done.to[0], "name": done.to[1]}


def _merge(merge: SuggestedMerge) -> dict[str, Any]:
    pair = {"a": _record(merge.one), "b": _record(merge.other)}
    return pair | {"probability": merge.probability, "similarity": merge.similarity}


def _mixture(mixture: SuspectedMixture) -> dict[str, Any]:
    return {
        "individual": _record(mixture.record),
        "parts": mixture.parts,
        "probability": mixture.probability,
    }


def _record(record: Record | Doubtful) -> dict[str, Any]:
    return {"number": record.number, "name": record.name, "detection_id": record.profile_detection_id}
